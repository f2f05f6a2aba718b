"""Recomputes the contents of a case folder: the quantities of CLIP-RC, of CLIP, and token ids."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jseg.labels import IGNORE_INDEX
from jseg.parity.files import (
    CLIP_ARRAYS,
    INPUT_ARRAYS,
    WEIGHT_ARRAYS,
    Arrays,
    check_dense_settings,
    check_settings,
    check_text,
    clip_weights,
    load_arrays,
    load_json,
)
from jseg.parity.segmentors import build_segmentor
from jseg.parity.training import run_training

if TYPE_CHECKING:
    from jseg.models.segmentors import CLIPRC
    from jseg.runtime.backend import jt


def run_case(folder: Path) -> tuple[Arrays, Arrays]:
    """Computes one case.

    Returns:
        (computed, recorded) arrays by name.

    Raises:
        ValueError, OSError: if the folder is not a case of a known kind, or a file is missing or damaged.
    """
    quantities, recorded = pending_case(folder)
    computed = {name: value for name, value in quantities.items() if isinstance(value, np.ndarray)}
    pending = {name: value for name, value in quantities.items() if name not in computed}
    if pending:
        from jseg.runtime.backend import jt

        # All at once, since Jittor compiles operators in parallel when they are requested together.
        computed.update(zip(pending, map(np.asarray, jt.fetch_sync(list(pending.values())))))
    for name in (name for name in computed if name.endswith(".pseudo_label")):
        computed[name] = np.where(computed[name] < 0, IGNORE_INDEX, computed[name])[:, None]
    return computed, recorded


def pending_case(folder: Path) -> tuple[dict[str, Any], Arrays]:
    """Returns (quantities, recorded) of a case by name. The quantities are arrays, or variables of Jittor
    that have not been computed yet.

    Raises:
        ValueError, OSError: as in `run_case`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError("no such folder; name one that contains a case.json")
    case = load_json(folder / "case.json")
    if not isinstance(case, dict):
        raise ValueError('case.json: not an object; write {"kind": ...} with the settings of the case')
    runners = {
        "clip_rc": run_segmentor,
        "zegclip": run_segmentor,
        "clip": run_clip,
        "tokenizer": run_tokenizer,
        "dense_clip": run_dense_clip,
        "training": run_training,
    }
    if not isinstance(case.get("kind"), str) or case["kind"] not in runners:
        raise ValueError(
            f"case.json: kind is {case.get('kind')!r}, but it must be one of {', '.join(runners)}"
        )
    return runners[case["kind"]](folder, case)


