// Compiles if the headers that Jittor's CUDA sources need are there and fit nvcc and the C++ compiler. CUB, which
// takes nvcc ten times as long as all the rest, is left to Jittor.
#include <cuda_runtime.h>
#include <cublas_v2.h>
#include <curand.h>
#include <npp.h>
#include <cuda_bf16.h>

__global__ void check(float* out, long long* limit) {
    out[threadIdx.x] = __bfloat162float(__float2bfloat16(1.f));
    limit[0] = NPP_MAX_64S;
}

int device_property(const cudaDeviceProp& properties) {
    return properties.computeMode == cudaComputeModeProhibited ? 0 : properties.clockRate;
}
