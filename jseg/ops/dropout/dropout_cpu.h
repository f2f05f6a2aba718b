// Keeps or drops element (row, column) of a matrix by a hash of its place: forward and backward agree without a stored
// pattern. The pattern of jseg/ops/randomness.py. Needs simd.h before it.
#pragma once

namespace jseg_dropout {
using namespace jseg_simd;

constexpr long kParallel = 1 << 15;  // elements; fewer are done before other threads have woken up

struct Dropout {
    double rate = 0;
    float scale = 1.f;
    uint32_t seed = 0, threshold = 0;
    uint64_t first_row = 0;  // rows of the whole batch before this part of it
    Dropout() {}
    Dropout(double rate_, uint32_t seed_, uint64_t first_row_)
        : rate(rate_), scale(1.f / (1.f - (float)rate_)), seed(seed_), threshold((uint32_t)(rate_ * 4294967296.0)),
          first_row(first_row_) {}
    bool active() const { return rate > 0; }
    template <class T>
    static T mix(T x) {
        x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u; return x ^ (x >> 16);
    }
    uint32_t row_key(uint64_t row) const {
        row += first_row;
        return mix((uint32_t)row ^ mix(seed + (uint32_t)(row >> 32)));
    }
    // Factors of kLanes columns of a row, 0 or `scale`.
    Vec factors(uint32_t row_key, uint32_t column) const {
        Bits steps;
        for (int i = 0; i < kLanes; i++) steps[i] = i * 0x9e3779b1u;
        return mix(steps + (row_key + column * 0x9e3779b1u)) >= threshold ? Vec{} + scale : Vec{};
    }
};

// y = x times the factors.
inline void apply(const Dropout& dropout, long rows, long width, const float* x, float* y) {
    #pragma omp parallel for schedule(static) if (rows * width > kParallel)
    for (long r = 0; r < rows; r++) {
        const uint32_t key = dropout.row_key(r);
        for (long c = 0; c < width; c += kLanes) {
            const long n = width - c < kLanes ? width - c : kLanes;
            store_some(y + r * width + c, load_some(x + r * width + c, n) * dropout.factors(key, c), n);
        }
    }
}

}  // namespace jseg_dropout
