"""Times the evaluation of images end to end, and the class map against full-size score maps.

    python benchmarks/evaluation.py [--preset coco] [--classes 171 ...] [--image 640x480] [--images 3]
                                    [--smooth] [--out evaluation.json]

Images are JPEG files of noise in a temporary folder, and the released test recipe reads them: shorter side
512 pixels, windows of 512 pixels every 426. The model has random weights. The table shows seconds and CPU
seconds an image of each step (medians): reading, the model up to the logits of all windows, the class map,
and the confusion matrix; then the strips of full-size maps in NumPy that the class map replaced
(`jseg.inference.windows`), on the same logits, how many pixels of the two masks differ, and images a second.
Logits of random weights are noise, in which nearly every class may win somewhere; --smooth replaces them by
maps with a few classes a region, as a trained model gives.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from model_sizes import Sizes, add_size_options, sizes_of

from jseg.runtime.command import exit_status, prove_writable

STEPS = ("read", "logits", "class map", "score", "full-size maps")


def smooth_logits(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Logits (windows, C, h, w) of about -6 with classes of about +3 on blocks."""
    windows, classes, height, width = shape
    best = rng.integers(0, classes, (windows, 4, 4)).repeat(-(-height // 4), 1).repeat(-(-width // 4), 2)
    is_best = best[:, None, :height, :width] == np.arange(classes)[:, None, None]
    return (rng.standard_normal(shape) - 6 + 9 * is_best).astype(np.float32)


class Clock:
    """Wall and CPU seconds of named steps."""

    def __init__(self) -> None:
        self.taken: dict[str, list[tuple[float, float]]] = {name: [] for name in STEPS}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start, used = time.perf_counter(), _cpu_seconds()
        result = work()
        self.taken[name].append((time.perf_counter() - start, _cpu_seconds() - used))
        return result

    def medians(self) -> dict[str, tuple[float, float]]:
        """Medians without the first call, which compiles."""
        return {
            name: (statistics.median(a for a, _ in times[1:]), statistics.median(b for _, b in times[1:]))
            for name, times in self.taken.items()
        }


def measure(sizes: Sizes, image: tuple[int, int], count: int, smooth: bool) -> dict[str, Any]:
    """Medians of the steps over `count` images after one more, and the pixels that differ."""
    from jseg.checkpoints import EncoderSizes
    from jseg.evaluation import ConfusionMatrix
    from jseg.inference.grid import grid_class_map, grid_copy
    from jseg.inference.recipe import TestRecipe
    from jseg.inference.windows import Pass, class_map, cut_windows, merge_windows
    from jseg.models.segmentors import CLIPRC
    from jseg.ops import resize_bilinear
    from jseg.runtime.backend import jt

    s, rng, clock, differing = sizes, np.random.default_rng(0), Clock(), 0
    text = rng.standard_normal((s.classes, s.joint)).astype(np.float32)
    model = CLIPRC.from_sizes(
        EncoderSizes(s.layers, s.width, 16, s.joint),
        s.width // 64,
        text / np.linalg.norm(text, axis=1, keepdims=True),
        range(s.seen, s.classes),
        backbone=dict(type="RegionBridgeEncoder", num_prompts=s.prompts, num_regions=s.regions),
        decode_head=dict(type="CLIPRCHead", num_heads=s.joint // 64),
        image_size=s.size,
    )
    model.eval()
    inference = {"mode": "slide", "crop_size": s.size, "stride": s.size * 426 // 512}
    recipe = TestRecipe.from_config(
        {"dataset": {"test": {"pipeline": {"short_side": s.size}}}, "inference": inference}, 16
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        for _ in range(count + 1):
            coarse = rng.integers(0, 256, (image[1] // 16, image[0] // 16, 3)).astype(np.uint8)
            Image.fromarray(coarse).resize(image).save(path)
            label = rng.integers(0, s.classes, (image[1], image[0])).astype(np.uint8)
            prepared = clock("read", lambda: recipe.prepare(np.asarray(Image.open(path).convert("RGB"))))
            ((copy, plan, _),) = recipe.copies(prepared)
            windows = np.stack(list(cut_windows(copy, plan)))

            def logits_of(windows: np.ndarray = windows) -> tuple[Any, Any]:
                with jt.no_grad():
                    scores = model.predict_on_grid(jt.array(windows))
                    scores.logits.sync()
                    return scores.logits, scores.bias

            logits, bias = clock("logits", logits_of)
            if smooth:
                logits = jt.array(smooth_logits(rng, tuple(logits.shape)))
            parts = [logits]

            def by_kernel(parts=parts, plan=plan, bias=bias):
                return grid_class_map([grid_copy(parts, plan, False, 16)], (image[1], image[0]), bias).mask

            def by_full_maps(logits=logits, plan=plan, bias=bias):
                with jt.no_grad():
                    maps = (
                        (
                            resize_bilinear(logits[i : i + 1], plan.crop).sigmoid()
                            - bias.reshape(1, -1, 1, 1)
                        ).numpy()[0]
                        for i in range(logits.shape[0])
                    )
                    return class_map([Pass(merge_windows(maps, plan))], (image[1], image[0])).mask

            mask = clock("class map", by_kernel)
            clock("score", partial(ConfusionMatrix(s.classes).update, mask.astype(np.uint8), label))
            differing += int((clock("full-size maps", by_full_maps) != mask).sum())
    return {
        "steps": clock.medians(),
        "windows": len(plan.positions),
        "differing": differing,
        "images": count + 1,
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(options: argparse.Namespace) -> int:
    """Measures and prints the table."""
    if options.out:
        prove_writable(options.out)
    sizes, image = sizes_of(options), tuple(int(side) for side in options.image.split("x"))
    print(
        f"{image[0]}x{image[1]} pixels, C {sizes.classes}, K {sizes.prompts}, M {sizes.regions}, load "
        f"{os.getloadavg()[0]:.1f}",
        flush=True,
    )
    found = measure(sizes, (image[0], image[1]), options.images, options.smooth)
    whole = sum(found["steps"][name][1] for name in STEPS[:4])
    print(f"{found['windows']} windows an image\n\n| step | s | CPU s | share of CPU |\n|---|---:|---:|---:|")
    for name in STEPS:
        wall, cpu = found["steps"][name]
        share = f"{100 * cpu / whole:.1f} %" if name in STEPS[:4] else "replaced"
        print(f"| {name} | {wall:.3f} | {cpu:.3f} | {share} |")
    wall = sum(found["steps"][name][0] for name in STEPS[:4])
    print(f"\n{1 / wall:.2f} images a second; {found['differing']} pixels of {found['images']} masks differ")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_size_options(parser)
    parser.add_argument("--image", default="640x480", help="width x height in pixels (default 640x480)")
    parser.add_argument("--images", type=int, default=3, help="measured images (default 3)")
    parser.add_argument("--smooth", action="store_true", help="logits like those of a trained model")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    return exit_status(lambda: report(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
