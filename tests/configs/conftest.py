"""The benchmarks in miniature, and the shipped configs reduced to run on them with the tiny CLIP."""

import miniature
import pytest

CROP, PATCH = 32, 8  # pixels: a grid of 4 x 4 patches of the tiny CLIP
_OPTIONS = (
    "model.clip=weights/zeroshapes_clip.npz",
    "model.decode_head.num_heads=1",
    "model.backbone.num_prompts=2",
    "batch_size=2",
    "num_workers=0",
    "log_interval=1",
    "visualize.num_images=0",
    f"inference.crop_size={CROP}",
    "inference.stride=24",
)


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

    def options(cfg):
        regions = min(cfg.model["backbone"]["num_regions"], (CROP // PATCH) ** 2)
        chosen = [*_OPTIONS, f"model.backbone.num_regions={regions}"]
        if "train" in cfg.dataset:
            chosen.append(f"dataset.train.pipeline={dict(crop_size=CROP, scale=(4 * CROP, CROP))}")
        chosen += [f"dataset.{part}.pipeline={dict(short_side=CROP)}" for part in ("val", "test")]
        return chosen

    return options
