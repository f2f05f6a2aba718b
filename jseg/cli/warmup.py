"""Compile everything that training, evaluation and segmentation need, so that jobs compile nothing.

    jseg warmup                                        # the models of ZeroShapes
    jseg warmup --config configs/clip_rc/voc2012_inductive.py

Trains the config's model for two iterations on generated images of its size, evaluates it and segments an
image with it. The CLIP weights are needed, the dataset is not. Only compiled files are kept. Run this on a
machine with the CPU, compiler and Python of the job; see docs/install.md.
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jseg.cli import shipped
from jseg.cli.output import Record, add_output_options, command_status
from jseg.config import Config
from jseg.progress import progress
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import TRAINING, memory_advice
from jseg.runtime.selection import name_device, select_device

DEFAULT_CONFIG = "configs/clip_rc/zeroshapes_demo.py"
_WORDS = ("cat", "dog", "grass", "sky")  # compiled files depend neither on them nor on their number
_IMAGES = 4
_ITERATIONS = 2  # the second one updates the state of the optimizer, which the first one creates
_PARTS = 2  # the run, which takes most of the time, and segmentation
_MEGABYTE = 1e6


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", default=DEFAULT_CONFIG, help="config file of the job (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override config keys, as for the job",
    )
    add_output_options(parser, "the number of compiled operators, and the cache with its size")
    add_device_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    arguments = make_parser().parse_args(argv)
    return command_status(arguments, lambda record: run(arguments, record))


def run(arguments: argparse.Namespace, record: Record) -> None:
    """Compiles, and reports the result.

    Raises:
        ValueError, FileNotFoundError: if the config is wrong or the CLIP weights are missing.
        OSError: if the cache cannot be written.
    """
    config = Config.load(shipped(arguments.config), arguments.overrides)
    select_device(arguments.device, arguments.precision)
    from jseg.runtime.environment import jittor_cache

    name_device()
    before = _compiled(jittor_cache())
    with (
        tempfile.TemporaryDirectory(prefix="jseg-warmup-") as folder,
        contextlib.redirect_stdout(io.StringIO()),  # hides the log of a run on noise
        memory_advice(TRAINING),
    ):
        use_model(config, Path(folder))
    after = _compiled(jittor_cache())
    size = sum(file.stat().st_size for file in jittor_cache().rglob("*") if file.is_file())
    compiled = len(after - before)
    print(f"ready: {compiled} operators compiled; {jittor_cache()} now takes {size / _MEGABYTE:.0f} MB")
    record({"compiled": compiled, "cache": jittor_cache(), "bytes": size})


def use_model(config: Config, folder: Path) -> None:
    """Trains, evaluates and segments with the model of a config, with all files in `folder`.

    Raises:
        ValueError, FileNotFoundError: see `jseg.runner.Runner`.
    """
    from jseg.inference.segmenter import Segmenter
    from jseg.runner import Runner

    _write_data(folder / "data")
    short = shortened(config, folder)
    with progress(total=_PARTS, unit="part", label="compiling") as bar:
        if short.model.get("setting") == "transductive":  # starts from an inductive run
            first = shortened(config, folder)
            first["model"]["setting"] = "inductive"
            first["work_dir"] = str(folder / "first")
            Runner(first).train()
            short["init_from"] = str(folder / "first" / "checkpoints" / f"iter_{_ITERATIONS}.safetensors")
        runner = Runner(short)
        if runner.experiment.model().trainable_parameters():
            runner.train()
            bar.update()
            segmenter = Segmenter.from_checkpoint(folder / "work" / "checkpoints" / "latest")
        else:
            runner.val()
            bar.update()
            segmenter = Segmenter.from_clip(short.model["clip"], short.model.get("dense", "clearclip"))
        segmenter.segment(folder / "data" / "images" / "0.png", list(_WORDS))
        bar.update()


def shortened(config: Config, folder: Path) -> Config:
    """Returns the config with generated data and few iterations, with its own model, optimizer, pipelines and
    test recipe."""
    accumulate = min(config.accumulate, 2)
    parts = {part: own for part, own in config.dataset.items() if isinstance(own, Mapping)}
    words = _class_words(config.model)
    values: dict[str, Any] = {
        "dataset": {part: _generated(own, words) for part, own in parts.items()},
        "data_root": str(folder / "data"),
        "work_dir": str(folder / "work"),
        "max_iters": _ITERATIONS,
        "eval_interval": _ITERATIONS,
        "checkpoint_interval": _ITERATIONS,
        "accumulate": accumulate,
        "batch_size": accumulate * min(max(config.batch_size // config.accumulate, 1), 2),
        "num_workers": 0,
        "init_from": None,
        "fine_tune": False,
    }
    model = {key: value for key, value in config.model.items() if key != "text_embeddings"}
    return Config.from_dict({**config, **values, "model": model}, config.filename)


def _class_words(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns class words, which include those that options of the model refer to."""
    background = model.get("background")
    named = (*([background] if background else []), *(model.get("phrases") or {}))
    return (*named, *(word for word in _WORDS if word not in named))


def _generated(part: Mapping[str, Any], words: tuple[str, ...]) -> dict[str, Any]:
    """Returns a part of the dataset: generated images, with the pipeline of the config."""
    kept = {key: part[key] for key in ("pipeline", "test_mode") if key in part}
    return {"type": "FolderDataset", "classes": words, "unseen": words[-1:], "split": None, **kept}


def _write_data(folder: Path) -> None:
    """Writes images of noise, and masks in which each word has a quarter of the pixels."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    mask = np.kron(np.array([[0, 1], [2, 3]], np.uint8), np.ones((96, 128), np.uint8))
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(_IMAGES):
        Image.fromarray(rng.integers(0, 256, (*mask.shape, 3), np.uint8)).save(
            folder / "images" / f"{number}.png"
        )
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")


def _compiled(cache: Path) -> set[Path]:
    return set(cache.glob("jt*/**/jit/*.so"))
