"""Repeats a recorded training: the losses and learning rates of every step, and where the weights end."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jseg.parity.files import (
    TRAINING_ARRAYS,
    WEIGHT_ARRAYS,
    Arrays,
    check_settings,
    check_training_settings,
    load_arrays,
)
from jseg.parity.segmentors import build_segmentor

if TYPE_CHECKING:
    from jseg.models.segmentors import CLIPRC
    from jseg.optim import AdamW, WarmupPoly


def run_training(folder: Path, case: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Trains in every setting from the same weights, without dropout.

    Returns:
        (quantities, recorded) by name; all quantities are arrays.

    Raises:
        ValueError, OSError: if a setting or a file is missing, damaged or not supported.
    """
    check_settings(case)
    check_training_settings(case)
    weights = load_arrays(folder / "weights.npz", WEIGHT_ARRAYS["clip_rc"])
    inputs = load_arrays(folder / "inputs.npz", TRAINING_ARRAYS)
    recorded = load_arrays(folder / "outputs.npz", {})
    first = {"image": inputs["image"][0], "text": inputs["text"]}
    quantities: dict[str, Any] = {}
    for setting in case["settings"]:
        segmentor = build_segmentor(case, weights, first, recorded, setting)
        segmentor.load_arrays(weights, str(folder / "weights.npz"))
        for name, value in train(segmentor, case, inputs).items():
            quantities[f"{setting}.{name}"] = value
    return {name: value for name, value in quantities.items() if name in recorded}, recorded


def train(segmentor: "CLIPRC", case: Mapping[str, Any], inputs: Arrays) -> Arrays:
    """Trains with the optimizer and the schedule of `case`.

    Args:
        inputs: image (S, B, 3, H, W) and label (S, B, 1, H, W); step i takes batch i modulo S.

    Returns:
        The arrays of one setting, under the names of `outputs.npz` without the setting.
    """
    from jseg.runtime.backend import jt

    optimizer, schedule = _optimizer(segmentor, case["optimizer"]), _schedule(case["schedule"])
    images = inputs["image"].astype(np.float32)
    labels = inputs["label"].reshape(*images.shape[:2], *images.shape[3:]).astype(np.int32)
    columns = _trained_names(case, optimizer)
    terms: dict[str, list[float]] = {}
    rates, used_labels = np.zeros((case["steps"], len(columns))), []
    for step in range(case["steps"]):
        batch = step % len(images)
        details = segmentor.loss_details(jt.array(images[batch]), jt.array(labels[batch]))
        for name, term in details.terms.items():
            terms.setdefault(name, []).append(float(term.item()))
        if segmentor.setting == "transductive":
            used_labels.append(details.label.numpy())
        rates[step] = [schedule(optimizer.settings[name].lr, step) for name in columns]
        optimizer.step(details.terms["total"], lambda rate, step=step: schedule(rate, step))  # type: ignore[misc]
    arrays = {name: np.array(values) for name, values in terms.items()}
    if not case["recovery_weight"]:  # jseg does not compute terms of weight 0
        arrays.update(dict.fromkeys(("recovery_loss_q", "recovery_loss_k"), np.zeros(case["steps"])))
    arrays["lr"] = rates
    arrays.update({f"final.{name}": value.numpy() for name, value in optimizer.parameters.items()})
    arrays.update({name.removeprefix("optimizer."): value for name, value in optimizer.state().items()})
    if used_labels:
        arrays["pseudo_label"] = np.stack(used_labels)
    return arrays


def _optimizer(segmentor: "CLIPRC", options: Mapping[str, Any]) -> "AdamW":
    """AdamW with mmcv's `custom_keys`: the longest key in a name sets both of its factors."""
    from jseg.optim import AdamW

    parameters = segmentor.trainable_parameters()
    keys = {
        key: factors
        for key, factors in options.get("custom_keys", {}).items()
        if any(key in name for name in parameters)
    }
    return AdamW(
        parameters,
        lr=options["lr"],
        weight_decay=options["weight_decay"],
        betas=options["betas"],
        eps=options["eps"],
        lr_mult={key: factors.get("lr_mult", 1.0) for key, factors in keys.items()},
        decay_mult={key: factors.get("decay_mult", 1.0) for key, factors in keys.items()},
    )


def _schedule(options: Mapping[str, Any]) -> "WarmupPoly":
    from jseg.optim import WarmupPoly

    return WarmupPoly(
        options["max_iters"],
        power=options["power"],
        min_lr=options["min_lr"],
        warmup_iters=options["warmup_iters"] if options.get("warmup") else 0,
        warmup_ratio=options.get("warmup_ratio", 1.0),
    )


def _trained_names(case: Mapping[str, Any], optimizer: "AdamW") -> list[str]:
    """Names of the columns of `lr`.

    Raises:
        ValueError: if the case trains other parameters than jseg, or with another weight decay.
    """
    decays = {entry["name"]: entry["weight_decay"] for entry in case["trained"]}
    other = sorted(set(decays) ^ set(optimizer.parameters))
    if other:
        raise ValueError(
            f"case.json: 'trained' and the model differ in {other[0]} ({len(other)} names); its files must "
            "belong together"
        )
    for name, decay in decays.items():
        own = optimizer.settings[name].weight_decay
        if not np.isclose(own, decay, rtol=1e-9, atol=0):
            raise ValueError(f"case.json: the weight decay of {name} is {decay} there and {own} here")
    return list(decays)
