"""The stages of `tools/gpu_check.py` that compute, each in a process of its own: device and precision are
chosen by JSEG_DEVICE and JSEG_PRECISION before Jittor is imported.

    python tools/gpu_check_stages.py import|kernels|ops|golden|nccl [--small]

The last line of the output is `RESULT {json}`.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "tests" / "ops")]

from gpu_check_processes import MARK
from gpu_check_speed import SMALL_SETTINGS, model

from jseg.runtime.device import PRECISION_VARIABLE, wanted_precision

OP_TOLERANCES = {"float32": 2e-5, "tf32": 4e-3, "bfloat16": 3e-2}
"""Largest difference from float64, relative to the largest value, of outputs and gradients of one operator: a
few units in the last place of the format, times what a sum over some hundred products collects."""

GOLDEN_LIMITS = {"tf32": (0.015, 0.025), "bfloat16": (0.1, 0.15)}
"""Largest relative difference of outputs from the golden vectors, and of 9 gradients in 10: the derivative of
the L1 loss is a sign, which flips where a difference is nearly 0. float32 has the tolerances of
`tools/parity.py`. Measured on an H100 in bfloat16: outputs 0.032 at most, 31 gradients of one case of 574
quantities beyond 0.15; on a processor with operands rounded to bfloat16: outputs 0.07. The limits of TF32 are
about a sixth."""

FLOAT32_GRADIENT_LIMIT = 5e-4
"""In place of the tolerance of `tools/parity.py`: three TF32 products keep 22 bits, and a derivative of
scores that is a difference of nearly equal numbers shows it. On an H100 one gradient of 574 reached 2.1e-4,
on a processor 1e-5."""

GOLDEN_CASES = ("tiny", "tiny_m16", "clip_tiny")

FOLLOWS_ARGMAX = ("pseudo_label", "acc_seg")
"""Quantities that count where scores are largest: pixels flip where two of these are nearly equal."""

Call = tuple[Any, list[Any]]
"""An output and the operands that it may be differentiated by."""

FORMATS = (("float32", 0), ("float32", 1), ("float16", 0), ("bfloat16", 0))
"""Type of the operands, and whether its products take TF32: what kernels are built for."""

FLOAT16_HEADS = (64,)
"""Channels of a head that the tests use in float16."""

SOFTMAX_LENGTHS = (5, 130, 400, 512, 513)
"""Jittor's softmax on a GPU is compiled anew for lengths like these, which tests of plain attention use."""


def import_stage(small: bool) -> dict[str, Any]:
    """Imports Jittor, which compiles its core on a fresh machine."""
    start = time.perf_counter()
    from jseg.runtime.backend import device, jt

    jt.ones((2, 2)).sync()
    return {"device": device.line, "kind": device.kind, "seconds": time.perf_counter() - start}


