"""CUDA side of the fused operators: the inputs that kernels accept, and the source text that calls them."""

from collections.abc import Sequence

from jseg.ops.dispatch import include_headers, kernels_allowed, use_fused
from jseg.runtime.backend import jt

HEAD_WIDTHS = (16, 32, 64, 128)
"""Channels of a head that kernels are built for. Other widths are padded with zeros to the next one."""

MOST_CHANNELS = {"float32": 64, "float16": 128, "bfloat16": 128}
"""Widest head of each type. Tiles of wider heads would not fit the shared memory of the smaller GPUs (sm_86,
sm_89)."""

ATTENTION_KERNELS = (
    "dropout/dropout_cuda.cuh",
    *(f"attention/attention_{part}.cuh" for part in ("problem", "forward", "backward")),
)
"""Files that every attention kernel is built from, in order."""

_SIXTEEN_BIT = {"float16": "__half", "bfloat16": "__nv_bfloat16"}


def use_cuda_kernels(*inputs: jt.Var, head_width: int = 1) -> bool:
    """Returns whether the CUDA kernels apply to `inputs`.

    They apply if Jittor computes on a GPU of compute capability 8.0 or newer, all inputs have one type listed
    in `MOST_CHANNELS`, no head is wider than its limit there, and `JSEG_FUSED` is not 0.
    """
    if not (jt.flags.use_cuda and kernels_allowed()) or min(jt.flags.cuda_archs, default=0) < 80:
        return False
    dtypes = {str(x.dtype) for x in inputs}
    return len(dtypes) == 1 and head_width <= MOST_CHANNELS.get(dtypes.pop(), 0)


def resizes_maps(*maps: jt.Var) -> bool:
    """Returns whether `focal_dice` and `class_map` have a kernel for these maps, on the CPU or on a GPU: then
    none of them is made at full size."""
    float32 = all(x.dtype == "float32" for x in maps)
    return use_fused(*maps) or (float32 and use_cuda_kernels(*maps))


def cuda_code(headers: Sequence[str], source: str, dtype: str, head_width: int = 1) -> dict[str, str]:
    """Returns the arguments of `jt.code` that call a kernel, or none where Jittor computes on the CPU.

    Args:
        headers: kernel files relative to this folder, in order. The files of device/ are put before them.
        source: the call. In it, `Format` names how values of `dtype` are multiplied, and `kHeadWidth` the
            head width that the kernel is built for.
        dtype: type of the matrices. float32 products use TF32 where `jt.flags.use_tensorcore` allows it.
        head_width: channels of a head.
    """
    if not jt.flags.use_cuda:
        return {}
    width = next(built for built in HEAD_WIDTHS if head_width <= built)
    if str(dtype) in _SIXTEEN_BIT:
        number_format = f"SixteenBit<{_SIXTEEN_BIT[str(dtype)]}>"
    else:
        number_format = f"TensorFloat<{'false' if jt.flags.use_tensorcore else 'true'}>"
    names = include_headers("device/primitives.cuh", "device/tiles.cuh", *headers)
    return {
        "cuda_header": names,
        "cuda_src": f"using Format = jseg_device::{number_format};\n"
        f"constexpr int kHeadWidth = {width};\n{source}",
    }
