// One step of AdamW for all elements of a tensor. Needs simd.h before it.
#pragma once
#include <cmath>

namespace jseg_adamw {

constexpr long kParallel = 1 << 15;  // elements; fewer are done before other threads have woken up

struct Step {
    float decay, rate, beta1, beta2, root, eps;  // see adamw.py
};

inline void run(Step s, long n, const float* __restrict__ p, const float* __restrict__ g,
                const float* __restrict__ mean, const float* __restrict__ square, float* __restrict__ new_p,
                float* __restrict__ new_mean, float* __restrict__ new_square) {
    #pragma omp parallel for simd schedule(static) if (n > kParallel)
    for (long i = 0; i < n; i++) {
        const float m = mean[i] * s.beta1 + g[i] * (1.f - s.beta1);
        const float v = square[i] * s.beta2 + g[i] * g[i] * (1.f - s.beta2);
        new_mean[i] = m;
        new_square[i] = v;
        new_p[i] = p[i] * s.decay - m / (std::sqrt(v) * s.root + s.eps) * s.rate;
    }
}

}  // namespace jseg_adamw
