// The best class of each pixel on the GPU: the contract of class_map_cpu.h. A thread goes through the classes of its
// pixel and computes their scores from the maps, so that no score is stored.
// Needs device/primitives.cuh before it.
#pragma once

namespace jseg_class_map_cuda {

constexpr int kThreads = 256;

template <class T>
struct Pair {
    T first, second;
};

// Rows of int32 tables, in the order of the copies. `down` and `across` are the first rows of their taps in the tables
// of all taps.
struct Window {
    int offset, rows, columns, top, left, height, width;  // offset: of its maps
    int down, across;                                     // from the grid to the pixels of the window
};
struct Copy {
    int height, width, mirrored, windows;
    int down, across;  // from the copy to the image
};

struct Problem {
    int images, copies, classes, height, width;
    long floats;  // of the maps of one image
    bool as_logits;
    const float* maps;
    const float* bias;
    const Copy* copy;
    const Window* window;
    const Pair<int>* places;     // of the two samples of each tap
    const Pair<float>* weights;  // of the same
    __host__ __device__ long pixels() const { return (long)height * width; }
};

__device__ __forceinline__ float sigmoid(float x) {
    const float e = expf(-fabsf(x)), large = 1.f / (1.f + e);
    return x < 0.f ? e * large : large;
}

// Score of one class at a pixel of a window.
__device__ __forceinline__ float window_score(const Problem& p, const Window& w, const float* maps, int name, int row,
                                              int column) {
    const Pair<int> y = p.places[w.down + row], x = p.places[w.across + column];
    const Pair<float> of_y = p.weights[w.down + row], of_x = p.weights[w.across + column];
    const float* map = maps + w.offset + (long)name * w.rows * w.columns;
    const float *above = map + y.first * w.columns, *below = map + y.second * w.columns;
    const float left = of_y.first * above[x.first] + of_y.second * below[x.first];
    const float right = of_y.first * above[x.second] + of_y.second * below[x.second];
    const float logit = of_x.first * left + of_x.second * right;
    return (p.as_logits ? logit : sigmoid(logit)) - p.bias[name];
}

// The mean over the windows that cover a pixel of a copy.
__device__ __forceinline__ float copy_score(const Problem& p, const Copy& copy, const Window* windows,
                                            const float* maps, int name, int row, int column) {
    float total = 0.f;
    int count = 0;
    for (int i = 0; i < copy.windows; i++) {
        const int y = row - windows[i].top, x = column - windows[i].left;
        if (y < 0 || y >= windows[i].height || x < 0 || x >= windows[i].width) continue;
        total += window_score(p, windows[i], maps, name, y, x);
        count++;
    }
    return count > 1 ? total / count : total;
}

// The score of a class at a pixel of the image, resized from a copy.
__device__ __forceinline__ float image_score(const Problem& p, const Copy& copy, const Window* windows,
                                             const float* maps, int name, int row, int column) {
    const int at = copy.across + (copy.mirrored ? p.width - 1 - column : column);
    const Pair<int> y = p.places[copy.down + row], x = p.places[at];
    const float of_y = p.weights[copy.down + row].second, of_x = p.weights[at].second;
    auto line = [&](int place) {  // a copy of the image's own size needs one score, not four
        const float above = copy_score(p, copy, windows, maps, name, y.first, place);
        if (of_y == 0.f) return above;
        return above + (copy_score(p, copy, windows, maps, name, y.second, place) - above) * of_y;
    };
    const float left = line(x.first);
    return of_x == 0.f ? left : left + (line(x.second) - left) * of_x;
}

static __global__ void __launch_bounds__(kThreads) class_map_kernel(Problem p, int* mask, float* confidence) {
    const long index = (long)blockIdx.x * kThreads + threadIdx.x, image = index / p.pixels();
    if (image >= p.images) return;
    const int row = (int)(index % p.pixels() / p.width), column = (int)(index % p.pixels() % p.width);
    const float *maps = p.maps + image * p.floats, share = 1.f / p.copies;
    float best = -1e30f;
    int winner = 0;
    for (int name = 0; name < p.classes; name++) {
        const Window* windows = p.window;
        float score = 0.f;
        for (int i = 0; i < p.copies; i++) {
            score += image_score(p, p.copy[i], windows, maps, name, row, column);
            windows += p.copy[i].windows;
        }
        score *= share;
        if (score > best) best = score, winner = name;
    }
    mask[index] = winner;
    confidence[index] = best;
}

// mask and confidence: (images, height, width).
inline void run(const Problem& p, int* mask, float* confidence) {
    jseg_device::launch(class_map_kernel, dim3(jseg_device::ceil_div(p.images * p.pixels(), kThreads)), kThreads, 0,
                        "class map", p, mask, confidence);
}

}  // namespace jseg_class_map_cuda
