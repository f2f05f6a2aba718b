"""Times the evaluation of images end to end, and the class map against full-size score maps.

    python benchmarks/evaluation.py [--preset coco] [--classes 171 ...] [--image 640x480] [--images 3]
                                    [--smooth] [--out evaluation.json]

Images are JPEG files of noise in a temporary folder, and the released test recipe reads them: shorter side
512 pixels, windows of 512 pixels every 426. The model has random weights. The table shows seconds and CPU
seconds an image of each step (medians): reading, the model up to the logits of all windows, the class map,
and the confusion matrix; then the strips of full-size maps in NumPy that the class map replaced
(`jseg.inference.windows`), on the same logits, how many pixels of the two masks differ, and images a second
with one step after the other. The last lines show seconds an image of `evaluate()` as a whole, on the same
images with the model's own logits: windows of several images are computed together, and with num_workers 1, a
process reads the images meanwhile.
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

WORKERS = (0, 1)
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


def build(sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    """A CLIP-RC with random weights, and the config's `inference`."""
    from jseg.checkpoints import EncoderSizes
    from jseg.models.segmentors import CLIPRC

    s = sizes
    text = np.random.default_rng(0).standard_normal((s.classes, s.joint)).astype(np.float32)
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
    return model, dict(mode="slide", crop_size=s.size, stride=s.size * 426 // 512, scales=(1.0,), flip=False)


def write_images(folder: Path, sizes: Sizes, image: tuple[int, int], count: int) -> Any:
    """The dataset of `count` images of noise in the test recipe, with masks of noise."""
    from jseg.datasets import SegmentationDataset, save_mask
    from jseg.datasets.base import Record

    rng, records = np.random.default_rng(0), []
    for number in range(count):
        record = Record(str(number), folder / f"{number}.jpg", folder / f"{number}.png")
        coarse = rng.integers(0, 256, (image[1] // 16, image[0] // 16, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize(image).save(record.image)
        save_mask(record.mask, rng.integers(0, sizes.classes, (image[1], image[0])).astype(np.uint8), [])
        records.append(record)
    names = [f"class {index}" for index in range(sizes.classes)]
    return SegmentationDataset(records, names, pipeline={"short_side": sizes.size}, test_mode=True)


def measure(sizes: Sizes, image: tuple[int, int], count: int, smooth: bool) -> dict[str, Any]:
    """Medians of the steps over `count` images after one more, the pixels that differ, and (wall, CPU)
    seconds an image of `evaluate` by number of workers."""
    model, inference = build(sizes)
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_images(Path(folder), sizes, image, count + 1)
        found = steps(model, inference, dataset, smooth)
        found["evaluate"] = {workers: of_evaluate(model, inference, dataset, workers) for workers in WORKERS}
    return found


def steps(model: Any, inference: dict[str, Any], dataset: Any, smooth: bool) -> dict[str, Any]:
    """One step after the other, for each image."""
    from jseg.evaluation import ConfusionMatrix
    from jseg.inference.grid import grid_class_map, grid_copy
    from jseg.inference.recipe import TestRecipe
    from jseg.inference.windows import Pass, class_map, cut_windows, merge_windows
    from jseg.ops import resize_bilinear
    from jseg.runtime.backend import jt

    clock, rng, differing, classes = Clock(), np.random.default_rng(0), 0, len(dataset.class_names)
    recipe = TestRecipe((), inference, 16)
    for index in range(len(dataset)):
        sample = clock("read", partial(dataset.sample, index))
        size = sample["original_size"]
        ((copy, plan, _),) = recipe.copies(sample["image"])
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

        def by_kernel(parts=parts, plan=plan, bias=bias, size=size):
            return grid_class_map([grid_copy(parts, plan, False, 16)], size, bias).mask

        def by_full_maps(logits=logits, plan=plan, bias=bias, size=size):
            with jt.no_grad():
                maps = (
                    (
                        resize_bilinear(logits[i : i + 1], plan.crop).sigmoid() - bias.reshape(1, -1, 1, 1)
                    ).numpy()[0]
                    for i in range(logits.shape[0])
                )
                return class_map([Pass(merge_windows(maps, plan))], size).mask

        mask = clock("class map", by_kernel)
        clock("score", partial(ConfusionMatrix(classes).update, mask.astype(np.uint8), sample["label"]))
        differing += int((clock("full-size maps", by_full_maps) != mask).sum())
    return {
        "steps": clock.medians(),
        "windows": len(plan.positions),
        "differing": differing,
        "images": len(dataset),
    }


def of_evaluate(model: Any, inference: dict[str, Any], dataset: Any, workers: int) -> tuple[float, float]:
    """Wall and CPU seconds an image of `evaluate`, as `jseg val` calls it, with the start of the workers."""
    from jseg.runner.evaluate import evaluate
    from jseg.runner.log import RunLog

    start, used = time.perf_counter(), _cpu_seconds()
    evaluate(model, dataset, inference, RunLog(None, active=False), num_workers=workers)
    return (time.perf_counter() - start) / len(dataset), (_cpu_seconds() - used) / len(dataset)


def _cpu_seconds() -> float:
    """Of this process and its workers that have ended."""
    used = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


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
    print(f"\n{found['differing']} pixels of {found['images']} masks differ, {1 / wall:.2f} images a second")
    print(f"one step after the other: {wall:.4f} s an image ({whole:.4f} CPU s)")
    for workers, (wall, cpu) in found["evaluate"].items():
        print(f"evaluate(), num_workers {workers}: {wall:.4f} s an image ({cpu:.4f} CPU s)")
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
