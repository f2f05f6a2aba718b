"""Assembles a complete CLIP-RC or ZegCLIP from any checkpoint: released, converted, or a run's trained part
with its CLIP."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jseg.checkpoints.clip import clip_state
from jseg.checkpoints.clip_rc import (
    LOSS_BUFFERS,
    check_is_clip_rc,
    clip_rc_from_release,
    stored_regions,
)
from jseg.checkpoints.clip_rc_architecture import REGION_TOKENS
from jseg.checkpoints.formats.reader import read_tensors
from jseg.checkpoints.formats.tensor_map import TensorMap, file_error
from jseg.checkpoints.native import check_checksum
from jseg.checkpoints.positions import resize_positions
from jseg.checkpoints.run_metadata import OPTIMIZER_PREFIX, is_run_checkpoint, saved_architecture
from jseg.files import PathLike, file_sha256

_DEFAULT_REGIONS = 16  # value of the releases, used if a file does not contain it
_DEFAULT_CROP = 512  # pixels, used in the same way
_MAX_REGIONS = 1 << 16
_MAX_CLASSES = 1 << 16
_MAX_CROP = 1 << 14


@dataclass
class CompleteModel:
    """All parameters of a model, and the other information in its file.

    trained_classes: number of classes with labels in training, None if unknown.
    """

    state: dict[str, np.ndarray]
    ignored: tuple[str, ...]
    num_regions: int
    class_names: tuple[str, ...]
    iteration: int | None
    trained_classes: int | None = None


def complete_model(tensors: TensorMap, clip: PathLike | None = None) -> CompleteModel:
    """Assembles the complete model of an opened checkpoint.

    Args:
        clip: the CLIP weights on which a jseg run was trained. Checkpoints of a run do not contain them.

    Raises:
        ValueError: if it is not a CLIP-RC or incomplete, or `clip` is missing, not needed or a different one.
    """
    metadata = tensors.metadata
    if is_run_checkpoint(tensors):
        check_checksum(tensors.path)
        return _complete_run(tensors, clip)
    if clip is not None:
        raise ValueError(f"--clip: {tensors.path} already contains the complete model; leave --clip out")
    check_is_clip_rc(tensors)
    state, report = clip_rc_from_release(tensors)
    report.check(tensors.path)
    regions = stored_regions(tensors)
    if regions is None:
        said = metadata.get("num_regions", _DEFAULT_REGIONS)
        regions = _bounded(tensors, "num_regions", said, _MAX_REGIONS)
    iteration = str(metadata.get("meta.iter", metadata.get("iteration")))
    return CompleteModel(
        state,
        report.ignored,
        regions,
        _class_names(metadata),
        int(iteration) if iteration.isdecimal() else None,
        _trained_classes(tensors),
    )


def _complete_run(tensors: TensorMap, clip: PathLike | None) -> CompleteModel:
    metadata = tensors.metadata
    if clip is None:
        raise ValueError(
            f"{tensors.path} contains only the trained part of a run; pass the CLIP it was trained on "
            f"({metadata.get('clip') or 'model.clip of its config'}) with --clip"
        )
    if metadata.get("clip_sha256") and file_sha256(clip) != metadata["clip_sha256"]:
        raise ValueError(
            f"--clip: {clip} is not the CLIP that {tensors.path} was trained on "
            f"({metadata.get('clip')}, SHA-256 {metadata['clip_sha256'][:12]}...); pass that file"
        )
    source, _ = clip_state(read_tensors(clip))
    try:
        architecture = saved_architecture(metadata)
    except ValueError as error:
        raise file_error(tensors.path, f"{error}; the file is damaged") from error
    trained = {name: tensors[name] for name in tensors if not name.startswith(OPTIMIZER_PREFIX)}
    state, names = clip_rc_from_release(
        {**_frozen_part(tensors, source, architecture), **trained}, REGION_TOKENS in trained
    )
    names.check(tensors.path)
    return CompleteModel(
        state,
        names.ignored,
        _bounded(tensors, "num_regions", architecture.get("num_regions") or _DEFAULT_REGIONS, _MAX_REGIONS),
        _class_names(metadata),
        _bounded(tensors, "iteration", metadata.get("iteration"), 1 << 40),
        _trained_classes(tensors),
    )


def _frozen_part(
    tensors: TensorMap, clip: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The encoder's frozen parameters (float32), positions resized to the crop of the run."""
    visual = {
        name[len("visual.") :]: np.asarray(clip[name], np.float32)
        for name in clip
        if name.startswith("visual.")
    }
    crop = architecture.get("image_size") or _DEFAULT_CROP
    sides = crop if isinstance(crop, list) and len(crop) == 2 else [crop, crop]
    patch = visual["conv1.weight"].shape[-1]
    height, width = (_bounded(tensors, "image_size", side, _MAX_CROP) // patch for side in sides)
    visual["positional_embedding"] = resize_positions(visual["positional_embedding"], (height, width))
    return {f"backbone.{name}": value for name, value in visual.items()}


def _trained_classes(tensors: TensorMap) -> int | None:
    """Returns the number from the buffer of the released loss, the record of a conversion, or a run's
    classes."""
    metadata = tensors.metadata
    buffer = next((name for name in tensors if name.endswith(f"{LOSS_BUFFERS}criterion.empty_weight")), None)
    if buffer is not None and len(tensors.entry(buffer).shape) == 1:
        return max(tensors.entry(buffer).shape[0] - 1, 0)
    if "trained_classes" in metadata:
        return _bounded(tensors, "trained_classes", metadata["trained_classes"], _MAX_CLASSES)
    if not is_run_checkpoint(tensors):
        return None
    unseen = json.loads(metadata.get("unseen", "[]")) if metadata.get("setting") == "inductive" else []
    return len(_class_names(metadata)) - len(unseen)


def _bounded(tensors: TensorMap, key: str, value: Any, limit: int) -> int:
    """Returns a number in untrusted metadata. The limit prevents it from requesting unbounded memory."""
    text = str(value)
    if not text.isascii() or not text.isdecimal() or len(text) > 15 or int(text) > limit:
        raise file_error(tensors.path, f"its metadata has {key} = {text[:40]!r}, not a number up to {limit}")
    return int(text)


def _class_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns class words: JSON in jseg's files, a list in the metadata of mmsegmentation."""
    if "class_names" in metadata:
        stored = json.loads(metadata["class_names"])
        return tuple(str(name) for name in stored) if isinstance(stored, list) else ()
    names: list[str] = []
    while f"meta.CLASSES.{len(names)}" in metadata:
        names.append(str(metadata[f"meta.CLASSES.{len(names)}"]))
    return tuple(names)
