// One step of AdamW for all elements of several tensors on the GPU, with one kernel: the contract of adamw_cpu.h.
// Pointers and sizes are arguments of the kernel, so that nothing is copied to the GPU for it.
// Needs device/primitives.cuh and adamw_step.h before it.
#pragma once

namespace jseg_adamw_cuda {

constexpr int kThreads = 256, kChunk = 8 * kThreads;  // elements of a block
constexpr int kMostTensors = 8;  // SLOTS of adamw.py

using jseg_adamw::Step;
using jseg_adamw::Tensor;

struct Tensors {
    int count;
    unsigned end[kMostTensors];  // of the blocks of a tensor
    Tensor of[kMostTensors];

    unsigned blocks() const { return count ? end[count - 1] : 0; }
    void add(const Tensor& t) {
        if (count == kMostTensors) throw std::runtime_error("AdamW: more tensors than a kernel takes");
        const unsigned before = blocks();
        of[count] = t;
        end[count++] = before + (unsigned)jseg_device::ceil_div(t.size, kChunk);
    }
};
static_assert(sizeof(Tensors) + sizeof(Step) <= 4096, "a kernel takes 4 KB of arguments");

static __global__ void __launch_bounds__(kThreads) adamw_kernel(Step s, Tensors all) {
    int at = 0;
    while (all.end[at] <= blockIdx.x) at++;
    const Tensor& t = all.of[at];
    const float *__restrict__ p = t.p, *__restrict__ g = t.g;
    const float *__restrict__ mean = t.mean, *__restrict__ square = t.square;
    float *__restrict__ new_p = t.new_p, *__restrict__ new_mean = t.new_mean, *__restrict__ new_square = t.new_square;
    const long begin = (long)(blockIdx.x - (at ? all.end[at - 1] : 0u)) * kChunk + threadIdx.x;
    #pragma unroll 4
    for (int j = 0; j < kChunk; j += kThreads) {
        const long i = begin + j;
        if (i >= t.size) break;
        const float m = mean[i] * s.beta1 + g[i] * (1.f - s.beta1);
        const float v = square[i] * s.beta2 + g[i] * g[i] * (1.f - s.beta2);
        new_mean[i] = m;
        new_square[i] = v;
        new_p[i] = p[i] * t.decay - m / (sqrtf(v) * s.root + s.eps) * t.rate;
    }
}

inline void run(const Step& step, const Tensors& all) {
    if (all.count)
        jseg_device::launch(adamw_kernel, dim3(all.blocks()), kThreads, 0, "AdamW", step, all);
}

}  // namespace jseg_adamw_cuda
