// Layer normalisation of the rows of a matrix on the GPU, in two passes, with its gradients. Statistics and sums are
// float32; the contract is the one of layer_norm_cpu.h.
// Needs device/primitives.cuh before it.
#pragma once

namespace jseg_layer_norm_cuda {

using jseg_device::from_float;
using jseg_device::lane_sum;
using jseg_device::to_float;

constexpr int kRowsPerBlock = 4;  // one warp each; what a warp reads twice lies in the first-level cache

struct RowPlace {
    long row;
    int lane;
    __device__ __forceinline__ RowPlace()
        : row((long)blockIdx.x * kRowsPerBlock + threadIdx.x / 32), lane(threadIdx.x % 32) {}
};

// statistics: (rows, 2) = mean and 1 / sqrt(variance + eps) of each row.
template <class T>
__global__ void __launch_bounds__(32 * kRowsPerBlock) forward_kernel(long rows, int width, const T* x, const T* weight,
                                                                     const T* bias, float eps, T* y,
                                                                     float* statistics) {
    const RowPlace at;
    if (at.row >= rows) return;
    const T* in = x + at.row * width;
    T* out = y + at.row * width;
    float mean = 0.f, variance = 0.f;
#pragma unroll 4
    for (int c = at.lane; c < width; c += 32) mean += to_float(in[c]);
    mean = lane_sum<32>(mean) / width;
#pragma unroll 4
    for (int c = at.lane; c < width; c += 32) {
        float centred = to_float(in[c]) - mean;
        variance += centred * centred;
    }
    const float inverse = rsqrtf(lane_sum<32>(variance) / width + eps);
#pragma unroll 4
    for (int c = at.lane; c < width; c += 32)
        out[c] = from_float<T>((to_float(in[c]) - mean) * inverse * to_float(weight[c]) + to_float(bias[c]));
    if (at.lane == 0) statistics[2 * at.row] = mean, statistics[2 * at.row + 1] = inverse;
}

template <class T>
__global__ void __launch_bounds__(32 * kRowsPerBlock) input_gradient_kernel(long rows, int width, const T* x,
                                                                            const T* weight, const float* statistics,
                                                                            const T* dy, T* dx) {
    const RowPlace at;
    if (at.row >= rows) return;
    const T *in = x + at.row * width, *d = dy + at.row * width;
    T* out = dx + at.row * width;
    const float mean = statistics[2 * at.row], inverse = statistics[2 * at.row + 1];
    float sum = 0.f, dot = 0.f;
#pragma unroll 4
    for (int c = at.lane; c < width; c += 32) {
        float t = to_float(d[c]) * to_float(weight[c]);
        sum += t;
        dot += t * (to_float(in[c]) - mean) * inverse;
    }
    sum = lane_sum<32>(sum) / width;
    dot = lane_sum<32>(dot) / width;
#pragma unroll 4
    for (int c = at.lane; c < width; c += 32)
        out[c] = from_float<T>(inverse * (to_float(d[c]) * to_float(weight[c]) - sum -
                                          (to_float(in[c]) - mean) * inverse * dot));
}

constexpr int kSumThreads = 1024;

// A block owns as many columns as one memory sector of 32 bytes holds and adds all rows in a fixed order.
template <class T>
__global__ void __launch_bounds__(kSumThreads) weight_gradient_kernel(long rows, int width, const T* x,
                                                                      const float* statistics, const T* dy, T* dweight,
                                                                      T* dbias) {
    constexpr int kColumns = 32 / sizeof(T), kLanes = kSumThreads / kColumns;
    JSEG_SHARED_MEMORY(memory);
    float* sums = reinterpret_cast<float*>(memory);  // (2, kLanes, kColumns)
    const int column = blockIdx.x * kColumns + threadIdx.x % kColumns, lane = threadIdx.x / kColumns;
    float w = 0.f, b = 0.f;
    if (column < width)
#pragma unroll 4
        for (long r = lane; r < rows; r += kLanes) {
            float d = to_float(dy[r * width + column]);
            w += d * (to_float(x[r * width + column]) - statistics[2 * r]) * statistics[2 * r + 1];
            b += d;
        }
    sums[threadIdx.x] = w;
    sums[kSumThreads + threadIdx.x] = b;
    for (int half = kLanes / 2; half; half /= 2) {
        __syncthreads();  // the sums that are read here are complete
        if (lane < half) {
            sums[threadIdx.x] += sums[threadIdx.x + half * kColumns];
            sums[kSumThreads + threadIdx.x] += sums[kSumThreads + threadIdx.x + half * kColumns];
        }
    }
    if (lane == 0 && column < width) {
        dweight[column] = from_float<T>(sums[threadIdx.x]);
        dbias[column] = from_float<T>(sums[kSumThreads + threadIdx.x]);
    }
}

template <class T>
void forward(long rows, int width, const T* x, const T* weight, const T* bias, float eps, T* y, float* statistics) {
    if (rows == 0) return;
    jseg_device::launch(forward_kernel<T>, dim3(jseg_device::ceil_div(rows, kRowsPerBlock)), 32 * kRowsPerBlock, 0,
                        "layer norm forward", rows, width, x, weight, bias, eps, y, statistics);
}

template <class T>
void backward_input(long rows, int width, const T* x, const T* weight, const float* statistics, const T* dy, T* dx) {
    if (rows == 0) return;
    jseg_device::launch(input_gradient_kernel<T>, dim3(jseg_device::ceil_div(rows, kRowsPerBlock)),
                        32 * kRowsPerBlock, 0, "layer norm backward (input)", rows, width, x, weight, statistics, dy,
                        dx);
}

template <class T>
void backward_weight(long rows, int width, const T* x, const float* statistics, const T* dy, T* dweight, T* dbias) {
    jseg_device::launch(weight_gradient_kernel<T>, dim3(jseg_device::ceil_div(width, 32 / sizeof(T))), kSumThreads,
                        2 * kSumThreads * sizeof(float), "layer norm backward (weight)", rows, width, x, statistics, dy,
                        dweight, dbias);
}

}  // namespace jseg_layer_norm_cuda
