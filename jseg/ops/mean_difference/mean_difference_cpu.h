// Mean of |x - target| or its square, and the gradient. Needs simd.h before it.
#pragma once
#include <algorithm>

namespace jseg_mean_difference {
using namespace jseg_simd;

constexpr long kBlock = 4096;  // elements that are added in single precision, in kLanes sums

template <int POWER>
inline Vec part(Vec difference) {
    if (POWER == 2) return difference * difference;
    return difference < Vec{} ? -difference : difference;
}

template <int POWER>
inline void forward(long n, const float* x, const float* target, float* mean) {
    const long blocks = (n + kBlock - 1) / kBlock;
    double total = 0;
    #pragma omp parallel for schedule(static) reduction(+ : total) if (blocks > 8)
    for (long block = 0; block < blocks; block++) {
        const long end = std::min(n, (block + 1) * kBlock);
        Vec sums = {};
        for (long i = block * kBlock; i < end; i += kLanes) {
            const long count = std::min((long)kLanes, end - i);
            sums += part<POWER>(load_some(x + i, count) - load_some(target + i, count));
        }
        total += sum(sums);
    }
    *mean = (float)(total / (double)n);
}

template <int POWER>
inline void backward(long n, const float* x, const float* target, const float* grad, float* dx) {
    const float step = *grad / (float)n;
    #pragma omp parallel for schedule(static) if (n > 8 * kBlock)
    for (long i = 0; i < n; i += kLanes) {
        const long count = std::min((long)kLanes, n - i);
        const Vec difference = load_some(x + i, count) - load_some(target + i, count), zero = {};
        const Vec slope = POWER == 2 ? 2.f * step * difference
                                     : (difference > zero ? zero + step : difference < zero ? zero - step : zero);
        store_some(dx + i, slope, count);
    }
}

}  // namespace jseg_mean_difference
