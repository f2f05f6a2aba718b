"""The three benchmarks in miniature, in the formats their authors publish: what an archive holds, as data.

`voc2012()`, `context_json()`, `context_mat()` and `coco_stuff()` return {archive name: {member: bytes}}: real
JPEG images, palette and grey PNG masks, MATLAB files with the nesting of the originals, JSON with
compressed RLE. `unpack` writes such members as the extracted folders, `pack` as the archives themselves,
`prepared` makes all three ready to train on. `scene` gives the image and the labels behind every file
again, so that a test can compare what the tools make of it. The archives are made once and shared: copy
before you change them. `reduced` makes a shipped config fit them.
"""

import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse
from PIL import Image

from jseg.config import Config
from jseg.datasets.classes import raw_values, voc_palette
from jseg.datasets.prepare import BENCHMARKS, Work, prepare

Archives = dict[str, dict[str, bytes]]

VOC_TRAIN = tuple(f"2007_{number:06d}" for number in range(1, 6))
VOC_VAL = tuple(f"2007_{number:06d}" for number in range(101, 105))
SBD_ONLY = tuple(f"2008_{number:06d}" for number in range(1, 9))
SBD_TRAIN = (*SBD_ONLY[:6], *VOC_TRAIN[:2], VOC_VAL[0])
SBD_VAL = (*SBD_ONLY[6:], VOC_VAL[1], VOC_TRAIN[2])
SBD = tuple(sorted(SBD_TRAIN + SBD_VAL))

# The lists of the .mat release have one image more each than the JSON, as the originals have two and one.
CONTEXT_TRAIN = tuple(f"2008_{number:06d}" for number in range(2, 8))
CONTEXT_VAL = tuple(f"2009_{number:06d}" for number in range(1, 6))
COCO = {
    "train2017": tuple(f"{number:012d}" for number in range(9, 15)),
    "val2017": tuple(f"{number:012d}" for number in range(139, 143)),
}

VOC_VALUES = tuple(range(21))
CONTEXT_VALUES = (*raw_values("context60"), 1, 7, 459)  # the last three are none of the 59 classes
COCO_VALUES = (*raw_values("coco_stuff164k"), 11, 255)  # 11 is one of the values that stand for nothing

CROP, PATCH = 32, 8  # pixels: a grid of 4 x 4 patches of the tiny CLIP
_REDUCED = (
    "model.decode_head.num_heads=1",
    "model.backbone.num_prompts=2",
    "batch_size=2",
    "num_workers=0",
    "log_interval=1",
    "visualize.num_images=0",
    f"inference.crop_size={CROP}",
    "inference.stride=24",
)


