"""COCO-Stuff 164K: COCO 2017 with 80 thing and 91 stuff classes.

<data_root>/images/<split>/<id>.jpg
<data_root>/annotations/<split>/<id>_labelTrainIds.png    0..170 the classes, 255 unlabelled
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jseg.datasets.base import DATASETS, PipelineSettings, Record, SegmentationDataset
from jseg.datasets.classes import load_class_list
from jseg.datasets.files import IMAGE_SUFFIXES, files_by_stem, require_files, without_ending
from jseg.datasets.leftovers import left_out
from jseg.datasets.masks import check_labels
from jseg.datasets.roots import find_root, how_to_make

CLASS_LIST = "coco_stuff164k"
MASK_ENDING = "_labelTrainIds"


@DATASETS.register()
class COCOStuffDataset(SegmentationDataset):
    """A split of COCO-Stuff: all images of a folder, sorted by name. There are no split files.

    A subclass may have another `class_list`.

    Args:
        data_root: the folder that contains the two above (`coco_stuff164k`), or its parent folder.
        split: 'train2017' or 'val2017'.
        unseen, pipeline, test_mode, seed: see `SegmentationDataset`.

    Raises:
        FileNotFoundError: if a folder or a mask is missing.
        ValueError: if there are no images, or an option is invalid.
    """

    class_list = CLASS_LIST

    def __init__(
        self,
        data_root: str,
        split: str,
        unseen: Sequence[int | str] | None = None,
        pipeline: PipelineSettings = None,
        test_mode: bool = False,
        seed: int = 0,
    ) -> None:
        root = find_root(data_root, self.class_list, "annotations")
        make = how_to_make(self.class_list)
        images = files_by_stem(root / "images" / split, "split", IMAGE_SUFFIXES, make)
        if not images:
            raise ValueError(
                f"{root / 'images' / split}: there are no images; check data_root and split{make}"
            )
        folder = root / "annotations" / split
        masks = without_ending(files_by_stem(folder, "split", (".png",), make), MASK_ENDING)
        names = sorted(images)
        require_files(
            names,
            masks,
            folder,
            (f"{MASK_ENDING}.png",),
            "mask",
            f"although there is an image of that name in {root / 'images' / split}; add the file{make}",
        )
        self._folders = root / "images" / split, folder
        super().__init__(
            [Record(name, images[name], masks[name]) for name in names],
            self.class_list,
            unseen,
            pipeline=pipeline,
            test_mode=test_mode,
            seed=seed,
        )

    def notes(self) -> list[str]:
        """See `Dataset.notes`. The published masks may be stored next to those of training labels."""
        images, masks = self._folders
        published = [masks / f"{record.name}.png" for record in self.records]
        return [
            *left_out(images, self.files()),
            *left_out(masks, [*published, *(record.mask for record in self.records if record.mask)]),
        ]


@DATASETS.register()
class COCOObjectDataset(COCOStuffDataset):
    """COCO objects: the same images and masks, of which the 80 things stay and everything else is background.

    Pixels without a label are background too, as in the conversion by GroupViT that SCLIP and ClearCLIP are
    evaluated on. Arguments as in `COCOStuffDataset`; for evaluation.
    """

    class_list = "coco_object"

    def labels(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """0 is background, 1 to 80 the things; see `SegmentationDataset.labels`."""
        label = check_labels(mask, len(load_class_list(CLASS_LIST).names), self.reduce_zero_label, path)
        things = len(self.class_names) - 1
        return np.where(label < things, label + 1, 0).astype(np.uint8)
