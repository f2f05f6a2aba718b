"""What a checkpoint of a run holds, and whether it fits the run that loads it. Files: `jseg.runner.store`.

Arrays: trained parameters under their names, `optimizer.*` from the optimizer. Metadata (text):
    format, iteration, seed, setting, class_names and unseen (JSON), config (the whole resolved config; with
        the iteration it gives the learning rates, which are a function of both), architecture (JSON, see
        `jseg.checkpoints.Architecture`),
    clip, clip_sha256: name and hash of the CLIP weight file, which is frozen and not stored,
    data: JSON of pictures, batch_size, epoch and offset: the next picture is number `offset` of epoch
        `epoch`,
    random: hash of the first numbers that Python, numpy (which also seeds the masks of dropout) and Jittor
        draw in the next iteration. Their states are functions of (seed, iteration): a resume sets them, and
        checks them so,
    losses: JSON of the loss terms since the last log line, so that a resumed log has the same lines,
    bad_pictures: JSON, name -> reason, of the pictures left out because they could not be read,
    versions: JSON of jseg, jittor, numpy and Python.
"""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jseg import __version__
from jseg.checkpoints import Architecture
from jseg.checkpoints.run_metadata import FORMAT, saved_config
from jseg.config import Config
from jseg.datasets import Dataset
from jseg.distributed import broadcast_object, is_main
from jseg.files import PathLike
from jseg.models.segmentors import Segmentor
from jseg.models.weights import apply_weights, how_to_match, read_weights
from jseg.names import difference, shortened
from jseg.runner.seeding import fingerprint
from jseg.runtime.backend import jt

_LISTED = 6  # names shown of each kind in an error
# Config keys that do not change what is trained.
_NOT_TRAINING = ("work_dir", "keep_checkpoints", "num_workers", "visualize", "data_root")


