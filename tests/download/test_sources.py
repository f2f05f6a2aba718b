"""The published files: every address is safe and cites its source."""

import hashlib
from urllib.parse import urlsplit

import pytest

from jseg.checkpoints.convert import OPENAI_SHA256
from jseg.datasets.prepare import BENCHMARKS
from jseg.download import ANNOTATIONS, CLIP_NAMES, clip_source, dataset_sources

SOURCES = [
    *(source for name in BENCHMARKS for source in dataset_sources(name)),
    ANNOTATIONS["mat"],
    *map(clip_source, CLIP_NAMES),
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_source_is_cited_and_safe(source):
    address = urlsplit(source.url)
    assert address.path.endswith(f"/{source.name}") and source.by_hand
    # Without a checksum, only https protects the file.
    assert address.scheme == "https" or (address.scheme == "http" and source.checksum)
    assert source.cited.count("repository") >= 1 and "size" in source.cited
    if source.checksum:
        assert len(source.checksum.digits) == 2 * hashlib.new(source.checksum.algorithm).digest_size
        title = {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}[source.checksum.algorithm]
        assert title in source.cited
    else:
        assert "no checksum is published" in source.cited


def test_the_archives_are_those_that_are_prepared():
    """`jseg prepare` must find all of them."""
    names = {name: {source.name for source in dataset_sources(name)} for name in BENCHMARKS}
    assert names == {
        "voc2012": {"VOCtrainval_11-May-2012.tar", "benchmark.tgz"},
        "context": {"VOCtrainval_03-May-2010.tar", "trainval_merged.json"},
        "coco_stuff": {"train2017.zip", "val2017.zip", "stuffthingmaps_trainval2017.zip"},
    }
    assert [source.name for source in dataset_sources("context", "mat")][1] == "trainval.tar.gz"


@pytest.mark.parametrize(
    "name, file",
    [
        ("ViT-B-16", "ViT-B-16.pt"),
        ("ViT-B/32", "ViT-B-32.pt"),
        ("vit-l-14.pt", "ViT-L-14.pt"),
        ("ViT-L/14@336px", "ViT-L-14-336px.pt"),
    ],
)
def test_the_address_of_a_clip_holds_its_sum(name, file):
    source = clip_source(name)
    assert source.name == file and source.url.split("/")[-2] == OPENAI_SHA256[file.lower()]
    assert len(CLIP_NAMES) == len(OPENAI_SHA256)


@pytest.mark.parametrize(
    "name, part",
    [("RN50", "ResNet"), ("RN50x64", "ResNet"), ("ViT-B-15", "did you mean ViT-B-16"), ("", "ViT-L-14")],
)
def test_other_clips_are_refused(name, part):
    with pytest.raises(ValueError, match=part):
        clip_source(name)
