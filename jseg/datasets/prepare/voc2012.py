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
    """The folder of the data set, there or to be made."""
    return new_root(str(root), "voc2012", "JPEGImages")


def prepare(work: Work) -> None:
    """Writes the masks of SBD and the two lists.

    Raises:
        FileNotFoundError: an archive is missing. ValueError: something cannot be read, or a list is in the
            way.
        Problems: annotations that cannot be converted; the others are. OSError: the disk.
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
    """What the lists name: masks of VOC for train and val, of SBD for aug and wherever else SBD has one."""
    folder = home / _LISTS
    lists, problems = read_lists(folder, ("train", "val", "aug", "trainaug"))
    for first, second in (("train", "val"), ("aug", "val"), ("aug", "train")):
        problems += overlap(lists, folder, first, second)
    if set(lists["trainaug"]) != set(lists["train"]) | set(lists["aug"]):
        problems.append(
            f"{folder / 'trainaug.txt'}: does not list just the ids of train.txt and aug.txt; make it again"
        )
    pairs = listed_pairs(lists, home, _NUM_VALUES, {"train": _MASKS, "val": _MASKS, "aug": _AUG_MASKS})
    pairs += [
        pair for pair in listed_pairs(lists, home, _NUM_VALUES, {"train": _AUG_MASKS}) if pair.mask.is_file()
    ]
    counts = {f"images in {split}": len(names) for split, names in lists.items()}
    return Contents(pairs, counts, problems, left_out(home / _AUG_MASKS, _masks(home / _AUG_MASKS).values()))


def _masks(folder: Path) -> dict[str, Path]:
    """id -> mask; other projects may keep files of their own beside them."""
    if not folder.is_dir():
        return {}
    files = files_by_stem(folder, "mask_dir", (".png",))
    return {name: path for name, path in files.items() if _ID.fullmatch(name)}


def _convert_sbd(work: Work, home: Path) -> list[str]:
    """Converts all masks of SBD and returns their ids. Masks of another origin are taken as they are."""
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
