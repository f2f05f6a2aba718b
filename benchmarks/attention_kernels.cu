// Times the attention kernels alone, between CUDA events and without Jittor, for tuning and to separate overhead.
//
//     nvcc -O3 -std=c++17 --use_fast_math -arch=sm_90 -I jseg/ops benchmarks/attention_kernels.cu -o attention_kernels
//     ./attention_kernels
//
// Region attention: batch 16, 12 heads of 64 channels, 32 x 32 patches, 10 prompts, M regions. Cross attention: batch
// 16, 8 heads, queries x keys of the decoder. Median of 9 times 5 calls. TFLOP/s count the pairs of main tokens: 4 H c B
// pairs forward, 10 H c B pairs backward, though two products are computed twice there.
#include "device/primitives.cuh"
#include "device/tiles.cuh"
#include "dropout/dropout_cuda.cuh"
#include "attention/attention_problem.cuh"
#include "attention/attention_forward.cuh"
#include "attention/attention_backward.cuh"
#include "attention/attention_cuda.cuh"
#include "region_attention/region_rows_cuda.cuh"
#include "region_attention/region_attention_cuda.cuh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace {

constexpr int kBatch = 16, kChannels = 64, kWarmUps = 3, kRepeats = 9, kCalls = 5;

void check(cudaError_t error) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "error: %s\n", cudaGetErrorString(error));
    std::exit(1);
}

void put(float& x, float value) { x = value; }
void put(__nv_bfloat16& x, float value) { x = __float2bfloat16(value); }

// Nearly normal numbers on the GPU.
template <class T>
T* values(size_t count) {
    std::vector<T> host(count);
    unsigned state = 12345;
    for (T& x : host) {
        float sum = 0.f;
        for (int i = 0; i < 4; i++) {
            state = state * 1664525u + 1013904223u;
            sum += (state >> 8) / 16777216.f - 0.5f;
        }
        put(x, 1.7f * sum);
    }
    T* device = nullptr;
    check(cudaMalloc(&device, count * sizeof(T)));
    check(cudaMemcpy(device, host.data(), count * sizeof(T), cudaMemcpyHostToDevice));
    return device;
}

double milliseconds(const std::function<void()>& call) {
    cudaEvent_t start, end;
    check(cudaEventCreate(&start));
    check(cudaEventCreate(&end));
    for (int i = 0; i < kWarmUps; i++) call();
    std::vector<float> times(kRepeats);
    for (float& time : times) {
        check(cudaEventRecord(start));
        for (int i = 0; i < kCalls; i++) call();
        check(cudaEventRecord(end));
        check(cudaEventSynchronize(end));
        check(cudaEventElapsedTime(&time, start, end));
    }
    std::sort(times.begin(), times.end());
    return times[kRepeats / 2] / kCalls;
}

void report(const char* type, const char* shape, double forward, double backward, double pairs_of_head, int heads) {
    const double flops = 4. * kBatch * heads * kChannels * pairs_of_head;
    std::printf("%-9s %-24s forward %7.3f ms %5.0f TFLOP/s   backward %7.3f ms %5.0f TFLOP/s\n", type, shape, forward,
                flops / forward / 1e9, backward, 2.5 * flops / backward / 1e9);
}

template <class Format>
void time_regions(const char* type, int side) {
    using T = typename Format::Element;
    namespace region = jseg_region_attention_cuda;
    const jseg_attention_cuda::Regions regions{32, 32, side, side, 11, 10};
    const int heads = 12, width = heads * kChannels;
    const size_t rows = (size_t)kBatch * regions.tokens();
    T *qkv = values<T>(rows * 3 * width), *output = values<T>(rows * width), *d_output = values<T>(rows * width);
    T* d_qkv = values<T>(rows * 3 * width);
    float *lse = values<float>(rows * heads), *delta = values<float>(rows * heads);
    const auto p = region::problem((const T*)qkv, lse, kBatch, heads, width, regions);
    const double forward = milliseconds([&] { region::forward<Format, kChannels>(p, output); });
    const double backward = milliseconds(
        [&] { region::backward<Format, kChannels>(p, (const T*)output, (const T*)d_output, d_qkv, delta); });
    char shape[32];
    std::snprintf(shape, sizeof shape, "regions, M = %d", side * side);
    report(type, shape, forward, backward, (double)regions.queries() * regions.base(), heads);
    for (T* x : {qkv, output, d_output, d_qkv}) check(cudaFree(x));
    for (float* x : {lse, delta}) check(cudaFree(x));
}

template <class Format>
void time_cross(const char* type, int queries, int keys, double dropout) {
    using T = typename Format::Element;
    namespace cross = jseg_attention_cuda;
    const int heads = 8, width = heads * kChannels;
    const size_t q_size = (size_t)kBatch * queries * width, k_size = (size_t)kBatch * keys * width;
    T *q = values<T>(q_size), *output = values<T>(q_size), *d_output = values<T>(q_size), *dq = values<T>(q_size);
    T *k = values<T>(k_size), *v = values<T>(k_size), *dk = values<T>(k_size), *dv = values<T>(k_size);
    const size_t statistics = (size_t)kBatch * heads * queries;
    float *lse = values<float>(statistics), *delta = values<float>(statistics);
    const auto p = cross::problem((const T*)q, (const T*)k, (const T*)v, lse, kBatch, heads, queries, keys, width,
                                  false, dropout, 7, 0);
    const double forward = milliseconds([&] { cross::forward<Format, kChannels>(p, output); });
    const double backward = milliseconds([&] {
        cross::backward<Format, kChannels>(p, (const T*)output, (const T*)d_output, dq, dk, dv, delta);
    });
    char shape[32];
    std::snprintf(shape, sizeof shape, "%d x %d%s", queries, keys, dropout ? ", dropout" : "");
    report(type, shape, forward, backward, (double)queries * keys, heads);
    for (T* x : {q, output, d_output, dq, k, v, dk, dv}) check(cudaFree(x));
    for (float* x : {lse, delta}) check(cudaFree(x));
}

template <class Format>
void time_all(const char* type) {
    for (int side : {4, 8, 16, 32}) time_regions<Format>(type, side);
    time_cross<Format>(type, 2736, 1024, 0.0);
    time_cross<Format>(type, 1024, 2736, 0.1);
    time_cross<Format>(type, 320, 1024, 0.1);
    time_cross<Format>(type, 1024, 320, 0.1);
}

}  // namespace

int main() {
    cudaDeviceProp device;
    check(cudaGetDeviceProperties(&device, 0));
    std::printf("%s\n", device.name);
    time_all<jseg_device::SixteenBit<__nv_bfloat16>>("bfloat16");
    time_all<jseg_device::TensorFloat<false>>("tf32");
    time_all<jseg_device::TensorFloat<true>>("float32");
}
