// The short rows of region attention: a region token sees the patches of its window and itself. Eight lanes share a
// row, each some neighbouring channels; a long row is walked by several such groups, whose results are added in fixed
// order.
// Needs attention/attention_backward.cuh before it.
#pragma once

namespace jseg_region_attention_cuda {

using namespace jseg_attention_cuda;

constexpr int kLanes = 8, kGroups = kThreads / kLanes;

// The keys of region `index`: its patches in row-major order, then itself.
struct Window {
    int first = 0, width = 1, patches = 0, stride = 0, region = 0;

    __device__ __forceinline__ Window(const Regions& r, int index) {
        if (r.count() == 0) return;
        int y = index / r.columns, x = index % r.columns;
        int top = lowest(y, r.height, r.rows), left = lowest(x, r.width, r.columns);
        width = lowest(x + 1, r.width, r.columns) - left;
        patches = (lowest(y + 1, r.height, r.rows) - top) * width;
        first = r.prefix + top * r.width + left;
        stride = r.width;
        region = r.base() + index;
    }
    // Smallest i with floor(i parts / size) = part: the inverse of Regions::region_of.
    static __device__ __forceinline__ int lowest(int part, int size, int parts) {
        return (part * size + parts - 1) / parts;
    }
    __device__ __forceinline__ int key(int i) const {
        return i == patches ? region : first + i / width * stride + i % width;
    }
    static __host__ __device__ int most_keys(const Regions& r) {
        return r.count() ? ceil_div(r.height, r.rows) * ceil_div(r.width, r.columns) + 1 : 0;
    }
};

// Which row a group works on, and which share of its keys.
struct Place {
    int row, part, lane;

    __device__ __forceinline__ explicit Place(int parts)
        : row(blockIdx.x * (kGroups / parts) + threadIdx.x / kLanes / parts), part(threadIdx.x / kLanes % parts),
          lane(threadIdx.x % kLanes) {}
};

// One lane's channels of a row.
template <int kShare, class T>
__device__ __forceinline__ void load_share(float (&x)[kShare], const Rows<const T>& rows, int index) {
    rows.load(x, index, threadIdx.x % kLanes * kShare);
}

template <int kShare, class T>
__device__ __forceinline__ void store_share(const Rows<T>& rows, int index, const float (&x)[kShare], float scale) {
#pragma unroll
    for (int i = 0; i < kShare; i += 2)
        rows.store(index, threadIdx.x % kLanes * kShare + i, x[i] * scale, x[i + 1] * scale);
}

template <int kShare>
__device__ __forceinline__ float product(const float (&a)[kShare], const float (&b)[kShare]) {
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < kShare; i++) sum += a[i] * b[i];
    return jseg_device::lane_sum<kLanes>(sum);
}

template <int kShare>
__device__ __forceinline__ void add_scaled(float (&sum)[kShare], float factor, const float (&x)[kShare]) {
#pragma unroll
    for (int i = 0; i < kShare; i++) sum[i] += factor * x[i];
}

// Output and log-sum-exp of region tokens; zeros for the skipped tokens behind them in the count of rows.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) region_rows_forward(const Attention<T> p, const Matrix<T> output,
                                                                int parts) {
    constexpr int kShare = kWidth / kLanes, kRecord = kWidth + 2;
    JSEG_SHARED_MEMORY(memory);
    float* records = reinterpret_cast<float*>(memory);  // highest score, sum, output of every group
    const Place at(parts);
    const int head = blockIdx.y, batch = blockIdx.z, regions = p.regions.count();
    const Rows<const T> q = p.q.head(batch, head, p.channels, p.aligned),
                        k = p.k.head(batch, head, p.channels, p.aligned),
                        v = p.v.head(batch, head, p.channels, p.aligned);
    const bool valid = at.row < regions;
    const int most = Window::most_keys(p.regions);
    const Window window(p.regions, valid ? at.row : 0);
    float own[kShare], result[kShare] = {}, highest = kExcluded, sum = 0.f;
    if (regions) load_share(own, q, window.region);
    for (int i = at.part; i - at.part < most; i += parts) {  // every lane equally often: they exchange sums
        const bool used = valid && i <= window.patches;
        const int token = window.key(used ? i : window.patches);
        float key[kShare], value[kShare];
        load_share(key, k, token);
        load_share(value, v, token);
        float score = product(own, key) * p.scale * kLog2E;
        if (!used) continue;
        float high = fmaxf(highest, score), correction = jseg_device::exp2_fast(highest - high);
        float probability = jseg_device::exp2_fast(score - high);
        highest = high;
        sum = sum * correction + probability;
#pragma unroll
        for (int c = 0; c < kShare; c++) result[c] = result[c] * correction + probability * value[c];
    }
    float* record = records + threadIdx.x / kLanes * kRecord;
    record[0] = highest;
    record[1] = sum;
#pragma unroll
    for (int c = 0; c < kShare; c++) record[2 + at.lane * kShare + c] = result[c];
    __syncthreads();  // the records of all groups are complete
    if (at.part || at.row >= regions + p.regions.skipped) return;
    for (int i = 1; i < parts; i++) {
        const float* other = record + i * kRecord;
        float high = fmaxf(highest, other[0]);
        float mine = jseg_device::exp2_fast(highest - high), theirs = jseg_device::exp2_fast(other[0] - high);
        highest = high;
        sum = sum * mine + other[1] * theirs;
#pragma unroll
        for (int c = 0; c < kShare; c++) result[c] = result[c] * mine + other[2 + at.lane * kShare + c] * theirs;
    }
    const int token = valid ? window.region : p.regions.prefix - p.regions.skipped + at.row - regions;
    store_share(output.head(batch, head, p.channels, p.aligned), token, result, valid ? 1.f / sum : 0.f);
    if (at.lane == 0) p.lse[p.statistic(batch, head, token)] = valid ? (highest + log2f(sum)) * kLn2 : 0.f;
}

