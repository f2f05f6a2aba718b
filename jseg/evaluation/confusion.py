"""The confusion matrix, filled image by image, so that memory does not grow with the dataset."""

from typing import Union

import numpy as np

from jseg.labels import IGNORE_INDEX


class ConfusionMatrix:
    """Counts of pixels by true and predicted class.

    Args:
        num_classes: C.
        ignore_index: label of pixels that do not count.

    Attributes:
        matrix: int64 (C, C), rows = label, columns = prediction.

    Raises:
        ValueError: if `num_classes` is below 1.
    """

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}, but it must be at least 1")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.matrix = np.zeros((num_classes, num_classes), np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Adds the counts of one image or a batch.

        Args:
            prediction: integer array of predicted classes. Values at ignored pixels may be anything.
            label: integer array of the same shape.

        Raises:
            ValueError: if the shapes differ, or a counted value is outside 0..C-1.
        """
        if prediction.shape != label.shape:
            raise ValueError(
                f"the prediction has shape {prediction.shape} but the label has shape {label.shape}; "
                "resize the prediction to the size of the label"
            )
        counted = label != self.ignore_index
        rows, columns = label[counted].astype(np.int64), prediction[counted].astype(np.int64)
        for name, values in (("label", rows), ("prediction", columns)):
            if values.size and not 0 <= values.min() <= values.max() < self.num_classes:
                raise ValueError(
                    f"the {name} has values {values.min()}..{values.max()}, outside the "
                    f"{self.num_classes} classes 0..{self.num_classes - 1}"
                )
        pairs = np.bincount(rows * self.num_classes + columns, minlength=self.num_classes**2)
        self.matrix += pairs.reshape(self.num_classes, self.num_classes)

    def merge(self, other: Union["ConfusionMatrix", np.ndarray]) -> None:
        """Adds the counts of another matrix (C, C), such as that of another rank.

        Raises:
            ValueError: if the other matrix has a different number of classes.
        """
        counts = other.matrix if isinstance(other, ConfusionMatrix) else np.asarray(other)
        if counts.shape != self.matrix.shape:
            raise ValueError(
                f"a confusion matrix of shape {counts.shape} cannot be added to one of shape "
                f"{self.matrix.shape}; evaluate both with the same classes"
            )
        self.matrix += counts.astype(np.int64)