def run_tokenizer(folder: Path, case: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Token ids of every text, truncated to 77."""
    from jseg.models.clip import tokenize

    cases = load_json(folder / "cases.json")
    if not isinstance(cases, list) or not cases:
        raise ValueError("cases.json: not a list of texts and token ids, or empty; copy the file again")
    for number, item in enumerate(cases):
        check_text(item, number)
    recorded = np.array([item["tokens_77_truncated"] for item in cases])
    tokens = tokenize([item["text"] for item in cases], 77, truncate=True)
    return {"tokens_77_truncated": np.asarray(tokens)}, {"tokens_77_truncated": recorded}


def run_clip(folder: Path, case: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Image and text features and the logits between them."""
    from jseg.models.clip import load_clip
    from jseg.runtime.backend import jt

    recorded = load_arrays(folder / "io.npz", CLIP_ARRAYS)
    with clip_weights(folder, case) as path:
        clip = load_clip(path)
    image, tokens = jt.array(recorded.pop("image")), recorded.pop("tokens")
    with jt.no_grad():
        quantities = {
            "image_features": clip.encode_image(image),
            "text_features": clip.encode_text(tokens),
            "logits_per_image": clip(image, tokens)[0],
        }
    return quantities, recorded


def run_dense_clip(folder: Path, case: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Patch features for each size, position resizing and last block, and the resized positions."""
    from jseg.models.backbones.dense import DenseEncoder
    from jseg.models.clip import CLIPConfig
    from jseg.models.state import load_arrays_into
    from jseg.runtime.backend import jt

    check_dense_settings(case)
    weights = load_arrays(folder / "weights.npz", {"visual.conv1.weight": 4, "visual.proj": 2})
    visual = {name.removeprefix("visual."): value for name, value in weights.items()}
    config = CLIPConfig(
        embed_dim=visual["proj"].shape[1],
        image_resolution=case["image_resolution"],
        vision_layers=case["layers"],
        vision_width=case["width"],
        vision_patch_size=case["patch"],
        context_length=1,
        vocab_size=1,
        transformer_width=64,
        transformer_layers=1,
        vision_heads=case["heads"],
        transformer_heads=1,
        activation=case.get("activation", "quick_gelu"),
    )
    images = load_arrays(folder / "inputs.npz", {f"image_{size}": 4 for size in case["sizes"]})
    quantities: dict[str, Any] = {}
    for positions, variant in itertools.product(case["positions"], case["variants"]):
        encoder = DenseEncoder(config, variant, positions)
        load_arrays_into(encoder, visual, "weights.npz")
        for size in case["sizes"]:
            with jt.no_grad():
                features = encoder(jt.array(images[f"image_{size}"].astype(np.float32)))
            quantities[f"{size}.{positions}.{variant}"] = features.image
            quantities[f"{size}.{positions}.positions"] = encoder.position(features.grid).numpy()
    return quantities, load_arrays(folder / "outputs.npz", {})


def run_segmentor(folder: Path, case: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Mask, features and probabilities, and outputs, losses and gradients for each setting, without
    dropout."""
    from jseg.runtime.backend import jt

    check_settings(case)
    weights, inputs = (
        load_arrays(folder / "weights.npz", WEIGHT_ARRAYS[case["kind"]]),
        load_arrays(folder / "inputs.npz", INPUT_ARRAYS),
    )
    recorded = load_arrays(folder / "outputs.npz", {})
    image = jt.array(inputs["image"].astype(np.float32))
    label = jt.array(inputs["label"].reshape(image.shape[0], *inputs["label"].shape[-2:]).astype(np.int32))
    segmentors = {
        setting: build_segmentor(case, weights, inputs, recorded, setting)
        for setting in dict.fromkeys(["inductive", "transductive", *case["settings"]])
    }
    for segmentor in segmentors.values():
        segmentor.load_arrays(weights, str(folder / "weights.npz"))
    quantities = _evaluate(segmentors, image)
    for setting in case["settings"]:
        quantities.update(
            {
                f"{setting}.{name}": value
                for name, value in train_quantities(segmentors[setting], image, label).items()
            }
        )
    return {name: value for name, value in quantities.items() if name in recorded}, recorded


def _evaluate(segmentors: "Mapping[str, CLIPRC]", image: "jt.Var") -> dict[str, Any]:
    from jseg.models.backbones import RegionBridgeEncoder

    segmentor = segmentors["inductive"]
    features, encoder = segmentor.encode(image), segmentor.backbone
    assert isinstance(encoder, RegionBridgeEncoder)
    batch, _, joint = features.image.shape
    quantities = {
        "attn_mask_allowed": encoder.attention_allowed(image.shape[2:], segmentor.num_regions),
        "eval.image_features": features.image.transpose(0, 2, 1).reshape(batch, joint, *features.grid),
        "eval.global_feature": features.global_feature,
        "eval.prob_seen_minus_0.1": segmentor.predict(image),
        "eval.prob_transductive": segmentors["transductive"].predict(image),
    }
    if features.regions is not None:
        regions = features.regions.transpose(0, 2, 1).reshape(batch, joint, *features.region_grid)
        quantities["eval.region_features"] = regions
    return quantities


def train_quantities(segmentor: "CLIPRC", image: "jt.Var", label: "jt.Var") -> dict[str, Any]:
    """Outputs, loss terms and gradients of one training step, not computed yet, named as in `outputs.npz`."""
    from jseg.models.heads.clip_rc_head import CLIPRCDecoded
    from jseg.runtime.backend import jt

    details = segmentor.loss_details(image, label)
    decoded = details.decoded
    parameters = segmentor.trainable_parameters()
    gradients = jt.grad(details.terms["total"], list(parameters.values()))
    quantities = {**details.terms, "pred_masks": details.logits}
    quantities.update({f"grad.{name}": gradient for name, gradient in zip(parameters, gradients)})
    recovery = decoded.recovery if isinstance(decoded, CLIPRCDecoded) else None
    if recovery is not None:
        quantities.update(
            {
                "q": recovery.queries,
                "ori_q": recovery.query_target,
                "lateral": recovery.pixels,
                "ori_lateral": recovery.pixel_target,
            }
        )
    if segmentor.setting == "transductive":
        quantities["pseudo_label"] = details.label
    return quantities
