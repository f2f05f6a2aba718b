"""Data sets in the PASCAL VOC folder layout.

    <data_root>/JPEGImages/<id>.jpg (or .jpeg, .png)
    <data_root>/SegmentationClass/<id>.png        palette or 8-bit grey, pixel value = class number
    <data_root>/ImageSets/Segmentation/<split>.txt   one id a line
"""

import os
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

from jseg.datasets.base import PipelineSettings, Record, SegmentationDataset
from jseg.registry import DATASETS

_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


@DATASETS.register()
class VOCDataset(SegmentationDataset):
    """A split of a data set in VOC layout. All files are looked up here, so gaps show before training starts.

    Args:
        data_root: the folder that holds the three below.
        split: name of a file in `split_dir` without `.txt`, or several names, read one after the other.
        image_dir: folder of the pictures.
        mask_dir: folder of the masks, or several: each id takes the first that has its mask. The released VOC
            training set is `split=('train', 'aug')` with `('SegmentationClass', 'SegmentationClassAug')`.
            None for pictures without masks, which can be segmented (test mode) but not trained on or evaluated.
        split_dir: folder of the split files.
        classes, unseen, reduce_zero_label, pipeline, test_mode, seed: see `SegmentationDataset`. In VOC masks
            0 is background, hence `reduce_zero_label` is on by default.

    Raises:
        FileNotFoundError: a folder, a split file, a picture or a mask is missing.
        ValueError: a split without ids, or an impossible option.
    """

    def __init__(self, data_root: str, split: Union[str, Sequence[str]],
                 image_dir: str = 'JPEGImages', mask_dir: Union[str, Sequence[str], None] = 'SegmentationClass',
                 split_dir: str = 'ImageSets/Segmentation', classes: Union[str, Sequence[str]] = 'voc2012',
                 unseen: Optional[Sequence[Union[int, str]]] = None, reduce_zero_label: bool = True,
                 pipeline: PipelineSettings = None, test_mode: bool = False, seed: int = 0) -> None:
        root = Path(data_root)
        if not root.is_dir():
            mend = f'set data_root to the folder that holds {image_dir}'
            if classes == 'zeroshapes':
                mend += ', or write it with `python tools/make_zeroshapes.py`'
            raise FileNotFoundError(f'{root}: this data set folder does not exist; {mend}')
        images = _files_by_stem(root / image_dir, 'image_dir', _IMAGE_SUFFIXES)
        masks: Dict[str, Path] = {}
        if mask_dir is None and not test_mode:
            raise ValueError('mask_dir is None, but training needs masks; name their folder, or set test_mode=True')
        for folder in reversed(_as_tuple(mask_dir)):
            masks.update(_files_by_stem(root / folder, 'mask_dir', ('.png',)))
        names: List[str] = []
        for part in _as_tuple(split):
            names.extend(_read_split(root / split_dir, part))
        _require(names, images, root / image_dir, _IMAGE_SUFFIXES, 'picture')
        if mask_dir is not None:
            _require(names, masks, root / ' or '.join(_as_tuple(mask_dir)), ('.png',), 'mask')
        records = [Record(name, images[name], masks.get(name)) for name in names]
        super().__init__(records, classes, unseen, reduce_zero_label, pipeline, test_mode, seed)


def _as_tuple(value: Union[str, Sequence[str], None]) -> Tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _files_by_stem(folder: Path, option: str, suffixes: Sequence[str]) -> Dict[str, Path]:
    """One directory listing instead of a look-up per file: there may be 10,000 ids on a network disk."""
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: this folder does not exist; check data_root and {option}')
    found: Dict[str, Path] = {}
    for entry in sorted(os.listdir(folder), reverse=True):  # reverse: .jpg wins over .png
        stem, suffix = os.path.splitext(entry)
        if suffix.lower() in suffixes:
            found[stem] = folder / entry
    return found


def _read_split(folder: Path, split: str) -> List[str]:
    path = folder / f'{split}.txt'
    if not path.is_file():
        present = sorted(file.stem for file in folder.glob('*.txt'))
        have = f"the splits there are: {', '.join(present)}" if present else 'there are no split files there'
        raise FileNotFoundError(f"{path}: there is no split '{split}'; {have}; set split to one of them or "
                                'write this file, one id a line')
    names = [line.strip() for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
    if not names:
        raise ValueError(f'{path}: the split is empty; write one picture id a line')
    return names


def _require(names: Sequence[str], files: Dict[str, Path], folder: Path, suffixes: Sequence[str],
             kind: str) -> None:
    missing = [name for name in names if name not in files]
    if missing:
        more = f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''
        raise FileNotFoundError(f"{folder}: no {kind} '{missing[0]}' ({', '.join(suffixes)}){more}, although "
                                'the split lists it; add the file or remove the id from the split')
