"""Measures the speed of the data loader with the released training recipe on images of PASCAL VOC's size.

    python benchmarks/loader.py

The script draws 500x375 JPEG images of about 85 KB and palette masks. Then it prints three tables: the time
of each step of one image, images per second by the number of workers, and the share of time that a trainer
waits. The trainer only sleeps, like a process that waits for a GPU. The time per step is CPU time and not
wall time, because on a busy machine only CPU time shows the speed of one core.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.datasets import DataLoader, VOCDataset, read_image, read_mask, save_mask
from jseg.datasets.masks import check_labels

HEIGHT, WIDTH = 375, 500


def smooth(rng: np.random.Generator, points: int) -> np.ndarray:
    """Returns random values on a coarse grid, interpolated to the image size (HEIGHT, WIDTH)."""

    def weights(length: int) -> np.ndarray:
        position = np.linspace(0, points - 1, length)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(points)))

    return weights(HEIGHT) @ rng.normal(size=(points, points)) @ weights(WIDTH).T


def write_images(root: Path, count: int) -> None:
    """Writes a dataset in VOC layout, whose images have enough detail for JPEG files as large as VOC's."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        layers = [
            np.stack([amplitude * smooth(rng, points) for _ in range(3)], axis=2)
            for points, amplitude in ((6, 80), (30, 40), (120, 30))
        ]
        image = 128 + sum(layers) + rng.normal(0, 6, (HEIGHT, WIDTH, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
            root / f"JPEGImages/{number}.jpg", quality=92
        )
        mask = (smooth(rng, 4) > 0.3) * int(rng.integers(1, 21))
        mask[smooth(rng, 4) > 0.6] = rng.integers(1, 21)
        save_mask(root / f"SegmentationClass/{number}.png", mask, [])
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{number}\n" for number in range(count)))


def step_times(dataset: VOCDataset, repeats: int) -> dict[str, float]:
    """Measures the mean CPU milliseconds of every step for one image."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, call, *arguments):
        start = time.process_time()
        result = call(*arguments)
        spent[name] += time.process_time() - start
        return result

    for number in range(repeats):
        record = dataset.records[number % len(dataset)]
        image = timed("read image", read_image, record.image)
        mask = timed("read mask", read_mask, record.mask)
        label = timed("check labels", check_labels, mask, 20, True, record.mask)
        sample, rng = {"image": image, "label": label}, np.random.default_rng(number)
        for transform in dataset.transforms:
            sample = timed(type(transform).__name__, transform, sample, rng)
    return {name: 1000 * seconds / repeats for name, seconds in spent.items()}


def rate(dataset: VOCDataset, workers: int, batch_size: int, batches: int) -> float:
    """Measures the images per second that the loader delivers when nothing else works."""
    loader = DataLoader(dataset, batch_size, seed=0, num_workers=workers).batches()
    for _ in range(2 * max(workers, 1)):  # skips batches that were prepared while the processes started
        next(loader)
    start = time.perf_counter()
    for _ in range(batches):
        next(loader)
    seconds = time.perf_counter() - start
    loader.close()
    return batches * batch_size / seconds


def waiting_share(
    dataset: VOCDataset, workers: int, batch_size: int, seconds: float, iterations: int
) -> float:
    """Measures the percentage of time that a trainer waits whose own work takes `seconds` per iteration."""
    loader = DataLoader(dataset, batch_size, seed=0, num_workers=workers).batches()
    next(loader)
    waited, begin = 0.0, time.perf_counter()
    for _ in range(iterations):
        time.sleep(seconds)
        start = time.perf_counter()
        next(loader)
        waited += time.perf_counter() - start
    total = time.perf_counter() - begin
    loader.close()
    return 100 * waited / total


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Formats a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, ["---"] * len(heads), *rows])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=96, help="number of images timed step by step")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=8, help="images per batch of the second table")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument(
        "--trainers",
        nargs="+",
        default=["2:0.25", "8:1.0"],
        metavar="PICTURES:SECONDS",
        help="trainers of the third table: images per iteration and rank, seconds per iteration",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "voc", args.images)
        dataset = VOCDataset(str(Path(folder) / "voc"), "train")
        for number in range(4):  # the first calls load code
            dataset.sample(number)
        times = step_times(dataset, args.repeats)
        total = sum(times.values())
        rows = [[name, f"{value:.2f}", f"{100 * value / total:.0f} %"] for name, value in times.items()]
        print(table(["step", "CPU ms per image", "share"], [*rows, ["sum", f"{total:.2f}", ""]]))
        print(f"\none worker on its own core: {1000 / total:.0f} images/s\n")
        rows = [
            [str(workers), f"{rate(dataset, workers, args.batch_size, args.batches):.1f}"]
            for workers in args.workers
        ]
        print(table(["num_workers", "images/s (wall)"], rows) + "\n")
        rows = []
        for trainer in args.trainers:
            count, seconds = int(trainer.split(":")[0]), float(trainer.split(":")[1])
            shares = [
                waiting_share(dataset, workers, count, seconds, args.batches) for workers in args.workers
            ]
            rows.append([f"{count} images in {seconds:g} s", *(f"{share:.1f} %" for share in shares)])
        print(
            table(
                ["iteration of the trainer", *(f"waits, {workers} workers" for workers in args.workers)], rows
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
