"""Stage "kernels" of `tools/gpu_check.py`, which compiles the operators of later stages in parallel."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jseg.gpu_check.golden import GOLDEN_CASES
from jseg.gpu_check.processes import ROOT
from jseg.gpu_check.settings import SMALL_SETTINGS
from jseg.gpu_check.speed import model
from jseg.parity import pending_case
from jseg.runtime.device import PRECISION_VARIABLE

Call = tuple[Any, list[Any]]
"""An output, and the operands that it can be differentiated with respect to."""

FORMATS = (("float32", 0), ("float32", 1), ("float16", 0), ("bfloat16", 0))
"""Type of the operands, and whether their products use TF32. Kernels are built for each combination."""

FLOAT16_HEADS = (64,)
"""Head widths that the tests use in float16."""

SOFTMAX_LENGTHS = (5, 130, 400, 512, 513)
"""Softmax lengths in the tests of plain attention. On a GPU, Jittor compiles its softmax anew for each."""


def kernels_stage(small: bool) -> dict[str, Any]:
    """Builds the kernels that later stages use, and the operators that Jittor generates for them, together.

    While one process compiles, Jittor keeps other processes from compiling. It compiles in parallel, 16 at a
    time, only operators that are requested at the same moment. So everything is called with small inputs, and
    one synchronisation waits for all of it. The source of an operator depends on types and numbers of axes,
    not on sizes. Jittor fuses plain operators into larger ones, and fuses them differently where a result is
    computed before its gradient. As in the tests, outputs therefore come first.
    """
    from jseg.runtime.backend import jt

    start, before = time.perf_counter(), _built_operators()
    precisions = ("float32",) if small else ("float32", "bfloat16")  # TF32 differs in the kernels alone
    models = [model(SMALL_SETTINGS[0]) for _ in precisions]
    plain = _plain_calls()
    pending: list[Any] = [output for output, _ in plain]
    for dtype, tensorcore in FORMATS[:1] if small else FORMATS:
        with jt.flag_scope(use_tensorcore=tensorcore):
            pending += [result for call in _kernel_calls(dtype) for result in (call[0], *_gradients(*call))]
    for precision, (train, infer) in zip(precisions, models):
        with _set(PRECISION_VARIABLE, precision):
            for name in GOLDEN_CASES[-1:] if small else GOLDEN_CASES:
                pending += pending_case(ROOT / "tests" / "golden" / name)[0].values()
            train()
            pending.append(infer())
    jt.sync_all(True)
    pending += [gradient for call in plain for gradient in _gradients(*call)]
    for precision, (train, _) in zip(precisions, models):
        with _set(PRECISION_VARIABLE, precision):
            train()  # unlike the first step, this one finds the optimizer's state
    jt.sync_all(True)
    return {"built": _built_operators() - before, "seconds": time.perf_counter() - start}


def _kernel_calls(dtype: str) -> list[Call]:
    """Calls all fused operators with operands of a type, as the tests do."""
    from jseg.ops import (
        GridCopy,
        RegionLayout,
        attention,
        class_map,
        dropout,
        focal_dice,
        layer_norm,
        region_attention,
    )
    from jseg.ops.cuda import HEAD_WIDTHS
    from jseg.runtime.backend import jt

    layout, heads, calls = RegionLayout((4, 4), (2, 2), 2, 1), 2, []
    # This builds the plain version where there is no kernel.
    for width in FLOAT16_HEADS if dtype == "float16" else HEAD_WIDTHS:
        calls.append(_call(lambda q, k, v: attention(q, k, v, heads), dtype, *[(2, 5, heads * width)] * 3))
        calls.append(
            _call(
                lambda qkv: region_attention(qkv, heads, layout), dtype, (2, layout.tokens, 3 * heads * width)
            )
        )
    calls.append(_call(layer_norm, dtype, (2, 5, 32), (32,), (32,)))
    if dtype == "float32":
        calls += [_call(lambda x: dropout(x, 0.5), dtype, (2,) * axes) for axes in (2, 3, 4)]
        label = jt.array(np.zeros((2, 5, 7), np.int32))
        calls.append(_call(lambda maps: focal_dice(maps, label).focal, dtype, (2, 3, 2, 2)))
        best = class_map([GridCopy(_numbers((2, 1, 3, 2, 2)), (5, 7), (5, 7), [(0, 0)])], (5, 7))
        calls.append((best.confidence, []))
        calls += [(_adamw_step(axes), []) for axes in (1, 2, 3, 4)]
    return calls


def _plain_calls() -> list[Call]:
    """Calls the plain versions of the kernels in float32, as the tests do.

    Jittor fuses different operators where an axis has length 1.
    """
    from jseg.ops import (
        RegionLayout,
        attention,
        bias_gelu,
        bias_quick_gelu,
        bias_relu,
        dropout,
        layer_norm,
        linear,
        region_attention,
        resize_bilinear,
        transpose_last,
    )

    def attend(batch: int, queries: int, keys: int, width: int, heads: int = 2, **options: Any) -> Call:
        return _call(
            lambda q, k, v: attention(q, k, v, heads, **options),
            "float32",
            (batch, queries, width),
            *[(batch, keys, width)] * 2,
        )

    def attend_regions(layout: Any, batch: int, width: int, heads: int) -> Call:
        return _call(
            lambda qkv: region_attention(qkv, heads, layout), "float32", (batch, layout.tokens, 3 * width)
        )

    with _set("JSEG_FUSED", "0"):
        calls = [attend(2, 5, keys, 16) for keys in SOFTMAX_LENGTHS]
        calls += [
            attend(1, 1, 1, 8, heads=1),
            attend(2, 5, 1, 16),
            attend(1, 5, 6, 16),
            attend(2, 5, 6, 16, heads=1),
            attend(1, 5, 6, 16, heads=1),
            attend(2, 5, 5, 16, causal=True),
            attend(1, 1, 1, 16, 1, causal=True),
            attend(1, 5, 5, 16, 1, causal=True),
            attend(2, 5, 6, 16, dropout=0.5),
        ]
        calls += [
            attend_regions(RegionLayout((4, 4), (2, 2), 2, 1), 2, 16, 2),
            attend_regions(RegionLayout((4, 4), (2, 2), 2, 1), 1, 16, 1),
            attend_regions(RegionLayout((3, 2), (4, 4), 1), 1, 24, 3),
            attend_regions(RegionLayout((4, 4), (0, 0), 2, 1), 2, 32, 2),
        ]
        for leading in ((1, 1), (2, 5)):
            calls.append(_call(layer_norm, "float32", (*leading, 32), (32,), (32,)))
            calls += [
                _call(function, "float32", (*leading, 32), (32,))
                for function in (bias_quick_gelu, bias_gelu, bias_relu)
            ]
            calls.append(_call(linear, "float32", (*leading, 32), (8, 32), (8,)))
        calls += [
            _call(lambda x: dropout(x, 0.5), "float32", shape)
            for shape in ((1, 1), (2, 3), (2, 3, 4), (2, 3, 4, 5))
        ]
        calls += [_call(transpose_last, "float32", shape) for shape in ((3, 5), (2, 3, 5), (2, 1, 4, 3))]
        calls.append(_call(lambda x: resize_bilinear(x, (3, 5)), "float32", (2, 3, 4, 4)))
    return calls


def _call(function: Callable[..., Any], dtype: str, *shapes: tuple[int, ...]) -> Call:
    """Calls `function` with operands of a type, without computing the output yet."""
    wide = [_numbers(shape) for shape in shapes]
    operands = [x.cast(dtype) for x in wide]
    return function(*operands).float32(), operands + (wide if dtype != "float32" else [])


def _adamw_step(axes: int) -> Any:
    """Returns a parameter with this number of axes after a step of AdamW."""
    from jseg.ops.adamw import Rates, Step, Tensor, adamw_step

    x = _numbers((2,) * axes)
    tensor = Tensor(x, x, x, x, Rates(decay=1.0, rate=0.0))
    return adamw_step([tensor], Step(beta1=0.9, beta2=0.99, root=1.0, eps=1e-8))[0].parameter


def _gradients(output: Any, operands: Sequence[Any]) -> list[Any]:
    """Returns gradients of a weighted sum of the output, without computing them yet."""
    from jseg.runtime.backend import jt

    return jt.grad((output * _numbers(output.shape)).sum(), list(operands)) if operands else []


def _numbers(shape: Sequence[int]) -> Any:
    """Returns a random float32 Var, since Jittor would compile a constant into the operators."""
    from jseg.runtime.backend import jt

    return jt.array(np.random.default_rng(0).standard_normal(tuple(shape)).astype(np.float32))


@contextlib.contextmanager
def _set(variable: str, value: str) -> Iterator[None]:
    """Sets an environment variable of jseg.ops inside the block."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]
        os.environ.update({} if before is None else {variable: before})


def _built_operators() -> int:
    """Returns the number of operators that Jittor has compiled on this machine."""
    from jseg.runtime.backend import jt

    return sum(1 for _ in Path(jt.flags.cache_path, "jit").glob("*.so"))
