// The best class of each pixel, from maps of logits on the patch grids of overlapping windows: sigmoid of the resized
// logits less a bias, mean over windows, resized to the image, mean over copies of the image. Tile by tile, and only
// for the classes that can win there. Needs simd.h and bilinear_cpu.h before it.
#pragma once
#include <omp.h>

namespace jseg_class_map {
using namespace jseg_simd;
using jseg_bilinear::Taps;

constexpr long kTileRows = 16, kTileColumns = 64;
constexpr float kMargin = 1e-5f;  // relative to a score or 1: far above what rounding adds

// Of a copy of the image: where its maps start, their grid, and which pixels of the copy they cover.
struct Window {
    long offset, rows, columns, top, left, height, width;
    Taps down, across;  // from the grid to the pixels of the window
};

// A scaled and perhaps mirrored copy of the image of height x width pixels.
struct Copy {
    long height, width;
    bool mirrored;
    Taps down, across;  // from the copy to the image
    std::vector<Window> windows;
};

struct Range {
    long begin, end;
    long size() const { return end - begin; }
};

inline Range common(Range a, Range b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

// The samples that a range of resized samples is made of.
inline Range sources(const Taps& taps, Range of) { return {taps.first[of.begin], taps.second[of.end - 1] + 1l}; }

inline Vec sigmoid(Vec x) {
    const Vec e = exp_nonpositive(x < Vec{} ? x : -x), large = 1.f / (1.f + e);
    return x < Vec{} ? e * large : large;
}

inline float sigmoid(float x) { return 1.f / (1.f + std::exp(-x)); }

// `n` neighbouring samples of a resized line, from sample `at` on; line[0] is source sample `origin`. Sources mostly
// lie within two vectors, whose lanes are then picked. `line` has room for two more vectors.
inline Vec mix(const Taps& taps, long at, long n, const float* line, long origin, bool as_lerp) {
    typedef Ints UnalignedInts __attribute__((aligned(4), may_alias));
    const long base = taps.first[at];
    Vec a, b;
    if (taps.second[at + n - 1] - base < 2 * kLanes) {
        const Vec low = load(line + base - origin), high = load(line + base - origin + kLanes);
        const Ints start = Ints{} + (int32_t)base;
        a = __builtin_shuffle(low, high, *(const UnalignedInts*)&taps.first[at] - start);
        b = __builtin_shuffle(low, high, *(const UnalignedInts*)&taps.second[at] - start);
    } else {
        a = b = Vec{};
        for (long i = 0; i < n; i++) {
            a[i] = line[taps.first[at + i] - origin];
            b[i] = line[taps.second[at + i] - origin];
        }
    }
    const Vec weight = load(&taps.weight[at]);
    return as_lerp ? a + (b - a) * weight : load(&taps.rest[at]) * a + weight * b;
}

// What a tile of the image needs from one copy.
struct Part {
    const Copy* copy;
    Range rows, columns;          // of the copy
    Range image_columns;          // of the tile, before mirroring
    bool as_logits;               // scores are not passed through the sigmoid
    std::vector<const Window*> windows;
    std::vector<float> count;     // of windows over each pixel, where there are several
    long stride() const { return round_up(columns.size(), kLanes) + 2 * kLanes; }
};

inline Part part_of(const Copy& copy, Range rows, Range columns, long width, bool as_logits) {
    Part part;
    part.copy = &copy;
    part.as_logits = as_logits;
    part.image_columns = copy.mirrored ? Range{width - columns.end, width - columns.begin} : columns;
    part.rows = sources(copy.down, rows);
    part.columns = sources(copy.across, part.image_columns);
    for (const Window& w : copy.windows)
        if (common(part.rows, {w.top, w.top + w.height}).size() > 0 &&
            common(part.columns, {w.left, w.left + w.width}).size() > 0)
            part.windows.push_back(&w);
    if (part.windows.size() > 1) {
        part.count.assign(part.rows.size() * part.stride(), 0.f);
        for (const Window* w : part.windows) {
            const Range y = common(part.rows, {w->top, w->top + w->height}),
                        x = common(part.columns, {w->left, w->left + w->width});
            for (long i = y.begin; i < y.end; i++)
                for (long j = x.begin; j < x.end; j++)
                    part.count[(i - part.rows.begin) * part.stride() + j - part.columns.begin] += 1.f;
        }
    }
    return part;
}

// Smallest and largest logit of a map among the nodes that a part of a window is made of.
inline void node_bounds(const Part& part, const Window& w, const float* map, float& low, float& high) {
    Range y = common(part.rows, {w.top, w.top + w.height}), x = common(part.columns, {w.left, w.left + w.width});
    y = sources(w.down, {y.begin - w.top, y.end - w.top});
    x = sources(w.across, {x.begin - w.left, x.end - w.left});
    for (long i = y.begin; i < y.end; i++)
        for (long j = x.begin; j < x.end; j++) {
            const float value = map[i * w.columns + j];
            low = std::min(low, value);
            high = std::max(high, value);
        }
}

// Adds the scores of one class in one window to the pixels of a part.
inline void add_window(const Part& part, const Window& w, const float* map, float bias, float* scores,
                       std::vector<float>& line) {
    const Range y = common(part.rows, {w.top, w.top + w.height}), x = common(part.columns, {w.left, w.left + w.width});
    const Range nodes = sources(w.across, {x.begin - w.left, x.end - w.left});
    line.assign(nodes.size() + 3 * kLanes, 0.f);
    for (long i = y.begin; i < y.end; i++) {
        const long row = i - w.top;
        const float *above = map + w.down.first[row] * w.columns, *below = map + w.down.second[row] * w.columns;
        const float rest = w.down.rest[row], weight = w.down.weight[row];
        for (long j = nodes.begin; j < nodes.end; j++) line[j - nodes.begin] = rest * above[j] + weight * below[j];
        float* out = scores + (i - part.rows.begin) * part.stride() - part.columns.begin;
        for (long j = x.begin; j < x.end; j += kLanes) {
            const long n = std::min((long)kLanes, x.end - j);
            const Vec logit = mix(w.across, j - w.left, n, line.data(), nodes.begin, false);
            const Vec score = part.as_logits ? logit : sigmoid(logit);
            store_some(out + j, load_some(out + j, n) + (score - bias), n);
        }
    }
}

// Memory of a thread.
struct Work {
    std::vector<float> scores, line, tile, best, upper;
    std::vector<int32_t> winner;
};

// Scores of one class in a tile (kTileRows x kTileColumns), added to work.tile.
inline void add_copy(const Part& part, Range rows, const float* maps, long name, float bias, Work& work) {
    const Copy& copy = *part.copy;
    const long stride = part.stride(), width = part.image_columns.size();
    work.scores.assign(part.rows.size() * stride + 2 * kLanes, 0.f);
    for (const Window* w : part.windows)
        add_window(part, *w, maps + w->offset + name * w->rows * w->columns, bias, work.scores.data(),
                   work.line);
    if (!part.count.empty())
        for (long i = 0; i < part.rows.size(); i++)
            for (long j = 0; j < part.columns.size(); j++) work.scores[i * stride + j] /= part.count[i * stride + j];
    work.line.assign(stride + 2 * kLanes, 0.f);
    for (long y = rows.begin; y < rows.end; y++) {
        const float* above = work.scores.data() + (copy.down.first[y] - part.rows.begin) * stride;
        const float* below = work.scores.data() + (copy.down.second[y] - part.rows.begin) * stride;
        for (long j = 0; j < stride; j += kLanes)
            store(&work.line[j], load(above + j) + (load(below + j) - load(above + j)) * copy.down.weight[y]);
        float* out = &work.tile[(y - rows.begin) * kTileColumns];
        for (long x = 0; x < width; x += kLanes) {
            const long n = std::min((long)kLanes, width - x);
            const Vec value =
                mix(copy.across, part.image_columns.begin + x, n, work.line.data(), part.columns.begin, true);
            if (copy.mirrored)
                for (long i = 0; i < n; i++) out[width - 1 - x - i] += value[i];
            else store_some(out + x, load_some(out + x, n) + value, n);
        }
    }
}

// Classes that can win in a tile have work.upper at least the result.
inline float bounds(const std::vector<Part>& parts, const float* maps, long classes, const float* bias, Work& work) {
    float floor = -1e30f;
    work.upper.resize(classes);
    for (long c = 0; c < classes; c++) {
        float lower = 0.f, upper = 0.f;
        for (const Part& part : parts) {
            float low = 1e30f, high = -1e30f;
            for (const Window* w : part.windows)
                node_bounds(part, *w, maps + w->offset + c * w->rows * w->columns, low, high);
            lower += part.as_logits ? low : sigmoid(low);
            upper += part.as_logits ? high : sigmoid(high);
        }
        floor = std::max(floor, lower / parts.size() - bias[c]);
        work.upper[c] = upper / parts.size() - bias[c];
    }
    return floor - kMargin * std::max(1.f, std::abs(floor));
}

inline void tile(const std::vector<Copy>& copies, const float* maps, long classes, const float* bias, bool as_logits,
                 Range rows, Range columns, long width, int32_t* mask, float* confidence, Work& work) {
    std::vector<Part> parts;
    for (const Copy& copy : copies) parts.push_back(part_of(copy, rows, columns, width, as_logits));
    const float least = bounds(parts, maps, classes, bias, work), share = 1.f / copies.size();
    work.best.assign(kTileRows * kTileColumns, -1e30f);
    work.winner.assign(kTileRows * kTileColumns, 0);
    for (long c = 0; c < classes; c++) {
        if (work.upper[c] < least) continue;
        work.tile.assign(kTileRows * kTileColumns, 0.f);
        for (const Part& part : parts) add_copy(part, rows, maps, c, bias[c], work);
        for (long i = 0; i < rows.size() * kTileColumns; i++) {
            const float score = work.tile[i] * share;
            work.winner[i] = score > work.best[i] ? (int32_t)c : work.winner[i];
            work.best[i] = score > work.best[i] ? score : work.best[i];
        }
    }
    for (long y = rows.begin; y < rows.end; y++) {
        const long from = (y - rows.begin) * kTileColumns, to = y * width + columns.begin;
        std::copy(&work.winner[from], &work.winner[from] + columns.size(), mask + to);
        std::copy(&work.best[from], &work.best[from] + columns.size(), confidence + to);
    }
}

// copies: rows (height, width, mirrored, windows); windows: rows (offset, rows, columns, top, left, height, width, pixels
// that the patches cover down and across), in the order of the copies.
inline std::vector<Copy> read_copies(const int32_t* copies, long count, const int32_t* windows, long height,
                                     long width) {
    std::vector<Copy> result;
    for (long i = 0; i < count; i++, copies += 4) {
        Copy copy{copies[0], copies[1], copies[2] != 0, Taps(copies[0], height), Taps(copies[1], width), {}};
        for (long j = 0; j < copies[3]; j++, windows += 9)
            copy.windows.push_back({windows[0], windows[1], windows[2], windows[3], windows[4], windows[5], windows[6],
                                    Taps(windows[1], windows[7]), Taps(windows[2], windows[8])});
        result.push_back(std::move(copy));
    }
    return result;
}

// maps: (images, floats); mask and confidence: (images, height, width).
inline void run(long images, long floats, const float* maps, const std::vector<Copy>& copies, long classes,
                const float* bias, bool as_logits, long height, long width, int32_t* mask, float* confidence) {
    const long down = (height + kTileRows - 1) / kTileRows, across = (width + kTileColumns - 1) / kTileColumns;
    #pragma omp parallel
    {
        Work work;
        #pragma omp for schedule(dynamic, 1)
        for (long index = 0; index < images * down * across; index++) {
            const long image = index / (down * across), y = index / across % down * kTileRows,
                       x = index % across * kTileColumns;
            tile(copies, maps + image * floats, classes, bias, as_logits, {y, std::min(height, y + kTileRows)},
                 {x, std::min(width, x + kTileColumns)}, width, mask + image * height * width,
                 confidence + image * height * width, work);
        }
    }
}

}  // namespace jseg_class_map
