"""The stages of `tools/gpu_check.py` that compute, each in a process of its own: device and precision are chosen by
JSEG_DEVICE and JSEG_PRECISION before Jittor is imported.

    python tools/gpu_check_stages.py import|kernels|ops|golden|benchmark [--small]

The last line of the output is `RESULT {json}`.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "ops")]

from jseg.runtime.device import PRECISION_VARIABLE, wanted_precision  # noqa: E402

MARK = "RESULT "
OP_TOLERANCES = {"float32": 2e-5, "tf32": 4e-3, "bfloat16": 3e-2}
"""Largest difference from float64, relative to the largest value, of outputs and gradients of one operator: a few
units in the last place of the format, times what a sum over some hundred products collects."""

GOLDEN_LIMITS = {"tf32": (0.015, 0.025), "bfloat16": (0.1, 0.15)}
"""Largest relative difference of outputs from the golden vectors, and of 9 gradients in 10: the derivative of the L1
loss is a sign, which flips where a difference is nearly 0. float32 has the tolerances of `tools/parity.py`. Measured on
an H100 in bfloat16: outputs 0.032 at most, 31 gradients of one case of 574 quantities beyond 0.15; on a processor with
operands rounded to bfloat16: outputs 0.07. The limits of TF32 are about a sixth."""

FLOAT32_GRADIENT_LIMIT = 5e-4
"""In place of the tolerance of `tools/parity.py`: three TF32 products keep 22 bits, and a derivative of scores that is a
difference of nearly equal numbers shows it. On an H100 one gradient of 574 reached 2.1e-4, on a processor 1e-5."""

GOLDEN_CASES = ("tiny", "tiny_m16", "clip_tiny")

FOLLOWS_ARGMAX = ("pseudo_label", "acc_seg")
"""Quantities that count where scores are largest: pixels flip where two of these are nearly equal."""

FORMATS = (("float32", 0), ("float32", 1), ("float16", 0), ("bfloat16", 0))
"""Type of the operands, and whether its products take TF32: what kernels are built for."""

REGION_HEADS = (16, 64)
"""Channels of a head in the golden cases, and in CLIP: the widths of region attention that later stages use."""

KERNELS = {"region attention": "/jseg/ops/region_attention/", "attention": "/jseg/ops/attention/",
           "layer norm": "/jseg/ops/layer_norm/", "bias and activation": "/jseg/ops/bias_activation/"}
"""Kernels of this project and a file that only they, or those after them, are built from."""


class Setting(NamedTuple):
    """A training setting of the paper: K prompts, M regions, C classes of which S are seen, pictures of `size`."""

    name: str
    prompts: int
    regions: int
    classes: int
    seen: int
    size: int
    batch: int
    width: int = 768
    layers: int = 12
    joint: int = 512


SETTINGS = (Setting("VOC", 10, 16, 20, 15, 512, 16), Setting("COCO-Stuff", 100, 16, 171, 156, 512, 16))
SMALL_SETTINGS = (Setting("small", 4, 4, 5, 3, 64, 2, width=128, layers=2, joint=64),)


def import_stage(small: bool) -> Dict[str, Any]:
    """Imports Jittor, which compiles its core on a fresh machine."""
    start = time.perf_counter()
    from jseg.runtime.backend import device, jt

    jt.ones((2, 2)).sync()
    return {"device": device.line, "kind": device.kind, "seconds": time.perf_counter() - start}


def kernels_stage(small: bool) -> Dict[str, Any]:
    """Builds the kernels that later stages use, and the operators that Jittor generates for them, in one go.

    Jittor keeps other processes from compiling while one does, and compiles in parallel, 16 at a time, only what is
    asked for at the same moment. So everything is called with small inputs, and one synchronisation waits for all of
    it. What an operator is built from depends on types and numbers of axes, not on sizes.
    """
    from jseg.runtime.backend import jt

    start, before = time.perf_counter(), _built_operators()
    pending: List[Any] = []
    precisions = ("float32",) if small else ("float32", "bfloat16")  # TF32 differs in the kernels alone
    models = [_model(SMALL_SETTINGS[0]) for _ in precisions]
    for dtype, tensorcore in FORMATS[:1] if small else FORMATS:
        with jt.flag_scope(use_tensorcore=tensorcore):
            pending += _calls_of_kernels(dtype)
    for precision, (train, infer) in zip(precisions, models):
        with _precision(precision):
            for name in GOLDEN_CASES[-1:] if small else GOLDEN_CASES:
                pending += _parity().pending_case(ROOT / "tests" / "golden" / name)[0].values()
            train()
            pending.append(infer())
    jt.sync_all(True)
    for precision, (train, _) in zip(precisions, models):
        with _precision(precision):
            train()  # the first step made the optimizer's state, this one finds it
    jt.sync_all(True)
    return {"built": _built_operators() - before, "seconds": time.perf_counter() - start}


def _calls_of_kernels(dtype: str) -> List[Any]:
    """Outputs and gradients, not yet computed, of kernels for operands of a type: the same calls as in the tests."""
    from jseg.ops import RegionLayout, attention, layer_norm, region_attention
    from jseg.ops.cuda import HEAD_WIDTHS
    from jseg.runtime.backend import jt

    layout, heads, pending = RegionLayout((4, 4), (2, 2), 2, 1), 2, []

    def call(function: Callable[..., Any], *shapes: Tuple[int, ...]) -> None:
        wide = [jt.array(np.ones(shape, np.float32)) for shape in shapes]
        operands = [x.cast(dtype) for x in wide]
        output = function(*operands).float32()
        loss = (output * jt.array(np.ones(output.shape, np.float32))).sum()
        pending.extend([output, *jt.grad(loss, operands + (wide if dtype != "float32" else []))])

    for width in HEAD_WIDTHS:  # the plain version where there is no kernel
        call(lambda *qkv: attention(*qkv, heads), *[(2, 5, heads * width)] * 3)
        if width in REGION_HEADS:
            call(lambda qkv: region_attention(qkv, heads, layout), (2, layout.tokens, 3 * heads * width))
    call(layer_norm, (2, 5, 32), (32,), (32,))
    return pending


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """What is called meanwhile takes this precision. Enough to compile it; what is computed asks the process's own."""
    before = os.environ.get(PRECISION_VARIABLE)
    os.environ[PRECISION_VARIABLE] = name
    try:
        yield
    finally:
        del os.environ[PRECISION_VARIABLE]
        os.environ.update({} if before is None else {PRECISION_VARIABLE: before})


