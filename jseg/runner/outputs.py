"""What an evaluation leaves on disk besides its numbers: masks and scores of single pictures."""

import os
from typing import Any, Dict, Optional

import numpy as np

from jseg.datasets.masks import save_mask
from jseg.distributed import gather_objects, is_main
from jseg.evaluation.per_image import image_record, write_records

MASKS, PER_IMAGE = "val_predictions", "per_image.jsonl"
"""Names in the work folder."""


class PictureOutputs:
    """Takes the pictures of one rank; every rank must call `close`.

    Args:
        dataset: whose pictures are evaluated.
        masks: folder for palette PNG files (pixel = class index from 0, without a background), or None.
        records: file for one JSON object a picture, in the order of the dataset, or None.
    """

    def __init__(self, dataset: Any, masks: Optional[str] = None, records: Optional[str] = None) -> None:
        self._dataset, self._masks, self._records = dataset, masks, records
        self._own: Dict[int, Dict[str, Any]] = {}

    def take(self, index: int, prediction: np.ndarray, matrix: Optional[np.ndarray] = None) -> None:
        """One picture: class indices (H, W), and its confusion matrix (C, C) where it is labelled.

        Raises:
            OSError: the mask cannot be written.
        """
        name = self._dataset.name(index)
        if self._masks is not None:
            path = os.path.join(self._masks, name + ".png")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            save_mask(path, prediction, self._dataset.palette)
        if self._records is not None and matrix is not None:
            self._own[index] = image_record(name, matrix, self._dataset.class_names, self._dataset.unseen)

    def close(self) -> None:
        """Writes the records of all ranks into one file, by the main rank.

        Raises:
            OSError: the file cannot be written.
        """
        if self._records is None:
            return
        records: Dict[int, Dict[str, Any]] = {}
        for part in gather_objects(self._own, what="gathering the scores of single pictures"):
            records.update(part)
        if is_main():
            write_records(self._records, (records[index] for index in sorted(records)))
