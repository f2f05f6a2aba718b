// Vectors as wide as the machine that this is compiled for, and the two kernels of a matrix product on them.
// GCC's vector extensions: the same source serves AVX-512, AVX2, SSE2, NEON and anything else.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace jseg_simd {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

// Tiles of a product that fill the registers: kTallRows x 2 vectors where columns are few, kFlatRows x kFlatVectors.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTallRows = 12, kFlatRows = 6, kFlatVectors = 4;  // 32 registers
#else
constexpr int kTallRows = 6, kFlatRows = 6, kFlatVectors = 2;  // 16 registers
#endif
constexpr int kPanel = 2 * kLanes;  // columns of a tall tile

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
typedef Vec UnalignedVec __attribute__((aligned(4), may_alias));

inline Vec load(const float* p) { return *(const UnalignedVec*)p; }
inline void store(float* p, Vec x) { *(UnalignedVec*)p = x; }
// The same for `n` numbers; what is missing is zero, or left out.
inline Vec load_some(const float* p, long n) {
    if (n == kLanes) return load(p);
    Vec x = {};
    std::memcpy(&x, p, n * sizeof(float));
    return x;
}

inline void store_some(float* p, Vec x, long n) {
    if (n == kLanes) store(p, x);
    else std::memcpy(p, &x, n * sizeof(float));
}
inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }
inline long round_up(long n, long unit) { return (n + unit - 1) / unit * unit; }

inline float sum(Vec x) {
    float total = 0.f;
    for (int i = 0; i < kLanes; i++) total += x[i];
    return total;
}

inline float largest(Vec x) {
    float best = x[0];
    for (int i = 1; i < kLanes; i++) best = x[i] > best ? x[i] : best;
    return best;
}

// e^x for x <= 0 (and a little above): 2^n by the exponent bits, 2^f on [-1/2, 1/2] by the polynomial of Cephes' exp2f.
// Relative error 2e-7 near 0, growing as |x| * 6e-8; exactly 0 below e^-88 and at -infinity, NaN at NaN.
inline Vec exp_nonpositive(Vec x) {
    constexpr uint32_t kFloor = 0xc2b00000, kInfinite = 0xff800000, kSign = 0x80000000;  // -88, -infinity, sign
    // x <= -88, which is not true of NaN. Integers say so, since -Ofast lets a compiler turn comparisons of floats
    // around as if there were no NaN. The bits of negative numbers grow with their size; moved so that kFloor is the
    // smallest signed number, one comparison finds those from kFloor to kInfinite.
    Ints low = (Ints)((Bits)x + (kSign - kFloor)) <= (int32_t)(kInfinite - kFloor + kSign);
    Vec t = low ? Vec{} - 127.f : x * 1.44269504088896341f;
    Ints n = __builtin_convertvector(t - 0.5f, Ints);  // truncation of t - 1/2 rounds t <= 0 to nearest
    Vec f = t - __builtin_convertvector(n, Vec);
    Vec p = 1.535336188319500e-4f * f + 1.339887440266574e-3f;
    p = p * f + 9.618437357674640e-3f;
    p = p * f + 5.550332471162809e-2f;
    p = p * f + 2.402264791363012e-1f;
    p = p * f + 6.931472028550421e-1f;
    p = p * f + 1.f;
    return p * (Vec)((n + 127) << 23);  // n = -127: the bits of 0
}

// C (+)= A B for ROWS rows and VECTORS vectors of columns. Element (i, k) of A lies at a[i * a_row + k * a_depth].
template <int ROWS, int VECTORS, bool ADD>
inline __attribute__((always_inline)) void tile(long depth, const float* a, long a_row, long a_depth, const float* b,
                                                long ldb, float* c, long ldc) {
    Vec sums[ROWS][VECTORS];
    #pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
        #pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) sums[i][j] = ADD ? load(c + i * ldc + j * kLanes) : Vec{};
    for (long k = 0; k < depth; k++) {
        Vec columns[VECTORS];
        #pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) columns[j] = load(b + k * ldb + j * kLanes);
        #pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++)
            #pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++) sums[i][j] += a[i * a_row + k * a_depth] * columns[j];
    }
    #pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
        #pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) store(c + i * ldc + j * kLanes, sums[i][j]);
}

// Copies n rows of `source`, from `first` on, into panels of kPanel columns, transposed:
// panel[k * kPanel + x] = row x, channel k.
template <class Source>
inline void pack_panel(const Source& source, long first, long n, long channels, float* panel) {
    for (long x = 0; x < n; x++) {
        const float* row = source[first + x];
        for (long k = 0; k < channels; k++) panel[k * kPanel + x] = row[k];
    }
    for (long x = n; x < kPanel; x++)
        for (long k = 0; k < channels; k++) panel[k * kPanel + x] = 0.f;
}

// scores (rows x panels * kPanel) = left (rows x channels) * packed panels. Rows are rounded up to kTallRows: `left`
// and `scores` must have room for that.
inline void panel_product(long rows, long panels, long channels, const float* left, long left_row, const float* packed,
                          float* scores, long ld) {
    for (long p = 0; p < panels; p++)
        for (long i = 0; i < rows; i += kTallRows)
            tile<kTallRows, 2, false>(channels, left + i * left_row, left_row, 1, packed + p * kPanel * channels,
                                      kPanel, scores + i * ld + p * kPanel, ld);
}

template <int VECTORS>
inline void add_flat_tiles(long rows, long depth, const float* a, long a_row, long a_depth, const float* b, long ldb,
                           float* c) {
    for (long i = 0; i < rows; i += kFlatRows)
        tile<kFlatRows, VECTORS, true>(depth, a + i * a_row, a_row, a_depth, b, ldb, c + i * ldb, ldb);
}

// c (rows x width) += A (rows x depth) * b (depth x width); b and c have leading dimension `width`, a multiple of
// kLanes. Rows are rounded up to kFlatRows.
inline void add_product(long rows, long depth, long width, const float* a, long a_row, long a_depth, const float* b,
                        float* c) {
    constexpr long kDepth = 64;  // so much of b stays in the first-level cache
    long vectors = width / kLanes, chunks = (vectors + kFlatVectors - 1) / kFlatVectors;
    for (long k = 0; k < depth; k += kDepth) {
        long part = depth - k < kDepth ? depth - k : kDepth;
        for (long chunk = 0; chunk < chunks; chunk++) {
            long first = vectors * chunk / chunks, count = vectors * (chunk + 1) / chunks - first;
            const float *left = a + k * a_depth, *right = b + k * width + first * kLanes;
            float* out = c + first * kLanes;
            if (count == 4) add_flat_tiles<4>(rows, part, left, a_row, a_depth, right, width, out);
            else if (count == 3) add_flat_tiles<3>(rows, part, left, a_row, a_depth, right, width, out);
            else if (count == 2) add_flat_tiles<2>(rows, part, left, a_row, a_depth, right, width, out);
            else add_flat_tiles<1>(rows, part, left, a_row, a_depth, right, width, out);
        }
    }
}

// Grow-only scratch memory for slot 0 or 1: kernels run one at a time.
inline float* scratch(int slot, size_t count) {
    static float* buffer[2];
    static size_t capacity[2];
    if (capacity[slot] < count) {
        std::free(buffer[slot]);
        buffer[slot] = (float*)::aligned_alloc(64, round_up(count * sizeof(float), 64));
        capacity[slot] = buffer[slot] ? count : 0;
        if (!buffer[slot]) throw std::bad_alloc();
    }
    return buffer[slot];
}

}  // namespace jseg_simd
