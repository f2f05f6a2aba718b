"""Counts what training steps and the evaluation of images ask of a GPU, at the sizes of the paper.

`cuda_dry_run.py --count` starts it with stubs in place of CUDA's libraries. It prints a table in Markdown.
Every number is the largest of `TIMES` repetitions (of allocations, the smallest) after some that compile and
fill Jittor's pools:

operators     runs of operators that Jittor compiles, and how many of them on the CPU; a product that Jittor
              passes to cuBLAS counts twice
new           operators that were loaded in the first run of this row: what would have to be compiled
kernels       kernels that Jittor and jseg start, and calls of cuBLAS, which starts its own
to the device, to the host, on the device: copies, and their bytes
waits         for the GPU by the host, including those of copies
allocations   of memory, on the device or pinned

Then follow violations of what should hold: nothing on the CPU, no allocation, no wait and nothing to the host
but logged losses and masks, and nothing compiled for an image with as many windows as an earlier one.
"""

import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cuda_calls import KINDS, Calls, Counts

from jseg.datasets.pipeline import build_pipeline
from jseg.gpu_check.settings import SETTINGS, SMALL_SETTINGS, Setting
from jseg.gpu_check.speed import profiled, random_segmentor
from jseg.inference.recipe import TestRecipe
from jseg.optim import AdamW
from jseg.runner.log import LossWindow, NonFiniteLoss
from jseg.runner.prediction import predict_mask
from jseg.runner.step import TrainingStep
from jseg.runtime.backend import jt

BATCHES = (2, 4)
"""Images of a training step: two numbers, since counts could grow with the images of a step."""
WARM, TIMES = 3, 3
IMAGES = ((500, 375), (375, 500), (500, 333), (500, 500), (640, 480), (640, 360), (800, 250), (1000, 250))
"""(width, height): one, two, four and five windows of 512 pixels after the short side is resized to 512."""


class Limits(NamedTuple):
    """What a piece of work may do: waits for the GPU, bytes that it copies to the host, and whether it may
    need operators that nothing before it needed."""

    waits: int = 0
    to_host: int = 0
    new: bool = False


class Row(NamedTuple):
    """A row of the table. on_cpu: Jittor's keys of operators that ran on the CPU, repeated."""

    case: str
    operators: int
    on_cpu: list[str]
    new: int
    counts: Counts

    def violations(self, limits: Limits) -> list[str]:
        """What exceeds the limits, and what no work may do."""
        counts, to_host = self.counts, sum(self.counts.copies["to the host"])
        found = {
            f"{len(self.on_cpu)} operators on the CPU": self.on_cpu,
            f"{counts.allocations} allocations": counts.allocations,
            f"{counts.syncs} waits": counts.syncs > limits.waits,
            f"{to_host} bytes to the host": to_host > limits.to_host,
            f"{self.new} new operators": self.new and not limits.new,
        }
        return [f"{self.case}: {what}" for what, exceeds in found.items() if exceeds]


class Observer:
    """Runs pieces of work, and counts."""

    def __init__(self) -> None:
        self._calls = Calls()

    def __call__(self, case: str, work: Callable[[], Any], before: Callable[[], Any] | None = None) -> Row:
        """Counts `work`, which neither waits for the GPU nor needs to.

        Args:
            before: runs before each repetition and is not counted.
        """

        def once() -> Counts:
            if before:
                before()
            self._calls.reset()
            work()
            return self._calls.counts()

        known = loaded_operators()
        once()
        new = len(loaded_operators() - known)
        for _ in range(WARM - 1):
            once()
        counts = largest([once() for _ in range(TIMES)])
        if before:
            before()
        table = profiled(work)
        name, count = table[0].index("Name"), table[0].index("Count")
        runs = [(row[name], int(float(row[count]))) for row in table[1:]]
        on_cpu = [key for key, times in runs if "JIT_cpu" in key for _ in range(times)]
        return Row(case, sum(times for _, times in runs), on_cpu, new, counts)


def largest(several: Sequence[Counts]) -> Counts:
    """The largest of each number, and of each kind the copies with the most bytes.

    Of allocations the smallest: Jittor's pools still grow now and then after hundreds of allocations in the
    first steps, where work that allocates would do so each time.
    """
    numbers = [max(values) for values in zip(*(counts[:-1] for counts in several))]
    copies = {kind: max((counts.copies[kind] for counts in several), key=sum) for kind in KINDS}
    return Counts(*numbers, copies=copies)._replace(allocations=min(counts.allocations for counts in several))


