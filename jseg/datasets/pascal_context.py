"""PASCAL Context: the images of VOC 2010 with whole scenes labelled.

<data_root>/JPEGImages/<id>.jpg
<data_root>/SegmentationClassContext/<id>.png            0 is background, 1..59 the classes
<data_root>/ImageSets/SegmentationContext/<split>.txt    one id a line
"""

from collections.abc import Sequence

from jseg.datasets.base import DATASETS, PipelineSettings
from jseg.datasets.voc import VOCDataset


@DATASETS.register()
class PascalContextDataset(VOCDataset):
    """A split of PASCAL Context, from the masks of 60 classes that mmsegmentation users have.

    Args:
        data_root: the folder that holds the three above (`VOCdevkit/VOC2010`), or one above it.
        split: 'train' or 'val', or another file of that folder.
        background: True for the 60 classes with background, False for the 59 without: the same masks,
            background is then ignored.
        unseen, pipeline, test_mode, seed: see `SegmentationDataset`.

    Raises:
        FileNotFoundError, ValueError: see `VOCDataset`.
    """

    def __init__(
        self,
        data_root: str,
        split: str | Sequence[str],
        background: bool = True,
        unseen: Sequence[int | str] | None = None,
        pipeline: PipelineSettings = None,
        test_mode: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            data_root,
            split,
            mask_dir="SegmentationClassContext",
            split_dir="ImageSets/SegmentationContext",
            classes="context60" if background else "context59",
            unseen=unseen,
            reduce_zero_label=not background,
            pipeline=pipeline,
            test_mode=test_mode,
            seed=seed,
        )
