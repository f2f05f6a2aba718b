// Layer normalisation of the rows of a matrix, in two passes, with its gradients.
#pragma once
#include <cmath>

namespace jseg_layer_norm {

constexpr long kParallel = 1 << 15;  // elements; fewer are done before other threads have woken up

// statistics: (rows, 2) = mean and 1 / sqrt(variance + eps) of each row.
inline void forward(long rows, long width, const float* x, const float* weight, const float* bias, float eps, float* y,
                    float* statistics) {
    #pragma omp parallel for if (rows * width > kParallel)
    for (long r = 0; r < rows; r++) {
        const float* in = x + r * width;
        float *out = y + r * width, mean = 0.f, variance = 0.f;
        for (long c = 0; c < width; c++) mean += in[c];
        mean /= width;
        for (long c = 0; c < width; c++) variance += (in[c] - mean) * (in[c] - mean);
        float inverse = 1.f / std::sqrt(variance / width + eps);
        for (long c = 0; c < width; c++) out[c] = (in[c] - mean) * inverse * weight[c] + bias[c];
        statistics[2 * r] = mean;
        statistics[2 * r + 1] = inverse;
    }
}

inline void backward_input(long rows, long width, const float* x, const float* weight, const float* statistics,
                           const float* dy, float* dx) {
    #pragma omp parallel for if (rows * width > kParallel)
    for (long r = 0; r < rows; r++) {
        const float *in = x + r * width, *d = dy + r * width;
        float mean = statistics[2 * r], inverse = statistics[2 * r + 1], sum = 0.f, dot = 0.f, *out = dx + r * width;
        for (long c = 0; c < width; c++) {
            float t = d[c] * weight[c];
            sum += t;
            dot += t * (in[c] - mean) * inverse;
        }
        sum /= width;
        dot /= width;
        for (long c = 0; c < width; c++) out[c] = inverse * (d[c] * weight[c] - sum - (in[c] - mean) * inverse * dot);
    }
}

// Sums over rows for the `columns` columns of one tile.
template <long columns>
inline void sum_rows(long rows, long width, const float* x, const float* statistics, const float* dy, float* dweight,
                     float* dbias) {
    float w[columns] = {}, b[columns] = {};
    for (long r = 0; r < rows; r++) {
        const float mean = statistics[2 * r], inverse = statistics[2 * r + 1], *in = x + r * width, *d = dy + r * width;
        for (long c = 0; c < columns; c++) {
            w[c] += d[c] * ((in[c] - mean) * inverse);
            b[c] += d[c];
        }
    }
    for (long c = 0; c < columns; c++) { dweight[c] = w[c]; dbias[c] = b[c]; }
}

// Each thread owns some columns, so that the order of summation does not depend on their number.
inline void backward_weight(long rows, long width, const float* x, const float* statistics, const float* dy,
                            float* dweight, float* dbias) {
    constexpr long kTile = 64;
    const long whole = width / kTile;
    #pragma omp parallel for if (rows * width > kParallel)
    for (long t = 0; t < whole; t++)
        sum_rows<kTile>(rows, width, x + t * kTile, statistics, dy + t * kTile, dweight + t * kTile, dbias + t * kTile);
    for (long c = whole * kTile; c < width; c++)
        sum_rows<1>(rows, width, x + c, statistics, dy + c, dweight + c, dbias + c);
}

}  // namespace jseg_layer_norm
