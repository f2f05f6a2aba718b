// Every CUDA kernel of one number format (-DFORMAT) and head width (-DWIDTH), for a compile check by nvcc.
#include "device/primitives.cuh"
#include "device/tiles.cuh"
#include "dropout/dropout_cuda.cuh"
#include "attention/attention_problem.cuh"
#include "attention/attention_forward.cuh"
#include "attention/attention_backward.cuh"
#include "attention/attention_cuda.cuh"
#include "region_attention/region_rows_cuda.cuh"
#include "region_attention/region_attention_cuda.cuh"
#include "layer_norm/layer_norm_cuda.cuh"
#include "bilinear_cuda.cuh"
#include "focal_dice/focal_dice_cuda.cuh"
#include "class_map/class_map_cuda.cuh"
#include "adamw/adamw_step.h"
#include "adamw/adamw_cuda.cuh"

using Half = jseg_device::SixteenBit<__half>;
using Bfloat = jseg_device::SixteenBit<__nv_bfloat16>;
using Tf32 = jseg_device::TensorFloat<false>;
using Float = jseg_device::TensorFloat<true>;
using T = FORMAT::Element;

// The smallest shared memory of a GPU that runs these kernels: sm_86 and sm_89.
constexpr int kSmallest = 99 * 1024;
static_assert(jseg_attention_cuda::ForwardTiles<FORMAT, WIDTH>::kBytes <= kSmallest, "forward tiles are too large");
using Backward = jseg_attention_cuda::BackwardTiles<FORMAT, WIDTH>;
static_assert(Backward::kBytes + Backward::kStatisticBytes <= kSmallest, "backward tiles are too large");

template void jseg_attention_cuda::forward<FORMAT, WIDTH, T>(const Attention<T>&, T*);
template void jseg_attention_cuda::backward<FORMAT, WIDTH, T>(const Attention<T>&, const T*, const T*, T*, T*, T*,
                                                              float*);
template void jseg_region_attention_cuda::forward<FORMAT, WIDTH, T>(const jseg_attention_cuda::Attention<T>&, T*);
template void jseg_region_attention_cuda::backward<FORMAT, WIDTH, T>(const jseg_attention_cuda::Attention<T>&, const T*,
                                                                     const T*, T*, float*);
template void jseg_dropout_cuda::apply<T>(const jseg_dropout_cuda::Dropout&, long, long, const T*, T*);
template void jseg_layer_norm_cuda::forward<T>(long, int, const T*, const T*, const T*, float, T*, float*);
template void jseg_layer_norm_cuda::backward_input<T>(long, int, const T*, const T*, const float*, const T*, T*);
template void jseg_layer_norm_cuda::backward_weight<T>(long, int, const T*, const float*, const T*, T*, T*);

// These have one format.
void (*const kSums)(const jseg_focal_dice_cuda::Problem&, float*, float*) = jseg_focal_dice_cuda::forward;
void (*const kGradients)(const jseg_focal_dice_cuda::Problem&, const float*, float*) = jseg_focal_dice_cuda::backward;
void (*const kClassMap)(const jseg_class_map_cuda::Problem&, int*, float*) = jseg_class_map_cuda::run;
void (*const kAdamW)(const jseg_adamw_cuda::Step&, const jseg_adamw_cuda::Tensors&) = jseg_adamw_cuda::run;
