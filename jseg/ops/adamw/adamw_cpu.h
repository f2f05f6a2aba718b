// One step of AdamW for all elements of several tensors. Needs adamw_step.h before it.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace jseg_adamw {

constexpr long kParallel = 1 << 15;  // elements; fewer are done before other threads have woken up
constexpr long kLine = 64;           // threads share a tensor at multiples of it, whole cache lines and vectors

struct Tensors {
    std::vector<Tensor> of;
    void add(const Tensor& t) { of.push_back(t); }
};

inline void update(const Step& s, const Tensor& t, long begin, long end) {
    const float *__restrict__ p = t.p, *__restrict__ g = t.g;
    const float *__restrict__ mean = t.mean, *__restrict__ square = t.square;
    float *__restrict__ new_p = t.new_p, *__restrict__ new_mean = t.new_mean, *__restrict__ new_square = t.new_square;
    const float decay = t.decay, rate = t.rate;
    #pragma omp simd
    for (long i = begin; i < end; i++) {
        const float m = mean[i] * s.beta1 + g[i] * (1.f - s.beta1);
        const float v = square[i] * s.beta2 + g[i] * g[i] * (1.f - s.beta2);
        new_mean[i] = m;
        new_square[i] = v;
        new_p[i] = p[i] * decay - m / (std::sqrt(v) * s.root + s.eps) * rate;
    }
}

// The first element of a tensor that a thread leaves to the next one, if its share ends `share` elements after the
// tensor begins.
inline long cut(long share, long size) {
    return share <= 0 ? 0 : std::min(size, (share + kLine - 1) / kLine * kLine);
}

// Each thread updates an equal share of the elements of all tensors, one after the other.
inline void run(const Step& step, const Tensors& tensors) {
    long total = 0;
    for (const Tensor& t : tensors.of) total += t.size;
    #pragma omp parallel if (total > kParallel)
    {
        const long threads = omp_get_num_threads(), thread = omp_get_thread_num();
        long first = total * thread / threads, last = total * (thread + 1) / threads;
        for (const Tensor& t : tensors.of) {
            update(step, t, cut(first, t.size), cut(last, t.size));
            first -= t.size;
            last -= t.size;
        }
    }
}

}  // namespace jseg_adamw
