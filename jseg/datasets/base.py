"""Base classes of datasets: reading, checking and reproducibly transforming images and masks.

A subclass finds the files (`Record`s). This class reads image and mask, converts mask values to training
labels, and applies the transforms with a random generator that depends only on (seed, epoch, index).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from jseg.datasets.classes import load_class_list, published_values, resolve_unseen
from jseg.datasets.masks import check_labels, check_size, read_image, read_mask
from jseg.datasets.pipeline import build_pipeline
from jseg.labels import IGNORE_INDEX
from jseg.registry import Registry

# Last word of every generator's seed, so that order (loader) and augmentation never share a random stream.
AUGMENT_STREAM, ORDER_STREAM = 1, 2

PipelineSettings = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Record(NamedTuple):
    """One image: its id, the image file, and the mask file or None."""

    name: str
    image: Path
    mask: Path | None


class Sample(TypedDict):
    """An image as model input.

    Attributes:
        image: float32 (3, h, w), normalised RGB. label: uint8 (h, w), or (H, W) in test mode, 255 ignored.
        name: id. original_size: (H, W).
    """

    image: np.ndarray
    label: np.ndarray
    name: str
    original_size: tuple[int, int]


class Dataset:
    """The interface of a dataset for training, evaluation and the loader.

    Attributes:
        class_names: tuple of C names. palette: uint8 (C, 3). unseen: tuple of class indices.
    """

    class_names: tuple[str, ...]
    palette: np.ndarray
    unseen: tuple[int, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Returns the id of image `index`, unique in the dataset."""

    @abstractmethod
    def raw(self, index: int) -> tuple[np.ndarray, np.ndarray, str]:
        """Returns image `index` as RGB uint8 (H, W, 3) at full size, label uint8 (H, W), 255 ignored, and its
        id.

        Without masks, every pixel is ignored.

        Raises:
            FileNotFoundError, ValueError: if a file is missing or invalid. The message names it.
        """

    @abstractmethod
    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Returns image `index` as model input. Equal arguments give equal arrays, in any process.

        Raises:
            FileNotFoundError, ValueError: if a file is missing or invalid. The message names it.
        """

    def files(self) -> list[Path]:
        """Returns the image file of every index, or nothing if images are not files."""
        return []

    def sources(self) -> list[Path]:
        """Returns every file that is read, or nothing if the data are not files."""
        return self.files()

    def published_values(self) -> np.ndarray:
        """Returns the value of each class, uint8 (C,), in masks as published by the authors of the data."""
        return np.arange(len(self.class_names), dtype=np.uint8)

    def notes(self) -> list[str]:
        """Returns sentences about files in the folders of the dataset that are not used."""
        return []


DATASETS = Registry("dataset", Dataset, supplied=("seed", "data_root"))


class SegmentationDataset(Dataset):
    """Images with label masks, given as records.

    Args:
        records: the images, in order.
        classes: name of a class list, or class names.
        unseen: indices or names of the unseen classes. None: those of the class list.
        reduce_zero_label: mask value 0 becomes ignore (255) and k becomes k-1.
        pipeline: settings of the released recipe, or a list of transforms; see `jseg.datasets.pipeline`.
        test_mode: transform only the image, and keep the label at the original size.
        seed: seed of the augmentation, at least 0.

    Attributes:
        class_names: tuple of C names. palette: uint8 (C, 3). unseen: tuple of class indices.
    """

    def __init__(
        self,
        records: Sequence[Record],
        classes: str | Sequence[str],
        unseen: Sequence[int | str] | None = None,
        reduce_zero_label: bool = False,
        pipeline: PipelineSettings = None,
        test_mode: bool = False,
        seed: int = 0,
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed: {seed} is negative; give 0 or more")
        class_list = load_class_list(classes)
        self.class_names = class_list.names
        self.palette = class_list.palette
        self.unseen = class_list.unseen if unseen is None else resolve_unseen(unseen, class_list.names)
        self.reduce_zero_label = reduce_zero_label
        self._published = published_values(classes)
        self.test_mode = test_mode
        self.seed = seed
        self.records = tuple(records)
        self.transforms = build_pipeline(pipeline, test_mode)

    def __len__(self) -> int:
        return len(self.records)

    def name(self, index: int) -> str:
        """Returns the id of image `index`."""
        return self.records[index].name

    def files(self) -> list[Path]:
        """See `Dataset.files`."""
        return [record.image for record in self.records]

    def sources(self) -> list[Path]:
        """Returns the image of every index, followed by its mask if it has one."""
        return [path for record in self.records for path in (record.image, record.mask) if path is not None]

    def published_values(self) -> np.ndarray:
        """See `Dataset.published_values`."""
        if self._published is not None:
            return np.array(self._published, np.uint8)
        return np.arange(len(self.class_names), dtype=np.uint8) + np.uint8(self.reduce_zero_label)

    def raw(self, index: int) -> tuple[np.ndarray, np.ndarray, str]:
        """See `Dataset.raw`."""
        record = self.records[index]
        if record.mask is None:
            image = read_image(record.image)
            return image, np.full(image.shape[:2], IGNORE_INDEX, np.uint8), record.name
        mask = read_mask(record.mask)
        image = read_image(record.image, (mask.shape[0], mask.shape[1]))
        check_size(mask, (image.shape[0], image.shape[1]), record.mask, record.image)
        return image, self.labels(mask, record.mask), record.name

    def labels(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """Training labels uint8 (H, W) from the values of a mask file.

        Raises:
            ValueError: a value that no class has; names `path`.
        """
        return check_labels(mask, len(self.class_names), self.reduce_zero_label, path)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """See `Dataset.sample`."""
        image, label, name = self.raw(index)
        state: dict[str, Any] = {"image": image, "name": name}
        if not self.test_mode:
            state["label"] = label
        rng = np.random.default_rng([self.seed, epoch, index, AUGMENT_STREAM])
        for transform in self.transforms:
            state = transform(state, rng)
        if state["image"].dtype != np.float32:
            raise ValueError("pipeline: the image was never normalised; add dict(type='Normalize')")
        return {
            "image": np.ascontiguousarray(state["image"].transpose(2, 0, 1)),
            "label": state.get("label", label),
            "name": name,
            "original_size": (image.shape[0], image.shape[1]),
        }
