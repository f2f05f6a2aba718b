// Matrix product that adds to bias and residual, so that these take no pass of their own. oneDNN comes with Jittor.
#pragma once

extern "C" int dnnl_sgemm(char transa, char transb, long m, long n, long k, float alpha, const float* a, long lda,
                          const float* b, long ldb, float beta, float* c, long ldc);

namespace jseg_product {

// y (rows x out) = x (rows x in) times the transpose of weight (out x in), plus bias (out) and residual (rows x out)
// where they are not null.
inline void run(long rows, long out, long in, const float* x, const float* weight, const float* bias,
                const float* residual, float* y) {
    #pragma omp parallel for schedule(static) if (rows * out > 1 << 15)
    for (long r = 0; r < rows; r++) {
        float* to = y + r * out;
        const float* from = residual + r * out;
        if (bias && residual)
            for (long c = 0; c < out; c++) to[c] = bias[c] + from[c];
        else if (bias)
            for (long c = 0; c < out; c++) to[c] = bias[c];
        else
            for (long c = 0; c < out; c++) to[c] = from[c];
    }
    dnnl_sgemm('N', 'T', rows, out, in, 1.f, x, in, weight, in, 1.f, y, out);
}

}  // namespace jseg_product
