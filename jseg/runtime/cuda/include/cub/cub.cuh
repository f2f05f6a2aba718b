// Names that CUB 3 (CUDA 13) dropped and Jittor 1.3.11 uses.
#pragma once
#include_next <cub/cub.cuh>
#if CCCL_MAJOR_VERSION >= 3
#include <cuda/functional>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
namespace cub {
template <class Value, class Offset = ptrdiff_t>
using CountingInputIterator = thrust::counting_iterator<Value>;
template <class Value, class Operation, class Iterator, class Offset = ptrdiff_t>
struct TransformInputIterator : thrust::transform_iterator<Operation, Iterator, Value> {
    __host__ __device__ TransformInputIterator(Iterator iterator, Operation operation)
        : thrust::transform_iterator<Operation, Iterator, Value>(iterator, operation) {}
};
using Max = ::cuda::maximum<>;
using Min = ::cuda::minimum<>;
using Sum = ::cuda::std::plus<>;
__device__ __forceinline__ unsigned LaneId() {
    unsigned lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
}
}  // namespace cub
#endif
