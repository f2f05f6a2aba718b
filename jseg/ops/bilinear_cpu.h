// Where the samples of a bilinear resize lie: half-pixel centres, borders clamped, as in jseg/interpolation.py. Needs
// simd.h before it.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

namespace jseg_bilinear {
using namespace jseg_simd;

// Sample i lies between `first[i]` and `second[i]` and weighs the second by `weight[i]`, the first by `rest[i]`. The
// arrays have room for whole vectors.
struct Taps {
    std::vector<int32_t> first, second;
    std::vector<float> weight, rest;
    Taps(long available, long length) {
        const long padded = round_up(length, kLanes) + kLanes;
        first.assign(padded, 0);
        second.assign(padded, 0);
        weight.assign(padded, 0.f);
        rest.assign(padded, 0.f);
        const double ratio = (double)available / (double)length;
        for (long i = 0; i < length; i++) {
            const double place = std::min(std::max((i + 0.5) * ratio - 0.5, 0.0), (double)(available - 1));
            const double below = std::floor(place);
            first[i] = (int32_t)below;
            second[i] = (int32_t)std::min(below + 1, (double)(available - 1));
            weight[i] = (float)(place - below);
            rest[i] = (float)(1.0 - (place - below));
        }
    }
};

}  // namespace jseg_bilinear
