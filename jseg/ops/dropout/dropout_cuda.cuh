// Keeps or drops element (row, column) of a matrix by a hash of its place, the same one as on the CPU: forward and
// backward agree without a stored pattern. Needs device/primitives.cuh before it.
#pragma once

namespace jseg_dropout_cuda {

struct Dropout {
    float scale;  // of what stays
    unsigned seed, threshold;
    unsigned long long first_row;  // rows of the whole batch of all processes before this part of it

    static __host__ Dropout make(double rate, unsigned seed, unsigned long long first_row) {
        return {(float)(1.0 / (1.0 - rate)), seed, (unsigned)(rate * 4294967296.0), first_row};
    }
    __device__ __forceinline__ bool active() const { return threshold != 0; }
    static __device__ __forceinline__ unsigned mix(unsigned x) {
        x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u; return x ^ (x >> 16);
    }
    __device__ __forceinline__ unsigned row_key(unsigned long long row) const {
        row += first_row;
        return mix((unsigned)row ^ mix(seed + (unsigned)(row >> 32)));
    }
    __device__ __forceinline__ float factor(unsigned key, unsigned column) const {
        return mix(key + column * 0x9e3779b1u) >= threshold ? scale : 0.f;
    }
};

constexpr int kRowsPerBlock = 4;  // one warp each

template <class T>
__global__ void __launch_bounds__(32 * kRowsPerBlock) apply_kernel(const Dropout dropout, long rows, long width,
                                                                   const T* x, T* y) {
    const long row = (long)blockIdx.x * kRowsPerBlock + threadIdx.x / 32;
    if (row >= rows) return;
    const unsigned key = dropout.row_key(row);
#pragma unroll 4
    for (long c = threadIdx.x % 32; c < width; c += 32)
        y[row * width + c] = jseg_device::from_float<T>(jseg_device::to_float(x[row * width + c]) *
                                                        dropout.factor(key, (unsigned)c));
}

// y = x times the factors.
template <class T>
void apply(const Dropout& dropout, long rows, long width, const T* x, T* y) {
    if (rows == 0) return;
    jseg_device::launch(apply_kernel<T>, dim3(jseg_device::ceil_div(rows, kRowsPerBlock)), 32 * kRowsPerBlock, 0,
                        "dropout", dropout, rows, width, x, y);
}

}  // namespace jseg_dropout_cuda
