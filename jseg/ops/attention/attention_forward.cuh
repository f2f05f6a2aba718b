// Attention, forward: a block of four warps owns some query rows and walks over tiles of keys with a running softmax
// (FlashAttention, arXiv:2205.14135). Tiles of keys and values are copied while the previous ones are used.
// Needs attention/attention_problem.cuh before it.
#pragma once

namespace jseg_attention_cuda {

template <class Format, int kWidth>
struct ForwardTiles {
    using T = typename Format::Element;
    static constexpr int kRowTiles = sizeof(T) == 2 && kWidth <= 64 ? 2 : 1;  // of 16 rows, for each warp
    static constexpr int kRows = 64 * kRowTiles;
    static constexpr int kKeys = kWidth * sizeof(T) <= 128 ? 64 : 32;
    static constexpr int kStride = kWidth + Format::kPad;
    static constexpr int kBytes = (kRows + 4 * kKeys) * kStride * sizeof(T);
};

// The rows of one warp: 16 kRowTiles of them. Lane l keeps two of each 16, l / 4 and l / 4 + 8.
template <int kRowTiles, int kColumns>
struct RunningSoftmax {
    float output[kRowTiles][kColumns][4], highest[kRowTiles][2], sum[kRowTiles][2];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int m = 0; m < kRowTiles; m++) {
#pragma unroll
            for (int r = 0; r < 2; r++) highest[m][r] = kExcluded, sum[m][r] = 0.f;
#pragma unroll
            for (int n = 0; n < kColumns; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) output[m][n][i] = 0.f;
        }
    }
    // score -> exponential of score times `scale` (which makes units of log 2) relative to the highest one so far.
    template <int kKeyTiles>
    __device__ __forceinline__ void add(float (&score)[kRowTiles][kKeyTiles][4], float scale) {
#pragma unroll
        for (int m = 0; m < kRowTiles; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float high = kExcluded;
#pragma unroll
                for (int n = 0; n < kKeyTiles; n++)
                    high = fmaxf(high, fmaxf(score[m][n][2 * r], score[m][n][2 * r + 1]));
                high = fmaxf(highest[m][r], jseg_device::lane_max<4>(high) * scale);
                float correction = jseg_device::exp2_fast(highest[m][r] - high), total = 0.f;
                highest[m][r] = high;
#pragma unroll
                for (int n = 0; n < kKeyTiles; n++)
#pragma unroll
                    for (int i = 2 * r; i < 2 * r + 2; i++) {
                        score[m][n][i] = jseg_device::exp2_fast(fmaf(score[m][n][i], scale, -high));
                        total += score[m][n][i];
                    }
                sum[m][r] = sum[m][r] * correction + total;  // this lane's columns only, until the end
#pragma unroll
                for (int n = 0; n < kColumns; n++)
#pragma unroll
                    for (int i = 2 * r; i < 2 * r + 2; i++) output[m][n][i] *= correction;
            }
    }
};

// Marks the scores of pairs that may not meet.
template <bool kRegion, int kRowTiles, int kKeyTiles, class T>
__device__ __forceinline__ void exclude(float (&score)[kRowTiles][kKeyTiles][4], const Attention<T>& p, int query,
                                        int key) {
    if (key + kKeyTiles * 8 <= p.keys && (kRegion || !p.causal)) return;
#pragma unroll
    for (int m = 0; m < kRowTiles; m++)
#pragma unroll
        for (int n = 0; n < kKeyTiles; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = query + m * 16 + i / 2 * 8, column = key + n * 8 + threadIdx.x % 4 * 2 + i % 2;
                if (!p.template meets<kRegion>(row, column)) score[m][n][i] = kExcluded;
            }
}

// The one key of a patch that other tokens do not see: its region. It opens the running softmax.
template <int kRowTiles, int kColumns, class T>
__device__ __forceinline__ void add_region_key(RunningSoftmax<kRowTiles, kColumns>& state, const Attention<T>& p,
                                               int batch, int head, int query) {
    const Rows<const T> q = p.q.head(batch, head, p.channels, p.aligned),
                        k = p.k.head(batch, head, p.channels, p.aligned),
                        v = p.v.head(batch, head, p.channels, p.aligned);
#pragma unroll
    for (int m = 0; m < kRowTiles; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int i = query + m * 16 + r * 8, token = p.regions.token(i);
            int region = i < p.queries ? p.regions.region_of(token) : -1;
            float score = row_product<8 * kColumns>(q, token, k, region) * p.scale * kLog2E, value[kColumns][2];
            if (region < 0) continue;
            load_row<kColumns>(value, v, region);
            state.highest[m][r] = score;
            state.sum[m][r] = threadIdx.x % 4 ? 0.f : 1.f;
#pragma unroll
            for (int n = 0; n < kColumns; n++)
#pragma unroll
                for (int j = 0; j < 2; j++) state.output[m][n][2 * r + j] = value[n][j];
        }
}