def _built_operators() -> int:
    """Number of operators that Jittor has compiled on this machine."""
    from jseg.runtime.backend import jt

    return sum(1 for _ in Path(jt.flags.cache_path, "jit").glob("*.so"))


def op_stage(small: bool) -> Dict[str, Any]:
    """Errors of the operators, forwards and backwards, against float64 NumPy: name -> largest of output, gradients."""
    from op_references import (attention_float64, gradients, layer_norm_float64, region_attention_float64,
                               relative_error)

    from jseg.ops import RegionLayout, attention, layer_norm, linear, region_attention
    from jseg.ops.precision import lower
    from jseg.runtime.backend import jt

    rng = np.random.default_rng(0)
    heads, channels, batch = (2, 64, 2) if small else (12, 64, 2)
    width = heads * channels
    layout = RegionLayout((4, 4) if small else (32, 32), (2, 2) if small else (4, 4), 11, skipped=10)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def error(function: Callable[..., Any], inputs: Tuple[np.ndarray, ...], expected: np.ndarray,
              expected_gradients: Tuple[np.ndarray, ...], weights: np.ndarray) -> float:
        variables = tuple(jt.array(x) for x in inputs)
        output = function(*variables)
        pairs = [(output.numpy(), expected), *zip(gradients(output, weights, variables), expected_gradients)]
        return max(relative_error(found, wanted) for found, wanted in pairs)

    errors: Dict[str, float] = {}
    x, weight, d = draw(64, width), draw(48, width), draw(64, 48)
    wide = [a.astype(np.float64) for a in (x, weight, d)]
    errors["linear"] = error(linear, (x, weight), wide[0] @ wide[1].T, (wide[2] @ wide[1], wide[2].T @ wide[0]), d)
    q, k, v, d = (draw(batch, rows, width) for rows in (65, 70, 70, 65))
    errors["attention"] = error(lambda *a: attention(*lower(*a), heads).float32(), (q, k, v),
                                *attention_float64(q, k, v, heads, None, d), d)
    q, k, v, d = (draw(batch, 77, width) for _ in range(4))
    errors["causal attention"] = error(lambda *a: attention(*lower(*a), heads, causal=True).float32(), (q, k, v),
                                       *attention_float64(q, k, v, heads, np.tri(77, dtype=bool), d), d)
    qkv, d = draw(batch, layout.tokens, 3 * width), draw(batch, layout.tokens, width)
    expected, gradient = region_attention_float64(qkv, heads, layout, d)
    errors["region attention"] = error(lambda a: region_attention(*lower(a), heads, layout).float32(), (qkv,),
                                       expected, (gradient,), d)
    x, scale, shift, d = draw(batch, 70, width), draw(width), draw(width), draw(batch, 70, width)
    errors["layer_norm"] = error(layer_norm, (x, scale, shift), *layer_norm_float64(x, scale, shift, 1e-5, d), d)
    tolerance = OP_TOLERANCES[wanted_precision()]
    return {"errors": errors, "tolerance": tolerance,
            "failed": [name for name, value in errors.items() if not value <= tolerance]}


