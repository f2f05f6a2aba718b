// Products of matrix tiles in shared memory by tensor cores, for one warp: 16 kRowTiles rows at a time.
//
// An accumulator tile is 16 x 8: lane l holds elements (l / 4, 2 (l % 4)), (l / 4, 2 (l % 4) + 1) and the same 8 rows
// below. Needs device/primitives.cuh before it.
#pragma once

namespace jseg_device {

__device__ __forceinline__ int lane_index() { return threadIdx.x % 32; }

// How numbers of a type are multiplied. A and B are the operands of one product of kDepth; kPad elements behind every
// row of a tile keep the eight rows that are read at once in different banks. Loads name the tile by its first
// element.
template <class T>
struct SixteenBit {  // float16 and bfloat16, m16n8k16
    using Element = T;
    static constexpr int kDepth = 16, kPad = 8;
    static constexpr bool kSeparateSums = false;
    struct A { unsigned r[4]; };
    struct B { unsigned r[2]; };

    static __device__ __forceinline__ void load_a(A& a, const T* tile, int stride) {
        int l = lane_index();
        load_matrices<false>(a.r, tile + l % 16 * stride + l / 16 * 8);
    }
    // Two neighbouring tiles of B. `columns` lie as rows in memory: b[k][n] = tile[n][k].
    static __device__ __forceinline__ void load_b_columns(B (&b)[2], const T* tile, int stride) {
        int l = lane_index();
        load_b<false>(b, tile + (l % 8 + l / 16 * 8) * stride + l / 8 % 2 * 8);
    }
    // b[k][n] = tile[k][n].
    static __device__ __forceinline__ void load_b_rows(B (&b)[2], const T* tile, int stride) {
        int l = lane_index();
        load_b<true>(b, tile + l % 16 * stride + l / 16 * 8);
    }
    // Columns 16 step .. 16 step + 15 of accumulators become the operand A of the next product.
    template <int kColumns>
    static __device__ __forceinline__ void from_accumulator(A& a, const float (&c)[kColumns][4], int step) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float* pair = c[2 * step + i / 2] + i % 2 * 2;
            a.r[i] = pack<T>(pair[0], pair[1]);
        }
    }
    static __device__ __forceinline__ void multiply(float (&c)[4], const A& a, const B& b) {
        mma_16x8x16<T>(c, a.r, b.r);
    }

private:
    template <bool kTransposed>
    static __device__ __forceinline__ void load_b(B (&b)[2], const T* row) {
        unsigned r[4];
        load_matrices<kTransposed>(r, row);
        b[0] = {{r[0], r[1]}};
        b[1] = {{r[2], r[3]}};
    }
};

// float32 by TF32 products, m16n8k8. kExact splits each number into two TF32 parts and adds three products: the error
// is that of float32 arithmetic, at a third of the speed, and still above that of the ordinary units.
template <bool kExact>
struct TensorFloat {
    using Element = float;
    static constexpr int kDepth = 8, kPad = 4;
    static constexpr bool kSeparateSums = kExact;
    struct A { unsigned high[4], low[4]; };
    struct B { unsigned high[2], low[2]; };

    static __device__ __forceinline__ void load_a(A& a, const float* tile, int stride) {
        const float* p = tile + lane_index() / 4 * stride + lane_index() % 4;
#pragma unroll
        for (int i = 0; i < 4; i++) split(p[i % 2 * 8 * stride + i / 2 * 4], a.high[i], a.low[i]);
    }
    static __device__ __forceinline__ void load_b_columns(B (&b)[2], const float* tile, int stride) {
        const float* p = tile + lane_index() / 4 * stride + lane_index() % 4;
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) split(p[n * 8 * stride + i * 4], b[n].high[i], b[n].low[i]);
    }
    // The order of the depth is free as long as A and B share it. Here it is 0 2 4 6 1 3 5 7: so an accumulator's
    // columns 2 t and 2 t + 1 are what its lane owes to A, and nothing has to move between lanes.
    static __device__ __forceinline__ void load_b_rows(B (&b)[2], const float* tile, int stride) {
        const float* p = tile + lane_index() % 4 * 2 * stride + lane_index() / 4;
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) split(p[i * stride + n * 8], b[n].high[i], b[n].low[i]);
    }
    template <int kColumns>
    static __device__ __forceinline__ void from_accumulator(A& a, const float (&c)[kColumns][4], int step) {
#pragma unroll
        for (int i = 0; i < 4; i++) split(c[step][i % 2 * 2 + i / 2], a.high[i], a.low[i]);
    }
    static __device__ __forceinline__ void multiply(float (&c)[4], const A& a, const B& b) {
        if (kExact) {
            mma_16x8x8_tf32(c, a.low, b.high);
            mma_16x8x8_tf32(c, a.high, b.low);
        }
        mma_16x8x8_tf32(c, a.high, b.high);
    }