def loaded_operators() -> set[str]:
    """Files of the operators that Jittor has loaded, compiled now or earlier."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if "/jit/" in line and ".so" in line}


def training(setting: Setting, observe: Observer) -> Iterator[tuple[Row, Limits]]:
    """The steps of the trainer (`jseg.runner.Runner`), and what logging one of them adds."""
    rng = np.random.default_rng(0)
    segmentor = random_segmentor(setting, rng)
    segmentor.train()
    step = TrainingStep(segmentor, AdamW(segmentor.trainable_parameters(), lr=2e-4), seed=0)
    window, iterations = LossWindow(0), itertools.count()
    terms: dict[str, jt.Var] = {}

    def iterate(images: int) -> None:
        iteration = next(iterations)
        batch: Any = {
            "image": rng.standard_normal((images, 3, setting.size, setting.size), np.float32),
            "label": rng.integers(0, setting.classes, (images, setting.size, setting.size), np.uint8),
            "names": [""] * images,
        }
        terms.update(step(iteration, batch, lambda base: base * (1 - iteration / 1000)))
        window.add(terms, 0.0)
        jt.sync_all()

    def log() -> None:
        with contextlib.suppress(NonFiniteLoss):  # no kernel ran
            window.close()

    def forget() -> None:
        if len(window):
            log()
        iterate(BATCHES[-1])

    for images in BATCHES:
        case = f"{setting.name}, training step of {images} images"
        yield observe(case, functools.partial(iterate, images)), Limits(new=images == BATCHES[0])
    # One number for each term.
    yield observe(f"{setting.name}, logging one step", log, forget), Limits(len(terms), 4 * len(terms), True)


def evaluation(setting: Setting, observe: Observer) -> Iterator[tuple[Row, Limits]]:
    """The mask of an image, as the evaluation makes it, for images of several shapes."""
    rng = np.random.default_rng(0)
    segmentor = random_segmentor(setting, rng)
    segmentor.eval()
    inference = dict(
        mode="slide", crop_size=setting.size, stride=setting.size * 426 // 512, scales=(1.0,), flip=False
    )
    seen: set[int] = set()
    for width, height in IMAGES:
        sample: dict[str, Any] = {"image": rng.integers(0, 256, (height, width, 3), np.uint8), "name": ""}
        for transform in build_pipeline({"short_side": setting.size}, test_mode=True):
            sample = transform(sample, rng)
        sample["image"] = np.ascontiguousarray(sample["image"].transpose(2, 0, 1), np.float32)
        sample["original_size"] = (height, width)
        mask = functools.partial(predict_mask, segmentor, sample, inference)
        windows = len(TestRecipe((), inference).plan(sample["image"].shape[1:]).positions)
        case = f"{setting.name}, mask of {width} x {height}, windows: {windows}"
        # Jittor waits twice for an array: for the GPU, and for the copy.
        yield observe(case, mask), Limits(2, width * height, windows not in seen)
        seen.add(windows)


def line(row: Row) -> str:
    """A line of the table."""
    counts = row.counts
    copies = (
        f"{len(sizes)} ({readable(sum(sizes))})" for sizes in (counts.copies[kind] for kind in KINDS[1:])
    )
    cells = (
        row.case,
        f"{row.operators} ({len(row.on_cpu)})",
        row.new,
        f"{counts.launches} + {counts.products}",
        *copies,
        counts.syncs,
        counts.allocations,
    )
    return f"| {' | '.join(map(str, cells))} |"


def readable(size: int) -> str:
    """1234567 -> '1.2 MB'."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def main() -> None:
    """Prints the table, operators that ran on the CPU, and violations."""
    settings = {setting.name: setting for setting in (*SETTINGS, *SMALL_SETTINGS)}
    observe, on_cpu, violations = Observer(), set(), []
    print(
        "| | operators (CPU) | new | kernels + cuBLAS | " + " | ".join(KINDS[1:]) + " | waits | allocations |"
    )
    print("|---|" + "---:|" * 8, flush=True)
    for name in sys.argv[1:] or [setting.name for setting in SETTINGS]:
        for part in (training, evaluation):
            for row, limits in part(settings[name], observe):
                on_cpu.update(row.on_cpu)
                violations += row.violations(limits)
                print(line(row), flush=True)
            jt.gc()
    for key in sorted(on_cpu):
        print("on the CPU:", key)
    for violation in violations:
        print("violation:", violation)
    if not violations:
        print("dry run passed", flush=True)


if __name__ == "__main__":
    main()
