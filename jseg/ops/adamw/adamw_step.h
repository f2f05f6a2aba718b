// What both kernels are told: the numbers of a step, and the tensors.
#pragma once

namespace jseg_adamw {

struct Step {
    float beta1, beta2, root, eps;  // see adamw.py
};

struct Tensor {
    long size;
    float decay, rate;  // see adamw.py
    const float *p, *g, *mean, *square;
    float *new_p, *new_mean, *new_square;
};

}  // namespace jseg_adamw
