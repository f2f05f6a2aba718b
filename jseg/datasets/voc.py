"""Datasets in the PASCAL VOC folder layout.

<data_root>/JPEGImages/<id>.jpg (or .jpeg, .png)
<data_root>/SegmentationClass/<id>.png        palette or 8-bit greyscale, pixel value = class index
<data_root>/ImageSets/Segmentation/<split>.txt   one id per line
"""

from collections.abc import Sequence
from pathlib import Path

from jseg.datasets.base import DATASETS, PipelineSettings, Record, SegmentationDataset
from jseg.datasets.files import IMAGE_SUFFIXES, files_by_stem, read_split, require_files
from jseg.datasets.leftovers import left_out
from jseg.datasets.roots import find_root, how_to_make
from jseg.files import expanded


@DATASETS.register()
class VOCDataset(SegmentationDataset):
    """A split of a dataset in VOC layout. All files are looked up here, so that missing ones are found before
    training.

    Args:
        data_root: folder that contains the three below. Benchmarks are also found in their usual place inside
            it; see `jseg.datasets.roots`.
        split: name of a file in `split_dir` without `.txt`, or several names, which are concatenated.
        image_dir: folder of the images.
        mask_dir: folder of the masks, or several, of which the first with a mask is used for each id. The
            released VOC training set is `split=('train', 'aug')` with `('SegmentationClass',
            'SegmentationClassAug')`. That of the JSeg port is `split='trainaug'` with the same folders in
            reverse order. None: images without masks, which can be segmented (test mode), but not used for
            training or evaluation.
        split_dir: folder of the split files.
        classes, unseen, reduce_zero_label, pipeline, test_mode, seed: see `SegmentationDataset`. In VOC
            masks, 0 is background, so `reduce_zero_label` is on by default.

    Raises:
        FileNotFoundError: if a folder, a split file, an image or a mask is missing.
        ValueError: if a split has no ids, or an option is invalid.
    """

    def __init__(
        self,
        data_root: str,
        split: str | Sequence[str],
        image_dir: str = "JPEGImages",
        mask_dir: str | Sequence[str] | None = "SegmentationClass",
        split_dir: str = "ImageSets/Segmentation",
        classes: str | Sequence[str] = "voc2012",
        unseen: Sequence[int | str] | None = None,
        reduce_zero_label: bool = True,
        pipeline: PipelineSettings = None,
        test_mode: bool = False,
        seed: int = 0,
    ) -> None:
        root = find_root(data_root, classes, image_dir)
        make = how_to_make(classes)
        image_folder, split_folder = root / expanded(image_dir), root / expanded(split_dir)
        mask_dirs = [expanded(folder) for folder in _as_tuple(mask_dir)]
        images = files_by_stem(image_folder, "image_dir", IMAGE_SUFFIXES, make)
        masks: dict[str, Path] = {}
        if mask_dir is None and not test_mode:
            raise ValueError(
                "mask_dir is None, but training needs masks; set it to their folder, or set test_mode=True"
            )
        for folder in reversed(mask_dirs):
            masks.update(files_by_stem(root / folder, "mask_dir", (".png",), make))
        names: list[str] = []
        for part in _as_tuple(split):
            names.extend(read_split(split_folder, part, make))
        require_files(names, images, image_folder, IMAGE_SUFFIXES, "image")
        if mask_dir is not None:
            require_files(names, masks, root / " or ".join(map(str, mask_dirs)), (".png",), "mask")
        self._folders: dict[Path, tuple[str, ...]] = {image_folder: IMAGE_SUFFIXES}
        self._folders.update((root / folder, (".png",)) for folder in mask_dirs)
        records = [Record(name, images[name], masks.get(name)) for name in names]
        super().__init__(records, classes, unseen, reduce_zero_label, pipeline, test_mode, seed)

    def notes(self) -> list[str]:
        """See `Dataset.notes`. Images of other splits count as used."""
        return [
            note
            for folder, suffixes in self._folders.items()
            for note in left_out(folder, files_by_stem(folder, "image_dir", suffixes).values())
        ]


def _as_tuple(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())