def golden_stage(small: bool) -> Dict[str, Any]:
    """Recorded outputs of the released code, in the precision chosen: what is beyond the limits, the worst."""
    parity, cases = _parity(), {}
    for name in GOLDEN_CASES[-1:] if small else GOLDEN_CASES:
        rows = parity.compare(*parity.run_case(ROOT / "tests" / "golden" / name))
        cases[name] = {"quantities": len(rows), "failed": beyond_limits(rows, wanted_precision()),
                       "worst_output": max(row.difference for row in rows if ".grad." not in row.name),
                       "worst_gradient": max((row.difference for row in rows if ".grad." in row.name), default=0.0)}
    return {"cases": cases, "failed": [f"{name}: {entry}" for name, case in cases.items() for entry in case["failed"]]}


def _parity() -> Any:
    """`tools/parity.py` as a module."""
    spec = importlib.util.spec_from_file_location("parity", ROOT / "tools" / "parity.py")
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    return parity


def beyond_limits(rows: Sequence[Any], precision: str) -> List[str]:
    """Names of quantities that differ too much; `rows` are those of `tools/parity.py`."""
    if precision not in GOLDEN_LIMITS:
        return [row.name for row in rows
                if not (row.passed or ".grad." in row.name and row.difference <= FLOAT32_GRADIENT_LIMIT)]
    limits = GOLDEN_LIMITS[precision]
    gradients = [row for row in rows if ".grad." in row.name]
    outputs = [row for row in rows if ".grad." not in row.name and row.name.split(".")[-1] not in FOLLOWS_ARGMAX]
    failed = [row.name for row in outputs if not row.difference <= limits[0]]
    wide = [row.name for row in gradients if not row.difference <= limits[1]]
    wrong = [row.name for row in gradients if not row.difference <= 1]  # not finite, or of another size altogether
    return failed + (wide if len(wide) > len(gradients) / 10 else wrong)


def benchmark_stage(small: bool) -> Dict[str, Any]:
    """Pictures a second of a training step and of inference, with random weights, and the GPU memory taken."""
    return {"rows": [_time_setting(setting, 2 if small else 10) for setting in (SMALL_SETTINGS if small else SETTINGS)]}


def _time_setting(setting: Setting, runs: int) -> Dict[str, Any]:
    from jseg.runner.log import gpu_memory_mb
    from jseg.runtime.backend import jt

    jt.gc()  # gives back what an earlier setting took
    train, infer = _model(setting)
    training, memory = _seconds(train, runs), gpu_memory_mb()
    step = profile_summary(_profile(train))
    return {"setting": setting.name, "batch": setting.batch, "train": setting.batch / training,
            "infer": setting.batch / _seconds(infer, runs), "gpu_memory_mb": memory, "step": step}


