"""PASCAL Context: the images of VOC 2010 with all pixels labelled.

<data_root>/JPEGImages/<id>.jpg
<data_root>/SegmentationClassContext/<id>.png            0 is background, 1..59 the classes
<data_root>/ImageSets/SegmentationContext/<split>.txt    one id per line
"""

from collections.abc import Sequence

from jseg.datasets.base import DATASETS, PipelineSettings
from jseg.datasets.voc import VOCDataset


@DATASETS.register()
class PascalContextDataset(VOCDataset):
    """A split of PASCAL Context, with the masks of 60 classes used by mmsegmentation.

    Args:
        data_root: the folder that contains the three above (`VOCdevkit/VOC2010`), or a parent folder.
        split: 'train' or 'val', or another file in the folder of lists.
        background: True for the 60 classes with background, False for the 59 without. The masks are the same;
            without background, it is ignored.
        unseen, pipeline, test_mode, seed: see `SegmentationDataset`.

    Raises:
        FileNotFoundError, ValueError: as in `VOCDataset`.
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
