"""Datasets of your own: a folder of images, a folder of masks, and a text file of class words.

    <data_root>/images/<id>.jpg (or .jpeg, .png)
    <data_root>/masks/<id>.png       palette or 8-bit grey; value = line of classes.txt from 0, 255 = none
    <data_root>/classes.txt          one class word per line
    <data_root>/unseen.txt           optional: the classes without masks in training, one per line
    <data_root>/train.txt, val.txt   optional: ids, one per line

Without lists, `images/train`, `images/val`, `masks/train` and `masks/val` define the split. Without these
folders, a share of the images is held out for validation. docs/custom_dataset.md describes the steps.
"""

import glob
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jseg.datasets.base import DATASETS, PipelineSettings, Record, SegmentationDataset
from jseg.datasets.classes import load_class_list, resolve_unseen
from jseg.datasets.files import (
    IMAGE_SUFFIXES,
    ending_of,
    files_by_stem,
    read_ids,
    require_files,
    without_ending,
)
from jseg.datasets.leftovers import left_out
from jseg.datasets.words import read_words
from jseg.files import expanded
from jseg.names import shortened

_PARTS = ("train", "val", "test")


@DATASETS.register()
class FolderDataset(SegmentationDataset):
    """A split of a user's dataset. All files are looked up here, so that missing ones are found before
    training.

    Args:
        data_root: folder that contains the ones below. Every path may also be absolute.
        split: 'train', 'val' or 'test'. None: every image in `image_dir`.
        image_dir: folder of the images.
        mask_dir: folder of the masks. None: images are only segmented (test mode).
        image_ending: end of image names after the id, e.g. '_leftImg8bit' or '_leftImg8bit.png'.
        mask_ending: end of mask names after the id, e.g. '_labelTrainIds' or '_labelTrainIds.png'.
        classes: text file of class words, or the words.
        unseen: text file of unseen classes, or names or indices. None: `unseen.txt` if it exists, or else no
            classes.
        reduce_zero_label: mask value 0 is not a class (background), and k is line k-1 of the classes.
        val_share: share of the images that is held out for validation if there are no lists and no folders of
            splits. The choice depends only on the names and on `split_seed`.
        split_seed: seed of this choice.
        pipeline, test_mode, seed: see `SegmentationDataset`.

    Raises:
        FileNotFoundError: if a folder, a list, an image or a mask is missing.
        ValueError: if unseen names are not classes, the split is empty, or an option is invalid.
    """

    def __init__(
        self,
        data_root: str,
        split: str | None = None,
        image_dir: str = "images",
        mask_dir: str | None = "masks",
        image_ending: str = "",
        mask_ending: str = "",
        classes: str | Sequence[str] = "classes.txt",
        unseen: str | Sequence[int | str] | None = None,
        reduce_zero_label: bool = False,
        val_share: float = 0.1,
        split_seed: int = 0,
        pipeline: PipelineSettings = None,
        test_mode: bool = False,
        seed: int = 0,
    ) -> None:
        root = expanded(data_root)
        if not root.is_dir():
            raise FileNotFoundError(
                f"{root}: this folder does not exist; set data_root to the folder that contains "
                f"{image_dir} and {mask_dir or 'the class words'}"
            )
        if mask_dir is None and not test_mode:
            raise ValueError(
                "mask_dir is None, but training needs masks; set it to their folder, or set test_mode=True"
            )
        if not 0 < val_share < 1:
            raise ValueError(f"val_share: {val_share} is not a valid share; use a number between 0 and 1")
        image_ending = ending_of(image_ending, IMAGE_SUFFIXES)
        mask_ending = ending_of(mask_ending, (".png",))
        endings = [image_ending + suffix for suffix in IMAGE_SUFFIXES]
        names, unseen = _classes(root, classes, unseen)
        image_folder = root / expanded(image_dir)
        masks = None if mask_dir is None else root / expanded(mask_dir)
        ids = _listed(root, split, image_ending)
        listed, by_folders = ids is not None, False
        if ids is None and split is not None and _has_folders(image_folder, split):
            image_folder, masks, split = image_folder / split, None if masks is None else masks / split, None
            by_folders = True
        images = _images(image_folder, image_ending)
        if not images:
            raise ValueError(
                f"{image_folder}: there are no images ({', '.join(endings)}); check data_root, image_dir, "
                "image_ending and split"
            )
        if ids is None:
            ids = _automatic(sorted(images), split, val_share, split_seed)
        require_files(
            ids,
            images,
            image_folder,
            endings,
            "image",
            f"although {root / f'{split}.txt'} lists it; add the file or remove the line",
        )
        found = {} if masks is None else _find_masks(ids, masks, mask_ending, image_folder)
        self._leftovers = _Leftovers(root, image_folder, masks, image_ending, mask_ending, listed, by_folders)
        super().__init__(
            [Record(name, images[name], found.get(name)) for name in ids],
            names,
            unseen,
            reduce_zero_label,
            pipeline,
            test_mode,
            seed,
        )

    def notes(self) -> list[str]:
        """See `Dataset.notes`. Also lists the images that are in no split file."""
        return self._leftovers.notes()