def _model(setting: Setting) -> Tuple[Callable[[], Any], Callable[[], Any]]:
    """A training step and inference on random pictures with random weights, neither waiting for its results."""
    from jseg.models.backbones.region_bridge import RegionBridgeEncoder
    from jseg.models.heads.clip_rc_head import CLIPRCHead
    from jseg.models.segmentors.clip_rc import CLIPRCSegmentor
    from jseg.runner.optimizer import AdamW
    from jseg.runtime.backend import jt

    rng = np.random.default_rng(0)
    text = rng.standard_normal((setting.classes, setting.joint)).astype(np.float32)
    grid = setting.size // 16
    backbone = RegionBridgeEncoder(setting.width, setting.layers, setting.width // 64, 16, setting.joint, (grid, grid),
                                   num_prompts=setting.prompts)
    model = CLIPRCSegmentor(backbone, CLIPRCHead(setting.joint, setting.joint // 64),
                            text / np.linalg.norm(text, axis=1, keepdims=True), range(setting.seen, setting.classes),
                            num_regions=setting.regions)
    optimizer = AdamW(model.trainable_parameters(), lr=1e-4)
    image = jt.array(rng.standard_normal((setting.batch, 3, setting.size, setting.size)).astype(np.float32))
    label = jt.array(rng.integers(0, setting.classes, (setting.batch, setting.size, setting.size)).astype(np.int32))

    def train() -> None:
        model.train()
        optimizer.step(model.loss(image, label)["total"], lambda base: base)

    def infer() -> jt.Var:
        model.eval()
        return model.predict(image)

    return train, infer


def _profile(work: Callable[[], None]) -> List[List[str]]:
    """Jittor's table of the operators that `work` runs, the header first; it waits for each of them."""
    from jseg.runtime.backend import jt

    jt.sync_all(True)
    jt.profiler.start(0, 0)
    work()
    jt.sync_all(True)
    jt.profiler.stop()
    return jt.profiler.report()


def profile_summary(table: Sequence[Sequence[str]]) -> Dict[str, Any]:
    """Of a table of Jittor's profiler: time of all operators, what shares of it this project's kernels take, the ten
    costliest operators, and those that ran on the processor."""
    name, count, time_ns = (table[0].index(column) for column in ("Name", "Count", "TotalTime"))
    rows = sorted(((row[name], int(float(row[count])), float(row[time_ns]) / 1e6) for row in table[1:]),
                  key=lambda row: -row[2])
    total = sum(row[2] for row in rows) or 1.0
    shares = dict.fromkeys(KERNELS, 0.0)
    for key, _, milliseconds in rows:
        owner = _kernel(key)
        if owner:
            shares[owner] += milliseconds / total
    return {"milliseconds": total, "shares": shares,
            "costliest": [{"name": short_name(key), "count": times, "milliseconds": milliseconds}
                          for key, times, milliseconds in rows[:10]],
            "on_processor": [short_name(key) for key, _, _ in rows if "JIT_cpu" in key]}


def _kernel(key: str) -> str:
    """Which of `KERNELS` a key of Jittor's names, or ''."""
    return next((owner for owner, path in KERNELS.items() if key.startswith("code") and path in key), "")


def short_name(key: str) -> str:
    """A key of Jittor's without types and source text: the kernel and its direction, or the operators fused."""
    if _kernel(key):
        return f"{_kernel(key)} {'backward' if re.search('::(region_)?backward', key) else 'forward'}"
    fused = re.findall(r"«opkey\w+:(\w+)(?:«(?!opkey)[^«]*)*?(?:«OP:(\w+))?(?=«opkey|«JIT)", key)
    parts = [operation or name for name, operation in fused if name not in ("array", "broadcast_to")]
    return " ".join(parts)[:100] or " ".join(name for name, _ in fused)[:100] or key.split("«")[0]


def _seconds(work: Callable[[], Any], runs: int) -> float:
    """Median time of one call; the first two compile and warm up."""
    from jseg.runtime.backend import jt

    times: List[float] = []
    for _ in range(runs + 2):
        jt.sync_all(True)
        start = time.perf_counter()
        result = work()
        jt.sync_all(True)
        del result
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


STAGES = {"import": import_stage, "kernels": kernels_stage, "ops": op_stage, "golden": golden_stage,
          "benchmark": benchmark_stage}


def main() -> int:
    """Prints the result of one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