def scene(name: str, values: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (H, W, 3) and labels (H, W) of a name, H and W between 48 and 71: a grid of 3 x 4 areas,
    each with one of `values` and a colour of its own; equal names give equal scenes."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    height, width = rng.integers(48, 72, 2)
    areas = rng.permutation(np.resize(rng.permutation(values), 12)).reshape(3, 4)
    rows, columns = np.arange(height) * 3 // height, np.arange(width) * 4 // width
    label = areas[rows[:, None], columns[None, :]]
    colours = rng.integers(30, 226, (256 * 2, 3))
    image = colours[label % 512] + rng.integers(-20, 21, (height, width, 3))
    return image.astype(np.uint8), label


def voc_mask(name: str) -> np.ndarray:
    """`SegmentationClass` of an image: its labels, with a border of 255 (void)."""
    label = scene(name, VOC_VALUES)[1].astype(np.uint8)
    label[0], label[:, -1] = 255, 255
    return label


def sbd_mask(name: str) -> np.ndarray:
    """The same image as SBD labels it: no void, and its own opinion about the lowest rows."""
    label = scene(name, VOC_VALUES)[1].astype(np.uint8)
    label[-3:] = 0
    return label


@cache
def voc2012() -> Archives:
    """PASCAL VOC 2012 and SBD."""
    top = "VOCdevkit/VOC2012"
    everything = sorted({*VOC_TRAIN, *VOC_VAL, *SBD})
    voc = {f"{top}/JPEGImages/{name}.jpg": jpeg(scene(name, VOC_VALUES)[0]) for name in everything}
    voc.update(
        {f"{top}/SegmentationClass/{name}.png": palette_png(voc_mask(name)) for name in VOC_TRAIN + VOC_VAL}
    )
    voc.update({f"{top}/SegmentationObject/{name}.png": b"not needed" for name in VOC_TRAIN})
    voc.update(
        {
            f"{top}/ImageSets/Segmentation/{split}.txt": lines(names)
            for split, names in (
                ("train", VOC_TRAIN),
                ("val", VOC_VAL),
                ("trainval", sorted(VOC_TRAIN + VOC_VAL)),
            )
        }
    )
    top = "benchmark_RELEASE/dataset"
    sbd = {f"{top}/cls/{name}.mat": sbd_mat(sbd_mask(name)) for name in SBD}
    sbd.update({f"{top}/img/{name}.jpg": b"not needed" for name in SBD})
    sbd.update({f"{top}/train.txt": lines(SBD_TRAIN), f"{top}/val.txt": lines(SBD_VAL)})
    return {"VOCtrainval_11-May-2012.tar": voc, "benchmark.tgz": sbd}


@cache
def context_json() -> Archives:
    """PASCAL Context as one JSON of the detail API; the last image of each list is left out of it."""
    images: list[dict] = []
    annotations: list[dict] = []
    for phase, names in (("train", CONTEXT_TRAIN[:-1]), ("val", CONTEXT_VAL[:-1])):
        for name in names:
            label = scene(name, CONTEXT_VALUES)[1]
            image_id = int(name.replace("_", ""))
            images.append(
                {
                    "file_name": f"{name}.jpg",
                    "phase": phase,
                    "height": label.shape[0],
                    "width": label.shape[1],
                    "image_id": image_id,
                    "date_captured": "31-Oct-2008",
                }
            )
            # The first region covers everything and the others are painted over it: the order matters.
            for order, value in enumerate(np.unique(label[label > 0])):
                region = np.ones_like(label, bool) if order == 0 and (label > 0).all() else label == value
                annotations.append(
                    {
                        "image_id": image_id,
                        "category_id": int(value),
                        "iscrowd": 0,
                        "parts": [],
                        "id": len(annotations) + 1,
                        "segmentation": compressed_rle(region),
                    }
                )
    content = {
        "info": {},
        "images": images,
        "annos_segmentation": annotations,
        "annos_boundary": [],
        "categories": [],
    }
    return {**_voc2010(), "trainval_merged.json": {"trainval_merged.json": json.dumps(content).encode()}}


@cache
def context_mat() -> Archives:
    """PASCAL Context as the release of 459 classes."""
    mats = {
        f"./trainval/{name}.mat": matlab(LabelMap=scene(name, CONTEXT_VALUES)[1].astype(np.uint16))
        for name in CONTEXT_TRAIN + CONTEXT_VAL
    }
    return {**_voc2010(), "trainval.tar.gz": {**mats, "./labels.txt": b"1: accordion\n"}}


@cache
def _voc2010() -> Archives:
    top = "VOCdevkit/VOC2010"
    members = {
        f"{top}/JPEGImages/{name}.jpg": jpeg(scene(name, CONTEXT_VALUES)[0])
        for name in CONTEXT_TRAIN + CONTEXT_VAL
    }
    members.update(
        {
            f"{top}/ImageSets/Main/train.txt": lines(CONTEXT_TRAIN),
            f"{top}/ImageSets/Main/val.txt": lines(CONTEXT_VAL),
            f"{top}/ImageSets/Main/cat_train.txt": b"2008_000002 -1\n",
            f"{top}/ImageSets/Segmentation/train.txt": lines(CONTEXT_TRAIN[:1]),
        }
    )
    return {"VOCtrainval_03-May-2010.tar": members}


@cache
def coco_stuff() -> Archives:
    """COCO-Stuff 164K."""
    archives = {
        f"{split}.zip": {f"{split}/{name}.jpg": jpeg(scene(name, COCO_VALUES)[0]) for name in names}
        for split, names in COCO.items()
    }
    archives["stuffthingmaps_trainval2017.zip"] = {
        f"{split}/{name}.png": grey_png(scene(name, COCO_VALUES)[1].astype(np.uint8))
        for split, names in COCO.items()
        for name in names
    }
    return archives


# Where the members of an archive belong when a user unpacks it into the data folder.
_UNPACKED_IN = {
    "train2017.zip": "coco_stuff164k/images",
    "val2017.zip": "coco_stuff164k/images",
    "stuffthingmaps_trainval2017.zip": "coco_stuff164k/annotations",
    "trainval.tar.gz": "VOCdevkit/VOC2010",
    "trainval_merged.json": "VOCdevkit/VOC2010",
}


def unpack(archives: Archives, root: Path) -> None:
    """Writes the members as a user would have extracted them into the data folder `root`."""
    for archive, members in archives.items():
        for member, content in members.items():
            path = root / _UNPACKED_IN.get(archive, "") / member
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def pack(archives: Archives, folder: Path) -> None:
    """Writes the archives themselves (a JSON is none: it is written as it is)."""
    folder.mkdir(parents=True, exist_ok=True)
    for archive, members in archives.items():
        if archive.endswith(".json"):
            (folder / archive).write_bytes(members[archive])
        elif archive.endswith(".zip"):
            with zipfile.ZipFile(folder / archive, "w") as file:
                for name, content in members.items():
                    file.writestr(name, content)
        else:
            with tarfile.open(folder / archive, "w" if archive.endswith(".tar") else "w:gz") as file:
                for name, content in members.items():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    file.addfile(entry, io.BytesIO(content))


def classes_of(values: np.ndarray, class_list: str) -> np.ndarray:
    """Published values -> class numbers uint8 by a loop over the
    class list; what is not in it becomes 255."""
    out = np.full(values.shape, 255, np.uint8)
    for index, value in enumerate(raw_values(class_list)):
        out[values == value] = index
    return out


def compressed_rle(region: np.ndarray) -> dict[str, object]:
    """COCO's compressed run lengths, written as its C code does (`rleToString`): differences to the run
    before the last one, five bits a character. Column by column, beginning with a run of zeros."""
    flat = region.T.reshape(-1)
    runs, value = [0], False
    for bit in flat.tolist():
        if bit != value:
            runs.append(0)
            value = bit
        runs[-1] += 1
    text = []
    for index, run in enumerate(runs):
        rest = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            digit = rest & 31
            rest >>= 5
            more = rest != -1 if digit & 16 else rest != 0
            text.append(chr((digit | 32 if more else digit) + 48))
    return {"size": list(region.shape), "counts": "".join(text)}


def jpeg(image: np.ndarray) -> bytes:
    return _encoded(Image.fromarray(image), "JPEG", quality=92)


def grey_png(label: np.ndarray) -> bytes:
    return _encoded(Image.fromarray(label), "PNG")


def palette_png(label: np.ndarray) -> bytes:
    picture = Image.fromarray(label, "P")
    picture.putpalette(voc_palette(256).tobytes())
    return _encoded(picture, "PNG")


def sbd_mat(mask: np.ndarray) -> bytes:
    """An SBD annotation: a struct with the outline of each class as a sparse matrix, and the labels."""
    outlines = np.empty((20, 1), object)
    for index in range(20):
        outlines[index, 0] = scipy.sparse.csc_matrix(mask.shape)
    return matlab(
        GTcls={"Boundaries": outlines, "Segmentation": mask, "CategoriesPresent": np.unique(mask)[1:]}
    )


def matlab(**variables: object) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=True)
    return file.getvalue()


def lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def prepared(root: Path) -> Path:
    """All three benchmarks below `root`, ready for the datasets:
    a folder for JSEG_DATA_ROOT or `data_root`."""
    for archives in (voc2012(), context_json(), coco_stuff()):
        unpack(archives, root)
    for benchmark in BENCHMARKS:
        report = prepare(benchmark, Work(root, root, any_count=True))
        assert report.problems == [], report.problems
    return root


def reduced(cfg: Config) -> list[str]:
    """The `--set` options that make a config for ViT-B/16 run in seconds with a tiny CLIP, all else as it is
    but the data root and the CLIP."""
    regions = min(cfg.model["backbone"]["num_regions"], (CROP // PATCH) ** 2)
    chosen = [*_REDUCED, f"model.backbone.num_regions={regions}"]
    if "train" in cfg.dataset:
        chosen.append(f"dataset.train.pipeline={dict(crop_size=CROP, scale=(4 * CROP, CROP))}")
    chosen += [f"dataset.{part}.pipeline={dict(short_side=CROP)}" for part in ("val", "test")]
    return chosen
