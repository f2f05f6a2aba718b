"""Stage "speed" of `tools/gpu_check.py`: images per second at the paper's settings, and a profile of a step.

    python -m jseg.gpu_check.speed [--small]

JSEG_DEVICE and JSEG_PRECISION choose device and precision. The program prints one line `RESULT {json}` for
each setting.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jseg.gpu_check.settings import MARK, SETTINGS, SMALL_SETTINGS, TIMED_RUNS, Setting

if TYPE_CHECKING:  # Jittor is imported late
    from jseg.models.segmentors import CLIPRC

KERNELS = {
    "region attention": "/region_attention_",
    "attention": "/attention_",
    "layer norm": "/layer_norm_",
    "bias and activation": "/bias_activation_",
    "losses": "/focal_dice_",
    "class map": "/class_map_",
    "dropout": "/dropout_",
    "AdamW": "/adamw_",
}
"""Kernels of this project, each with the beginning of the names of files that only it and the kernels listed
before it are built from."""

CUDA_KERNELS = ("region attention", "attention", "layer norm", "losses", "class map", "dropout", "AdamW")
"""The kernels that every training step on a GPU runs."""


def time_setting(setting: Setting, runs: int) -> dict[str, Any]:
    """Measures images per second, memory, and the operators of a training step, with random weights."""
    from jseg.ops.cuda import use_cuda_kernels
    from jseg.runner.log import gpu_memory_mb
    from jseg.runtime.backend import jt

    jt.gc()  # frees the memory of an earlier setting
    train, infer = model(setting)
    training, memory = _seconds(train, runs), gpu_memory_mb()
    step = profile_summary(profiled(train))
    return {
        "setting": setting.name,
        "batch": setting.batch,
        "train": setting.batch / training,
        "infer": setting.batch / _seconds(infer, runs),
        "gpu_memory_mb": memory,
        "step": step,
        "cuda_kernels": use_cuda_kernels(jt.zeros((1, 1))),
    }


def model(setting: Setting) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Returns a training step and inference on random images with random weights.

    Neither of them waits for its results.
    """
    from jseg.optim import AdamW
    from jseg.runtime.backend import jt

    rng = np.random.default_rng(0)
    segmentor = random_segmentor(setting, rng)
    optimizer = AdamW(segmentor.trainable_parameters(), lr=1e-4)
    image = jt.array(rng.standard_normal((setting.batch, 3, setting.size, setting.size)).astype(np.float32))
    label = jt.array(
        rng.integers(0, setting.classes, (setting.batch, setting.size, setting.size)).astype(np.int32)
    )

    def train() -> None:
        segmentor.train()
        optimizer.step(segmentor.loss(image, label)["total"], lambda base: base)

    def infer() -> jt.Var:
        segmentor.eval()
        return segmentor.predict(image)

    return train, infer


def random_segmentor(setting: Setting, rng: np.random.Generator) -> "CLIPRC":
    """Returns the model of a setting with random weights."""
    from jseg.checkpoints import EncoderSizes
    from jseg.models.segmentors import CLIPRC

    text = rng.standard_normal((setting.classes, setting.joint)).astype(np.float32)
    return CLIPRC.from_sizes(
        EncoderSizes(setting.layers, setting.width, 16, setting.joint),
        setting.width // 64,
        text / np.linalg.norm(text, axis=1, keepdims=True),
        range(setting.seen, setting.classes),
        backbone=dict(type="RegionBridgeEncoder", num_prompts=setting.prompts, num_regions=setting.regions),
        decode_head=dict(type="CLIPRCHead", num_heads=setting.joint // 64),
        image_size=setting.size,
    )


def profiled(work: Callable[[], None]) -> list[list[str]]:
    """Runs `work`, waiting for each operator, and returns Jittor's table of the operators, header first."""
    from jseg.runtime.backend import jt

    jt.sync_all(True)
    jt.profiler.start(0, 0)
    work()
    jt.sync_all(True)
    jt.profiler.stop()
    return jt.profiler.report()


def profile_summary(table: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Summarises a table of Jittor's profiler.

    Returns:
        The time of all operators, the shares of this project's kernels, the ten costliest operators, and the
        operators that ran on the CPU with their share.
    """
    name, count, time_ns = (table[0].index(column) for column in ("Name", "Count", "TotalTime"))
    rows = sorted(
        ((row[name], int(float(row[count])), float(row[time_ns]) / 1e6) for row in table[1:]),
        key=lambda row: -row[2],
    )
    total = sum(row[2] for row in rows) or 1.0
    strays = [row for row in rows if "JIT_cpu" in row[0]]
    shares = dict.fromkeys(KERNELS, 0.0)
    for key, _, milliseconds in rows:
        owner = _kernel(key)
        if owner:
            shares[owner] += milliseconds / total
    return {
        "milliseconds": total,
        "shares": shares,
        "costliest": [
            {"name": short_name(key), "count": times, "milliseconds": milliseconds}
            for key, times, milliseconds in rows[:10]
        ],
        "on_cpu": [short_name(key) for key, _, _ in strays],
        "cpu_share": sum(row[2] for row in strays) / total,
    }


def _kernel(key: str) -> str:
    """Returns the entry of `KERNELS` that one of Jittor's keys names, or ''."""
    return next((owner for owner, path in KERNELS.items() if key.startswith("code") and path in key), "")


def short_name(key: str) -> str:
    """Shortens one of Jittor's keys to the kernel and its direction, or to the names of fused operators."""
    if _kernel(key):
        return f"{_kernel(key)} {'backward' if re.search('::(region_)?backward', key) else 'forward'}"
    fused = re.findall(r"«opkey\w+:(\w+)(?:«(?!opkey)[^«]*)*?(?:«OP:(\w+))?(?=«opkey|«JIT)", key)
    parts = [operation or name for name, operation in fused if name not in ("array", "broadcast_to")]
    return " ".join(parts)[:100] or " ".join(name for name, _ in fused)[:100] or key.split("«")[0]


def _seconds(work: Callable[[], Any], runs: int) -> float:
    """Returns the median time of a call after two calls that compile and warm up."""
    from jseg.runtime.backend import jt

    times: list[float] = []
    for _ in range(runs + 2):
        jt.sync_all(True)
        start = time.perf_counter()
        result = work()
        jt.sync_all(True)
        del result
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def main() -> int:
    """Prints one line for each setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="small sizes, for a CPU")
    small = parser.parse_args().small
    for setting in SMALL_SETTINGS if small else SETTINGS:
        print(MARK + json.dumps(time_setting(setting, 2 if small else TIMED_RUNS)), flush=True)
    # Jittor may crash while it is unloaded, although everything went well.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
