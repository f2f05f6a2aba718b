// Number formats, asynchronous copies and tensor-core operations for sm_80 and newer, one function each. Under g++
// the same names come from the emulator that the tests run the kernels in (tests/ops/cuda_emulator), which is
// included before this file. No kernel header includes another: Jittor follows absolute names only, so the front
// lists them.
#pragma once
#include <cmath>
#include <cstdint>
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#define JSEG_SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]
#define JSEG_COPY_WAIT(pending) jseg_device::copy_wait<pending>()

namespace jseg_device {

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    return (unsigned)__cvta_generic_to_shared(pointer);
}

// Two numbers in 32 bits, the first in the low half.
template <class T> __device__ __forceinline__ unsigned pack(float low, float high);
template <> __device__ __forceinline__ unsigned pack<__half>(float low, float high) {
    unsigned result;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
}
template <> __device__ __forceinline__ unsigned pack<__nv_bfloat16>(float low, float high) {
    unsigned result;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
}
__device__ __forceinline__ unsigned to_tf32(float x) {
    unsigned result;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(x));
    return result;
}
__device__ __forceinline__ float as_float(unsigned bits) { return __uint_as_float(bits); }
__device__ __forceinline__ unsigned as_bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float exp2_fast(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// 16 bytes from global to shared memory; zeros where `valid` is false.
__device__ __forceinline__ void copy_async(void* target, const void* source, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(target)), "l"(source),
                 "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory"); }

// Four 8 x 8 matrices of 16-bit numbers; lanes 8 j .. 8 j + 7 give the addresses of the rows of matrix j.
template <bool kTransposed>
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], const void* row) {
    if (kTransposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// d (16 x 8, float32) += a (16 x depth) b (depth x 8).
template <class T>
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
#define JSEG_MMA_OPERANDS                                                                   \
    "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                        \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                     \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])
template <>
__device__ __forceinline__ void mma_16x8x16<__half>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 " JSEG_MMA_OPERANDS);
}
template <>
__device__ __forceinline__ void mma_16x8x16<__nv_bfloat16>(float (&d)[4], const unsigned (&a)[4],
                                                           const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 " JSEG_MMA_OPERANDS);
}
__device__ __forceinline__ void mma_16x8x8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 " JSEG_MMA_OPERANDS);
}
#undef JSEG_MMA_OPERANDS

// Starts a kernel on the default stream, on which Jittor runs everything; `name` stands in the error message.
template <class Kernel, class... Arguments>
void launch(Kernel kernel, dim3 grid, int threads, size_t shared_bytes, const char* name,
            const Arguments&... arguments) {
    cudaError_t error = cudaSuccess;
    if (shared_bytes > 48 * 1024)  // more than every GPU grants unasked
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    if (error == cudaSuccess) {
        kernel<<<grid, threads, shared_bytes>>>(arguments...);
        error = cudaGetLastError();
    }
    if (error != cudaSuccess)
        throw std::runtime_error(std::string(name) + " could not be started with " + std::to_string(shared_bytes) +
                                 " bytes of shared memory: " + cudaGetErrorString(error));
}

}  // namespace jseg_device
#endif

namespace jseg_device {

constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ __half from_float<__half>(float x) { return __float2half(x); }
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16(x); }

// Sum and maximum over groups of `kLanes` neighbouring lanes; every lane gets the result.
template <int kLanes>
__device__ __forceinline__ float lane_sum(float x) {
    for (int i = kLanes / 2; i; i /= 2) x += __shfl_xor_sync(kAllLanes, x, i);
    return x;
}
template <int kLanes>
__device__ __forceinline__ float lane_max(float x) {
    for (int i = kLanes / 2; i; i /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, i));
    return x;
}

__host__ __device__ inline long ceil_div(long a, long b) { return (a + b - 1) / b; }

}  // namespace jseg_device
