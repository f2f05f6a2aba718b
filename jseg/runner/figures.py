"""The figures of a run: panels, curves, and the region-classification figure, in `work_dir/pictures`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jseg.datasets import Dataset
from jseg.distributed import alive
from jseg.files import PathLike
from jseg.labels import IGNORE_INDEX
from jseg.models.segmentors import Segmentor
from jseg.runner.prediction import predict_mask
from jseg.runtime.backend import jt
from jseg.visualization import can_draw, save_curves, save_panels, save_region_figure
from jseg.visualization.regions import HEADINGS

_CANDIDATES = 4  # candidates for each image drawn, to find unseen classes
_DRAWING = "drawing a figure"  # at first, matplotlib lists the fonts of the machine, which may take a minute
_FIGURE_REGIONS = 16  # the 4 x 4 grid of the paper's Fig. 2


def draw_figures(
    model: Segmentor, dataset: Dataset, inference: Mapping[str, Any], work_dir: PathLike, num_images: int
) -> list[Path]:
    """Draws panels, curves and, for models with region tokens, the region figure (Fig. 2 of the paper).

    Args:
        model: trained segmentor. dataset: labelled, in test mode.
        num_images: rows of the panel figure, 0 for none.

    Returns:
        The PNG files written.

    Raises:
        OSError: they cannot be written.
    """
    folder = Path(work_dir) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if num_images and len(dataset):
        chosen = choose_images(dataset, num_images)
        written.append(_draw_panels(model, dataset, inference, folder, chosen))
        if model.num_regions:
            regions = _draw_regions(model, dataset, folder, _most_classes(dataset, chosen))
            written += [] if regions is None else [regions]
    log = Path(work_dir) / "log.jsonl"
    if log.exists() and can_draw():
        written.append(folder / "curves.png")
        alive(_DRAWING)
        save_curves(written[-1], log, log.with_name("eval.jsonl"))
    return written


def choose_images(dataset: Dataset, count: int) -> list[int]:
    """Chooses `count` images. From a larger sample, evenly spaced, those with the most unseen pixels come
    first."""
    candidates = np.unique(
        np.linspace(0, len(dataset) - 1, min(len(dataset), _CANDIDATES * count)).astype(int)
    )

    def unseen_share(index: int) -> float:
        return float(np.isin(dataset.raw(index)[1], list(dataset.unseen)).mean())

    shares: dict[int, float] = {int(index): unseen_share(int(index)) for index in candidates}
    return sorted(shares, key=lambda index: (-shares[index], index))[:count]


def _draw_panels(
    model: Segmentor, dataset: Dataset, inference: Mapping[str, Any], folder: Path, chosen: list[int]
) -> Path:
    rows: list[dict[str, Any]] = []
    for index in chosen:
        image, label, name = dataset.raw(index)
        prediction = predict_mask(model, dataset.sample(index, 0), inference)
        rows.append(dict(image=image, label=label, prediction=prediction, name=name))
    ignored = any((row["label"] == IGNORE_INDEX).any() for row in rows)
    path = folder / "panels.png"
    alive(_DRAWING)
    save_panels(path, rows, dataset.class_names, dataset.palette, dataset.unseen, mask_ignore=ignored)
    return path


def _most_classes(dataset: Dataset, chosen: list[int]) -> int:
    """Returns the image with the most classes. Regions that all show the same class are hard to compare."""
    return max(chosen, key=lambda index: len(np.setdiff1d(dataset.raw(index)[1], [IGNORE_INDEX])))


def _draw_regions(model: Segmentor, dataset: Dataset, folder: Path, index: int) -> Path | None:
    """Draws the region figure, or returns None for a model that does not classify regions."""
    sample = dataset.sample(index, 0)
    image = _fit_patches(sample["image"], model.patch_size)
    batch = jt.array(np.ascontiguousarray(image[None]))
    too_small = min(image.shape[1:]) < model.patch_size * _FIGURE_REGIONS**0.5
    count = model.num_regions if model.trains_regions or too_small else _FIGURE_REGIONS

    def probabilities(original_clip: bool) -> np.ndarray | None:
        with jt.no_grad():
            found = model.region_probabilities(batch, original_clip=original_clip, num_regions=count)
            return None if found is None else found.numpy()[0]

    original, trained = probabilities(True), probabilities(False)
    if original is None or trained is None:
        return None
    raw = dataset.raw(index)[0]
    scale_y, scale_x = raw.shape[0] / sample["image"].shape[1], raw.shape[1] / sample["image"].shape[2]
    shown = _cut(raw, (round(image.shape[1] * scale_y), round(image.shape[2] * scale_x)))
    path = folder / "regions.png"
    original_heading, trained_heading = HEADINGS
    if count != model.num_regions:
        trained_heading = f"CLIP-RC encoder (trained with {model.num_regions} regions)"
    alive(_DRAWING)
    save_region_figure(
        path,
        shown,
        original,
        trained,
        dataset.class_names,
        dataset.unseen,
        headings=(original_heading, trained_heading),
    )
    return path


def _fit_patches(image: np.ndarray, patch: int) -> np.ndarray:
    """Crops (3, h, w) at the right and the bottom to whole patches, so that regions tile the image shown."""
    height, width = (max(size // patch, 1) * patch for size in image.shape[1:])
    return image[:, :height, :width]


def _cut(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).crop((0, 0, size[1], size[0])))
