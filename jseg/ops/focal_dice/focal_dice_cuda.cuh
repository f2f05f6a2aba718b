// Sums of the focal and dice losses over the pixels of maps that are resized on the way, and their gradients, on the
// GPU: the contract of focal_dice_cpu.h. No atomic additions, so that the same inputs give the same bits.
// Needs device/primitives.cuh and bilinear_cuda.cuh before it.
#pragma once

namespace jseg_focal_dice_cuda {

using jseg_bilinear_cuda::Range;
using jseg_bilinear_cuda::Tap;
using jseg_bilinear_cuda::share;
using jseg_bilinear_cuda::tap;
using jseg_device::lane_sum;

constexpr float kAlpha = 0.25f;
constexpr int kSums = 4;  // focal, overlap, size, labelled: see focal_dice.py
constexpr int kWarps = 8, kColumns = 32, kRows = 64;  // of a block; pixels of a tile, which is the work of a warp

struct Problem {
    int images, classes, rows, columns;  // of the maps
    int height, width;                   // of the labels
    const float* maps;
    const int* labels;

    __host__ __device__ long pairs() const { return (long)images * classes; }
    __host__ __device__ int across() const { return (width + kColumns - 1) / kColumns; }
    __host__ __device__ int tiles() const { return across() * ((height + kRows - 1) / kRows); }
    __device__ const float* map(long pair) const { return maps + pair * rows * columns; }
    __device__ const int* label(long pair) const { return labels + pair / classes * height * width; }
};

__device__ __forceinline__ float logit(const Problem& p, const float* map, const Tap& down, const Tap& across) {
    const float *above = map + down.first * p.columns, *below = map + down.second * p.columns;
    const float left = across.rest * above[across.first] + across.weight * above[across.second];
    const float right = across.rest * below[across.first] + across.weight * below[across.second];
    return down.rest * left + down.weight * right;
}

// log(1 + e) for e in 0 ... 1: 2 artanh(e / (2 + e)), whose series needs no shift near 0.
__device__ __forceinline__ float log_1_plus(float e) {
    const float s = e / (2.f + e), t = s * s;
    float p = 0.1538461538f + t * 0.1333333333f;
    p = 0.1818181818f + t * p;
    p = 0.2222222222f + t * p;
    p = 0.2857142857f + t * p;
    p = 0.4f + t * p;
    p = 0.6666666667f + t * p;
    p = 2.f + t * p;
    return s * p;
}

// With z = x where the pixel has the class and -x elsewhere, `truth` is sigmoid(z), `miss` is 1 - truth without
// cancellation, and `cost` is -log(truth).
struct Pixel {
    bool inside;
    float truth, miss, cost, alpha;
    __device__ __forceinline__ Pixel(float x, bool has_class) : inside(has_class) {
        const float z = inside ? x : -x, far = fabsf(z);
        const float e = expf(-far), large = 1.f / (1.f + e), small = e * large;
        truth = z < 0.f ? small : large;
        miss = z < 0.f ? large : small;
        cost = log_1_plus(e) + (z < 0.f ? far : 0.f);
        alpha = inside ? kAlpha : 1.f - kAlpha;
    }
    __device__ __forceinline__ float probability() const { return inside ? truth : miss; }
    __device__ __forceinline__ float focal() const { return alpha * miss * miss * cost; }
    __device__ __forceinline__ float focal_slope() const {  // of focal() by x
        const float slope = alpha * miss * miss * (2.f * truth * cost + miss);
        return inside ? -slope : slope;
    }
};

// partial: (pairs, tiles, kSums), sums of each tile.
static __global__ void __launch_bounds__(32 * kWarps) tile_kernel(Problem p, float* partial) {
    const long index = (long)blockIdx.x * kWarps + threadIdx.x / 32, pair = index / p.tiles();
    const int lane = threadIdx.x % 32;
    if (pair >= p.pairs()) return;
    const int tile = (int)(index % p.tiles()), x = tile % p.across() * kColumns + lane;
    const int top = tile / p.across() * kRows, bottom = min(top + kRows, p.height);
    const int name = (int)(pair % p.classes);
    const float* map = p.map(pair);
    float sums[kSums] = {};
    if (x < p.width) {
        const Tap across = tap(p.columns, p.width, x);
        for (int y = top; y < bottom; y++) {
            const bool inside = p.label(pair)[(long)y * p.width + x] == name;
            const Pixel pixel(logit(p, map, tap(p.rows, p.height, y), across), inside);
            sums[0] += pixel.focal();
            sums[1] += inside ? pixel.truth : 0.f;
            sums[2] += pixel.probability();
            sums[3] += inside ? 1.f : 0.f;
        }
    }
#pragma unroll
    for (int i = 0; i < kSums; i++) {
        const float total = lane_sum<32>(sums[i]);
        if (lane == 0) partial[index * kSums + i] = total;
    }
}

// sums: (pairs, kSums). Tiles are added in double precision, in a fixed order.
static __global__ void __launch_bounds__(32 * kWarps) total_kernel(Problem p, const float* partial, float* sums) {
    const long index = (long)blockIdx.x * 32 * kWarps + threadIdx.x, pair = index / kSums;
    if (pair >= p.pairs()) return;
    const int name = (int)(index % kSums);
    double total = 0;
    for (int tile = 0; tile < p.tiles(); tile++) total += partial[(pair * p.tiles() + tile) * kSums + name];
    sums[index] = (float)(name ? total : total / ((double)p.height * p.width));
}

// A warp for each node of a map gathers the gradients of the pixels that the node takes part in.
// grad: (pairs, kSums), of the sums. dmaps: of the maps.
static __global__ void __launch_bounds__(32 * kWarps) gradient_kernel(Problem p, const float* grad, float* dmaps) {
    const long index = (long)blockIdx.x * kWarps + threadIdx.x / 32, nodes = (long)p.rows * p.columns;
    const int lane = threadIdx.x % 32;
    const long pair = index / nodes;
    if (pair >= p.pairs()) return;
    const int row = (int)(index % nodes / p.columns), column = (int)(index % nodes % p.columns);
    const int name = (int)(pair % p.classes);
    const float *map = p.map(pair), *g = grad + pair * kSums;
    const float of_focal = g[0] / ((float)p.height * (float)p.width), of_overlap = g[1], of_size = g[2];
    const Range vertical = jseg_bilinear_cuda::samples_of(p.rows, p.height, row),
                horizontal = jseg_bilinear_cuda::samples_of(p.columns, p.width, column);
    float total = 0.f;
    for (int x = horizontal.begin + lane; x < horizontal.end; x += 32) {
        const Tap across = tap(p.columns, p.width, x);
        float line = 0.f;
        for (int y = vertical.begin; y < vertical.end; y++) {
            const Tap down = tap(p.rows, p.height, y);
            const bool inside = p.label(pair)[(long)y * p.width + x] == name;
            const Pixel pixel(logit(p, map, down, across), inside);
            const float slope = of_focal * pixel.focal_slope() +
                                pixel.truth * pixel.miss * (of_size + (inside ? of_overlap : 0.f));
            line += share(down, row) * slope;
        }
        total += share(across, column) * line;
    }
    total = lane_sum<32>(total);
    if (lane == 0) dmaps[index] = total;
}

// partial: (images, classes, tiles, kSums) floats of scratch memory.
inline void forward(const Problem& p, float* sums, float* partial) {
    jseg_device::launch(tile_kernel, dim3(jseg_device::ceil_div(p.pairs() * p.tiles(), kWarps)), 32 * kWarps, 0,
                        "focal and dice sums of tiles", p, partial);
    jseg_device::launch(total_kernel, dim3(jseg_device::ceil_div(p.pairs() * kSums, 32 * kWarps)), 32 * kWarps, 0,
                        "focal and dice sums", p, (const float*)partial, sums);
}

inline void backward(const Problem& p, const float* grad, float* dmaps) {
    jseg_device::launch(gradient_kernel, dim3(jseg_device::ceil_div(p.pairs() * p.rows * p.columns, kWarps)),
                        32 * kWarps, 0, "focal and dice gradients", p, grad, dmaps);
}

}  // namespace jseg_focal_dice_cuda
