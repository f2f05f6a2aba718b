"""Scores predictions that were saved as masks, with the same results as the run itself.

A prediction is a palette or greyscale PNG whose pixel values are class indices from 0, as saved by
`tools/run_net.py`. Ground truth is stored as published.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jseg.datasets.classes import load_class_list, published_values
from jseg.datasets.coco_stuff import MASK_ENDING
from jseg.datasets.masks import check_labels, read_mask
from jseg.evaluation.confusion import ConfusionMatrix
from jseg.names import shortened


class MaskForm(NamedTuple):
    """Format of ground truth: whether 0 is ignored (and k is class k-1), and the ending of file names after
    the id."""

    reduce_zero_label: bool = False
    ending: str = ""


MASK_FORMS: dict[str, MaskForm] = {
    "voc2012": MaskForm(reduce_zero_label=True),
    "voc21": MaskForm(),
    "zeroshapes": MaskForm(reduce_zero_label=True),
    "zerowords": MaskForm(reduce_zero_label=True),
    "context60": MaskForm(),
    "context59": MaskForm(reduce_zero_label=True),
    "coco_stuff164k": MaskForm(ending=MASK_ENDING),
}


def values_in_masks(class_list: str) -> np.ndarray:
    """uint8 (C,): the value of each class of a list in masks as the authors of the data publish them.

    PASCAL Context, whose 459 numbers do not fit into 8 bits: the values of the masks of 60 classes.

    Raises:
        ValueError: there is no such list.
    """
    count = len(load_class_list(class_list).names)
    published = published_values(class_list)
    if published is not None:
        return np.array(published, np.uint8)
    return np.arange(count, dtype=np.uint8) + np.uint8(
        MASK_FORMS.get(class_list, MaskForm()).reduce_zero_label
    )


class Pair(NamedTuple):
    """One image: its id, the predicted mask and the true one."""

    name: str
    prediction: Path
    truth: Path


def find_pairs(
    predictions: str, truth: str, ending: str = "", names: Sequence[str] | None = None
) -> list[Pair]:
    """Returns the images to score, in the order of `names`, or else sorted by id.

    Args:
        predictions: folder of `<id>.png`; an id may contain folders.
        truth: folder of `<id><ending>.png`.
        names: the required ids. None: all predictions.

    Raises:
        FileNotFoundError: if a folder or a mask is missing. ValueError: if there are no predictions.
    """
    for folder, what in ((predictions, "predictions"), (truth, "ground truth")):
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder}: there is no such folder of {what}; correct the path")
    found = {
        path.relative_to(predictions).with_suffix("").as_posix(): path
        for path in Path(predictions).rglob("*.png")
        if not path.name.startswith(".")
    }
    if not found:
        raise ValueError(
            f"{predictions}: there are no PNG masks; save them with "
            "`tools/run_net.py --task val --save-predictions`"
        )
    missing = [f"'{name}.png'" for name in names or () if name not in found]
    if missing:
        raise FileNotFoundError(
            f"{predictions}: no prediction {shortened(missing, limit=1)}, although the split lists it; "
            "segment the whole split"
        )
    pairs = [Pair(name, found[name], Path(truth) / f"{name}{ending}.png") for name in names or sorted(found)]
    absent = [pair for pair in pairs if not pair.truth.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{absent[0].truth}: there is no ground truth for "
            f"{shortened([str(pair.prediction) for pair in absent], limit=1)}; give the folder of its masks"
        )
    return pairs


def image_confusion(pair: Pair, num_classes: int, reduce_zero_label: bool) -> np.ndarray:
    """Returns the confusion matrix int64 (C, C) of one image, rows = label, columns = prediction.

    Raises:
        ValueError: if a file is damaged, of another size, or has a value of no class. The message names it.
    """
    label = check_labels(read_mask(pair.truth), num_classes, reduce_zero_label, pair.truth)
    predicted = read_mask(pair.prediction)
    if predicted.shape != label.shape:
        raise ValueError(
            f"{pair.prediction}: {_size(predicted)} pixels, but {pair.truth} has {_size(label)} "
            "(width x height); save predictions at the size of the image"
        )
    confusion = ConfusionMatrix(num_classes)
    try:
        confusion.update(predicted, label)
    except ValueError as error:
        raise ValueError(
            f"{pair.prediction}: {error}; predictions are class indices from 0, without a background "
            "that is ignored"
        ) from error
    return confusion.matrix


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