def describe(
    cfg: Config,
    model_cfg: Mapping[str, Any],
    architecture: Architecture,
    dataset: Dataset,
    iteration: int,
    clip_sha256: str,
    losses: Sequence[Mapping[str, float]] = (),
    bad_pictures: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Metadata of a checkpoint; `model_cfg` is the model's config with what the runner filled in."""
    return {
        "format": FORMAT,
        "iteration": str(iteration),
        "seed": str(cfg.seed),
        "config": cfg.text(),
        "class_names": json.dumps(list(dataset.class_names)),
        "unseen": json.dumps([int(index) for index in dataset.unseen]),
        "setting": str(model_cfg.get("setting", "inductive")),
        "architecture": json.dumps(architecture.metadata()),
        "clip": Path(str(model_cfg.get("clip", ""))).name,
        "clip_sha256": clip_sha256,
        "data": json.dumps(data_position(iteration, cfg.batch_size, len(dataset))),
        "random": fingerprint(cfg.seed, iteration),
        "losses": json.dumps(list(losses)),
        "bad_pictures": json.dumps(dict(bad_pictures)),
        "versions": json.dumps(_versions()),
    }


def data_position(iteration: int, batch_size: int, pictures: int) -> dict[str, int]:
    """Where in the data iteration number `iteration` (from 0)
    begins; `batch_size` is that of all ranks together."""
    epoch, offset = divmod(iteration * batch_size, pictures)
    return {"pictures": pictures, "batch_size": batch_size, "epoch": epoch, "offset": offset}


def _versions() -> dict[str, str]:
    return {
        "jseg": __version__,
        "jittor": str(jt.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def load_weights(
    model: Segmentor, path: PathLike, clip_sha256: str = ""
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Loads a checkpoint, read by the main rank, into the model of every rank; see `jseg.models.weights`.

    Returns:
        Arrays and metadata of the file; no metadata for a whole model.

    Raises:
        FileNotFoundError, ValueError: no such file; damaged; of another architecture or another CLIP.
    """
    weights = broadcast_object(read_weights(path) if is_main() else None, what=f"the weights in {path}")
    apply_weights(model, weights, path, clip_sha256)
    return weights.arrays, weights.metadata


def check_initial_weights(
    path: PathLike, metadata: Mapping[str, str], dataset: Dataset, own: Architecture
) -> None:
    """`init_from` starts a transductive run from an inductive one: same dataset, same split, same model.

    Options that leave the shapes of all parameters alone, such as the number of regions or heads, are
    compared too. A whole model without metadata, such as a release, says nothing about its origin and is
    taken as it is.

    Raises:
        ValueError: the checkpoint is of another setting, other classes, other unseen classes or another
            model.
    """
    if metadata.get("setting", "inductive") != "inductive":
        raise ValueError(
            f"init_from: {path} was trained in the {metadata['setting']} setting; "
            "give an inductive checkpoint"
        )
    names = json.loads(metadata.get("class_names", "null"))
    if names is not None and names != list(dataset.class_names):
        only_file, only_here = difference(names, dataset.class_names)
        raise ValueError(
            f"init_from: {path} was trained with other classes (only there: {_shortened(only_file)}; "
            f"only here: {_shortened(only_here)}; or another order); "
            "give a checkpoint of the same dataset, or set fine_tune=True to begin with it all the same"
        )
    unseen = json.loads(metadata.get("unseen", "null"))
    if unseen is not None and sorted(unseen) != sorted(int(index) for index in dataset.unseen):
        listed = [
            _shortened([dataset.class_names[index] for index in indices])
            for indices in (unseen, dataset.unseen)
        ]
        raise ValueError(
            f"init_from: {path} was trained with other unseen classes (there: {listed[0]}; here: "
            f"{listed[1]}): what is unseen here had masks there; give a checkpoint of the same split"
        )
    check_same_model(path, metadata, own)


def check_same_model(path: PathLike, metadata: Mapping[str, str], own: Architecture) -> None:
    """What is asked of `init_from` with `fine_tune`: any classes and any setting, but the same architecture.

    No parameter depends on the classes: their words reach the model through CLIP's text encoder.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    note = how_to_match(own, metadata)
    if note:
        raise ValueError(f"init_from: {path} is of another model than this config's; {note}")


def fine_tuning_note(metadata: Mapping[str, str], names: Sequence[str]) -> str:
    """Which words a checkpoint was trained with, and which of the run's are new to it."""
    trained = json.loads(metadata.get("class_names", "null"))
    if trained is None:
        return f"fine-tuning: the checkpoint does not say its classes; {len(names)} classes here"
    new = [name for name in names if name not in trained]
    return (
        f"fine-tuning: trained with {len(trained)} classes; of the {len(names)} here "
        f"{len(new)} are new ({_shortened(new)})"
    )


def half_way_note(metadata: Mapping[str, str]) -> str:
    """A remark if a checkpoint of a run is not the one at half its
    length, which the releases start from; else ''."""
    length = re.search(r"^max_iters = (\d+)$", metadata.get("config", ""), re.MULTILINE)
    if not length or 2 * int(metadata["iteration"]) == int(length.group(1)):
        return ""
    return (
        f"note: init_from is iteration {metadata['iteration']} of a run of {length.group(1)}; the releases "
        "start "
        "from half the length"
    )


def check_resumable(path: PathLike, metadata: Mapping[str, str], cfg: Config, pictures: int) -> int:
    """The iteration to go on from.

    Raises:
        ValueError: the checkpoint is not of this run (seed, setting, batch size, training set), or the run is
            longer than `max_iters`.
    """
    if "iteration" not in metadata:
        raise ValueError(
            f"--resume: {path} is not a checkpoint of a jseg run; use --checkpoint or init_from for weights"
        )
    data = json.loads(metadata.get("data", "{}"))
    options = (
        ("seed", "--seed", metadata.get("seed"), cfg.seed),
        ("setting", "model.setting", metadata.get("setting"), cfg.model.get("setting", "inductive")),
        ("batch_size", "batch_size", data.get("batch_size"), cfg.batch_size),
        ("a training set of size", "dataset.train", data.get("pictures"), pictures),
    )
    for title, key, saved, own in options:
        if saved is not None and str(saved) != str(own):
            raise ValueError(
                f"--resume: {path} was trained with {title} {saved}, this config says {own}; "
                f"set {key} to {'that one' if key == 'dataset.train' else saved}"
            )
    iteration = int(metadata["iteration"])
    if iteration > cfg.max_iters:
        raise ValueError(
            f"--resume: {path} is of iteration {iteration}, beyond max_iters {cfg.max_iters}; raise max_iters"
        )
    return iteration


def resume_notes(metadata: Mapping[str, str], cfg: Config) -> list[str]:
    """What keeps a resumed run from repeating the unbroken one bit
    for bit: other random numbers, other options."""
    notes = []
    if metadata.get("random", "") not in ("", fingerprint(cfg.seed, int(metadata["iteration"]))):
        saved, own = json.loads(metadata.get("versions", "{}")), _versions()
        other = [
            f"{name} {saved.get(name)} there, {own[name]} here"
            for name in own
            if saved.get(name) != own[name]
        ]
        notes.append(
            "warning: random numbers are not those of the run before "
            f"({', '.join(other) or 'same versions'}): losses will be close to an unbroken run's, not equal"
        )
    before, now = saved_config(metadata), saved_config({"config": cfg.text()})
    changed = [
        key for key, value in now.items() if before.get(key, value) != value and key not in _NOT_TRAINING
    ]
    if changed:
        notes.append(f"note: since that checkpoint these config keys have changed: {', '.join(changed)}")
    return notes


def _shortened(names: Sequence[str]) -> str:
    return shortened(names, limit=_LISTED, none="none")
