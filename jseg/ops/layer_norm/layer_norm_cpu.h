// Layer normalisation of the rows of a matrix, in two passes, with its gradients.
#pragma once
#include <cmath>

namespace jseg_layer_norm {

// statistics: (rows, 2) = mean and 1 / sqrt(variance + eps) of each row.
inline void forward(long rows, long width, const float* x, const float* weight, const float* bias, float eps, float* y,
                    float* statistics) {
    #pragma omp parallel for
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
    #pragma omp parallel for
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

// Each thread owns some columns, so that the order of summation does not depend on their number.
inline void backward_weight(long rows, long width, const float* x, const float* statistics, const float* dy,
                            float* dweight, float* dbias) {
    const long tile = 16, tiles = (width + tile - 1) / tile;
    #pragma omp parallel for
    for (long t = 0; t < tiles; t++) {
        long first = t * tile, last = first + tile < width ? first + tile : width;
        float w[tile] = {}, b[tile] = {};
        for (long r = 0; r < rows; r++) {
            float mean = statistics[2 * r], inverse = statistics[2 * r + 1];
            for (long c = first; c < last; c++) {
                float d = dy[r * width + c];
                w[c - first] += d * (x[r * width + c] - mean) * inverse;
                b[c - first] += d;
            }
        }
        for (long c = first; c < last; c++) { dweight[c] = w[c - first]; dbias[c] = b[c - first]; }
    }
}

}  // namespace jseg_layer_norm
