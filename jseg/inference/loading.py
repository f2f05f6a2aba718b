"""Loads a segmentor and its test recipe from a checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jseg.checkpoints.convert import find_weights
from jseg.checkpoints.run_metadata import saved_config
from jseg.config import Config, import_plugins
from jseg.datasets import DATASETS
from jseg.datasets.classes import load_class_list
from jseg.datasets.transforms import CLIP_MEAN, CLIP_STD
from jseg.files import PathLike, file_sha256, find_file
from jseg.inference.recipe import TestRecipe
from jseg.models.clip import read_clip_config
from jseg.models.layers import filled_by_file
from jseg.models.segmentors import MODELS, DenseCLIP, Segmentor
from jseg.models.weights import Weights, apply_weights, read_weights

_SHORT_SIDE = 448  # pixels, as in the papers on training-free segmentation
_SMALLEST_CLIP = 224  # pixels; smaller CLIPs are for tests and drawings


class Loaded(NamedTuple):
    """Contents of a checkpoint and its config.

    class_names, unseen: those of the run; empty for a released file, which does not contain them. clip: file
        of CLIP weights.
    templates: prompt templates. seen_bias: subtracted from scores of seen classes in the run.
    """

    model: Segmentor
    recipe: TestRecipe
    class_names: tuple[str, ...]
    unseen: tuple[int, ...]
    clip: str
    templates: Any
    seen_bias: float


def load_segmentor(
    checkpoint: PathLike, clip: PathLike | None = None, config: PathLike | None = None
) -> Loaded:
    """Builds and loads the model of a checkpoint.

    Args:
        checkpoint: checkpoint of a jseg run, or a released or converted file.
        clip: file of the CLIP weights; by default the path in the run's config.
        config: config file; by default the one in the checkpoint, which released files do not have.

    Raises:
        FileNotFoundError, ValueError: if a file is missing, damaged, or does not match. The message gives
            advice.
    """
    checkpoint = _found(checkpoint)
    weights = read_weights(checkpoint)
    values = dict(Config.load(find_file(config))) if config is not None else saved_config(weights.metadata)
    if not values:
        raise ValueError(f"{checkpoint} does not contain its config; give it with config= (--config)")
    import_plugins(values.get("imports", ()))
    model_cfg = _with_clip(values, checkpoint, clip)
    names, unseen = _classes(weights, values)
    offered = {"class_names": names or ("object",), "unseen": unseen}
    with filled_by_file():
        model = MODELS.build(model_cfg, where="model", offered=offered)
    sha256 = file_sha256(model_cfg["clip"]) if "clip" in model_cfg else ""
    try:
        apply_weights(model, weights, checkpoint, sha256)
    except ValueError as error:
        if clip is not None and "other CLIP weights" in str(error):
            raise ValueError(f"clip: {clip} is not the CLIP of {checkpoint}; {error}") from error
        raise
    model.eval()
    bias = 0.0 if model_cfg.get("setting") == "transductive" else float(model_cfg.get("seen_bias", 0.1))
    return Loaded(
        model,
        TestRecipe.from_config(values, model.patch_size),
        names,
        unseen,
        str(model_cfg.get("clip", "")),
        model_cfg.get("templates", "single"),
        bias if names else 0.0,
    )


def load_clip_alone(clip: PathLike, dense: str = "clearclip", short_side: int | None = None) -> Loaded:
    """Creates a training-free segmentor from a file of CLIP weights.

    Args:
        dense: last block of the encoder; see `jseg.models.segmentors.DenseCLIP`.
        short_side: in pixels; by default 448, or the CLIP's resolution if that is below 224.

    Raises:
        FileNotFoundError, ValueError: if the file is not a CLIP, or an option is invalid.
    """
    path = find_weights(clip)
    config = read_clip_config(path)
    own = config.image_resolution
    side = short_side if short_side is not None else (own if own < _SMALLEST_CLIP else _SHORT_SIDE)
    patch = config.vision_patch_size
    if side < patch:
        raise ValueError(f"short_side is {side}: it must be at least the patch size {patch}")
    model = DenseCLIP((), (), path, dense)
    model.eval()
    pipeline = dict(short_side=side, mean=CLIP_MEAN, std=CLIP_STD)
    inference = dict(mode="slide", crop_size=side, stride=max(side // 2, 1))
    recipe = TestRecipe.from_config(
        {"dataset": {"test": {"pipeline": pipeline}}, "inference": inference}, model.patch_size
    )
    return Loaded(model, recipe, (), (), path, "imagenet80", 0.0)


def model_config(model: Mapping[str, Any], inference: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config of a model with file paths resolved, and with the inference crop as default of
    image_size.

    Raises:
        FileNotFoundError: if a file is missing. The message names the key.
    """
    filled = dict(model)
    crop = inference.get("crop_size")
    if crop is not None and "image_size" in MODELS.parameters(filled["type"], "model"):
        filled.setdefault("image_size", crop if isinstance(crop, int) else tuple(crop))
    for key in ("clip", "text_embeddings"):
        if isinstance(filled.get(key), str):
            try:
                filled[key] = find_weights(filled[key])
            except FileNotFoundError as error:
                raise FileNotFoundError(f"config key model.{key}: {error}") from error
    return filled


def _found(path: PathLike) -> PathLike:
    """Returns `path` or the file of that name that comes with jseg. If neither exists, reading it raises an
    error."""
    try:
        return find_file(path)
    except FileNotFoundError:
        return path


def _with_clip(values: Mapping[str, Any], checkpoint: PathLike, clip: PathLike | None) -> dict[str, Any]:
    model_cfg = dict(values["model"])
    if clip is not None:
        model_cfg["clip"] = str(_found(clip))
        if not Path(model_cfg["clip"]).is_file():
            raise FileNotFoundError(f"clip: there is no file {clip}; give the CLIP weights of {checkpoint}")
    try:
        return model_config(model_cfg, values.get("inference", {}))
    except FileNotFoundError as error:
        if "model.clip" in str(error):
            raise FileNotFoundError(
                f"{checkpoint} needs the CLIP weights that it was trained on, {model_cfg['clip']}, which "
                "were not found; give them with clip= (--clip)"
            ) from error
        raise


def _classes(weights: Weights, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns class words and unseen indices of the run, or else of the config's dataset, or else none."""
    if "class_names" in weights.metadata:
        return (
            tuple(json.loads(weights.metadata["class_names"])),
            tuple(json.loads(weights.metadata["unseen"])),
        )
    for part in (values.get("dataset") or {}).values():
        if not isinstance(part, Mapping) or part.get("type") not in DATASETS:
            continue
        parameter = DATASETS.parameters(part["type"]).get("classes")
        classes = part.get("classes", parameter.default if parameter else None)
        try:
            found = load_class_list(classes)
        except (ValueError, TypeError):  # a file of words stored with the data, which may be missing
            continue
        return found.names, found.unseen
    return (), ()
