"""Loads weights from a file into a segmentor: checkpoints of a run, released models, converted ones."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jseg.checkpoints import (
    Architecture,
    CLIPRCArchitecture,
    check_finite,
    listed,
    load_arrays,
    load_model_state,
    read_tensors,
)
from jseg.checkpoints.pointers import behind_pointer
from jseg.checkpoints.run_metadata import OPTIMIZER_PREFIX, is_run_checkpoint, saved_architecture
from jseg.files import PathLike
from jseg.models.segmentors import Segmentor
from jseg.names import difference, shortened
from jseg.ops import set_value

_LISTED = 6  # names shown of each kind in an error


class Weights(NamedTuple):
    """Contents of a file.

    arrays: name -> values, including those of an optimizer. metadata: metadata of a run's checkpoint, else
    empty. whole: the architecture of a complete model; None for a run's checkpoint, which contains the
    trained part.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]
    whole: CLIPRCArchitecture | None


def read_weights(path: PathLike) -> Weights:
    """Reads a checkpoint of a run (also by its pointers `latest` and `best`), or a complete CLIP-RC:
    the PyTorch or JSeg release, or a file written by `tools/convert_checkpoint.py`.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, damaged or of another kind.
    """
    path = behind_pointer(path)
    if is_run_checkpoint(read_tensors(path)):
        return Weights(*load_arrays(path), None)
    arrays, architecture = load_model_state(path)
    return Weights(arrays, {}, architecture)


def apply_weights(model: Segmentor, weights: Weights, path: PathLike, clip_sha256: str = "") -> None:
    """Loads weights into a model.

    Args:
        path: the file, for messages.
        clip_sha256: hash of the CLIP used by the model, or "" if unknown.

    Raises:
        ValueError: if they are of another architecture, trained on another CLIP, or not finite.
    """
    if weights.whole is not None:
        check_whole_model(weights.whole, model.architecture(), path)
        model.load_arrays(weights.arrays, str(path))
        return
    metadata, trained = weights.metadata, model.trainable_parameters()
    arrays = {name: value for name, value in weights.arrays.items() if not name.startswith(OPTIMIZER_PREFIX)}
    check_parameters(
        arrays,
        {name: tuple(value.shape) for name, value in trained.items()},
        path,
        how_to_match(model.architecture(), metadata),
    )
    if clip_sha256 and metadata.get("clip_sha256", clip_sha256) != clip_sha256:
        raise ValueError(
            f"checkpoint {path} was trained on other CLIP weights ({metadata.get('clip')}, SHA-256 "
            f"{metadata['clip_sha256'][:12]}...) than this config's model.clip (SHA-256 "
            f"{clip_sha256[:12]}...); set model.clip to that file"
        )
    check_finite(path, arrays)
    for name, value in trained.items():
        set_value(value, arrays[name])


def check_whole_model(whole: CLIPRCArchitecture, own: Architecture, path: PathLike) -> None:
    """Compares a complete CLIP-RC file with the model of the config.

    Untrained region tokens have no parameters, but results with another M are not those of the release. So a
    release that stores M of them requires the same `num_regions`.

    Raises:
        ValueError: if they differ. The message lists the config keys to change, with their values.
    """
    changes = own.differences(whole.metadata())
    if changes:
        more = (
            "; to evaluate with another number of regions, convert the file with tools/convert_checkpoint.py"
            if [change.key for change in changes] == ["model.backbone.num_regions"]
            and not whole.train_regions
            else ""
        )
        raise ValueError(
            f"checkpoint {path} is not the model that this config describes: set {listed(changes)}{more}"
        )


def check_parameters(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]], path: PathLike, note: str = ""
) -> None:
    """Compares names and shapes of a checkpoint with those of the model.

    Raises:
        ValueError: if they differ. The message lists the differences.
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
            f"{'; '.join(parts)}; {note or 'use the config.py of that run, or another checkpoint'}"
        )


def how_to_match(own: Architecture, metadata: Mapping[str, str]) -> str:
    """Describes how to fix a mismatch: the config keys in which a checkpoint's model and this one differ."""
    changes = own.differences(saved_architecture(metadata))
    return f"it was trained with {listed(changes)}: set the same here" if changes else ""


def _shortened(names: Sequence[str]) -> str:
    return shortened(names, limit=_LISTED, none="none")
