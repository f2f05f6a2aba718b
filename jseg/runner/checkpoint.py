"""What a checkpoint of a run holds, and whether it fits the run that loads it. Files: `jseg.runner.store`.

Arrays: trained parameters under their names, `optimizer.*` from the optimizer. Metadata (text):
    format, iteration, seed, setting, class_names and unseen (JSON), config (the whole resolved config; with
        the iteration it gives the learning rates, which are a function of both), architecture (JSON of the
        model's config),
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
from jseg.checkpoints import (
    CLIPRCSizes,
    check_finite,
    config_differences,
    load_arrays,
    load_model_state,
    read_tensors,
)
from jseg.checkpoints.complete import RUN_FORMAT, is_run_checkpoint
from jseg.config import Config
from jseg.datasets import Dataset
from jseg.distributed import broadcast_object, is_main
from jseg.files import PathLike
from jseg.models.segmentors import Segmentor
from jseg.names import difference, shortened
from jseg.optim.adamw import STATE_PREFIX
from jseg.runner.seeding import fingerprint
from jseg.runner.store import behind_pointer
from jseg.runtime.backend import jt

FORMAT = f"{RUN_FORMAT} 1"
_LISTED = 6  # names shown of each kind in an error
# Parts of the model's config that do not change which parameters exist.
_NOT_ARCHITECTURE = (
    "clip",
    "setting",
    "templates",
    "text_embeddings",
    "focal_weight",
    "dice_weight",
    "recovery_weight",
    "recovery_loss",
    "seen_bias",
    "ignore_index",
    "dropout",
)
# Config keys that do not change what is trained.
_NOT_TRAINING = ("work_dir", "keep_checkpoints", "num_workers", "visualize", "data_root")


def describe(
    cfg: Config,
    model_cfg: Mapping[str, Any],
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
        "architecture": json.dumps(architecture(model_cfg)),
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


def architecture(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the model's config that decides about its parameters."""
    return {key: value for key, value in model_cfg.items() if key not in _NOT_ARCHITECTURE}


