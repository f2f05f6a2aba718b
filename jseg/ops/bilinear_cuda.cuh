// Where the samples of a bilinear resize lie, on the GPU: the contract of bilinear_cpu.h.
#pragma once

namespace jseg_bilinear_cuda {

// A sample lies between `first` and `second`, weighs the second by `weight`, and the first by `rest`.
struct Tap {
    int first, second;
    float rest, weight;
};

// Sample i of `length` lies at ((2 i + 1) available - length) / (2 length) among the `available` ones. The front makes
// sure that these numbers fit 32 bits.
__device__ __forceinline__ Tap tap(int available, int length, int i) {
    const int whole = 2 * length;
    const int place = min(max((2 * i + 1) * available - length, 0), whole * (available - 1)), first = place / whole;
    const float weight = (float)(place - first * whole) / (float)whole;
    return {first, min(first + 1, available - 1), 1.f - weight, weight};
}

struct Range {
    int begin, end;
};

// A range with all samples that the one at `i` of the `available` ones takes part in, and at most a few more.
__device__ __forceinline__ Range samples_of(int available, int length, int i) {
    const int begin = i == 0 ? 0 : max(((2 * i - 1) * length / available - 1) / 2, 0);
    const int end = i == available - 1 ? length : min((2 * i + 3) * length / available / 2 + 1, length);
    return {begin, end};
}

// How much the sample `i` takes part in another one.
__device__ __forceinline__ float share(const Tap& tap, int i) {
    return (tap.first == i ? tap.rest : 0.f) + (tap.second == i ? tap.weight : 0.f);
}

}  // namespace jseg_bilinear_cuda