private:
    static __device__ __forceinline__ void split(float x, unsigned& high, unsigned& low) {
        high = to_tf32(x);
        low = kExact ? to_tf32(x - as_float(high)) : 0;
    }
};

// The operand A of a product that is used again and again: 16 kRowTiles rows x kDepth from shared memory.
template <class Format, int kDepth, int kRowTiles>
struct Operand {
    static constexpr int kSteps = kDepth / Format::kDepth;
    typename Format::A parts[kSteps][kRowTiles];

    __device__ __forceinline__ void load(const typename Format::Element* tile, int stride) {
#pragma unroll
        for (int step = 0; step < kSteps; step++)
#pragma unroll
            for (int m = 0; m < kRowTiles; m++)
                Format::load_a(parts[step][m], tile + m * 16 * stride + step * Format::kDepth, stride);
    }
};

// c += (one step of a) (one step of b): two neighbouring column tiles.
template <class Format, int kRowTiles, int kColumns>
__device__ __forceinline__ void multiply_pair(float (&c)[kRowTiles][kColumns][4], int n,
                                              const typename Format::A (&a)[kRowTiles],
                                              const typename Format::B (&b)[2]) {
#pragma unroll
    for (int m = 0; m < kRowTiles; m++) {
        Format::multiply(c[m][n], a[m], b[0]);
        Format::multiply(c[m][n + 1], a[m], b[1]);
    }
}

// c += a bᵀ: b (8 kColumns rows x kDepth) row by row in shared memory.
template <class Format, int kDepth, int kRowTiles, int kColumns>
__device__ __forceinline__ void multiply_transposed(float (&c)[kRowTiles][kColumns][4],
                                                    const Operand<Format, kDepth, kRowTiles>& a,
                                                    const typename Format::Element* b, int stride) {
#pragma unroll
    for (int step = 0; step < kDepth / Format::kDepth; step++)
#pragma unroll
        for (int n = 0; n < kColumns; n += 2) {
            typename Format::B right[2];
            Format::load_b_columns(right, b + n * 8 * stride + step * Format::kDepth, stride);
            multiply_pair<Format>(c, n, a.parts[step], right);
        }
}

// The same with a in shared memory too, for kernels that have no registers to keep it in.
template <class Format, int kDepth, int kRowTiles, int kColumns>
__device__ __forceinline__ void multiply_transposed(float (&c)[kRowTiles][kColumns][4],
                                                    const typename Format::Element* a,
                                                    const typename Format::Element* b, int stride) {
#pragma unroll
    for (int k = 0; k < kDepth; k += Format::kDepth) {
        Operand<Format, Format::kDepth, kRowTiles> left;
        left.load(a + k, stride);
        multiply_transposed<Format, Format::kDepth>(c, left, b + k, stride);
    }
}