def kernels_stage(small: bool) -> dict[str, Any]:
    """Builds the kernels that later stages use, and the operators that Jittor generates for them, in one go.

    Jittor keeps other processes from compiling while one does, and compiles in parallel, 16 at a time, only
    what is asked for at the same moment. So everything is called with small inputs, and one synchronisation
    waits for all of it. What an operator is built from depends on types and numbers of axes, not on sizes.
    Plain operators are joined to larger ones, which are others where a result is waited for before its
    gradient: as in the tests, outputs come first.
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
                pending += _parity().pending_case(ROOT / "tests" / "golden" / name)[0].values()
            train()
            pending.append(infer())
    jt.sync_all(True)
    pending += [gradient for call in plain for gradient in _gradients(*call)]
    for precision, (train, _) in zip(precisions, models):
        with _set(PRECISION_VARIABLE, precision):
            train()  # the first step made the optimizer's state, this one finds it
    jt.sync_all(True)
    return {"built": _built_operators() - before, "seconds": time.perf_counter() - start}


def _kernel_calls(dtype: str) -> list[Call]:
    """Calls of all fused operators for operands of a type: those of the tests."""
    from jseg.ops import RegionLayout, attention, dropout, layer_norm, region_attention
    from jseg.ops.cuda import HEAD_WIDTHS

    layout, heads, calls = RegionLayout((4, 4), (2, 2), 2, 1), 2, []
    for width in (
        FLOAT16_HEADS if dtype == "float16" else HEAD_WIDTHS
    ):  # the plain version where there is no kernel
        calls.append(_call(lambda *qkv: attention(*qkv, heads), dtype, *[(2, 5, heads * width)] * 3))
        calls.append(
            _call(
                lambda qkv: region_attention(qkv, heads, layout), dtype, (2, layout.tokens, 3 * heads * width)
            )
        )
    calls.append(_call(layer_norm, dtype, (2, 5, 32), (32,), (32,)))
    if dtype == "float32":
        calls += [_call(lambda x: dropout(x, 0.5), dtype, (2,) * axes) for axes in (2, 3, 4)]
    return calls


def _plain_calls() -> list[Call]:
    """Calls of the plain operators that stand behind the kernels, in float32: those of the tests. Where an
    axis has length 1, Jittor joins other operators."""
    from jseg.ops import (
        RegionLayout,
        attention,
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
            lambda *qkv: attention(*qkv, heads, **options),
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
                _call(function, "float32", (*leading, 32), (32,)) for function in (bias_quick_gelu, bias_relu)
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
    """The output of `function` for operands of a type, not yet computed, and what it may be differentiated
    by."""
    wide = [_numbers(shape) for shape in shapes]
    operands = [x.cast(dtype) for x in wide]
    return function(*operands).float32(), operands + (wide if dtype != "float32" else [])


def _gradients(output: Any, operands: Sequence[Any]) -> list[Any]:
    """Gradients of a weighted sum of the output, not yet computed."""
    from jseg.runtime.backend import jt

    return jt.grad((output * _numbers(output.shape)).sum(), list(operands))


def _numbers(shape: Sequence[int]) -> Any:
    """A float32 Var: no ones, which Jittor would compile in."""
    from jseg.runtime.backend import jt

    return jt.array(np.random.default_rng(0).standard_normal(tuple(shape)).astype(np.float32))


@contextlib.contextmanager
def _set(variable: str, value: str) -> Iterator[None]:
    """An environment variable of jseg.ops for what is called meanwhile."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]
        os.environ.update({} if before is None else {variable: before})


def _built_operators() -> int:
    """Number of operators that Jittor has compiled on this machine."""
    from jseg.runtime.backend import jt

    return sum(1 for _ in Path(jt.flags.cache_path, "jit").glob("*.so"))


def op_stage(small: bool) -> dict[str, Any]:
    """Errors of the operators, forwards and backwards, against float64 NumPy: name -> largest of output,
    gradients."""
    from op_references import (
        attention_float64,
        gradients,
        layer_norm_float64,
        region_attention_float64,
        relative_error,
    )

    from jseg.ops import RegionLayout, attention, layer_norm, linear, region_attention
    from jseg.ops.precision import lower
    from jseg.runtime.backend import jt

    rng = np.random.default_rng(0)
    heads, channels, batch = (2, 64, 2) if small else (12, 64, 2)
    width = heads * channels
    layout = RegionLayout((4, 4) if small else (32, 32), (2, 2) if small else (4, 4), 11, skipped=10)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def error(
        function: Callable[..., Any],
        inputs: tuple[np.ndarray, ...],
        expected: np.ndarray,
        expected_gradients: tuple[np.ndarray, ...],
        weights: np.ndarray,
    ) -> float:
        variables = tuple(jt.array(x) for x in inputs)
        output = function(*variables)
        pairs = [(output.numpy(), expected), *zip(gradients(output, weights, variables), expected_gradients)]
        return max(relative_error(found, wanted) for found, wanted in pairs)

    errors: dict[str, float] = {}
    x, weight, d = draw(64, width), draw(48, width), draw(64, 48)
    wide = [a.astype(np.float64) for a in (x, weight, d)]
    errors["linear"] = error(
        linear, (x, weight), wide[0] @ wide[1].T, (wide[2] @ wide[1], wide[2].T @ wide[0]), d
    )
    q, k, v, d = (draw(batch, rows, width) for rows in (65, 70, 70, 65))
    errors["attention"] = error(
        lambda *a: attention(*lower(*a), heads).float32(),
        (q, k, v),
        *attention_float64(q, k, v, heads, None, d),
        d,
    )
    q, k, v, d = (draw(batch, 77, width) for _ in range(4))
    errors["causal attention"] = error(
        lambda *a: attention(*lower(*a), heads, causal=True).float32(),
        (q, k, v),
        *attention_float64(q, k, v, heads, np.tri(77, dtype=bool), d),
        d,
    )
    qkv, d = draw(batch, layout.tokens, 3 * width), draw(batch, layout.tokens, width)
    expected, gradient = region_attention_float64(qkv, heads, layout, d)
    errors["region attention"] = error(
        lambda a: region_attention(*lower(a), heads, layout).float32(), (qkv,), expected, (gradient,), d
    )
    x, scale, shift, d = draw(batch, 70, width), draw(width), draw(width), draw(batch, 70, width)
    errors["layer_norm"] = error(
        layer_norm, (x, scale, shift), *layer_norm_float64(x, scale, shift, 1e-5, d), d
    )
    tolerance = OP_TOLERANCES[wanted_precision()]
    return {
        "errors": errors,
        "tolerance": tolerance,
        "failed": [name for name, value in errors.items() if not value <= tolerance],
    }


