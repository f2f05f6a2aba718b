"""Front of the class map: input checks, dispatch and the call of the kernel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jseg.interpolation import bilinear_taps
from jseg.ops.checks import require_tensors
from jseg.ops.class_map.reference import class_map_reference
from jseg.ops.class_map.types import ClassMap, GridCopy
from jseg.ops.cuda import cuda_code, resizes_maps
from jseg.ops.dispatch import include_headers
from jseg.runtime.backend import jt

_HEADERS = ("simd.h", "bilinear_cpu.h", "class_map/class_map_cpu.h")

_SOURCE = """
    auto copies = jseg_class_map::read_copies(in2_p, in2_shape0, in3_p, out0_shape1, out0_shape2);
    jseg_class_map::run(in0_shape0, in0_shape1, in0_p, copies, in1_shape0, in1_p, data["as_logits"] > 0,
                        out0_shape1, out0_shape2, out0_p, out1_p);
"""

_CUDA_HEADERS = ("class_map/class_map_cuda.cuh",)
_CUDA_SOURCE = """
    namespace kernel = jseg_class_map_cuda;
    kernel::Problem problem{(int)in0_shape0, (int)in2_shape0, (int)in1_shape0, (int)out0_shape1,
                            (int)out0_shape2, (long)in0_shape1, data["as_logits"] > 0, in0_p, in1_p,
                            (const kernel::Copy*)in2_p, (const kernel::Window*)in3_p,
                            (const kernel::Pair<int>*)in4_p, (const kernel::Pair<float>*)in5_p};
    kernel::run(problem, out0_p, out1_p);
"""


def class_map(
    copies: Sequence[GridCopy], size: tuple[int, int], bias: jt.Var | None = None, as_logits: bool = False
) -> ClassMap:
    """The class of each pixel with the highest score, and that score.

    Scores are the sigmoid of the bilinearly resized logits, less the bias; means over the windows that cover
    a pixel; resized to `size`; and means over the copies. Of equal scores the first class wins. No array of
    C x H x W is made where the kernel applies, and none leaves the device elsewhere. No gradient.

    Args:
        copies: at least one copy of the same B images, with float32 logits of the same C classes.
        size: (H, W) of the result in pixels.
        bias: (C,) float32, by how much scores are lowered; None for 0.
        as_logits: scores are the logits themselves, without the sigmoid, which rounds those above 17 to 1.

    Raises:
        ValueError: if shapes do not match or windows leave gaps; the message names them.
        TypeError: if logits or the bias are not Jittor tensors.
    """
    require_tensors("class_map", *(copy.logits for copy in copies))
    classes = copies[0].logits.shape[2] if copies and copies[0].logits.ndim == 5 else 0
    bias = jt.zeros((classes,)) if bias is None else bias
    _check(copies, size, bias)
    with jt.no_grad():
        if not resizes_maps(bias, *(copy.logits for copy in copies)):
            return class_map_reference(copies, size, bias, as_logits)
        batch = copies[0].logits.shape[0]
        maps = [copy.logits.reshape(batch, -1) for copy in copies]
        cuda = cuda_code(_CUDA_HEADERS, _CUDA_SOURCE, "float32")
        tables = _cuda_tables(copies, size) if cuda else _tables(copies)
        mask, confidence = jt.code(
            [[batch, *size]] * 2,
            ["int32", "float32"],
            [maps[0] if len(maps) == 1 else jt.concat(maps, 1), bias, *(jt.array(table) for table in tables)],
            cpu_header=include_headers(*_HEADERS),
            cpu_src=_SOURCE,
            data={"as_logits": float(as_logits)},
            **cuda,
        )
    return ClassMap(mask, confidence)


def _check(copies: Sequence[GridCopy], size: tuple[int, int], bias: jt.Var) -> None:
    require_tensors("class_map", bias)
    shapes = [tuple(copy.logits.shape) for copy in copies]
    fit = bool(shapes) and all(
        len(shape) == 5
        and 0 not in shape
        and shape[1] == len(copy.positions)
        and (shape[0], shape[2]) == (shapes[0][0], bias.shape[0])
        for shape, copy in zip(shapes, copies)
    )
    if not fit or min(size) < 1 or bias.ndim != 1:
        raise ValueError(
            "class_map expects copies with logits (B, windows, C, h, w), a bias (C,) and a size of at least "
            f"one pixel; got {[list(shape) for shape in shapes]}, {list(bias.shape)} and {tuple(size)}"
        )
    for copy in copies:
        if copy.covered and (copy.covered[0] < copy.crop[0] or copy.covered[1] < copy.crop[1]):
            raise ValueError(f"class_map: patches cover {copy.covered} pixels of a window of {copy.crop}")
        covered = np.zeros(copy.size, bool)
        for top, left in copy.positions:
            covered[top : top + copy.crop[0], left : left + copy.crop[1]] = True
        if not covered.all():
            raise ValueError(
                f"class_map: windows of {copy.crop} pixels at {copy.positions} leave gaps in {copy.size}"
            )


class _Tables(NamedTuple):
    """int32 tables of the copies and of all their windows, as the kernel reads them."""

    copies: np.ndarray
    windows: np.ndarray


def _tables(copies: Sequence[GridCopy]) -> _Tables:
    rows, windows, offset = [], [], 0
    for copy in copies:
        _, count, classes, height, width = copy.logits.shape
        rows.append((*copy.size, int(copy.mirrored), count))
        for top, left in copy.positions:
            windows.append((offset, height, width, top, left, *copy.crop, *(copy.covered or copy.crop)))
            offset += classes * height * width
    return _Tables(np.array(rows, np.int32), np.array(windows, np.int32))


class _CudaTables(NamedTuple):
    """Tables of the CUDA kernel: int32 rows of the structures `Copy` and `Window` in class_map_cuda.cuh, and
    of all taps the two samples (int32) and their weights (float32)."""

    copies: np.ndarray
    windows: np.ndarray
    places: np.ndarray
    weights: np.ndarray


def _cuda_tables(copies: Sequence[GridCopy], size: tuple[int, int]) -> _CudaTables:
    starts: dict[tuple[int, int], int] = {}
    places: list[np.ndarray] = []
    weights: list[np.ndarray] = []

    def taps(available: int, length: int) -> int:
        """The first row of the taps of `length` samples among `available` ones."""
        if (available, length) not in starts:
            starts[available, length] = sum(len(each) for each in places)
            first, second, weight = bilinear_taps(available, length)
            places.append(np.stack([first, second], 1))
            weights.append(np.stack([1 - weight, weight], 1))
        return starts[available, length]

    plain = _tables(copies)
    of_copies = [(*row, taps(row[0], size[0]), taps(row[1], size[1])) for row in plain.copies.tolist()]
    of_windows = [(*row[:7], taps(row[1], row[7]), taps(row[2], row[8])) for row in plain.windows.tolist()]
    return _CudaTables(
        np.array(of_copies, np.int32),
        np.array(of_windows, np.int32),
        np.concatenate(places).astype(np.int32),
        np.concatenate(weights).astype(np.float32),
    )
