// Attention, backward: probabilities are computed again from the log-sum-exp. Two kernels that mirror each other: one
// owns query rows and walks over keys (dq), one owns keys and walks over queries (dk, dv). Each result is a sum in
// one fixed order by one warp: nothing is added across blocks, so the same input gives the same bits.
// Needs attention/attention_problem.cuh before it.
#pragma once

namespace jseg_attention_cuda {

template <class T>
struct Gradients {
    Matrix<const T> output, d_output;
    Matrix<T> dq, dk, dv;
    float* delta;  // (batch, heads, lse_rows): output · d_output of each row, from the first kernel for the others
};

template <class Format, int kWidth>
struct BackwardTiles {
    using T = typename Format::Element;
    static constexpr int kBytesPerRow = kWidth * sizeof(T);
    static constexpr int kOwn = 64;  // rows that the block owns, 16 for each warp
    static constexpr int kWalked = kBytesPerRow <= 128 ? 64 : kBytesPerRow <= 256 ? 32 : 16;  // rows of a walked tile
    static constexpr int kStride = kWidth + Format::kPad, kTile = kWalked * kStride;
    // Blocks on a multiprocessor at once, by registers: in 16 bits three are faster than two, though a few numbers are
    // spilled for it (measured on an H100). float32 would spill many.
    static constexpr int kBlocks = sizeof(T) == 2 && kBytesPerRow <= 128 ? 3 : 2;
    static constexpr int kBytes = (2 * kOwn + 4 * kWalked) * kStride * sizeof(T);
    static constexpr int kStatisticBytes = 2 * 3 * kWalked * sizeof(float);
};

// Two owned tiles that stay, and two walked tiles of which two copies alternate.
template <class Tiles>
struct BackwardMemory {
    using T = typename Tiles::T;
    T *own[2], *walked[2];
    float* statistics;