def golden_stage(small: bool) -> dict[str, Any]:
    """Recorded outputs of the released code, in the precision chosen: what is beyond the limits, the
    worst."""
    parity, cases = _parity(), {}
    for name in GOLDEN_CASES[-1:] if small else GOLDEN_CASES:
        rows = parity.compare(*parity.run_case(ROOT / "tests" / "golden" / name))
        cases[name] = {
            "quantities": len(rows),
            "failed": beyond_limits(rows, wanted_precision()),
            "worst_output": max(row.difference for row in rows if ".grad." not in row.name),
            "worst_gradient": max((row.difference for row in rows if ".grad." in row.name), default=0.0),
        }
    return {
        "cases": cases,
        "failed": [f"{name}: {entry}" for name, case in cases.items() for entry in case["failed"]],
    }


def _parity() -> Any:
    """`tools/parity.py` as a module."""
    spec = importlib.util.spec_from_file_location("parity", ROOT / "tools" / "parity.py")
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    return parity


def beyond_limits(rows: Sequence[Any], precision: str) -> list[str]:
    """Names of quantities that differ too much; `rows` are those of `tools/parity.py`."""
    if precision not in GOLDEN_LIMITS:
        return [
            row.name
            for row in rows
            if not (row.passed or (".grad." in row.name and row.difference <= FLOAT32_GRADIENT_LIMIT))
        ]
    limits = GOLDEN_LIMITS[precision]
    gradients = [row for row in rows if ".grad." in row.name]
    outputs = [
        row for row in rows if ".grad." not in row.name and row.name.split(".")[-1] not in FOLLOWS_ARGMAX
    ]
    failed = [row.name for row in outputs if not row.difference <= limits[0]]
    wide = [row.name for row in gradients if not row.difference <= limits[1]]
    wrong = [
        row.name for row in gradients if not row.difference <= 1
    ]  # not finite, or of another size altogether
    return failed + (wide if len(wide) > len(gradients) / 10 else wrong)


def nccl_stage(small: bool) -> dict[str, Any]:
    """A sum by NCCL in the one process that `mpirun -n 1` starts; "nccl" is False where Jittor has none."""
    from jseg.runtime.backend import jt

    if jt.compile_extern.nccl_ops is None:
        return {"nccl": False, "failed": []}
    numbers = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)
    found = jt.compile_extern.nccl_ops.nccl_all_reduce(
        jt.array(numbers)
    ).numpy()  # of one process: what it gave
    same = np.array_equal(found, numbers)
    return {"nccl": True, "failed": [] if same else ["a sum over one process changed the numbers"]}


STAGES = {
    "import": import_stage,
    "kernels": kernels_stage,
    "ops": op_stage,
    "golden": golden_stage,
    "nccl": nccl_stage,
}


def main() -> int:
    """Prints the result of one stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--small", action="store_true", help="small sizes, for a processor")
    arguments = parser.parse_args()
    start = time.perf_counter()
    result = STAGES[arguments.stage](arguments.small)
    print(MARK + json.dumps({**result, "stage_seconds": time.perf_counter() - start}), flush=True)
    # Jittor may crash while it is unloaded, after all went well.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
