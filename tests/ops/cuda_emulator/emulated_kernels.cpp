// The CUDA kernels of one number format (-DFORMAT) and head width (-DWIDTH), run by the emulator, for ctypes.
// Every function returns null, or what went wrong.
#include "cuda_emulator_mma.h"
// The kernels, in the order of the fronts.
#include "device/primitives.cuh"
#include "device/tiles.cuh"
#include "dropout/dropout_cuda.cuh"
#include "attention/attention_problem.cuh"
#include "attention/attention_forward.cuh"
#include "attention/attention_backward.cuh"
#include "attention/attention_cuda.cuh"
#include "region_attention/region_rows_cuda.cuh"
#include "region_attention/region_attention_cuda.cuh"
#include "layer_norm/layer_norm_cuda.cuh"

using Half = jseg_device::SixteenBit<__half>;
using Bfloat = jseg_device::SixteenBit<__nv_bfloat16>;
using Tf32 = jseg_device::TensorFloat<false>;
using Float = jseg_device::TensorFloat<true>;
using T = FORMAT::Element;

namespace {
template <class Work>
const char* guarded(Work work) {
    static std::string message;
    try {
        work();
        return nullptr;
    } catch (const std::exception& error) {
        message = error.what();
        return message.c_str();
    }
}
}  // namespace

extern "C" {

void set_schedule(int order, unsigned seed, int early_copies, const char* skipped) {
    emulator::schedule = {(emulator::Order)order, seed, early_copies != 0, skipped};
    emulator::skipped_waits = 0;
}

long skipped_waits() { return emulator::skipped_waits; }

// sizes: batch, heads, queries, keys, channels, causal, first sample.
const char* attention(const int* sizes, double dropout, unsigned seed, const T* q, const T* k, const T* v,
                      const T* d_output, T* output, float* lse, float* delta, T* dq, T* dk, T* dv) {
    return guarded([&] {
        auto p = jseg_attention_cuda::problem<T>(q, k, v, lse, sizes[0], sizes[1], sizes[2], sizes[3],
                                                 sizes[1] * sizes[4], sizes[5] != 0, dropout, seed, sizes[6]);
        jseg_attention_cuda::forward<FORMAT, WIDTH>(p, output);
        if (d_output) jseg_attention_cuda::backward<FORMAT, WIDTH>(p, output, d_output, dq, dk, dv, delta);
    });
}

// sizes: batch, heads, channels; layout: grid height and width, regions' rows and columns, prefix, skipped.
const char* region_attention(const int* sizes, const int* layout, const T* qkv, const T* d_output, T* output,
                             float* lse, float* delta, T* dqkv) {
    return guarded([&] {
        jseg_attention_cuda::Regions regions{layout[0], layout[1], layout[2], layout[3], layout[4], layout[5]};
        auto p = jseg_region_attention_cuda::problem<T>(qkv, lse, sizes[0], sizes[1], sizes[1] * sizes[2], regions);
        jseg_region_attention_cuda::forward<FORMAT, WIDTH>(p, output);
        if (d_output) jseg_region_attention_cuda::backward<FORMAT, WIDTH>(p, output, d_output, dqkv, delta);
    });
}

// Kernels that no GPU defines: the emulator must refuse each.
const char* barrier_of_some() {
    return guarded([] {
        emulator::launch(dim3(1), dim3(64), 0, [] {
            if (threadIdx.x < 32)
                __syncthreads();
            else
                __syncthreads();
        });
    });
}
const char* lanes_apart() {
    return guarded([] {
        emulator::launch(dim3(1), dim3(32), 0, [] {
            if (threadIdx.x < 16) __shfl_xor_sync(~0u, 1, 1);
            else __syncwarp();
        });
    });
}
const char* lane_missing() {
    return guarded([] {
        emulator::launch(dim3(1), dim3(32), 0, [] { if (threadIdx.x) __syncwarp(); });
    });
}
const char* odd_address() {
    return guarded([] {
        alignas(16) static float source[8];
        emulator::launch(dim3(1), dim3(32), 64,
                         [] { jseg_device::copy_async(emulator::block.shared, source + 1, true); });
    });
}

// rounded: count numbers as float16, then as many as bfloat16.
const char* round_numbers(int count, const float* numbers, float* rounded) {
    for (int i = 0; i < count; i++) {
        rounded[i] = __half2float(__float2half(numbers[i]));
        rounded[count + i] = __bfloat162float(__float2bfloat16(numbers[i]));
    }
    return nullptr;
}

// sizes: rows, width.
const char* dropout(const int* sizes, double rate, unsigned seed, int first_row, const T* x, T* y) {
    return guarded([&] {
        jseg_dropout_cuda::apply<T>(jseg_dropout_cuda::Dropout::make(rate, seed, first_row), sizes[0], sizes[1], x, y);
    });
}

// sizes: rows, width.
const char* layer_norm(const int* sizes, float eps, const T* x, const T* weight, const T* bias, const T* dy, T* y,
                       float* statistics, T* dx, T* dweight, T* dbias) {
    return guarded([&] {
        jseg_layer_norm_cuda::forward<T>(sizes[0], sizes[1], x, weight, bias, eps, y, statistics);
        jseg_layer_norm_cuda::backward_input<T>(sizes[0], sizes[1], x, weight, statistics, dy, dx);
        jseg_layer_norm_cuda::backward_weight<T>(sizes[0], sizes[1], x, statistics, dy, dweight, dbias);
    });
}

}  // extern "C"
