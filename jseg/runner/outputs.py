"""Masks and scores of individual images that an evaluation writes."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jseg.datasets import Dataset
from jseg.datasets.masks import save_mask
from jseg.datasets.outlines import CocoFile, class_outlines, require_outlines, save_labelme
from jseg.distributed import barrier, gather_objects, is_main
from jseg.evaluation.per_image import image_record, write_records
from jseg.files import PathLike, replacing
from jseg.runtime.command import prove_writable

MASKS, PER_IMAGE = "val_predictions", "per_image.jsonl"
METRICS, CONFUSION = "metrics.json", "confusion.json"
"""Names of files and folders in the work folder."""
WRITTEN = ".written_by_jseg"
"""File in a folder of masks that lists the files written by jseg, one per line."""
COCO_FILE = "coco.json"


class ImageOutputs:
    """Collects the results of one rank. Every rank must create one and call `close`.

    Args:
        dataset: the dataset that is evaluated.
        masks: folder for palette PNG files (pixel = class index from 0, without a background), or None. Masks
            that an earlier run wrote there, as listed in `WRITTEN`, are removed once every rank has its first
            result. Other files stay.
        records: file for one JSON object per image, in the order of the dataset, or None.
        published_values: write masks with the dataset's published values instead of class indices.
        outlines: further files in the folder of masks, "labelme" (`labelme/<id>.json`) and "coco"
            (`coco.json`, written by `close`); see `jseg.datasets.outlines`.

    Raises:
        OSError: if `masks` cannot be written. ValueError: if the packages for outlines are missing.
    """

    def __init__(
        self,
        dataset: Dataset,
        masks: PathLike | None = None,
        records: PathLike | None = None,
        published_values: bool = False,
        outlines: Sequence[str] = (),
    ) -> None:
        self._dataset, self._records = dataset, records
        self._masks = None if masks is None else Path(masks)
        self._values = dataset.published_values() if published_values else None
        self._outlines = tuple(outlines) if masks is not None else ()
        self._coco = CocoFile(dataset.class_names, self._values)
        if self._outlines:
            require_outlines()
        self._own: dict[int, dict[str, Any]] = {}
        self._begun = False
        if self._masks is not None:
            prove_writable(self._masks / WRITTEN, replaced=True)

    def take(self, index: int, prediction: np.ndarray, matrix: np.ndarray | None = None) -> None:
        """Adds one image: class indices (H, W), and its confusion matrix (C, C) if it is labelled.

        Raises:
            OSError: if the mask cannot be written.
        """
        self._begin()
        name = self._dataset.name(index)
        if self._masks is not None:
            path = self._masks / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._save(path, prediction)
            if self._outlines:
                self._save_outlines(self._masks, index, prediction)
        if self._records is not None and matrix is not None:
            self._own[index] = image_record(name, matrix, self._dataset.class_names, self._dataset.unseen)

    def _save(self, path: Path, prediction: np.ndarray) -> None:
        palette = self._dataset.palette
        if self._values is None:
            save_mask(path, prediction, palette)
            return
        colours = np.zeros((int(self._values.max()) + 1, 3), np.uint8)
        colours[self._values] = palette
        save_mask(path, self._values[prediction], colours)

    def _save_outlines(self, folder: Path, index: int, prediction: np.ndarray) -> None:
        name, images = self._dataset.name(index), self._dataset.files()
        image = images[index] if images else None
        size = (prediction.shape[0], prediction.shape[1])
        found = class_outlines(prediction, self._dataset.class_names)
        if "labelme" in self._outlines:
            save_labelme(folder / "labelme" / f"{name}.json", image, size, found)
        self._coco.add(index, name if image is None else image.name, size, found)

    def close(self) -> None:
        """Writes the records and the outlines of all ranks into one file each, on the main rank.

        Raises:
            OSError: if a file cannot be written.
        """
        self._begin()
        if self._masks is not None and "coco" in self._outlines:
            for entries in gather_objects(self._coco.entries(), what="gathering the outlines"):
                self._coco.take(entries)
            if is_main():
                self._coco.save(self._masks / COCO_FILE)
        if self._records is None:
            return
        records: dict[int, dict[str, Any]] = {}
        for part in gather_objects(self._own, what="gathering the scores of images"):
            records.update(part)
        if is_main():
            write_records(self._records, (records[index] for index in sorted(records)))

    def _begin(self) -> None:
        """Replaces an earlier run's masks. This happens late, so that a run that cannot read its data removes
        nothing."""
        if self._masks is not None and not self._begun:
            self._begun = True
            names = [self._dataset.name(index) for index in range(len(self._dataset))]
            files = [f"{name}.png" for name in names]
            if "labelme" in self._outlines:
                files += [f"labelme/{name}.json" for name in names]
            if "coco" in self._outlines:
                files.append(COCO_FILE)
            _begin_masks(self._masks, files)


def _begin_masks(folder: Path, names: list[str]) -> None:
    """Removes the masks of an earlier run from `folder`, and lists those that this run will write.

    Every rank does both, since their folders may be on different disks.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    barrier("the first segmented image on every rank")
    listed = folder / WRITTEN
    earlier: list[str] = []
    # Only \n separates names: they may contain other characters that splitlines takes for the end of a line.
    with (
        contextlib.suppress(FileNotFoundError),
        listed.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file,
    ):
        earlier = file.read().split("\n")
    for path in (folder / name for name in earlier if name.endswith((".png", ".json")) and "\0" not in name):
        if _lies_in(path, folder):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()
    barrier("the removal of earlier predictions")
    text = "".join(f"{name}\n" for name in names if "\n" not in name).encode(
        "utf-8", errors="surrogateescape"
    )
    with replacing(listed) as temporary:
        temporary.write_bytes(text)


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a file is in `folder` or below. Links to folders are resolved, so that their targets are
    kept."""
    root = os.path.realpath(folder)
    return os.path.commonpath([root, os.path.realpath(path.parent)]) == root
