// Multi-head attention on the GPU: what the Python front calls. The contract is the one of attention_cpu.h.
// Needs attention/attention_forward.cuh and attention_backward.cuh before it.
#pragma once

namespace jseg_attention_cuda {

// q (batch, queries, heads · channels); k, v (batch, keys, heads · channels); lse (batch, heads, queries).
template <class T>
Attention<T> problem(const T* q, const T* k, const T* v, float* lse, int batch, int heads, int queries, int keys,
                     int width, bool causal, double dropout, unsigned seed, long first_sample) {
    Attention<T> p{};
    p.q = matrix(q, queries, width);
    p.k = matrix(k, keys, width);
    p.v = matrix(v, keys, width);
    p.batch = batch, p.heads = heads, p.channels = width / heads, p.queries = queries, p.keys = keys;
    p.lse = lse, p.lse_rows = queries;
    p.scale = 1.f / std::sqrt((float)p.channels);
    p.causal = causal;
    p.aligned = p.q.aligned(p.channels) && p.k.aligned(p.channels) && p.v.aligned(p.channels);
    p.dropout = Dropout::make(dropout, seed, (unsigned long long)first_sample * heads * queries);
    return p;
}

template <class Format, int kWidth, class T>
void forward(const Attention<T>& p, T* output) {
    Attention<T> problem = p;
    Matrix<T> o = matrix(output, p.queries, p.heads * p.channels);
    problem.aligned = p.aligned && o.aligned(p.channels);
    launch_forward<Format, kWidth, false>(problem, o);
}

// delta: scratch of the size of lse.
template <class Format, int kWidth, class T>
void backward(const Attention<T>& p, const T* output, const T* d_output, T* dq, T* dk, T* dv, float* delta) {
    Attention<T> problem = p;
    const long width = p.heads * p.channels;
    Gradients<T> g{matrix(output, p.queries, width), matrix(d_output, p.queries, width), matrix(dq, p.queries, width),
                   matrix(dk, p.keys, width), matrix(dv, p.keys, width), delta};
    problem.aligned = p.aligned && g.output.aligned(p.channels) && g.d_output.aligned(p.channels) &&
                      g.dq.aligned(p.channels) && g.dk.aligned(p.channels) && g.dv.aligned(p.channels);
    launch_query_gradient<Format, kWidth, false>(problem, g);
    launch_key_gradient<Format, kWidth, false>(problem, g);
}

}  // namespace jseg_attention_cuda