class _Leftovers(NamedTuple):
    """Locations of a dataset's files, to find those that are not used."""

    root: Path
    images: Path
    masks: Path | None
    image_ending: str
    mask_ending: str
    listed: bool  # the split is given by lists
    parts: bool  # the split is given by folders: `images` and `masks`

    def notes(self) -> list[str]:
        images = _images(self.images, self.image_ending)
        folders, kept = [self.images], {*images.values(), *self.root.glob("*.txt")}
        if self.masks is not None:
            masks = _masks(self.masks, self.mask_ending)
            kept.update(path for name, path in masks.items() if name in images)
            folders.append(self.masks)
        kept.update(folders)
        if self.parts:
            folders += [folder.parent for folder in folders]
        parts = _PARTS if self.parts else ()
        notes = [note for folder in dict.fromkeys(folders) for note in left_out(folder, kept, parts)]
        return notes + (self._unlisted(images) if self.listed else [])

    def _unlisted(self, images: Mapping[str, Path]) -> list[str]:
        lists = [path for part in _PARTS if (path := self.root / f"{part}.txt").is_file()]
        listed = {name for path in lists for name in read_ids(path, self.image_ending)}
        unlisted = sorted(path.name for name, path in images.items() if name not in listed)
        if not unlisted:
            return []
        names = " or ".join(path.name for path in lists)
        return [f"{self.images}: images that are not in {names}: {len(unlisted)} ({shortened(unlisted)})"]


def _images(folder: Path, ending: str) -> dict[str, Path]:
    """Returns id -> image file."""
    return without_ending(files_by_stem(folder, "image_dir", IMAGE_SUFFIXES), ending)


def _masks(folder: Path, ending: str) -> dict[str, Path]:
    """Returns id -> mask file."""
    return without_ending(files_by_stem(folder, "mask_dir", (".png",)), ending)


def _classes(
    root: Path, classes: str | Sequence[str], unseen: str | Sequence[int | str] | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns class names and the indices of the unseen ones."""
    names = load_class_list(
        read_words(root / expanded(classes)) if isinstance(classes, str) else tuple(classes)
    ).names
    if unseen is None:
        unseen = "unseen.txt" if (root / "unseen.txt").exists() else ()
    if not isinstance(unseen, str):
        return names, resolve_unseen(unseen, names)
    try:
        return names, resolve_unseen(read_words(root / expanded(unseen)), names)
    except ValueError as error:
        raise ValueError(f"{root / unseen}: {error}; every line must be a class of {classes}") from error


def _listed(root: Path, split: str | None, image_ending: str) -> list[str] | None:
    """Returns the ids of a split listed in a file, or None if no split has a list."""
    lists = [part for part in _PARTS if (root / f"{part}.txt").is_file()]
    if split is None or not lists:
        return None
    if split not in lists:
        raise FileNotFoundError(
            f"{root / f'{split}.txt'}: there is no list of this split, but there is one of "
            f"{' and '.join(lists)}; create it too, one image id per line"
        )
    return read_ids(root / f"{split}.txt", image_ending)


def _has_folders(image_folder: Path, split: str) -> bool:
    """Whether the splits are given by folders.

    Raises:
        FileNotFoundError: if they are, but this split has no folder.
    """
    folders = [part for part in _PARTS if (image_folder / part).is_dir()]
    if not folders:
        return False
    if split not in folders:
        raise FileNotFoundError(
            f"{image_folder / split}: this folder does not exist, but there is "
            f"{' and '.join(folders)}; add it, or list the ids of each split in text files"
        )
    return True


def _automatic(ids: list[str], split: str | None, val_share: float, split_seed: int) -> list[str]:
    """Returns the ids that belong to the split, chosen by a hash of each name, so that new images change
    few."""
    if split is None:
        return ids
    if split not in ("train", "val"):
        raise ValueError(
            f"split: there is neither a list nor a folder of '{split}', and images are held out only for "
            "'train' and 'val'; write lists, or set split=None to use every image in image_dir"
        )
    if len(ids) < 2:
        raise ValueError(
            f"split: one image ('{ids[0]}') cannot be split into training and validation; add images"
        )
    ranked = sorted(ids, key=lambda name: hashlib.sha256(f"{split_seed}:{name}".encode()).digest())
    count = min(max(round(len(ids) * val_share), 1), len(ids) - 1)
    return sorted(ranked[:count] if split == "val" else ranked[count:])


def _find_masks(ids: Sequence[str], folder: Path, ending: str, image_folder: Path) -> dict[str, Path]:
    """Returns id -> mask file for each id."""
    masks = _masks(folder, ending)
    missing = next((name for name in ids if name not in masks), None)
    hint = "; if names differ in more than the file suffix, set image_ending and mask_ending"
    if missing is not None:
        others = sorted(path.name for path in folder.glob(f"{glob.escape(missing)}*"))
        hint = (
            f"; there is {others[0]}, but masks must be PNG files with the name of their image{hint}"
            if others
            else hint
        )
    require_files(
        ids,
        masks,
        folder,
        (f"{ending}.png",),
        "mask",
        f"although there is an image of that name in {image_folder}; add the mask, or list the images with "
        f"masks in train.txt and val.txt{hint}",
    )
    return masks
