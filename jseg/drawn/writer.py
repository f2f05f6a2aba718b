"""Writes a drawn dataset to disk in the PASCAL VOC folder layout, so that `VOCDataset` can read it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from jseg.datasets.masks import save_mask
from jseg.drawn.dataset import DRAWN, DrawnDataset
from jseg.drawn.scene import Scene
from jseg.files import making_folder
from jseg.labels import IGNORE_INDEX

# In a mask, 0 is the background and k is class k-1, as in VOC. `reduce_zero_label` reverses this.
_BACKGROUND_VALUE = 0


def write_dataset(
    name: str,
    root: Path,
    counts: Mapping[str, int],
    seed: int = 0,
    size: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Draws the images of each split into the folder `root`, which must not exist yet.

    Everything is written into a folder beside it, which is renamed at the end. So `root` is complete or
    absent.

    Args:
        name: a name in `DRAWN`.
        root: folder to write.
        counts: number of images of each split, e.g. {"train": 2000, "val": 200}.
        seed: of the whole dataset.
        size: side of the images in pixels; by default that of the dataset.
        progress: called with 1 after each image.

    Raises:
        FileExistsError: if `root` exists.
        OSError: if the disk is full or the folder is not writable. The unfinished folder is removed.
    """
    root, dataset = Path(root), DRAWN[name]
    size = size or dataset.size
    if root.exists():
        raise FileExistsError(f"{root} already exists; remove it or choose another folder")
    with making_folder(root) as unfinished:
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (unfinished / folder).mkdir(parents=True)
        for split, count in counts.items():
            files = [f"{split}_{index:05d}" for index in range(count)]
            for index, file in enumerate(files):
                _write_scene(unfinished, file, dataset, dataset.draw(seed, split, index, size))
                if progress:
                    progress(1)
            (unfinished / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(
                "".join(f"{file}\n" for file in files)
            )
        card = {
            **_settings(dataset, counts, seed, size),
            "classes": dataset.classes.names,
            "unseen": [dataset.classes.names[i] for i in dataset.classes.unseen],
        }
        _card(unfinished, name).write_text(json.dumps(card, indent=1) + "\n")


def holds_dataset(
    name: str, root: Path, counts: Mapping[str, int], seed: int = 0, size: int | None = None
) -> bool:
    """Returns whether `write_dataset` wrote `root` with these settings and this edition of the drawing."""
    try:
        card = json.loads(_card(Path(root), name).read_text())
    except (OSError, ValueError):
        return False
    wanted = _settings(DRAWN[name], counts, seed, size or DRAWN[name].size)
    return {key: card.get(key) for key in wanted} == wanted


def _card(root: Path, name: str) -> Path:
    return root / f"{name}.json"


def _settings(dataset: DrawnDataset, counts: Mapping[str, int], seed: int, size: int) -> dict[str, Any]:
    return {"counts": dict(counts), "seed": seed, "size": size, "edition": dataset.edition}


def _write_scene(root: Path, file: str, dataset: DrawnDataset, scene: Scene) -> None:
    mask = scene.label + 1  # uint8: IGNORE_INDEX wraps to 0
    assert (mask[scene.label == IGNORE_INDEX] == _BACKGROUND_VALUE).all()
    # PNG and not JPEG, since at this size, compression would blur one object into the next.
    Image.fromarray(scene.image).save(root / "JPEGImages" / f"{file}.png")
    save_mask(
        root / "SegmentationClass" / f"{file}.png", mask, [(0, 0, 0), *dataset.classes.palette.tolist()]
    )