    __device__ explicit BackwardMemory(unsigned char* memory) {
        own[0] = reinterpret_cast<T*>(memory);
        own[1] = own[0] + Tiles::kOwn * Tiles::kStride;
        walked[0] = own[1] + Tiles::kOwn * Tiles::kStride;
        walked[1] = walked[0] + 2 * Tiles::kTile;
        statistics = reinterpret_cast<float*>(walked[1] + 2 * Tiles::kTile);
    }
};

// Row (l / 4) + 8 r of the warp's owned rows <- a row of gradients, times `scale`.
template <int kColumns, class T>
__device__ __forceinline__ void store_gradient(const Rows<T>& rows, int token, const float (&x)[1][kColumns][4], int r,
                                               float scale) {
#pragma unroll
    for (int n = 0; n < kColumns; n++)
        rows.store(token, n * 8 + threadIdx.x % 4 * 2, x[0][n][2 * r] * scale, x[0][n][2 * r + 1] * scale);
}

// x = factor * (one lane's share of a row), as the start of an accumulator.
template <int kColumns, class T>
__device__ __forceinline__ void start_gradient(float (&x)[1][kColumns][4], int r, const Rows<T>& rows, int index,
                                               float factor) {
    float row[kColumns][2];
    load_row<kColumns>(row, rows, index);
#pragma unroll
    for (int n = 0; n < kColumns; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) x[0][n][2 * r + i] = factor * row[n][i];
}

template <class Format, int kWidth, bool kRegion>
__global__ void __launch_bounds__(kThreads, BackwardTiles<Format, kWidth>::kBlocks)
query_gradient_kernel(const Attention<typename Format::Element> p, const Gradients<typename Format::Element> g) {
    using Tiles = BackwardTiles<Format, kWidth>;
    using T = typename Format::Element;
    constexpr int kStride = Tiles::kStride, kKeys = Tiles::kWalked, kColumns = kWidth / 8, kKeyTiles = kKeys / 8;
    JSEG_SHARED_MEMORY(memory);
    const BackwardMemory<Tiles> shared(memory);
    const int head = blockIdx.y, batch = blockIdx.z, first = blockIdx.x * Tiles::kOwn, warp = threadIdx.x / 32;
    const int query = first + warp * 16 + threadIdx.x % 32 / 4;
    const Rows<const T> q = p.q.head(batch, head, p.channels, p.aligned),
                        k = p.k.head(batch, head, p.channels, p.aligned),
                        v = p.v.head(batch, head, p.channels, p.aligned),
                        output = g.output.head(batch, head, p.channels, p.aligned),
                        d_output = g.d_output.head(batch, head, p.channels, p.aligned);
    const int keys = p.template keys_before<kRegion>(first + Tiles::kOwn);
    auto token_of = [&](int i) { return p.template token<kRegion>(i); };
    auto same = [](int i) { return i; };
    auto copy_keys = [&](int key, int slot) {
        const int offset = slot * Tiles::kTile;
        jseg_device::copy_tile<kWidth, kKeys, kThreads>(shared.walked[0] + offset, kStride, k, key, p.keys, same);
        jseg_device::copy_tile<kWidth, kKeys, kThreads>(shared.walked[1] + offset, kStride, v, key, p.keys, same);
        jseg_device::copy_commit();
    };
    jseg_device::copy_tile<kWidth, Tiles::kOwn, kThreads>(shared.own[0], kStride, q, first, p.queries, token_of);
    jseg_device::copy_tile<kWidth, Tiles::kOwn, kThreads>(shared.own[1], kStride, d_output, first, p.queries, token_of);
    jseg_device::copy_commit();
    copy_keys(0, 0);

    float dq[1][kColumns][4] = {}, lse[2], delta[2];
    const float scale = p.scale * kLog2E;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int i = query + 8 * r, token = i < p.queries ? token_of(i) : -1;
        delta[r] = row_product<kWidth>(output, token, d_output, token);
        lse[r] = token < 0 ? 0.f : p.lse[p.statistic(batch, head, token)] * kLog2E;
        if (token >= 0 && threadIdx.x % 4 == 0) g.delta[p.statistic(batch, head, token)] = delta[r];
        if (kRegion) {
            int region = token < 0 ? -1 : p.regions.region_of(token);
            float score = row_product<kWidth>(q, token, k, region);
            float dp = row_product<kWidth>(d_output, token, v, region);
            float ds = jseg_device::exp2_fast(score * scale - lse[r]) * (dp - delta[r]);
            if (region >= 0) start_gradient<kColumns>(dq, r, k, region, ds);
        }
    }
    jseg_device::Operand<Format, kWidth, 1> q_rows, d_rows;
    JSEG_COPY_WAIT(1);
    __syncthreads();  // the tiles of queries are complete
    q_rows.load(shared.own[0] + warp * 16 * kStride, kStride);
    d_rows.load(shared.own[1] + warp * 16 * kStride, kStride);
    for (int key = 0, slot = 0; key < keys; key += kKeys, slot ^= 1) {
        if (key + kKeys < keys) {
            copy_keys(key + kKeys, slot ^ 1);
            JSEG_COPY_WAIT(1);
        } else {
            JSEG_COPY_WAIT(0);
        }
        __syncthreads();  // the tiles of this step are complete
        float score[1][kKeyTiles][4] = {}, dp[1][kKeyTiles][4] = {};
        const T *k_tile = shared.walked[0] + slot * Tiles::kTile, *v_tile = shared.walked[1] + slot * Tiles::kTile;
        jseg_device::multiply_transposed<Format, kWidth>(score, q_rows, k_tile, kStride);
        jseg_device::multiply_transposed<Format, kWidth>(dp, d_rows, v_tile, kStride);
        const bool edge = key + kKeys > p.keys || (!kRegion && p.causal);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const bool drops = !kRegion && p.dropout.active();
            const unsigned long long row = p.statistic(batch, head, query + 8 * r);
            const unsigned row_key = drops ? p.dropout.row_key(row) : 0;
#pragma unroll
            for (int n = 0; n < kKeyTiles; n++)
#pragma unroll
                for (int i = 2 * r; i < 2 * r + 2; i++) {
                    int column = key + n * 8 + threadIdx.x % 4 * 2 + i % 2;
                    float probability = jseg_device::exp2_fast(fmaf(score[0][n][i], scale, -lse[r]));
                    if (edge && !p.template meets<kRegion>(query + 8 * r, column)) probability = 0.f;
                    float factor = drops ? p.dropout.factor(row_key, column) : 1.f;
                    score[0][n][i] = probability * (factor * dp[0][n][i] - delta[r]);
                }
        }
        jseg_device::multiply_accumulator<Format>(dq, score, k_tile, kStride);
        __syncthreads();  // nobody reads the tiles that the next step overwrites
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (query + 8 * r < p.queries)
            store_gradient(g.dq.head(batch, head, p.channels, p.aligned), token_of(query + 8 * r), dq, r, p.scale);
}

