// Activation of (x + bias) for rows of a matrix, and its gradient. Needs simd.h before it.
#pragma once

namespace jseg_bias_activation {
using namespace jseg_simd;

constexpr long kParallel = 1 << 16;  // elements; fewer are done before other threads have woken up

struct QuickGelu {
    static Vec sigmoid(Vec x) {
        Vec small = exp_nonpositive(x < Vec{} ? x : -x), share = 1.f / (1.f + small);
        return x < Vec{} ? small * share : share;
    }
    static Vec value(Vec t) { return t * sigmoid(1.702f * t); }
    static Vec slope(Vec t) {
        Vec s = sigmoid(1.702f * t);
        return s + s * (1.f - s) * 1.702f * t;
    }
};

struct Gelu {
    // Φ(t) = (1 + erf(t / √2)) / 2, by formula 7.1.26 of Abramowitz and Stegun: error below 1.5e-7.
    static Vec normal_distribution(Vec t) {
        Vec z = (t < Vec{} ? -t : t) * 0.70710678f, s = 1.f / (1.f + 0.3275911f * z);
        Vec tail = s * (0.254829592f + s * (-0.284496736f + s * (1.421413741f + s * (-1.453152027f + s * 1.061405429f))));
        tail = 0.5f * tail * exp_nonpositive(-z * z);
        return t < Vec{} ? tail : 1.f - tail;
    }
    static Vec value(Vec t) { return t * normal_distribution(t); }
    static Vec slope(Vec t) {
        return normal_distribution(t) + t * 0.39894228f * exp_nonpositive(-0.5f * t * t);
    }
};

struct Relu {
    static Vec value(Vec t) { return maximum(t, Vec{}); }
};

// Applies f to the vectors of each row; what is left over at the end of a row goes through a padded vector.
template <class F>
inline void for_each_vector(long rows, long width, F f) {
    const long whole = width / kLanes * kLanes;
    #pragma omp parallel for schedule(static) if (rows * width > kParallel)
    for (long r = 0; r < rows; r++) {
        for (long c = 0; c < whole; c += kLanes) f(r * width + c, c, (long)kLanes);
        if (whole < width) f(r * width + whole, whole, width - whole);
    }
}

template <class Activation>
inline void forward(long rows, long width, const float* x, const float* bias, float* y) {
    for_each_vector(rows, width, [=](long i, long c, long n) {
        store_some(y + i, Activation::value(load_some(x + i, n) + load_some(bias + c, n)), n);
    });
}

template <class Activation>
inline void backward(long rows, long width, const float* x, const float* bias, const float* dy, float* dx) {
    for_each_vector(rows, width, [=](long i, long c, long n) {
        store_some(dx + i, load_some(dy + i, n) * Activation::slope(load_some(x + i, n) + load_some(bias + c, n)), n);
    });
}

// The gradient of ReLU, and of a dropout behind it that scales by `scale`, from the output y of both.
inline void relu_backward(long rows, long width, const float* y, float scale, const float* dy, float* dx) {
    for_each_vector(rows, width, [=](long i, long, long n) {
        store_some(dx + i, load_some(y + i, n) > Vec{} ? load_some(dy + i, n) * scale : Vec{}, n);
    });
}

}  // namespace jseg_bias_activation
