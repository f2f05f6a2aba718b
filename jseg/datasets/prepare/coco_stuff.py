"""COCO-Stuff 164K: converts `annotations/<split>/<id>.png` (stuffthingmaps) to `<id>_labelTrainIds.png`.

Values of the published masks are ids of COCO-Stuff's label list minus one, 0..181, and 255 for unlabelled
pixels. Eleven values never occur: thing categories that COCO lists but that were never annotated. They become
255 too.
"""

import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from jseg.datasets.classes import load_class_list, raw_values
from jseg.datasets.coco_stuff import CLASS_LIST, MASK_ENDING
from jseg.datasets.files import files_by_stem
from jseg.datasets.leftovers import left_out
from jseg.datasets.masks import check_size, read_mask
from jseg.datasets.prepare.archives import Archive
from jseg.datasets.prepare.files import image_size, is_complete_png, write_label
from jseg.datasets.prepare.work import Annotation, Contents, Pair, Work, require
from jseg.datasets.roots import new_root
from jseg.labels import IGNORE_INDEX

TITLE = "COCO-Stuff 164K"
IMAGES = {
    split: Archive(f"{split}.zip", {f"{split}/": f"images/{split}/"}) for split in ("train2017", "val2017")
}
_ID = re.compile(r"\d{12}")  # other projects store their own files in the same folder
MAPS = Archive("stuffthingmaps_trainval2017.zip", {f"{split}/": f"annotations/{split}/" for split in IMAGES})
PUBLISHED = (
    {
        "images in train2017": 118287,
        "masks in train2017": 118287,
        "images in val2017": 5000,
        "masks in val2017": 5000,
    },
)


def find_home(root: Path) -> Path:
    """Returns the folder of the dataset, existing or to be created."""
    return new_root(str(root), CLASS_LIST, "images")


def prepare(work: Work) -> None:
    """Writes the masks of training labels.

    Raises:
        FileNotFoundError: if an archive is missing. ValueError: if an archive cannot be read.
        Problems: if some masks cannot be converted, after converting the others. OSError: on disk errors.
    """
    home = find_home(work.root)
    for split, archive in IMAGES.items():
        work.unpack(archive, home)
        require(home / "images" / split, archive, work.root)
    work.unpack(MAPS, home)
    tasks: list[Annotation] = []
    for split in IMAGES:
        folder = require(home / "annotations" / split, MAPS, work.root)
        names = [name for name in sorted(files_by_stem(folder, "split", (".png",))) if _ID.fullmatch(name)]
        tasks += [
            Annotation(
                folder / f"{name}.png",
                home / "images" / split / f"{name}.jpg",
                folder / f"{name}{MASK_ENDING}.png",
            )
            for name in names
        ]
    work.convert(_convert, tasks, "annotations")


def contents(home: Path) -> Contents:
    """Returns every image and every mask of training labels, paired by name."""
    pairs: list[Pair] = []
    counts = {}
    problems: list[str] = []
    notes: list[str] = []
    for split in IMAGES:
        images, masks = home / "images" / split, home / "annotations" / split
        try:
            image_files = files_by_stem(images, "split", (".jpg",))
            mask_files = {
                name: path
                for name, path in files_by_stem(masks, "split", (".png",)).items()
                if _ID.fullmatch(name.removesuffix(MASK_ENDING))
            }
            image_names = set(image_files)
            mask_names = {name.removesuffix(MASK_ENDING) for name in mask_files if name.endswith(MASK_ENDING)}
            notes += left_out(images, image_files.values()) + left_out(masks, mask_files.values())
        except FileNotFoundError as problem:
            problems.append(str(problem))
            image_names = mask_names = set()
        else:
            if not image_names:
                problems.append(f"{images}: there are no images; unpack {IMAGES[split].name} again")
        counts[f"images in {split}"], counts[f"masks in {split}"] = len(image_names), len(mask_names)
        pairs += [
            Pair(images / f"{name}.jpg", masks / f"{name}{MASK_ENDING}.png", len(raw_values(CLASS_LIST)))
            for name in sorted(image_names | mask_names)
        ]
    return Contents(pairs, counts, problems, notes)


def _convert(annotation: Annotation) -> bool:
    if is_complete_png(annotation.mask):
        return False
    published = read_mask(annotation.source)
    highest = max(raw_values(CLASS_LIST))
    wrong = published[(published > highest) & (published != IGNORE_INDEX)]
    if wrong.size:
        raise ValueError(
            f"{annotation.source}: value {wrong[0]} is outside 0..{highest} and {IGNORE_INDEX}; extract this "
            f"file from {MAPS.name} again"
        )
    check_size(published, image_size(annotation.image), annotation.source, annotation.image)
    write_label(annotation.mask, _table()[published], load_class_list(CLASS_LIST).palette)
    return True


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """Returns the table from published value to training label, uint8 (256)."""
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[list(raw_values(CLASS_LIST))] = np.arange(len(raw_values(CLASS_LIST)))
    return table