template <int kRowTiles, int kKeyTiles, class T>
__device__ __forceinline__ void drop(float (&probability)[kRowTiles][kKeyTiles][4], const Attention<T>& p, int batch,
                                     int head, int query, int key) {
#pragma unroll
    for (int m = 0; m < kRowTiles; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            unsigned row_key = p.dropout.row_key((unsigned long long)p.statistic(batch, head, query + m * 16 + r * 8));
#pragma unroll
            for (int n = 0; n < kKeyTiles; n++)
#pragma unroll
                for (int j = 0; j < 2; j++)
                    probability[m][n][2 * r + j] *= p.dropout.factor(row_key, key + n * 8 + threadIdx.x % 4 * 2 + j);
        }
}

template <class Format, int kWidth, bool kRegion>
__global__ void __launch_bounds__(kThreads, 2) forward_kernel(const Attention<typename Format::Element> p,
                                                           const Matrix<typename Format::Element> output) {
    using Tiles = ForwardTiles<Format, kWidth>;
    using T = typename Format::Element;
    constexpr int kStride = Tiles::kStride, kKeys = Tiles::kKeys, kRowTiles = Tiles::kRowTiles, kColumns = kWidth / 8;
    JSEG_SHARED_MEMORY(memory);
    T *q_tile = reinterpret_cast<T*>(memory), *k_tiles = q_tile + Tiles::kRows * kStride,
      *v_tiles = k_tiles + 2 * kKeys * kStride;
    const int head = blockIdx.y, batch = blockIdx.z, first = blockIdx.x * Tiles::kRows;
    const int warp = threadIdx.x / 32, query = first + warp * 16 * kRowTiles + threadIdx.x % 32 / 4;
    const Rows<const T> k = p.k.head(batch, head, p.channels, p.aligned),
                        v = p.v.head(batch, head, p.channels, p.aligned);
    const int keys = p.template keys_before<kRegion>(first + Tiles::kRows);
    auto same = [](int i) { return i; };
    auto copy_keys = [&](int key, int slot) {
        const int offset = slot * kKeys * kStride;
        jseg_device::copy_tile<kWidth, kKeys, kThreads>(k_tiles + offset, kStride, k, key, p.keys, same);
        jseg_device::copy_tile<kWidth, kKeys, kThreads>(v_tiles + offset, kStride, v, key, p.keys, same);
        jseg_device::copy_commit();
    };
    jseg_device::copy_tile<kWidth, Tiles::kRows, kThreads>(
        q_tile, kStride, p.q.head(batch, head, p.channels, p.aligned), first, p.queries,
        [&](int i) { return p.template token<kRegion>(i); });
    jseg_device::copy_commit();
    copy_keys(0, 0);
    const float scale = p.scale * kLog2E;
    jseg_device::Operand<Format, kWidth, kRowTiles> q;
    RunningSoftmax<kRowTiles, kColumns> state;
    state.clear();
    if (kRegion) add_region_key(state, p, batch, head, query);
    JSEG_COPY_WAIT(1);
    __syncthreads();  // the tile of queries is complete
    q.load(q_tile + warp * 16 * kRowTiles * kStride, kStride);
    for (int key = 0, slot = 0; key < keys; key += kKeys, slot ^= 1) {
        if (key + kKeys < keys) {
            copy_keys(key + kKeys, slot ^ 1);
            JSEG_COPY_WAIT(1);
        } else {
            JSEG_COPY_WAIT(0);
        }
        __syncthreads();  // the tiles of this step are complete
        float score[kRowTiles][kKeys / 8][4] = {};
        jseg_device::multiply_transposed<Format, kWidth>(score, q, k_tiles + slot * kKeys * kStride, kStride);
        exclude<kRegion>(score, p, query, key);
        state.add(score, scale);
        if (!kRegion && p.dropout.active()) drop(score, p, batch, head, query, key);
        jseg_device::multiply_accumulator<Format>(state.output, score, v_tiles + slot * kKeys * kStride, kStride);
        __syncthreads();  // nobody reads the tiles that the next step overwrites
    }
    const Rows<T> rows = output.head(batch, head, p.channels, p.aligned);
#pragma unroll
    for (int m = 0; m < kRowTiles; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float sum = jseg_device::lane_sum<4>(state.sum[m][r]), inverse = 1.f / sum;
            int i = query + m * 16 + r * 8, token = p.template token<kRegion>(i);
            if (i >= p.queries) continue;
            if (threadIdx.x % 4 == 0)
                p.lse[p.statistic(batch, head, token)] = (state.highest[m][r] + log2f(sum)) * kLn2;
#pragma unroll
            for (int n = 0; n < kColumns; n++)
                rows.store(token, n * 8 + threadIdx.x % 4 * 2, state.output[m][n][2 * r] * inverse,
                           state.output[m][n][2 * r + 1] * inverse);
        }
}

template <class Format, int kWidth, bool kRegion>
void launch_forward(const Attention<typename Format::Element>& p, const Matrix<typename Format::Element>& output) {
    using Tiles = ForwardTiles<Format, kWidth>;
    if (p.queries == 0 || p.batch == 0) return;
    const dim3 grid(ceil_div(p.queries, Tiles::kRows), p.heads, p.batch);
    jseg_device::launch(forward_kernel<Format, kWidth, kRegion>, grid, kThreads, Tiles::kBytes, "attention forward", p,
                        output);
}

}  // namespace jseg_attention_cuda
