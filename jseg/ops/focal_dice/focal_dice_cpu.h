// Sums of the focal and dice losses over the pixels of maps that are resized on the way, and their gradients. No array
// of the full size is made: two lines of a map at a time are widened and mixed. Needs simd.h and bilinear_cpu.h before
// it.
#pragma once
#include <omp.h>

namespace jseg_focal_dice {
using namespace jseg_simd;
using jseg_bilinear::Taps;

constexpr float kAlpha = 0.25f;
constexpr int kSums = 4;  // focal, overlap, size, labelled: see focal_dice.py

struct Problem {
    long images, classes, rows, columns;  // of the maps
    long height, width;                   // of the labels
};

// log(1 + e) for e in 0 ... 1: 2 artanh(e / (2 + e)), whose series needs no shift near 0. Relative error 1e-7.
inline Vec log_1_plus(Vec e) {
    const Vec s = e / (2.f + e), t = s * s;
    Vec p = 0.1538461538f + t * 0.1333333333f;
    p = 0.1818181818f + t * p;
    p = 0.2222222222f + t * p;
    p = 0.2857142857f + t * p;
    p = 0.4f + t * p;
    p = 0.6666666667f + t * p;
    p = 2.f + t * p;
    return s * p;
}

// One vector of pixels. With z = x where the pixel has the class and -x elsewhere, `truth` is sigmoid(z), `miss` is
// 1 - truth without cancellation, and `cost` is -log(truth).
struct Pixels {
    Ints inside;  // -1 where the pixel has the class
    Vec truth, miss, cost, alpha;
    Pixels(Vec x, const int32_t* label, int32_t name) {
        typedef Ints UnalignedInts __attribute__((aligned(4), may_alias));
        inside = *(const UnalignedInts*)label == name;
        const Vec z = inside ? x : -x, far = z < Vec{} ? -z : z;
        const Vec e = exp_nonpositive(-far), large = 1.f / (1.f + e), small = e * large;
        truth = z < Vec{} ? small : large;
        miss = z < Vec{} ? large : small;
        cost = log_1_plus(e) + (z < Vec{} ? far : Vec{});
        alpha = inside ? Vec{} + kAlpha : Vec{} + (1.f - kAlpha);
    }
    Vec probability() const { return inside ? truth : miss; }
    Vec only_inside(Vec x) const { return inside ? x : Vec{}; }
    Vec focal() const { return alpha * miss * miss * cost; }
    Vec focal_slope() const {  // of focal() by x
        const Vec slope = alpha * miss * miss * (2.f * truth * cost + miss);
        return inside ? -slope : slope;
    }
};

// The two widened lines of one map that the current row of pixels lies between.
class Lines {
public:
    Lines(const Problem& p, const Taps& across, float* memory) : p_(p), across_(across), memory_(memory) {}
    const float* line(const float* map, long row) {
        const long slot = row & 1;
        float* to = memory_ + slot * round_up(p_.width, kLanes);
        if (held_[slot] != row) {
            held_[slot] = row;
            const float* from = map + row * p_.columns;
            for (long x = 0; x < p_.width; x++)
                to[x] = across_.rest[x] * from[across_.first[x]] + across_.weight[x] * from[across_.second[x]];
        }
        return to;
    }

private:
    const Problem& p_;
    const Taps& across_;
    float* memory_;
    long held_[2] = {-1, -1};
};

// Gradients of the two lines, which go back to the columns of the map once the rows of pixels have left a line.
class LineGradients {
public:
    LineGradients(const Problem& p, const Taps& across, float* memory, float* map)
        : p_(p), across_(across), memory_(memory), map_(map) {}
    float* line(long row) {
        const long slot = row & 1, stride = round_up(p_.width, kLanes);
        float* held = memory_ + slot * stride;
        if (held_[slot] != row) {
            finish(slot);
            std::memset(held, 0, stride * sizeof(float));
            held_[slot] = row;
        }
        return held;
    }
    void finish() { finish(0); finish(1); }

private:
    void finish(long slot) {
        if (held_[slot] < 0) return;
        const float* from = memory_ + slot * round_up(p_.width, kLanes);
        float* to = map_ + held_[slot] * p_.columns;
        for (long x = 0; x < p_.width; x++) {
            to[across_.first[x]] += across_.rest[x] * from[x];
            to[across_.second[x]] += across_.weight[x] * from[x];
        }
        held_[slot] = -1;
    }
    const Problem& p_;
    const Taps& across_;
    float *memory_, *map_;
    long held_[2] = {-1, -1};
};

// Calls f(label, x, n, vector of logits, index of the vector) along a row; `label` has room for a whole vector.
template <class F>
inline void along_row(const Problem& p, const float* top, const float* bottom, float rest, float weight,
                      const int32_t* labels, F f) {
    for (long x = 0; x < p.width; x += kLanes) {
        const long n = std::min((long)kLanes, p.width - x);
        const Vec logits = rest * load(top + x) + weight * load(bottom + x);
        if (n == kLanes) {
            f(labels + x, x, n, logits);
        } else {
            int32_t few[kLanes];
            std::fill(few, few + kLanes, -1);
            std::copy(labels + x, labels + x + n, few);
            f(few, x, n, logits);
        }
    }
}

// Zeroes the lanes from n on.
inline Vec first_lanes(Vec x, long n) {
    for (long i = n; i < kLanes; i++) x[i] = 0.f;
    return x;
}

// sums: (images, classes, kSums). Rows of pixels are added in single precision, and their sums in double precision.
inline void forward(const Problem& p, const float* maps, const int32_t* labels, float* sums) {
    const Taps down(p.rows, p.height), across(p.columns, p.width);
    const long stride = round_up(p.width, kLanes), pixels = p.height * p.width, threads = omp_get_max_threads();
    float* memory = scratch(0, threads * 2 * stride);
    #pragma omp parallel for schedule(dynamic, 1)
    for (long pair = 0; pair < p.images * p.classes; pair++) {
        const float* map = maps + pair * p.rows * p.columns;
        const int32_t* label = labels + pair / p.classes * pixels;
        const int32_t name = (int32_t)(pair % p.classes);
        Lines lines(p, across, memory + omp_get_thread_num() * 2 * stride);
        double total[kSums] = {};
        for (long y = 0; y < p.height; y++) {
            Vec row[kSums] = {};
            const float *top = lines.line(map, down.first[y]), *bottom = lines.line(map, down.second[y]);
            along_row(p, top, bottom, down.rest[y], down.weight[y], label + y * p.width,
                      [&](const int32_t* at, long, long n, Vec logits) {
                          const Pixels here(logits, at, name);
                          const Vec parts[kSums] = {here.focal(), here.only_inside(here.truth), here.probability(),
                                                    here.only_inside(Vec{} + 1.f)};
                          for (int i = 0; i < kSums; i++)
                              row[i] += n == kLanes ? parts[i] : first_lanes(parts[i], n);
                      });
            for (int i = 0; i < kSums; i++) total[i] += sum(row[i]);
        }
        total[0] /= (double)pixels;
        for (int i = 0; i < kSums; i++) sums[pair * kSums + i] = (float)total[i];
    }
}

// grad: of the sums. dmaps: of the maps, overwritten.
inline void backward(const Problem& p, const float* maps, const int32_t* labels, const float* grad, float* dmaps) {
    const Taps down(p.rows, p.height), across(p.columns, p.width);
    const long stride = round_up(p.width, kLanes), pixels = p.height * p.width, threads = omp_get_max_threads();
    float* memory = scratch(0, threads * 4 * stride);
    #pragma omp parallel for schedule(dynamic, 1)
    for (long pair = 0; pair < p.images * p.classes; pair++) {
        const float *map = maps + pair * p.rows * p.columns, *g = grad + pair * kSums;
        const int32_t* label = labels + pair / p.classes * pixels;
        const int32_t name = (int32_t)(pair % p.classes);
        float *mine = memory + omp_get_thread_num() * 4 * stride, *dmap = dmaps + pair * p.rows * p.columns;
        std::memset(dmap, 0, p.rows * p.columns * sizeof(float));
        Lines lines(p, across, mine);
        LineGradients gradients(p, across, mine + 2 * stride, dmap);
        const float of_focal = g[0] / (float)pixels, of_overlap = g[1], of_size = g[2];
        for (long y = 0; y < p.height; y++) {
            const float *top = lines.line(map, down.first[y]), *bottom = lines.line(map, down.second[y]);
            float *dtop = gradients.line(down.first[y]), *dbottom = gradients.line(down.second[y]);
            const float rest = down.rest[y], weight = down.weight[y];
            along_row(p, top, bottom, rest, weight, label + y * p.width,
                      [&](const int32_t* at, long x, long, Vec logits) {
                          const Pixels here(logits, at, name);
                          const Vec dice = of_size + here.only_inside(Vec{} + of_overlap);
                          const Vec slope = of_focal * here.focal_slope() + here.truth * here.miss * dice;
                          store(dtop + x, load(dtop + x) + rest * slope);
                          store(dbottom + x, load(dbottom + x) + weight * slope);
                      });
        }
        gradients.finish();
    }
}

}  // namespace jseg_focal_dice
