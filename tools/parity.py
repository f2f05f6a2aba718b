"""Compare jseg with recorded outputs of other implementations.

`python tools/parity.py CASE_DIR [--out OUT.npz]`. A case folder holds `case.json`, whose `kind` says what
else lies there:

- `clip_rc`: `weights.npz` (names of the released checkpoints), `inputs.npz` (image, text, label) and
  `outputs.npz`;
- `clip`: `openai.pt` (CLIP as OpenAI publishes it) and `io.npz` (image, tokens, the recorded features);
- `tokenizer`: `cases.json` (texts and token ids).

Every recorded quantity is computed again. The table gives the largest difference relative to the largest
recorded value of the tensor (share of differing elements for integers). Exit status 1 beyond tolerance, 2 for
a bad case folder.
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 2e-4

Arrays = Dict[str, np.ndarray]


class Row(NamedTuple):
    """One line of the table."""

    name: str
    shape: Tuple[int, ...]
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance


def run_case(folder: Path) -> Tuple[Arrays, Arrays]:
    """Computes one case.

    Returns:
        (computed, recorded) arrays by name.

    Raises:
        ValueError, OSError: if the folder is no case of a known kind.
    """
    folder = Path(folder)
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    runners = {"clip_rc": run_clip_rc, "clip": run_clip, "tokenizer": run_tokenizer}
    if case.get("kind") not in runners:
        raise ValueError(f"{folder / 'case.json'}: kind is {case.get('kind')!r}, it must be one of "
                         f"{', '.join(runners)}")
    return runners[case["kind"]](folder, case)


def run_tokenizer(folder: Path, case: Mapping[str, Any]) -> Tuple[Arrays, Arrays]:
    """Token ids of every text, cut to 77."""
    from jseg.models.clip import tokenize

    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    recorded = np.array([item["tokens_77_truncated"] for item in cases])
    tokens = tokenize([item["text"] for item in cases], 77, truncate=True)
    return {"tokens_77_truncated": np.asarray(tokens)}, {"tokens_77_truncated": recorded}


def run_clip(folder: Path, case: Mapping[str, Any]) -> Tuple[Arrays, Arrays]:
    """Image and text features and the logits between them."""
    from jseg.models.clip import load_clip
    from jseg.runtime.backend import jt

    recorded = _load(folder / "io.npz")
    clip = load_clip(str(folder / "openai.pt"))
    image, tokens = jt.array(recorded.pop("image")), recorded.pop("tokens")
    with jt.no_grad():
        computed = {"image_features": clip.encode_image(image).numpy(),
                    "text_features": clip.encode_text(tokens).numpy(),
                    "logits_per_image": clip(image, tokens)[0].numpy()}
    return computed, recorded


def run_clip_rc(folder: Path, case: Mapping[str, Any]) -> Tuple[Arrays, Arrays]:
    """Mask, features, probabilities, and for each setting outputs, losses and gradients. Dropout is off."""
    from jseg.runtime.backend import jt

    weights, inputs, recorded = (_load(folder / f"{name}.npz") for name in ("weights", "inputs", "outputs"))
    image = jt.array(inputs["image"].astype(np.float32))
    label = jt.array(inputs["label"].reshape(image.shape[0], *inputs["label"].shape[-2:]).astype(np.int32))
    parts = build_parts(case, weights, inputs["image"].shape[2:], recorded)
    segmentors = {setting: build_segmentor(case, parts, inputs["text"], setting)
                  for setting in dict.fromkeys(["inductive", "transductive", *case["settings"]])}
    for segmentor in segmentors.values():
        segmentor.load_arrays(weights, str(folder / "weights.npz"))
    computed = _evaluate(segmentors, image)
    for setting in case["settings"]:
        computed.update({f"{setting}.{name}": value for name, value in
                         train_quantities(segmentors[setting], image, label).items()})
    return {name: value for name, value in computed.items() if name in recorded}, recorded


def build_parts(case: Mapping[str, Any], weights: Mapping[str, np.ndarray], image_size: Tuple[int, int],
                recorded: Mapping[str, np.ndarray]) -> Tuple[Any, Any]:
    """Encoder and head of the sizes that `case` and the shapes in `weights` give."""
    from jseg.models.backbones import RegionBridgeEncoder
    from jseg.models.heads import CLIPRCHead

    width, _, patch, _ = weights["backbone.conv1.weight"].shape
    joint = weights["backbone.proj"].shape[1]
    trained = any(name.endswith("grad.backbone.region_level_bridge") for name in recorded)
    positions = weights["backbone.positional_embedding"].shape[0] - 1
    side = int(round(positions ** 0.5))  # the releases' tables are square, whatever the image
    grid = (side, side) if side * side == positions else (image_size[0] // patch, image_size[1] // patch)
    encoder = RegionBridgeEncoder(
        width, _count(weights, "backbone.transformer.resblocks."), case["heads"], patch, joint,
        position_grid=grid, num_prompts=weights["backbone.prompt_embeddings"].shape[1],
        trained_regions=case["regions"] if trained else 0)
    fused = weights["decode_head.lateral_proj.weight"].shape[1] // joint - 1
    inputs = {0: (), 1: ("region",) if case["regions"] else ("global",), 2: ("region", "global")}[fused]
    has_recovery = "decode_head.recovery_decoder.linear_q_in.weight" in weights
    head = CLIPRCHead(joint, case["dec_heads"], _count(weights, "decode_head.decoder_q.layers."), inputs,
                      _count(weights, "decode_head.recovery_decoder.decouple_q.") if has_recovery else None)
    return encoder, head


def build_segmentor(case: Mapping[str, Any], parts: Tuple[Any, Any], text: np.ndarray, setting: str) -> Any:
    """The segmentor of a case for one setting; settings share the parts."""
    from jseg.models.segmentors import CLIPRCSegmentor

    unseen = [i for i in range(len(text)) if i not in set(case["seen"])]
    return CLIPRCSegmentor(
        *parts, text, unseen, setting, case["regions"], focal_weight=case["mask_weight"],
        dice_weight=case["dice_weight"], recovery_weight=case["recovery_weight"],
        recovery_kind=case.get("recovery_loss", "l1"), dropout=0.0)


def _evaluate(segmentors: Mapping[str, Any], image: Any) -> Arrays:
    from jseg.runtime.backend import jt

    segmentor = segmentors["inductive"]
    with jt.no_grad():
        features = segmentor.backbone(image, segmentor.num_regions)
    batch, _, joint = features.image.shape
    image_features = features.image.transpose(0, 2, 1).reshape(batch, joint, *features.grid)
    computed = {
        "attn_mask_allowed": segmentor.backbone.attention_allowed(image.shape[2:], segmentor.num_regions),
        "eval.image_features": image_features.numpy(),
        "eval.global_feature": features.global_feature.numpy(),
        "eval.prob_seen_minus_0.1": segmentor.predict(image).numpy(),
        "eval.prob_transductive": segmentors["transductive"].predict(image).numpy()}
    if features.regions is not None:
        regions = features.regions.transpose(0, 2, 1).reshape(batch, joint, *features.region_grid)
        computed["eval.region_features"] = regions.numpy()
    return computed


def train_quantities(segmentor: Any, image: Any, label: Any) -> Arrays:
    """Outputs, loss terms and gradients of one training step, under the names of `outputs.npz`."""
    from jseg.runtime.backend import jt

    terms, logits, used_label, recovery = segmentor.loss_details(image, label)
    parameters = segmentor.trainable_parameters()
    gradients = jt.grad(terms["total"], list(parameters.values()))
    quantities = {**terms, "pred_masks": logits}
    quantities.update({f"grad.{name}": gradient for name, gradient in zip(parameters, gradients)})
    if recovery is not None:
        quantities.update({"q": recovery.queries, "ori_q": recovery.query_target,
                           "lateral": recovery.pixels, "ori_lateral": recovery.pixel_target})
    arrays = {name: np.asarray(jt.fetch_sync([value])[0]) for name, value in quantities.items()}
    if segmentor.setting == "transductive":
        used = used_label.numpy()
        arrays["pseudo_label"] = np.where(used < 0, 255, used)[:, None]
    return arrays


def compare(computed: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray]) -> List[Row]:
    """One row for each recorded quantity; a quantity that was not computed differs infinitely."""
    rows = []
    for name, value in recorded.items():
        gradient = ".grad." in name
        # Softmax cancels a key bias: its gradient is rounding noise around 0, seen beside the weight's.
        key_bias = gradient and name.endswith(".k.bias")
        weight = recorded.get(name[:-len("bias")] + "weight") if key_bias else None
        floor = 0.0 if weight is None else float(np.abs(weight).max())
        tolerance = GRADIENT_TOLERANCE if gradient else OUTPUT_TOLERANCE if value.dtype.kind == "f" else 0.0
        rows.append(Row(name, value.shape, _difference(computed.get(name), value, floor), tolerance))
    return rows


def _difference(value: Any, reference: np.ndarray, floor: float) -> float:
    if value is None or value.size != reference.size or value.ndim > reference.ndim + 1:
        return float("inf")
    if value.ndim == reference.ndim and value.shape != reference.shape:
        return float("inf")
    value = value.reshape(reference.shape)
    if reference.dtype.kind != "f":
        return float((value != reference).mean())
    if not np.isfinite(value).all():
        return float("inf")
    scale = max(float(np.abs(reference).max()), floor) or 1.0
    return float(np.abs(value.astype(np.float64) - reference).max()) / scale


def format_rows(rows: List[Row]) -> str:
    """The table and a closing line."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'quantity':{width}}  {'shape':>18}  {'difference':>10}  {'tolerance':>9}"]
    for row in rows:
        shape = "x".join(map(str, row.shape)) or "scalar"
        lines.append(f"{row.name:{width}}  {shape:>18}  {row.difference:10.2e}  {row.tolerance:9.0e}"
                     f"{'' if row.passed else '  FAIL'}")
    failed = sum(not row.passed for row in rows)
    return "\n".join(lines + [f"{len(rows) - failed} of {len(rows)} within tolerance"])


def _load(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError) as problem:
        raise ValueError(f"{path.name} is no readable .npz file ({problem}); copy it again") from problem


def _count(names: Mapping[str, Any], prefix: str) -> int:
    return len({name[len(prefix):].split(".")[0] for name in names if name.startswith(prefix)})


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case_dir", type=Path, help="folder with case.json")
    parser.add_argument("--out", type=Path, help="write the computed arrays to this .npz file")
    options = parser.parse_args(arguments)
    try:
        computed, recorded = run_case(options.case_dir)
        if options.out:
            np.savez(options.out, **computed)
    except (OSError, ValueError, KeyError) as problem:
        print(f"error: {options.case_dir}: {problem}", file=sys.stderr)
        return 2
    rows = compare(computed, recorded)
    print(format_rows(rows))
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
