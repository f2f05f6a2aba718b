"""PASCAL VOC 2012 with the additional masks of SBD (Hariharan et al., ICCV 2011).

Reads the folder VOCdevkit/VOC2012 and SBD's `cls/<id>.mat`, writes `SegmentationClassAug/<id>.png` and the
lists aug (SBD without train and val) and trainaug (train and aug).
"""

import re
from pathlib import Path

from jseg.datasets.classes import voc_palette
from jseg.datasets.files import files_by_stem, read_split
from jseg.datasets.leftovers import left_out
from jseg.datasets.masks import check_size
from jseg.datasets.prepare.archives import Archive
from jseg.datasets.prepare.check import read_lists
from jseg.datasets.prepare.files import image_size, is_complete_png, write_label, write_list
from jseg.datasets.prepare.matlab import read_sbd, require_scipy
from jseg.datasets.prepare.work import Annotation, Contents, Work, listed_pairs, overlap, require
from jseg.datasets.roots import new_root

TITLE = "PASCAL VOC 2012"
VOC = Archive(
    "VOCtrainval_11-May-2012.tar",
    {
        f"VOCdevkit/VOC2012/{folder}/": f"{folder}/"
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
    },
)
SBD = Archive(
    "benchmark.tgz",
    {f"benchmark_RELEASE/dataset/{part}": f"dataset/{part}" for part in ("cls/", "train.txt", "val.txt")},
)
PUBLISHED = (
    {
        "images in train": 1464,
        "images in val": 1449,
        "images in aug": 9118,
        "images in trainaug": 10582,
    },
)

_LISTS = "ImageSets/Segmentation"
_MASKS, _AUG_MASKS = "SegmentationClass", "SegmentationClassAug"
_NUM_VALUES = 21  # 0 is background
_ID = re.compile(r"\d{4}_\d{6}")


def find_home(root: Path) -> Path:
    """Returns the folder of the dataset, existing or to be created."""
    return new_root(str(root), "voc2012", "JPEGImages")


def prepare(work: Work) -> None:
    """Writes the SBD masks and the two lists.

    Raises:
        FileNotFoundError: if an archive is missing. ValueError: if a file cannot be read, or a different list
            exists.
        Problems: if some annotations cannot be converted, after converting the others. OSError: on disk
            errors.
    """
    home = find_home(work.root)
    work.unpack(VOC, home)
    for part in ("JPEGImages", _MASKS, f"{_LISTS}/train.txt", f"{_LISTS}/val.txt"):
        require(home / part, VOC, work.root)
    names = _convert_sbd(work, home)
    lists, _ = read_lists(home / _LISTS, ("train", "val"))
    aug = sorted(set(names).difference(*lists.values()))
    write_list(home / _LISTS / "aug.txt", aug)
    write_list(home / _LISTS / "trainaug.txt", lists["train"] + aug)


def contents(home: Path) -> Contents:
    """Returns the files named by the lists: masks of VOC for train and val, of SBD for aug and where SBD has
    one."""
    folder = home / _LISTS
    lists, problems = read_lists(folder, ("train", "val", "aug", "trainaug"))
    for first, second in (("train", "val"), ("aug", "val"), ("aug", "train")):
        problems += overlap(lists, folder, first, second)
    if set(lists["trainaug"]) != set(lists["train"]) | set(lists["aug"]):
        problems.append(
            f"{folder / 'trainaug.txt'}: must list exactly the ids of train.txt and aug.txt; create it again"
        )
    pairs = listed_pairs(lists, home, _NUM_VALUES, {"train": _MASKS, "val": _MASKS, "aug": _AUG_MASKS})
    pairs += [
        pair for pair in listed_pairs(lists, home, _NUM_VALUES, {"train": _AUG_MASKS}) if pair.mask.is_file()
    ]
    counts = {f"images in {split}": len(names) for split, names in lists.items()}
    return Contents(pairs, counts, problems, left_out(home / _AUG_MASKS, _masks(home / _AUG_MASKS).values()))


def _masks(folder: Path) -> dict[str, Path]:
    """Returns id -> mask. Files of other projects in the folder are ignored."""
    if not folder.is_dir():
        return {}
    files = files_by_stem(folder, "mask_dir", (".png",))
    return {name: path for name, path in files.items() if _ID.fullmatch(name)}


def _convert_sbd(work: Work, home: Path) -> list[str]:
    """Converts all SBD masks and returns their ids. Existing masks of other origin are kept."""
    own = (home if home == work.root else home.parent) / "VOCaug"
    work.unpack(SBD, own)
    source = work.find(home, "VOCaug/dataset/cls", "benchmark_RELEASE/dataset/cls")
    if source is None:
        if not (home / _AUG_MASKS).is_dir():
            require(own / "dataset" / "cls", SBD, work.root)
        return list(_masks(home / _AUG_MASKS))
    require_scipy()
    names = [name for split in ("train", "val") for name in read_split(source.parent, split)]
    (home / _AUG_MASKS).mkdir(exist_ok=True)
    work.convert(
        _convert,
        [
            Annotation(
                source / f"{name}.mat", home / "JPEGImages" / f"{name}.jpg", home / _AUG_MASKS / f"{name}.png"
            )
            for name in names
        ],
        "SegmentationClassAug",
    )
    return names


def _convert(annotation: Annotation) -> bool:
    if is_complete_png(annotation.mask):
        return False
    label = read_sbd(annotation.source)
    check_size(label, image_size(annotation.image), annotation.source, annotation.image)
    write_label(annotation.mask, label, voc_palette(_NUM_VALUES))
    return True
