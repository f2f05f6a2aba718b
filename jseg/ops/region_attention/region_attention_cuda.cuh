// Region attention on the GPU: what the Python front calls. The contract is the one of region_attention_cpu.h.
// Needs attention/attention_forward.cuh, attention_backward.cuh and region_rows_cuda.cuh before it.
#pragma once

namespace jseg_region_attention_cuda {

// qkv (batch, tokens, 3 · heads · channels); lse (batch, heads, tokens).
template <class T>
Attention<T> problem(const T* qkv, float* lse, int batch, int heads, int width, const Regions& regions) {
    Attention<T> p{};
    const long rows = regions.tokens();
    p.q = matrix(qkv, rows, 3 * width);
    p.k = matrix(qkv + width, rows, 3 * width);
    p.v = matrix(qkv + 2 * width, rows, 3 * width);
    p.batch = batch, p.heads = heads, p.channels = width / heads;
    p.queries = regions.queries(), p.keys = regions.base();
    p.lse = lse, p.lse_rows = rows;
    p.scale = 1.f / std::sqrt((float)p.channels);
    p.aligned = p.q.aligned(p.channels) && p.k.aligned(p.channels) && p.v.aligned(p.channels);
    p.dropout = Dropout::make(0, 0, 0);
    p.regions = regions;
    return p;
}

// output (batch, tokens, heads · channels).
template <class Format, int kWidth, class T>
void forward(const Attention<T>& p, T* output) {
    Attention<T> problem = p;
    Matrix<T> o = matrix(output, p.regions.tokens(), p.heads * p.channels);
    problem.aligned = p.aligned && o.aligned(p.channels);
    launch_forward<Format, kWidth, true>(problem, o);
    if (!has_short_rows(p)) return;
    const int parts = parts_of_a_row(p.regions);
    const size_t bytes = kGroups * (kWidth + 2) * sizeof(float);
    jseg_device::launch(region_rows_forward<T, kWidth>, short_row_grid(p, parts), kThreads, bytes,
                        "region attention forward (regions)", problem, o, parts);
}

// dqkv has the shape of qkv; delta is scratch of the size of lse.
template <class Format, int kWidth, class T>
void backward(const Attention<T>& p, const T* output, const T* d_output, T* dqkv, float* delta) {
    Attention<T> problem = p;
    const long width = p.heads * p.channels, rows = p.regions.tokens();
    Gradients<T> g{matrix(output, rows, width), matrix(d_output, rows, width), matrix(dqkv, rows, 3 * width),
                   matrix(dqkv + width, rows, 3 * width), matrix(dqkv + 2 * width, rows, 3 * width), delta};
    problem.aligned = p.aligned && g.output.aligned(p.channels) && g.d_output.aligned(p.channels) &&
                      g.dq.aligned(p.channels);
    // In this order: the first kernel leaves the delta of patches to the second, which leaves those of regions to the
    // third.
    launch_query_gradient<Format, kWidth, true>(problem, g);
    if (has_short_rows(p)) {
        const int parts = parts_of_a_row(p.regions);
        const size_t bytes = kGroups * 3 * kWidth * sizeof(float);
        jseg_device::launch(region_rows_backward<T, kWidth>, short_row_grid(p, parts), kThreads, bytes,
                            "region attention backward (regions)", problem, g, parts);
    }
    launch_key_gradient<Format, kWidth, true>(problem, g);
}

}  // namespace jseg_region_attention_cuda