// c += p b: p lies in accumulators (16 kRowTiles x 8 kInner), b (8 kInner x 8 kColumns) row by row in shared memory.
template <class Format, int kRowTiles, int kInner, int kColumns>
__device__ __forceinline__ void multiply_accumulator(float (&c)[kRowTiles][kColumns][4],
                                                     const float (&p)[kRowTiles][kInner][4],
                                                     const typename Format::Element* b, int stride) {
    // Tensor cores cut off what does not fit a sum instead of rounding it: over thousands of keys that drift would
    // exceed the error of float32. So an exact format sums each tile apart and adds it by the ordinary units.
    float apart[kRowTiles][kColumns][4] = {};
    float(&sum)[kRowTiles][kColumns][4] = Format::kSeparateSums ? apart : c;
#pragma unroll
    for (int step = 0; step < kInner * 8 / Format::kDepth; step++) {
        typename Format::A left[kRowTiles];
#pragma unroll
        for (int m = 0; m < kRowTiles; m++) Format::from_accumulator(left[m], p[m], step);
#pragma unroll
        for (int n = 0; n < kColumns; n += 2) {
            typename Format::B right[2];
            Format::load_b_rows(right, b + step * Format::kDepth * stride + n * 8, stride);
            multiply_pair<Format>(sum, n, left, right);
        }
    }
    if (Format::kSeparateSums)
#pragma unroll
        for (int m = 0; m < kRowTiles; m++)
#pragma unroll
            for (int n = 0; n < kColumns; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) c[m][n][i] += apart[m][n][i];
}

// Rows of one head in global memory: `channels` numbers each, `stride` apart. `aligned`: in steps of 16 bytes.
template <class T>
struct Rows {
    T* first;
    long stride;
    int channels;
    bool aligned;

    __device__ __forceinline__ T* row(int index) const { return first + index * stride; }
    __device__ __forceinline__ float at(int index, int channel) const {
        return channel < channels ? to_float(row(index)[channel]) : 0.f;
    }
    // Neighbouring channels from `first` on, a multiple of kCount; zeros behind the last channel.
    template <int kCount>
    __device__ __forceinline__ void load(float (&x)[kCount], int index, int first) const {
        constexpr int kUnit = kCount * sizeof(T) < 16 ? kCount : 16 / sizeof(T);
        struct alignas(kUnit * sizeof(T)) Unit { T values[kUnit]; };
        if (aligned && first + kCount <= channels) {
#pragma unroll
            for (int i = 0; i < kCount; i += kUnit) {
                Unit unit = *reinterpret_cast<const Unit*>(row(index) + first + i);
#pragma unroll
                for (int j = 0; j < kUnit; j++) x[i + j] = to_float(unit.values[j]);
            }
        } else {
#pragma unroll
            for (int i = 0; i < kCount; i++) x[i] = at(index, first + i);
        }
    }
    // Two neighbouring channels, the first of them even.
    __device__ __forceinline__ void store(int index, int channel, float a, float b) const {
        T* target = row(index) + channel;
        if (aligned && channel < channels) {
            struct alignas(2 * sizeof(T)) Pair { T a, b; };
            *reinterpret_cast<Pair*>(target) = {from_float<T>(a), from_float<T>(b)};
            return;
        }
        if (channel < channels) target[0] = from_float<T>(a);
        if (channel + 1 < channels) target[1] = from_float<T>(b);
    }
};

// Starts to copy kRows rows from row `first` on to a tile; rows from `limit` on and channels beyond the last become
// zero. `index(i)` is where row i of the matrix lies in memory. Complete after copy_commit, copy wait and
// __syncthreads.
template <int kWidth, int kRows, int kThreads, class T, class Index>
__device__ __forceinline__ void copy_tile(T* tile, int stride, const Rows<const T>& rows, int first, int limit,
                                          Index index) {
    constexpr int kStep = 16 / sizeof(T), kSteps = kWidth / kStep;
    if (rows.aligned) {
        for (int i = threadIdx.x; i < kRows * kSteps; i += kThreads) {
            int r = i / kSteps, c = i % kSteps * kStep;
            bool valid = first + r < limit && c < rows.channels;
            copy_async(tile + r * stride + c, valid ? rows.row(index(first + r)) + c : rows.first, valid);
        }
    } else {
        for (int i = threadIdx.x; i < kRows * kWidth; i += kThreads) {
            int r = i / kWidth, c = i % kWidth;
            tile[r * stride + c] = from_float<T>(first + r < limit ? rows.at(index(first + r), c) : 0.f);
        }
    }
}

}  // namespace jseg_device
