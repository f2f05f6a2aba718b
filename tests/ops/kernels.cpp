// C entry points to the CPU kernels, so that a test can build them for another instruction set than the machine's own.
#include "simd.h"
#include "attention/attention_cpu.h"
#include "region_attention/region_attention_cpu.h"

using namespace jseg_attention;

extern "C" void attention(long batch, int heads, long channels, long queries, long keys, int causal, double rate,
                          unsigned seed, const float* q, const float* k, const float* v, const float* grad, float* o,
                          float* log_sum, float* dq, float* dk, float* dv) {
    Problem p{batch, heads, channels, queries, keys, causal > 0, queries, 0, queries};
    long width = heads * channels, a = queries * width, b = keys * width;
    Dropout dropout(rate, seed, 0);
    forward(p, dropout, {q, width, a}, {k, width, b}, {v, width, b}, {o, width, a}, log_sum);
    if (grad)
        backward(p, dropout, {q, width, a}, {k, width, b}, {v, width, b}, {o, width, a}, {grad, width, a}, log_sum,
                 {dq, width, a}, {dk, width, b}, {dv, width, b});
}

extern "C" void region_attention(long batch, int heads, long channels, const long* layout, const float* qkv,
                                 const float* grad, float* o, float* log_sum, float* dqkv) {
    Regions regions{layout[0], layout[1], layout[2], layout[3], layout[4], layout[5]};
    Problem p = regions.problem(batch, heads, channels);
    long width = heads * channels, out = p.rows * width;
    Input q{qkv, 3 * width, 3 * out};
    region_forward(p, regions, q, q.shifted(width), q.shifted(2 * width), {o, width, out}, log_sum);
    if (grad) {
        Output dq{dqkv, 3 * width, 3 * out};
        region_backward(p, regions, q, q.shifted(width), q.shifted(2 * width), {o, width, out}, {grad, width, out},
                        log_sum, dq, dq.shifted(width), dq.shifted(2 * width));
    }
}

extern "C" int lanes() { return kLanes; }
