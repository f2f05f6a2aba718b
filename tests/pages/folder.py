"""The folders that the pages run in, and the small files that stand in for weights, data and photos."""

import dataclasses
import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import miniature
import numpy as np
import pytest
from pages.commands import PAGES, ROOT, Command, commands_of

from jseg.checkpoints import convert
from jseg.cli import convert_checkpoint, convert_clip, download, run_net
from jseg.config import Config
from jseg.datasets.prepare import BENCHMARKS, Work, survey
from jseg.download import Checksum, Source, clip_source, dataset_sources
from jseg.drawn import write_dataset
from jseg.runtime.command import make_encodable

VOC = "configs/clip_rc/voc2012_inductive.py"
CLIP = "ViT-B-16"
_WIDTH = 32  # channels in which the tiny CLIP compares images and words
_BIG = r"--config (?!.*(zeroshapes|tiny|mydata/))|reproduce table"  # models with the CLIP of the paper


class Store:
    """Stand-ins that are made once, in a folder of the session.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def openai(self) -> Path:
        """A CLIP of two layers in an archive like those of OpenAI."""
        path = self.folder / f"{CLIP}.pt"
        path.write_bytes(gzip.decompress((ROOT / "tests/golden/clip_tiny/openai.pt.gz").read_bytes()))
        return path

    @cached_property
    def clip(self) -> Path:
        """The same, converted."""
        path = self.folder / f"{CLIP}.safetensors"
        convert_clip.convert(str(self.openai), str(path), force=False)
        return path

    @cached_property
    def configs(self) -> Path:
        """`configs/` with reduced copies of the configs that the pages name."""
        text = "\n".join(command.text for page in PAGES for command in commands_of(page))
        for name in sorted(set(re.findall(r"configs/[\w/]+\.py", text))):
            out = self.folder / name
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(reduced_config(ROOT / name).text(), encoding="utf-8")
        return self.folder / "configs"

    @cached_property
    def archives(self) -> Path:
        """The archives of VOC and the CLIP under their official names."""
        miniature.pack(miniature.voc2012(), self.folder / "archives")
        shutil.copy(self.openai, self.folder / "archives")
        return self.folder / "archives"

    @cached_property
    def prepared(self) -> tuple[Path, dict[str, int]]:
        """All benchmarks in miniature, with one image each to evaluate, and what VOC held before."""
        root = miniature.prepared(self.folder / "data")
        counts = dict(survey("voc2012", Work(root, root, any_count=True)).counts)
        for split in ("VOC2012/ImageSets/Segmentation", "VOC2010/ImageSets/SegmentationContext"):
            path = root / "VOCdevkit" / split / "val.txt"
            path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
        for name in miniature.COCO["val2017"][1:]:
            (root / f"coco_stuff164k/images/val2017/{name}.jpg").unlink()
            for mask in (root / "coco_stuff164k/annotations/val2017").glob(f"{name}*"):
                mask.unlink()
        return root, counts

    @property
    def data(self) -> Path:
        """That folder."""
        return self.prepared[0]

    @cached_property
    def run(self) -> Path:
        """The work folder of CLIP-RC on VOC after one iteration."""
        folder = self.folder / "run"
        options = (f"model.clip={self.clip}", f"data_root={self.data}", f"work_dir={folder}")
        assert run_net.main(["--config", str(self.configs.parent / VOC), "--set", *options], "train") == 0
        return folder

    @cached_property
    def released(self) -> Path:
        """Its checkpoint as the PyTorch code would write it."""
        path = self.folder / "released.pth"
        source = self.run / "checkpoints/iter_1.safetensors"
        convert_checkpoint.convert(str(source), str(path), None, str(self.clip), force=False)
        return path


def reduced_config(path: Path) -> Config:
    """A config for one iteration, and if it is for ViT-B/16, for a tiny CLIP."""
    options = ["max_iters=1", "checkpoint_interval=1", "eval_interval=None", "num_workers=0"]
    config = Config.load(path)
    if config.init_from and "iter_" in config.init_from:
        options.append(f"init_from={re.sub(r'iter_[0-9]+', 'iter_1', config.init_from)}")
    if CLIP in config.model["clip"]:
        options += miniature.reduced(config)
    else:
        options += [
            "batch_size=2",
            "visualize.num_images=1" if path.stem.endswith("demo") else "visualize.num_images=0",
        ]
    return Config.load(path, options)


def publish(store: Store, patch: pytest.MonkeyPatch) -> None:
    """Makes the miniatures what jseg takes for the published files: their checksums, sizes and counts."""

    def small(source: Source) -> Source:
        path = store.archives / source.name
        if not path.exists():
            return source
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        return dataclasses.replace(source, size=size, exact=True, checksum=Checksum("sha256", digest))

    digest = hashlib.sha256(store.openai.read_bytes()).hexdigest()
    patch.setitem(convert.OPENAI_SHA256, f"{CLIP.lower()}.pt", digest)
    patch.setattr(download, "clip_source", lambda name: small(clip_source(name)))
    patch.setattr(download, "dataset_sources", lambda *wanted: tuple(map(small, dataset_sources(*wanted))))
    patch.setattr(BENCHMARKS["voc2012"], "PUBLISHED", (store.prepared[1],))


def make(folder: Path, store: Store) -> Path:
    """Makes the folder of a page, beside a link to the clone, and returns it."""
    page = folder / "project"
    (page / "weights").mkdir(parents=True)
    (folder / "jseg").symlink_to(ROOT)
    (page / "samples").symlink_to(ROOT / "samples")
    (page / "configs").symlink_to(store.configs)
    for name in ("zeroshapes_clip.npz", "zeroshapes_clip_rc.safetensors", "zerowords_clip.npz"):
        shutil.copy(ROOT / "weights" / name, page / "weights")  # some pages replace them
    return page


def provide(command: Command, page: Path, store: Store) -> None:
    """Makes the files that a command reads and the page does not make, unless they exist."""
    for pattern, name, create in _FILES:
        if re.search(pattern, command.text) and not os.path.lexists(page / name):
            (page / name).parent.mkdir(parents=True, exist_ok=True)
            create(store, page / name)


def _link(target: Callable[[Store], Path]) -> Callable[[Store, Path], None]:
    return lambda store, path: path.symlink_to(target(store))


def _zeroshapes(_: Store, path: Path) -> None:
    write_dataset("zeroshapes", path, {"train": 4, "val": 1, "test": 1})


def _annotated(_: Store, path: Path) -> None:
    from jseg.cli import annotations

    make_encodable()
    assert (
        annotations.main(["labelme", str(ROOT / "samples/annotated/labelme"), str(path), "--jobs", "1"]) == 0
    )


def _archive(store: Store, path: Path) -> None:
    shutil.copy(store.archives / path.name, path)


def _embeddings(_: Store, path: Path) -> None:
    np.save(path, np.random.default_rng(0).normal(size=(20, _WIDTH)).astype(np.float32))


def _copy(name: str, store: Store, path: Path) -> None:
    shutil.copytree(ROOT / name, path) if (ROOT / name).is_dir() else shutil.copy(ROOT / name, path)


def _runs(store: Store, path: Path) -> None:
    for name in ("seed0", "seed1", "baseline"):
        shutil.copytree(
            store.run, path.with_name(name), ignore=shutil.ignore_patterns("checkpoints", "*.jsonl")
        )


def _masks(_: Store, path: Path) -> None:
    """Masks and words for the predictions that `jseg segment samples/` wrote into masks/."""
    path.mkdir()
    for mask in (path.parent / "masks").glob("*[0-9].png"):
        shutil.copy(mask, path)
    (path.parent / "classes.txt").write_text("red circle\nyellow ring\nblue triangle\n")


_CHECKPOINT = "checkpoints/iter_1.safetensors"
_FILES: tuple[tuple[str, str, Callable[[Store, Path], None]], ...] = (
    (r"zeroshapes_(?!clip)\w+\.py", "data/zeroshapes", _zeroshapes),
    (r"prepare_dataset", "data/benchmark.tgz", _archive),
    (r"prepare_dataset", "data/VOCtrainval_11-May-2012.tar", _archive),
    (_BIG, "data/VOCdevkit", _link(lambda store: store.data / "VOCdevkit")),
    (r"table4", "data/VOCdevkit/VOC2010", _link(lambda store: store.data / "VOCdevkit/VOC2010")),
    (r"coco|table4", "data/coco_stuff164k", _link(lambda store: store.data / "coco_stuff164k")),
    (
        rf"{_BIG}|^(?!.*convert_clip).*weights/{CLIP}\.safetensors|work_dirs/(run|RUN)/",
        f"weights/{CLIP}.safetensors",
        _link(lambda store: store.clip),
    ),
    (rf"\b{CLIP}\.pt\b", f"{CLIP}.pt", _link(lambda store: store.openai)),
    (r"\bother_clip\.pt\b", "other_clip.pt", _link(lambda store: store.openai)),
    (r"\bRELEASED\.pth", "RELEASED.pth", _link(lambda store: store.released)),
    (r"--checkpoint voc\.pth", "voc.pth", _link(lambda store: store.released)),
    (r"=CHECKPOINT\b", "CHECKPOINT", _link(lambda store: store.released)),
    (r"\bA\.safetensors", "A.safetensors", _link(lambda store: store.run / _CHECKPOINT)),
    (r"\bB\.safetensors", "B.safetensors", _link(lambda store: store.run / _CHECKPOINT)),
    (r"work_dirs/run/", "work_dirs/run", _link(lambda store: store.run)),
    (r"work_dirs/RUN/", "work_dirs/RUN", _link(lambda store: store.run)),
    (r"work_dirs/seed0", "work_dirs/seed0", _runs),
    (r"truth/", "truth", _masks),
    (r"\bphoto\.jpg", "photo.jpg", partial(_copy, "samples/annotated/photos/chelsea.jpg")),
    (r"segment photos/", "photos/coffee.jpg", partial(_copy, "samples/annotated/photos/coffee.jpg")),
    (r"labelme photos/", "photos", partial(_copy, "samples/annotated")),
    (r"\bwords\.txt", "words.txt", lambda _, path: path.write_text("cat\ncup\n")),
    (r"data_root=mydata\b", "mydata", _annotated),
    (r"=voc12_single\.npy", "voc12_single.npy", _embeddings),
)