// Statistics of a tile of queries: log-sum-exp in units of log 2, delta, and the key of the row's dropout.
template <class Tiles, bool kRegion, class T>
__device__ __forceinline__ void load_statistics(float* target, const Attention<T>& p, const Gradients<T>& g, int batch,
                                                int head, int query) {
    for (int i = threadIdx.x; i < Tiles::kWalked; i += kThreads) {
        bool valid = query + i < p.queries;
        long index = valid ? p.statistic(batch, head, p.template token<kRegion>(query + i)) : 0;
        target[i] = valid ? p.lse[index] * kLog2E : -kExcluded;  // no such query: probability 0
        target[Tiles::kWalked + i] = valid ? g.delta[index] : 0.f;
        target[2 * Tiles::kWalked + i] = jseg_device::as_float(p.dropout.row_key((unsigned long long)index));
    }
}

// The one query of a patch that does not attend to other tokens' keys: its region's. It opens dk and dv.
template <int kColumns, class T>
__device__ __forceinline__ void add_region_query(float (&dk)[1][kColumns][4], float (&dv)[1][kColumns][4],
                                                 const Attention<T>& p, const Gradients<T>& g, int batch, int head,
                                                 int key) {
    const Rows<const T> q = p.q.head(batch, head, p.channels, p.aligned),
                        k = p.k.head(batch, head, p.channels, p.aligned),
                        v = p.v.head(batch, head, p.channels, p.aligned),
                        d_output = g.d_output.head(batch, head, p.channels, p.aligned);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int token = key + 8 * r, region = p.regions.region_of(token);
        float score = row_product<8 * kColumns>(q, region, k, token);
        float dp = row_product<8 * kColumns>(d_output, region, v, token);
        if (region < 0) continue;
        long index = p.statistic(batch, head, region);
        float probability = jseg_device::exp2_fast((score * p.scale - p.lse[index]) * kLog2E);
        start_gradient<kColumns>(dk, r, q, region, probability * (dp - g.delta[index]));
        start_gradient<kColumns>(dv, r, d_output, region, probability);
    }
}

