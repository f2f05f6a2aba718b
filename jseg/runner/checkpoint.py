"""Contents of a run's checkpoint, and checks that it matches the run that loads it.

The files themselves are handled by `jseg.runner.store`. Arrays are the trained parameters under their names,
and `optimizer.*` of the optimizer. Metadata entries (text):
    format, iteration, seed, setting, class_names and unseen (JSON), config (the whole resolved config, which
        together with the iteration determines the learning rates), architecture (JSON, see
        `jseg.checkpoints.Architecture`),
    clip, clip_sha256: name and hash of the CLIP weight file, which is frozen and not stored,
    data: JSON of `pictures` (the number of training images), batch_size, epoch and offset: the next image is
        number `offset` of epoch `epoch`,
    random: hash of the first random numbers of Python, NumPy (which also seeds the dropout masks) and Jittor
        in the next iteration. The random states are functions of (seed, iteration). A resumed run sets them
        and compares the hash,
    losses: JSON of the loss terms since the last log line, so that a resumed run logs the same lines,
    bad_images: JSON, name -> reason, of the images skipped because they cannot be read,
    versions: JSON of the versions of jseg, jittor, numpy and python.
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

_LISTED = 6  # number of names of each kind shown in an error
# Config keys that do not affect training.
_NOT_TRAINING = ("work_dir", "keep_checkpoints", "num_workers", "visualize", "data_root", "sinks")


def describe(
    cfg: Config,
    model_cfg: Mapping[str, Any],
    architecture: Architecture,
    dataset: Dataset,
    iteration: int,
    clip_sha256: str,
    losses: Sequence[Mapping[str, float]] = (),
    bad_images: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Metadata of a checkpoint. `model_cfg` is the model's config as completed by the runner."""
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
        "bad_images": json.dumps(dict(bad_images)),
        "versions": json.dumps(_versions()),
    }


def data_position(iteration: int, batch_size: int, num_images: int) -> dict[str, int]:
    """Position in the data at the start of `iteration` (from 0). `batch_size` is the total over all ranks."""
    epoch, offset = divmod(iteration * batch_size, num_images)
    return {"pictures": num_images, "batch_size": batch_size, "epoch": epoch, "offset": offset}


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
        Arrays and metadata of the file. A complete model has no metadata.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, damaged, or of another architecture or CLIP.
    """
    weights = broadcast_object(read_weights(path) if is_main() else None, what=f"the weights in {path}")
    apply_weights(model, weights, path, clip_sha256)
    return weights.arrays, weights.metadata


def check_initial_weights(
    path: PathLike, metadata: Mapping[str, str], dataset: Dataset, own: Architecture
) -> None:
    """Checks that a transductive run starts from an inductive one with the same dataset, split and model.

    Options that do not change the shape of a parameter, such as the number of regions or heads, are compared
    too. A complete model without metadata, such as a release, has no recorded origin and is accepted.

    Raises:
        ValueError: if the checkpoint has another setting, other classes, other unseen classes or another
            model.
    """
    if metadata.get("setting", "inductive") != "inductive":
        raise ValueError(
            f"init_from: {path} was trained in the {metadata['setting']} setting; use an inductive checkpoint"
        )
    names = json.loads(metadata.get("class_names", "null"))
    if names is not None and names != list(dataset.class_names):
        only_file, only_here = difference(names, dataset.class_names)
        raise ValueError(
            f"init_from: {path} was trained with other classes (only there: {_shortened(only_file)}; "
            f"only here: {_shortened(only_here)}; or in another order); "
            "use a checkpoint of the same dataset, or set fine_tune=True to start from this one"
        )
    unseen = json.loads(metadata.get("unseen", "null"))
    if unseen is not None and sorted(unseen) != sorted(int(index) for index in dataset.unseen):
        listed = [
            _shortened([dataset.class_names[index] for index in indices])
            for indices in (unseen, dataset.unseen)
        ]
        raise ValueError(
            f"init_from: {path} was trained with other unseen classes (checkpoint: {listed[0]}; this config: "
            f"{listed[1]}), so it has seen masks of unseen classes; use a checkpoint of the same split"
        )
    check_same_model(path, metadata, own)


def check_same_model(path: PathLike, metadata: Mapping[str, str], own: Architecture) -> None:
    """Checks `init_from` with `fine_tune`: any classes and any setting, but the same architecture.

    No parameter depends on the classes: their words reach the model through CLIP's text encoder.

    Raises:
        ValueError: if the checkpoint is of another model.
    """
    note = how_to_match(own, metadata)
    if note:
        raise ValueError(f"init_from: {path} is of a different model than this config's; {note}")


def fine_tuning_note(metadata: Mapping[str, str], names: Sequence[str]) -> str:
    """Returns a line on the classes of the checkpoint and the new ones of this run."""
    trained = json.loads(metadata.get("class_names", "null"))
    if trained is None:
        return f"fine-tuning: the checkpoint does not record its classes; {len(names)} classes here"
    new = [name for name in names if name not in trained]
    return (
        f"fine-tuning: trained with {len(trained)} classes; of the {len(names)} here "
        f"{len(new)} are new ({_shortened(new)})"
    )


def half_way_note(metadata: Mapping[str, str]) -> str:
    """Returns a note if a run's checkpoint is not from half of its iterations, where the releases start; else
    ''."""
    length = re.search(r"^max_iters = (\d+)$", metadata.get("config", ""), re.MULTILINE)
    if not length or 2 * int(metadata["iteration"]) == int(length.group(1)):
        return ""
    return (
        f"note: init_from is iteration {metadata['iteration']} of a run of {length.group(1)}; "
        "the releases start at half the length"
    )


def check_resumable(path: PathLike, metadata: Mapping[str, str], cfg: Config, num_images: int) -> int:
    """Returns the iteration to resume from.

    Raises:
        ValueError: if the checkpoint is not from this run (seed, setting, batch size, training set), or is
            beyond `max_iters`.
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
        ("a training set of size", "dataset.train", data.get("pictures"), num_images),
    )
    for title, key, saved, own in options:
        if saved is not None and str(saved) != str(own):
            raise ValueError(
                f"--resume: {path} was trained with {title} {saved}, but this config has {own}; "
                f"set {key} to {'the same one' if key == 'dataset.train' else saved}"
            )
    iteration = int(metadata["iteration"])
    if iteration > cfg.max_iters:
        raise ValueError(
            f"--resume: {path} is of iteration {iteration}, beyond max_iters {cfg.max_iters}; raise max_iters"
        )
    return iteration


def resume_notes(metadata: Mapping[str, str], cfg: Config) -> list[str]:
    """Lists reasons why a resumed run may differ from an uninterrupted one: random numbers and options."""
    notes = []
    if metadata.get("random", "") not in ("", fingerprint(cfg.seed, int(metadata["iteration"]))):
        saved, own = json.loads(metadata.get("versions", "{}")), _versions()
        other = [
            f"{name} {saved.get(name)} there, {own[name]} here"
            for name in own
            if saved.get(name) != own[name]
        ]
        notes.append(
            "warning: random numbers differ from those of the interrupted run "
            f"({', '.join(other) or 'same versions'}): losses will be close to those of an "
            "uninterrupted run, not equal"
        )
    before, now = saved_config(metadata), saved_config({"config": cfg.text()})
    changed = [
        key for key, value in now.items() if before.get(key, value) != value and key not in _NOT_TRAINING
    ]
    if changed:
        notes.append(f"note: config keys that have changed since that checkpoint: {', '.join(changed)}")
    return notes


def _shortened(names: Sequence[str]) -> str:
    return shortened(names, limit=_LISTED, none="none")
