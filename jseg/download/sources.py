"""Addresses, sizes and checksums of the benchmarks and of OpenAI's CLIP weights.

Each entry cites the public source of its address, size and checksum (`cited`). No checksum is published for
`stuffthingmaps_trainval2017.zip`. Its address is https, and its size, the CRC-32 of each member and the
number of masks are checked instead. All files with plain http addresses have a checksum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from jseg.checkpoints.convert import OPENAI_SHA256
from jseg.datasets.prepare import coco_stuff, context, voc2012
from jseg.names import did_you_mean


class Checksum(NamedTuple):
    """A published checksum: the algorithm, as `hashlib` names it, and the hexadecimal digits."""

    algorithm: str
    digits: str


@dataclass(frozen=True)
class Source:
    """A published file.

    Attributes:
        name: file name.
        url: official address.
        size: bytes, exact or approximate.
        exact: whether `size` is exact. Otherwise 10 % deviation is accepted.
        checksum: published checksum, or None.
        cited: public sources of address, size and checksum.
        by_hand: what to do if the address does not work.
    """

    name: str
    url: str
    size: int
    exact: bool
    checksum: Checksum | None
    cited: str
    by_hand: str


_TORCHVISION_VOC = "torchvision/datasets/voc.py (repository pytorch/vision)"
_TFDS = "tensorflow_datasets/url_checksums/{} (repository tensorflow/datasets)"
_COPY = "look for a copy of the file by its checksum"

_VOC2012 = Source(
    voc2012.VOC.name,
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    1_999_639_040,
    True,
    Checksum("sha256", "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb"),
    f"address (and MD5 6cd6e144f989b92b3379bac3b3de84fd): {_TORCHVISION_VOC}; size and SHA-256: "
    + _TFDS.format("voc.txt"),
    f"its page is http://host.robots.ox.ac.uk/pascal/VOC/voc2012/; {_COPY}",
)
_SBD = Source(
    voc2012.SBD.name,
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    1_419_539_633,
    True,
    Checksum("md5", "82b4d87ceb2ed10f6038a1cba92111cb"),
    "address and MD5: torchvision/datasets/sbd.py (repository pytorch/vision); size: the log in issue 8471 "
    "of that repository",
    f"{_COPY}; or take SegmentationClassAug of another project and run `jseg prepare voc2012`",
)
_VOC2010 = Source(
    context.VOC.name,
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
    1_345_000_000,
    False,
    Checksum("md5", "da459979d0c395079b5c75ee67908abb"),
    f"address and MD5: {_TORCHVISION_VOC}; size: 1.3 GB, the page of VOC 2010",
    f"its page is http://host.robots.ox.ac.uk/pascal/VOC/voc2010/; {_COPY}",
)
_CONTEXT_JSON = Source(
    context.JSON,
    "https://codalabuser.blob.core.windows.net/public/trainval_merged.json",
    590_000_000,
    False,
    Checksum("sha1", "169325d9f7e9047537fedca7b04de4dddf10b881"),
    "address: docs/en/user_guides/2_dataset_prepare.md (repository open-mmlab/mmsegmentation); SHA-1: "
    "segm/scripts/prepare_pcontext.py (repository rstrudel/segmenter); size: 590 MB, issue 98 of repository "
    "HRNet/HRNet-Semantic-Segmentation",
    "this address has been reported dead; look for a copy, for example in web archives, or take the "
    "annotations of 459 classes with --annotations mat, whose lists have two images more for training and "
    "one more for validation",
)
_CONTEXT_MATS = Source(
    context.MATS.name,
    "https://roozbehm.info/pascal-context/trainval.tar.gz",
    30_700_000,
    False,
    Checksum("md5", "df034edb2c12aa7d33b42b20bb1796e3"),
    "address: issue 9 of repository cvlab-kaist/CAT-Seg, which replaces the first address, "
    "cs.stanford.edu/~roozbeh/pascal-context/; MD5 of the file at the first address: "
    "tf_image_segmentation/recipes/pascal_voc/data_pascal_voc.py (repository "
    "tataganesh95/tf-image-segmentation); size: 30.7 MB, the page of PASCAL Context",
    f"{_COPY}; `jseg prepare context` also accepts a copy with another MD5, and checks its contents",
)


def _coco(split: str, size: int, sha256: str) -> Source:
    return Source(
        coco_stuff.IMAGES[split].name,
        f"http://images.cocodataset.org/zips/{split}.zip",
        size,
        True,
        Checksum("sha256", sha256),
        f"address, size and SHA-256: {_TFDS.format('coco.txt')}",
        f"its page is https://cocodataset.org/#download; {_COPY}",
    )


_COCO_TRAIN = _coco(
    "train2017", 19_336_861_798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"
)
_COCO_VAL = _coco("val2017", 815_585_330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05")
_COCO_MAPS = Source(
    coco_stuff.MAPS.name,
    "https://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
    675_000_000,  # 659 MB or MiB
    False,
    None,
    "address and size (659 MB): README.md (repository nightrome/cocostuff), with https by its issue 29; "
    "no checksum is published",
    "its page is https://github.com/nightrome/cocostuff; look for a copy, which `jseg prepare coco_stuff` "
    "checks",
)

ANNOTATIONS: Mapping[str, Source] = {"json": _CONTEXT_JSON, "mat": _CONTEXT_MATS}
"""The two annotations of PASCAL Context. One of them is enough; see `jseg.datasets.prepare.context`."""


def dataset_sources(name: str, annotations: str = "json") -> tuple[Source, ...]:
    """Returns the archives of a benchmark (a key of `jseg.datasets.prepare.BENCHMARKS`).

    Args:
        annotations: of PASCAL Context, a key of `ANNOTATIONS`.
    """
    return {
        "voc2012": (_VOC2012, _SBD),
        "context": (_VOC2010, ANNOTATIONS[annotations]),
        "coco_stuff": (_COCO_TRAIN, _COCO_VAL, _COCO_MAPS),
    }[name]


_CLIP_BYTES = {"ViT-B-32": 354e6, "ViT-B-16": 351e6, "ViT-L-14": 933e6, "ViT-L-14-336px": 934e6}
_RESNETS = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")

CLIP_NAMES = tuple(_CLIP_BYTES)
"""OpenAI's CLIPs whose image encoder is a vision transformer."""


def clip_source(name: str) -> Source:
    """Returns the weights of one of OpenAI's CLIPs. `ViT-B/16` and `ViT-L/14@336px` are also accepted.

    Raises:
        ValueError: if OpenAI publishes no such CLIP, or its image encoder is a ResNet.
    """
    wanted = name.removesuffix(".pt").replace("/", "-").replace("@", "-").lower()
    known = {own.lower(): own for own in CLIP_NAMES}
    if wanted in (resnet.lower() for resnet in _RESNETS):
        raise ValueError(
            f"{name}: the image encoder of this CLIP is a ResNet, but jseg implements only vision "
            f"transformers; choose one of {', '.join(CLIP_NAMES)}"
        )
    if wanted not in known:
        raise ValueError(f"OpenAI publishes no CLIP {name!r}{did_you_mean(wanted, CLIP_NAMES)}")
    file = f"{known[wanted]}.pt"
    sha256 = OPENAI_SHA256[file.lower()]
    return Source(
        file,
        f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}",
        int(_CLIP_BYTES[known[wanted]]),
        False,
        Checksum("sha256", sha256),
        "address, which holds the SHA-256: clip/clip.py (repository openai/CLIP); size: weights/README.md",
        "look for the current address in clip/clip.py of the repository openai/CLIP, or for a copy by its "
        "SHA-256",
    )
