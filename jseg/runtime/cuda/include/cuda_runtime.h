// CUDA 13 took computeMode and clockRate out of cudaDeviceProp; Jittor 1.3.11 still reads them, to choose among
// several GPUs. Names of members that remain stand in: Jittor is only ever shown the GPU it shall use.
#pragma once
#include <jseg_toolkit/cuda_runtime.h>  // a link to the toolkit's own
#if CUDART_VERSION >= 13000
#define computeMode integrated  // 0 on a graphics card, like cudaComputeModeDefault
#define clockRate warpSize
#endif