template <class Format, int kWidth, bool kRegion>
__global__ void __launch_bounds__(kThreads, BackwardTiles<Format, kWidth>::kBlocks)
key_gradient_kernel(const Attention<typename Format::Element> p, const Gradients<typename Format::Element> g) {
    using Tiles = BackwardTiles<Format, kWidth>;
    using T = typename Format::Element;
    constexpr int kStride = Tiles::kStride, kQueries = Tiles::kWalked, kColumns = kWidth / 8;
    constexpr int kQueryTiles = kQueries / 8;
    JSEG_SHARED_MEMORY(memory);
    const BackwardMemory<Tiles> shared(memory);
    const int head = blockIdx.y, batch = blockIdx.z, first = blockIdx.x * Tiles::kOwn, warp = threadIdx.x / 32;
    const int key = first + warp * 16 + threadIdx.x % 32 / 4;
    const Rows<const T> q = p.q.head(batch, head, p.channels, p.aligned),
                        d_output = g.d_output.head(batch, head, p.channels, p.aligned);
    auto token_of = [&](int i) { return p.template token<kRegion>(i); };
    auto same = [](int i) { return i; };
    auto copy_queries = [&](int query, int slot) {
        const int offset = slot * Tiles::kTile;
        jseg_device::copy_tile<kWidth, kQueries, kThreads>(shared.walked[0] + offset, kStride, q, query, p.queries,
                                                           token_of);
        jseg_device::copy_tile<kWidth, kQueries, kThreads>(shared.walked[1] + offset, kStride, d_output, query,
                                                           p.queries, token_of);
        load_statistics<Tiles, kRegion>(shared.statistics + slot * 3 * kQueries, p, g, batch, head, query);
        jseg_device::copy_commit();
    };
    jseg_device::copy_tile<kWidth, Tiles::kOwn, kThreads>(
        shared.own[0], kStride, p.k.head(batch, head, p.channels, p.aligned), first, p.keys, same);
    jseg_device::copy_tile<kWidth, Tiles::kOwn, kThreads>(
        shared.own[1], kStride, p.v.head(batch, head, p.channels, p.aligned), first, p.keys, same);
    const int start = !kRegion && p.causal ? first / kQueries * kQueries : 0;  // earlier queries do not see these keys
    copy_queries(start, 0);

    float dk[1][kColumns][4] = {}, dv[1][kColumns][4] = {};
    const float scale = p.scale * kLog2E;
    if (kRegion) add_region_query(dk, dv, p, g, batch, head, key);
    for (int query = start, slot = 0; query < p.queries; query += kQueries, slot ^= 1) {
        if (query + kQueries < p.queries) {
            copy_queries(query + kQueries, slot ^ 1);
            JSEG_COPY_WAIT(1);
        } else {
            JSEG_COPY_WAIT(0);
        }
        __syncthreads();  // the tiles of this step are complete
        float probability[1][kQueryTiles][4] = {}, ds[1][kQueryTiles][4] = {};
        const T *q_tile = shared.walked[0] + slot * Tiles::kTile, *d_tile = shared.walked[1] + slot * Tiles::kTile;
        const float* statistics = shared.statistics + slot * 3 * kQueries;
        jseg_device::multiply_transposed<Format, kWidth>(probability, shared.own[0] + warp * 16 * kStride, q_tile,
                                                         kStride);
        jseg_device::multiply_transposed<Format, kWidth>(ds, shared.own[1] + warp * 16 * kStride, d_tile, kStride);
        const bool drops = !kRegion && p.dropout.active(), causal = !kRegion && p.causal;
#pragma unroll
        for (int n = 0; n < kQueryTiles; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int column = n * 8 + threadIdx.x % 4 * 2 + i % 2, row = key + i / 2 * 8;
                float e = jseg_device::exp2_fast(fmaf(probability[0][n][i], scale, -statistics[column]));
                if (causal && row > query + column) e = 0.f;
                const unsigned row_key = jseg_device::as_bits(statistics[2 * kQueries + column]);
                float factor = drops ? p.dropout.factor(row_key, row) : 1.f;
                probability[0][n][i] = e * factor;
                ds[0][n][i] = e * (factor * ds[0][n][i] - statistics[kQueries + column]);
            }
        jseg_device::multiply_accumulator<Format>(dv, probability, d_tile, kStride);
        jseg_device::multiply_accumulator<Format>(dk, ds, q_tile, kStride);
        __syncthreads();  // nobody reads the tiles that the next step overwrites
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (key + 8 * r < p.keys) {
            store_gradient(g.dk.head(batch, head, p.channels, p.aligned), key + 8 * r, dk, r, p.scale);
            store_gradient(g.dv.head(batch, head, p.channels, p.aligned), key + 8 * r, dv, r, 1.f);
        }
}

template <class Format, int kWidth, bool kRegion>
void launch_query_gradient(const Attention<typename Format::Element>& p, const Gradients<typename Format::Element>& g) {
    using Tiles = BackwardTiles<Format, kWidth>;
    if (p.queries == 0 || p.batch == 0) return;
    const dim3 grid(ceil_div(p.queries, Tiles::kOwn), p.heads, p.batch);
    jseg_device::launch(query_gradient_kernel<Format, kWidth, kRegion>, grid, kThreads, Tiles::kBytes,
                        "attention backward (queries)", p, g);
}

template <class Format, int kWidth, bool kRegion>
void launch_key_gradient(const Attention<typename Format::Element>& p, const Gradients<typename Format::Element>& g) {
    using Tiles = BackwardTiles<Format, kWidth>;
    if (p.keys == 0 || p.batch == 0) return;
    const dim3 grid(ceil_div(p.keys, Tiles::kOwn), p.heads, p.batch);
    jseg_device::launch(key_gradient_kernel<Format, kWidth, kRegion>, grid, kThreads,
                        Tiles::kBytes + Tiles::kStatisticBytes, "attention backward (keys)", p, g);
}

}  // namespace jseg_attention_cuda
