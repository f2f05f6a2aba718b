"""Writes ZeroShapes to disk in the PASCAL VOC folder layout, so that `VOCDataset` can read it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from jseg.datasets.masks import save_mask
from jseg.files import making_folder
from jseg.labels import IGNORE_INDEX
from jseg.zeroshapes.drawing import CLASS_NAMES, EDITION, PALETTE, UNSEEN, draw_scene

# In a mask, 0 is the background and k is class k-1, as in VOC. `reduce_zero_label` reverses this.
_BACKGROUND_VALUE = 0
_CARD = "zeroshapes.json"


def write_zeroshapes(
    root: Path,
    counts: Mapping[str, int],
    seed: int = 0,
    size: int = 64,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Draws the images of each split into the folder `root`, which must not exist yet.

    Everything is written into a folder beside it, which is renamed at the end. So `root` is complete or
    absent.

    Args:
        root: folder to write.
        counts: number of images of each split, e.g. {"train": 2000, "val": 200}.
        seed: see `draw_scene`.
        size: side of the images in pixels.
        progress: called with 1 after each image.

    Raises:
        FileExistsError: if `root` exists.
        OSError: if the disk is full or the folder is not writable. The unfinished folder is removed.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root} already exists; remove it or choose another folder")
    with making_folder(root) as unfinished:
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (unfinished / folder).mkdir(parents=True)
        for split, count in counts.items():
            names = [f"{split}_{index:05d}" for index in range(count)]
            for index, name in enumerate(names):
                _write_scene(unfinished, name, seed, split, index, size)
                if progress:
                    progress(1)
            (unfinished / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(
                "".join(f"{n}\n" for n in names)
            )
        card = {
            **_settings(counts, seed, size),
            "classes": CLASS_NAMES,
            "unseen": [CLASS_NAMES[i] for i in UNSEEN],
        }
        (unfinished / _CARD).write_text(json.dumps(card, indent=1) + "\n")


def holds_zeroshapes(root: Path, counts: Mapping[str, int], seed: int = 0, size: int = 64) -> bool:
    """Returns whether `write_zeroshapes` wrote `root` with these settings and this edition of the drawing."""
    try:
        card = json.loads((Path(root) / _CARD).read_text())
    except (OSError, ValueError):
        return False
    wanted = _settings(counts, seed, size)
    return {key: card.get(key) for key in wanted} == wanted


def _settings(counts: Mapping[str, int], seed: int, size: int) -> dict[str, Any]:
    return {"counts": dict(counts), "seed": seed, "size": size, "edition": EDITION}


def _write_scene(root: Path, name: str, seed: int, split: str, index: int, size: int) -> None:
    scene = draw_scene(seed, split, index, size)
    mask = scene.label + 1  # uint8: IGNORE_INDEX wraps to 0
    assert (mask[scene.label == IGNORE_INDEX] == _BACKGROUND_VALUE).all()
    # PNG and not JPEG, since at this size, compression would blur one object into the next.
    Image.fromarray(scene.image).save(root / "JPEGImages" / f"{name}.png")
    save_mask(root / "SegmentationClass" / f"{name}.png", mask, [(0, 0, 0), *PALETTE.tolist()])
