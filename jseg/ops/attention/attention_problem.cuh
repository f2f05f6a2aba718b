// What an attention kernel is told: where its matrices lie, and who may attend to whom.
// Needs device/tiles.cuh and dropout/dropout_cuda.cuh before it.
#pragma once

namespace jseg_attention_cuda {

using jseg_device::Rows;
using jseg_device::ceil_div;
using jseg_device::kAllLanes;
using jseg_dropout_cuda::Dropout;  // of probabilities: rows count over images, heads and queries

constexpr int kThreads = 128;        // four warps
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
constexpr float kExcluded = -3e38f;  // score of a pair that may not meet; finite, so that differences are

// A tensor (batch, rows, heads * channels) or a part of its columns.
template <class T>
struct Matrix {
    T* data;
    long batch_stride, row_stride;

    __host__ __device__ Rows<T> head(int batch, int head, int channels, bool aligned) const {
        return {data + batch * batch_stride + (long)head * channels, row_stride, channels, aligned};
    }
    __host__ bool aligned(int channels) const {
        const int step = 16 / sizeof(T);
        return (uintptr_t)data % 16 == 0 && batch_stride % step == 0 && row_stride % step == 0 && channels % step == 0;
    }
};

template <class T>
Matrix<T> matrix(T* data, long rows, long columns) { return {data, rows * columns, columns}; }

// Tokens [prefix | height x width patches | rows x columns regions]. The last `skipped` tokens of the prefix are keys
// but no queries. Patch (y, x) belongs to region (y rows / height, x columns / width).
struct Regions {
    int height, width, rows, columns, prefix, skipped;

    __host__ __device__ int count() const { return rows * columns; }
    __host__ __device__ int base() const { return prefix + height * width; }  // first region token
    __host__ __device__ int tokens() const { return base() + count(); }
    __host__ __device__ int queries() const { return base() - skipped; }
    // Token of query `i` among those that are no region.
    __device__ __forceinline__ int token(int i) const { return i < prefix - skipped ? i : i + skipped; }
    // Region token of a patch; -1 for other tokens.
    __device__ __forceinline__ int region_of(int token) const {
        if (token < prefix || token >= base() || count() == 0) return -1;
        int patch = token - prefix;
        return base() + patch / width * rows / height * columns + patch % width * columns / width;
    }
};

// Queries, keys and values of all heads. In the region op a query index counts the rows that are computed.
template <class T>
struct Attention {
    Matrix<const T> q, k, v;
    int batch, heads, channels, queries, keys;
    float* lse;      // (batch, heads, lse_rows): natural logarithm of the sum of exp(score)
    int lse_rows;
    float scale;     // of the scores
    bool causal;     // query i sees keys 0 .. i
    bool aligned;    // all rows start at multiples of 16 bytes
    Dropout dropout;
    Regions regions; // of the region op

    template <bool kRegion>
    __device__ __forceinline__ int token(int query) const { return kRegion ? regions.token(query) : query; }
    __device__ __forceinline__ long statistic(int batch_index, int head, int token) const {
        return ((long)batch_index * heads + head) * lse_rows + token;
    }
    // Keys that some query below `end` sees.
    template <bool kRegion>
    __device__ __forceinline__ int keys_before(int end) const { return !kRegion && causal ? min(keys, end) : keys; }
    template <bool kRegion>
    __device__ __forceinline__ bool meets(int query, int key) const {
        return key < keys && (kRegion || !causal || key <= query);
    }
};

// One lane's share of a row in the layout of an accumulator: channels 8 n + 2 (l % 4) and the one behind.
template <int kColumns, class T>
__device__ __forceinline__ void load_row(float (&x)[kColumns][2], const Rows<T>& rows, int index) {
#pragma unroll
    for (int n = 0; n < kColumns; n++) rows.load(x[n], index, n * 8 + threadIdx.x % 4 * 2);
}

// Products of two rows, summed over the four lanes that share them. A negative index stands for a row of zeros, so
// that all lanes can take part.
template <int kWidth, class T>
__device__ __forceinline__ float row_product(const Rows<T>& a, int a_index, const Rows<T>& b, int b_index) {
    constexpr int kStep = 16 / sizeof(T) < kWidth / 4 ? 16 / sizeof(T) : kWidth / 4;
    float sum = 0.f;
    if (a_index >= 0 && b_index >= 0)
#pragma unroll
        for (int first = 0; first < kWidth; first += 4 * kStep) {
            float x[kStep], y[kStep];
            a.load(x, a_index, first + threadIdx.x % 4 * kStep);
            b.load(y, b_index, first + threadIdx.x % 4 * kStep);
#pragma unroll
            for (int i = 0; i < kStep; i++) sum += x[i] * y[i];
        }
    return jseg_device::lane_sum<4>(sum);
}

}  // namespace jseg_attention_cuda
