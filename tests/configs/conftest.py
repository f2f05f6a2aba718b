"""The benchmarks in miniature, and the shipped configs reduced to run on them with the tiny CLIP."""

import miniature
import pytest


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """VOC, Context and COCO-Stuff in miniature, prepared from archives of the official form."""
    root = miniature.prepared(tmp_path_factory.mktemp("miniature"))
    lists = root / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    (lists / "one.txt").write_text((lists / "val.txt").read_text().splitlines()[0] + "\n")
    return root


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    """Text embeddings of this session, outside the user's cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(cache_folder, monkeypatch):
    monkeypatch.setenv("JSEG_CACHE", str(cache_folder))


@pytest.fixture(scope="session")
def reduced():
    """reduced(cfg) -> the --set options that make a config run in
    seconds, all else as it is but the data root."""
    return lambda cfg: ["model.clip=weights/zeroshapes_clip.npz", *miniature.reduced(cfg)]