// All gradients that pass through region tokens alone: of their queries, and of their keys and values, which only the
// patches of their window and they themselves see. Zeros for the queries of skipped tokens.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) region_rows_backward(const Attention<T> p, const Gradients<T> g,
                                                                 int parts) {
    constexpr int kShare = kWidth / kLanes, kRecord = 3 * kWidth;
    JSEG_SHARED_MEMORY(memory);
    float* records = reinterpret_cast<float*>(memory);  // dq, dk, dv of every group
    const Place at(parts);
    const int head = blockIdx.y, batch = blockIdx.z, regions = p.regions.count();
    const Rows<const T> q = p.q.head(batch, head, p.channels, p.aligned),
                        k = p.k.head(batch, head, p.channels, p.aligned),
                        v = p.v.head(batch, head, p.channels, p.aligned),
                        output = g.output.head(batch, head, p.channels, p.aligned),
                        d_output = g.d_output.head(batch, head, p.channels, p.aligned);
    const bool valid = at.row < regions;
    const int most = Window::most_keys(p.regions);
    const Window window(p.regions, valid ? at.row : 0);
    float own_q[kShare], own_k[kShare], own_v[kShare], own_d[kShare], own_lse = 0.f, own_delta = 0.f;
    float dq[kShare] = {}, dk[kShare] = {}, dv[kShare] = {};
    if (regions) {
        load_share(own_q, q, window.region);
        load_share(own_k, k, window.region);
        load_share(own_v, v, window.region);
        load_share(own_d, d_output, window.region);
        float own_output[kShare];
        load_share(own_output, output, window.region);
        own_delta = product(own_output, own_d);
        own_lse = p.lse[p.statistic(batch, head, window.region)];
    }
    const float scale = p.scale * kLog2E;
    for (int i = at.part; i - at.part < most; i += parts) {  // every lane equally often: they exchange sums
        const bool used = valid && i <= window.patches, itself = i == window.patches;
        const int token = window.key(used ? i : window.patches);
        float token_q[kShare], token_k[kShare], token_v[kShare], token_d[kShare];
        load_share(token_q, q, token);
        load_share(token_k, k, token);
        load_share(token_v, v, token);
        load_share(token_d, d_output, token);
        float score = product(own_q, token_k), d_score = product(own_d, token_v);
        float back_score = product(token_q, own_k), back_d = product(token_d, own_v);
        if (!used) continue;
        const long index = p.statistic(batch, head, token);
        const float lse = p.lse[index], delta = itself ? own_delta : g.delta[index];
        // The region attends to the token, and the token to the region.
        float probability = jseg_device::exp2_fast(score * scale - own_lse * kLog2E);
        float back_probability = jseg_device::exp2_fast(back_score * scale - lse * kLog2E);
        add_scaled(dq, probability * (d_score - own_delta), token_k);
        add_scaled(dk, back_probability * (back_d - delta), token_q);
        add_scaled(dv, back_probability, token_d);
    }
    float* record = records + threadIdx.x / kLanes * kRecord + at.lane * kShare;
#pragma unroll
    for (int c = 0; c < kShare; c++) record[c] = dq[c], record[kWidth + c] = dk[c], record[2 * kWidth + c] = dv[c];
    __syncthreads();  // the records of all groups are complete
    if (at.part || at.row >= regions + p.regions.skipped) return;
    for (int i = 1; i < parts; i++) {
        const float* other = record + i * kRecord;
#pragma unroll
        for (int c = 0; c < kShare; c++) dq[c] += other[c], dk[c] += other[kWidth + c], dv[c] += other[2 * kWidth + c];
    }
    const int token = valid ? window.region : p.regions.prefix - p.regions.skipped + at.row - regions;
    store_share(g.dq.head(batch, head, p.channels, p.aligned), token, dq, valid ? p.scale : 0.f);
    if (!valid) return;
    store_share(g.dk.head(batch, head, p.channels, p.aligned), token, dk, p.scale);
    store_share(g.dv.head(batch, head, p.channels, p.aligned), token, dv, 1.f);
    if (at.lane == 0) g.delta[p.statistic(batch, head, token)] = own_delta;
}

// Groups that share one row: more, the more keys a window has.
inline int parts_of_a_row(const Regions& regions) {
    int parts = 1;
    while (parts < kGroups && Window::most_keys(regions) > 8 * parts) parts *= 2;
    return parts;
}

template <class T>
dim3 short_row_grid(const Attention<T>& p, int parts) {
    return dim3(ceil_div(p.regions.count() + p.regions.skipped, kGroups / parts), p.heads, p.batch);
}

template <class T>
bool has_short_rows(const Attention<T>& p) { return p.batch > 0 && p.regions.count() + p.regions.skipped > 0; }

}  // namespace jseg_region_attention_cuda