def load_weights(
    model: Segmentor, path: PathLike, model_cfg: Mapping[str, Any], clip_sha256: str = ""
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Loads a checkpoint into `model` and returns what the file holds.

    Checkpoints of a run hold the trained parameters; any other file must hold a whole CLIP-RC: the PyTorch or
    JSeg release, or what `tools/convert_checkpoint.py` wrote.

    Raises:
        FileNotFoundError, ValueError: no such file; damaged; of another architecture or another CLIP.
    """
    arrays, metadata, sizes = broadcast_object(
        _read(path) if is_main() else None, what=f"the weights in {path}"
    )
    if sizes is not None:
        check_sizes(sizes, model, path, model_cfg)
        model.load_arrays(arrays, str(path))
        return arrays, {}
    trained = model.trainable_parameters()
    weights = {name: value for name, value in arrays.items() if not name.startswith(STATE_PREFIX)}
    check_parameters(
        weights,
        {name: tuple(value.shape) for name, value in trained.items()},
        path,
        _differences(metadata, model_cfg),
    )
    if clip_sha256 and metadata.get("clip_sha256", clip_sha256) != clip_sha256:
        raise ValueError(
            f"checkpoint {path} was trained on other CLIP weights ({metadata.get('clip')}, SHA-256 "
            f"{metadata['clip_sha256'][:12]}...) than this config's model.clip (SHA-256 "
            f"{clip_sha256[:12]}...); set model.clip to that file"
        )
    check_finite(path, weights)
    for name, value in trained.items():
        value.update(jt.array(np.ascontiguousarray(weights[name], np.float32)))
    return arrays, metadata


def _read(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, str], CLIPRCSizes | None]:
    """Arrays, metadata (of a run's checkpoint) and sizes (of a whole model)."""
    path = behind_pointer(path)
    if is_run_checkpoint(read_tensors(path)):
        return (*load_arrays(path), None)
    arrays, sizes = load_model_state(path)
    return arrays, {}, sizes


def check_sizes(sizes: CLIPRCSizes, model: Segmentor, path: PathLike, model_cfg: Mapping[str, Any]) -> None:
    """Compares a whole CLIP-RC file with the model that the config built.

    Untrained region tokens have no parameters, but numbers measured with another M are not those of the
    release: a release that stores M of them must meet the same `num_regions`.

    Raises:
        ValueError: one sentence with every config key to change and its value.
    """
    own = model.architecture()
    if not isinstance(own, CLIPRCSizes):
        raise ValueError(
            f"checkpoint {path} holds a CLIP-RC, but the config's model.type is "
            f"{model_cfg.get('type')!r}; set it to 'CLIPRC'"
        )
    changes = config_differences(sizes, own, model_cfg.get("ram_inputs", ()))
    if changes:
        listed = ", ".join(f"{key} to {wanted} (here {now})" for key, wanted, now in changes)
        more = (
            "; to evaluate with another number of regions, convert the file with tools/convert_checkpoint.py"
            if [key for key, _, _ in changes] == ["model.num_regions"] and not sizes.trained_regions
            else ""
        )
        raise ValueError(f"checkpoint {path} is of another size than this config's model: set {listed}{more}")


def check_parameters(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]], path: PathLike, note: str = ""
) -> None:
    """Compares names and shapes of a checkpoint with those of the model.

    Raises:
        ValueError: lists what only the model has, what only the file has, and what differs in shape.
    """
    missing, extra = difference(shapes, arrays)
    other = [
        f"{name} {tuple(arrays[name].shape)} in the file, {tuple(shapes[name])} in the model"
        for name in sorted(set(shapes) & set(arrays))
        if tuple(arrays[name].shape) != tuple(shapes[name])
    ]
    kinds = (("only in the model", missing), ("only in the file", extra), ("of another shape", other))
    parts = [f"{title} ({len(names)}): {_shortened(names)}" for title, names in kinds if names]
    if parts:
        raise ValueError(
            f"checkpoint {path} is of another architecture than this config's model; "
            f"{'; '.join(parts)}; {note or 'use the config.py beside that run, or another checkpoint'}"
        )


def _differences(metadata: Mapping[str, str], model_cfg: Mapping[str, Any]) -> str:
    """How to mend a mismatch: the model options in which the checkpoint's config and this one differ."""
    saved = json.loads(metadata.get("architecture", "{}"))
    current = json.loads(json.dumps(architecture(model_cfg)))
    changed = [
        f"model.{key}={saved.get(key, '(default)')!r} (here {current.get(key, '(default)')!r})"
        for key in sorted(set(saved) | set(current))
        if saved.get(key) != current.get(key)
    ]
    return f"it was trained with {', '.join(changed)}: set the same here" if changed else ""


def check_initial_weights(
    path: PathLike, metadata: Mapping[str, str], dataset: Dataset, model_cfg: Mapping[str, Any]
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
            "give a checkpoint of the same dataset"
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
    note = _differences(metadata, model_cfg) if "architecture" in metadata else ""
    if note:
        raise ValueError(f"init_from: {path} is of another model than this config's; {note}")


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
    before, now = (_config_lines(text) for text in (metadata.get("config", ""), cfg.text()))
    changed = [key for key, text in now.items() if before.get(key, text) != text and key not in _NOT_TRAINING]
    if changed:
        notes.append(f"note: since that checkpoint these config keys have changed: {', '.join(changed)}")
    return notes


def _config_lines(text: str) -> dict[str, str]:
    """Top-level key -> its (perhaps several) lines in the text of a config."""
    return {block.split(" = ")[0]: block for block in re.split(r"\n(?=\w+ = )", text.strip())}


def _shortened(names: Sequence[str]) -> str:
    return shortened(names, limit=_LISTED, none="none")
