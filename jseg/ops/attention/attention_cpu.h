// Multi-head attention on the CPU: oneDNN products on blocks of query rows, softmax between them.
// Nothing of size Lq x Lk is kept: a block of kRows rows lives in a scratch buffer of its thread.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <omp.h>

extern "C" int dnnl_sgemm(char transa, char transb, long M, long N, long K, float alpha, const float* A, long lda,
                          const float* B, long ldb, float beta, float* C, long ldc);

namespace jseg_attention {

constexpr long kRows = 128;

struct Shape {
    long batch;
    int heads;
    long queries, keys, channels;  // channels of one head
    long stride;                   // of a row: heads * channels
    long padded_keys() const { return (keys + 15) / 16 * 16 + 16; }  // off powers of two
};

// Keeps or drops probability (row, column) by a hash of the position: forward and backward agree
// without a stored pattern.
// The same pattern as jseg/ops/randomness.py; first_row: rows of the whole batch before this part of it.
struct Dropout {
    double rate;
    float scale;
    uint32_t seed, threshold;
    uint64_t first_row;
    Dropout(double rate_, uint32_t seed_, uint64_t first_row_)
        : rate(rate_), scale(1.f / (1.f - (float)rate_)), seed(seed_), threshold((uint32_t)(rate_ * 4294967296.0)),
          first_row(first_row_) {}
    bool active() const { return rate > 0; }
    static uint32_t mix(uint32_t x) {
        x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u; return x ^ (x >> 16);
    }
    uint32_t row_key(uint64_t row) const {
        row += first_row;
        return mix((uint32_t)row ^ mix(seed + (uint32_t)(row >> 32)));
    }
};

// Grow-only scratch memory, one buffer per caller is enough: kernels run one at a time.
inline float* scratch(int slot, size_t count) {
    static float* buffer[2];
    static size_t capacity[2];
    if (capacity[slot] < count) {
        std::free(buffer[slot]);
        buffer[slot] = (float*)::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
        capacity[slot] = buffer[slot] ? count : 0;
        if (!buffer[slot]) throw std::bad_alloc();
    }
    return buffer[slot];
}

inline void add_mask(float* score, const float* mask, long n) {
    for (long j = 0; j < n; j++) score[j] += mask[j];
}

inline void scores(const Shape& s, const float* q, const float* k, const float* mask, long first, long rows, float* out) {
    long ld = s.padded_keys();
    dnnl_sgemm('N', 'T', rows, s.keys, s.channels, 1.f / std::sqrt((float)s.channels), q, s.stride, k, s.stride, 0.f, out, ld);
    if (mask)
        for (long i = 0; i < rows; i++) add_mask(out + i * ld, mask + (first + i) * s.keys, s.keys);
}

// The loops over a row stand in functions of their own, with plain scalars and unaliased pointers: only so does the
// compiler vectorise them.
inline float dropout_factor(uint32_t key, uint32_t column, uint32_t threshold, float scale) {
    return Dropout::mix(key + column * 0x9e3779b1u) >= threshold ? scale : 0.f;
}

inline float exponentials(float* __restrict__ row, uint32_t n, float highest) {
    float sum = 0.f;
    for (uint32_t j = 0; j < n; j++) { row[j] = std::exp(row[j] - highest); sum += row[j]; }
    return sum;
}

inline void drop(float* __restrict__ row, uint32_t n, uint32_t key, uint32_t threshold, float scale) {
    for (uint32_t j = 0; j < n; j++) row[j] *= dropout_factor(key, j, threshold, scale);
}

// p: scores -> probabilities; g: gradient of the probabilities -> gradient of the scores.
inline void backward_row(float* __restrict__ p, float* __restrict__ g, uint32_t n, float highest, float inverse, float mean) {
    for (uint32_t j = 0; j < n; j++) {
        float e = std::exp(p[j] - highest) * inverse;
        p[j] = e;
        g[j] = e * (g[j] - mean);
    }
}

inline void backward_row_dropout(float* __restrict__ p, float* __restrict__ g, uint32_t n, float highest, float inverse,
                                 float mean, uint32_t key, uint32_t threshold, float scale) {
    for (uint32_t j = 0; j < n; j++) {
        float e = std::exp(p[j] - highest) * inverse, f = dropout_factor(key, j, threshold, scale);
        p[j] = e * f;
        g[j] = e * (g[j] * f - mean);
    }
}

// statistics: (batch, heads, queries, 2) = largest score and 1 / sum of exponentials of each row. Two numbers, not the
// log-sum-exp: in a row whose scores are all -1e30 the logarithm would vanish beside the largest score.
inline void forward(const Shape& s, const float* q, const float* k, const float* v, const float* mask,
                    const Dropout& dropout, float* output, float* statistics) {
    long ld = s.padded_keys(), blocks = (s.queries + kRows - 1) / kRows;
    float* work = scratch(0, (size_t)omp_get_max_threads() * kRows * ld);
    #pragma omp parallel for collapse(3) schedule(dynamic, 1)
    for (long b = 0; b < s.batch; b++)
        for (long h = 0; h < s.heads; h++)
            for (long block = 0; block < blocks; block++) {
                float* score = work + (size_t)omp_get_thread_num() * kRows * ld;
                long first = block * kRows, rows = std::min(kRows, s.queries - first);
                const float *kb = k + b * s.keys * s.stride + h * s.channels, *vb = v + b * s.keys * s.stride + h * s.channels;
                long start = (b * s.queries + first) * s.stride + h * s.channels;
                scores(s, q + start, kb, mask, first, rows, score);
                float inverse[kRows];
                for (long i = 0; i < rows; i++) {
                    float *row = score + i * ld, highest = -3e38f;
                    for (long j = 0; j < s.keys; j++) highest = std::max(highest, row[j]);
                    long index = (b * s.heads + h) * s.queries + first + i;
                    inverse[i] = 1.f / exponentials(row, s.keys, highest);
                    statistics[2 * index] = highest;
                    statistics[2 * index + 1] = inverse[i];
                    if (dropout.active())
                        drop(row, s.keys, dropout.row_key(index), dropout.threshold, dropout.scale);
                }
                dnnl_sgemm('N', 'N', rows, s.channels, s.keys, 1.f, score, ld, vb, s.stride, 0.f, output + start, s.stride);
                for (long i = 0; i < rows; i++)
                    for (long c = 0; c < s.channels; c++) output[start + i * s.stride + c] *= inverse[i];
            }
}

// One head of one image: dv and dk are sums over its query blocks, so they stay with one thread.
inline void backward_head(const Shape& s, long b, long h, const float* q, const float* k, const float* v,
                          const float* mask, const Dropout& dropout, const float* output, const float* grad,
                          const float* statistics, float* dq, float* dk, float* dv, float* work) {
    long ld = s.padded_keys(), key_start = b * s.keys * s.stride + h * s.channels;
    float *p = work, *g = work + kRows * ld, scale = 1.f / std::sqrt((float)s.channels);
    for (long first = 0; first < s.queries; first += kRows) {
        long rows = std::min(kRows, s.queries - first), start = (b * s.queries + first) * s.stride + h * s.channels;
        float accumulate = first ? 1.f : 0.f;
        scores(s, q + start, k + key_start, mask, first, rows, p);
        dnnl_sgemm('N', 'T', rows, s.keys, s.channels, 1.f, grad + start, s.stride, v + key_start, s.stride, 0.f, g, ld);
        for (long i = 0; i < rows; i++) {
            long index = (b * s.heads + h) * s.queries + first + i;
            const float *o = output + start + i * s.stride, *d = grad + start + i * s.stride;
            float *pr = p + i * ld, *gr = g + i * ld, mean = 0.f;
            float highest = statistics[2 * index], inverse = statistics[2 * index + 1];
            for (long c = 0; c < s.channels; c++) mean += o[c] * d[c];
            if (dropout.active())
                backward_row_dropout(pr, gr, s.keys, highest, inverse, mean, dropout.row_key(index), dropout.threshold,
                                     dropout.scale);
            else
                backward_row(pr, gr, s.keys, highest, inverse, mean);
        }
        dnnl_sgemm('T', 'N', s.keys, s.channels, rows, 1.f, p, ld, grad + start, s.stride, accumulate, dv + key_start, s.stride);
        dnnl_sgemm('T', 'N', s.keys, s.channels, rows, scale, g, ld, q + start, s.stride, accumulate, dk + key_start, s.stride);
        dnnl_sgemm('N', 'N', rows, s.channels, s.keys, scale, g, ld, k + key_start, s.stride, 0.f, dq + start, s.stride);
    }
}

inline void backward(const Shape& s, const float* q, const float* k, const float* v, const float* mask,
                     const Dropout& dropout, const float* output, const float* grad, const float* statistics,
                     float* dq, float* dk, float* dv) {
    size_t per_thread = (size_t)2 * kRows * s.padded_keys();
    float* work = scratch(1, (size_t)omp_get_max_threads() * per_thread);
    #pragma omp parallel for collapse(2) schedule(dynamic, 1)
    for (long b = 0; b < s.batch; b++)
        for (long h = 0; h < s.heads; h++)
            backward_head(s, b, h, q, k, v, mask, dropout, output, grad, statistics, dq, dk, dv,
                          work + (size_t)omp_get_thread_num() * per_thread);
}

}  // namespace jseg_attention
