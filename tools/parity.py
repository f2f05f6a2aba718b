"""Compare jseg with recorded outputs of other implementations.

`python tools/parity.py CASE_DIR [--out OUT.npz]`. A case folder holds `case.json`, whose `kind` says what
else lies there:

- `clip_rc`: `weights.npz` (names of the released checkpoints), `inputs.npz` (image, text, label) and
  `outputs.npz`;
- `clip`: `openai.pt` (CLIP as OpenAI publishes it) or `openai.pt.gz`, and `io.npz` (image, tokens,
  the recorded features);
- `tokenizer`: `cases.json` (texts and token ids).

Every recorded quantity is computed again. The table gives the largest difference relative to the largest
recorded value of the tensor (share of differing elements for integers). Exit status 1 beyond tolerance, 2
with one sentence on stderr for a bad case folder.
"""

import argparse
import contextlib
import gzip
import json
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import exit_status, prove_writable
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import ONE_INPUT, memory_advice
from jseg.runtime.selection import name_device, select_device

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 2e-4

Arrays = dict[str, np.ndarray]

# What the runners read of each file: the type of a setting, the number of axes of an array.
CASE_KEYS = {
    "heads": int,
    "dec_heads": int,
    "regions": int,
    "seen": list,
    "settings": list,
    "mask_weight": (int, float),
    "dice_weight": (int, float),
    "recovery_weight": (int, float),
}
CLIP_ARRAYS = {"image": 4, "tokens": 2, "image_features": 2, "text_features": 2, "logits_per_image": 2}
INPUT_ARRAYS = {"image": 4, "text": 2, "label": 4}
WEIGHT_ARRAYS = {
    "backbone.conv1.weight": 4,
    "backbone.proj": 2,
    "backbone.positional_embedding": 2,
    "backbone.prompt_embeddings": 3,
    "decode_head.lateral_proj.weight": 2,
}


class Row(NamedTuple):
    """One line of the table."""

    name: str
    shape: tuple[int, ...]
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance


def run_case(folder: Path) -> tuple[Arrays, Arrays]:
    """Computes one case.

    Returns:
        (computed, recorded) arrays by name.

    Raises:
        ValueError, OSError: if the folder is no case of a known kind, or a file of it is missing or damaged.
    """
    quantities, recorded = pending_case(folder)
    computed = {name: value for name, value in quantities.items() if isinstance(value, np.ndarray)}
    pending = {name: value for name, value in quantities.items() if name not in computed}
    if pending:
        from jseg.runtime.backend import jt

        # All at once: Jittor compiles in parallel what is asked for together.
        computed.update(zip(pending, map(np.asarray, jt.fetch_sync(list(pending.values())))))
    for name in (name for name in computed if name.endswith(".pseudo_label")):
        computed[name] = np.where(computed[name] < 0, 255, computed[name])[:, None]
    return computed, recorded


def pending_case(folder: Path) -> tuple[dict[str, Any], Arrays]:
    """(quantities, recorded) of a case by name, the former variables of Jittor that are not computed yet, or
    arrays.

    Raises:
        ValueError, OSError: as `run_case`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError("no such folder; name one that holds a case.json")
    case = _load_json(folder / "case.json")
    if not isinstance(case, dict):
        raise ValueError('case.json: holds no object; write {"kind": ...} with the settings of the case')
    runners = {"clip_rc": run_clip_rc, "clip": run_clip, "tokenizer": run_tokenizer}
    if not isinstance(case.get("kind"), str) or case["kind"] not in runners:
        raise ValueError(f"case.json: kind is {case.get('kind')!r}, it must be one of {', '.join(runners)}")
    return runners[case["kind"]](folder, case)


def run_tokenizer(folder: Path, case: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Token ids of every text, cut to 77."""
    from jseg.models.clip import tokenize

    cases = _load_json(folder / "cases.json")
    if not isinstance(cases, list) or not cases:
        raise ValueError("cases.json: holds no list of texts and token ids, or an empty one; copy it again")
    for number, item in enumerate(cases):
        _check_text(item, number)
    recorded = np.array([item["tokens_77_truncated"] for item in cases])
    tokens = tokenize([item["text"] for item in cases], 77, truncate=True)
    return {"tokens_77_truncated": np.asarray(tokens)}, {"tokens_77_truncated": recorded}


def run_clip(folder: Path, case: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Image and text features and the logits between them."""
    from jseg.models.clip import load_clip
    from jseg.runtime.backend import jt

    recorded = _load(folder / "io.npz", CLIP_ARRAYS)
    with openai_archive(folder) as archive:
        clip = load_clip(str(archive))
    image, tokens = jt.array(recorded.pop("image")), recorded.pop("tokens")
    with jt.no_grad():
        quantities = {
            "image_features": clip.encode_image(image),
            "text_features": clip.encode_text(tokens),
            "logits_per_image": clip(image, tokens)[0],
        }
    return quantities, recorded


@contextlib.contextmanager
def openai_archive(folder: Path) -> Iterator[Path]:
    """`openai.pt` of a case folder, or `openai.pt.gz` unpacked to a temporary file while the context lasts.

    Raises:
        FileNotFoundError: neither lies there.
        ValueError: the file is damaged; the message names the one in the folder.
    """
    plain, packed = folder / "openai.pt", folder / "openai.pt.gz"
    if plain.exists():
        yield plain
        return
    if not packed.exists():
        raise FileNotFoundError("openai.pt is missing, and so is openai.pt.gz; copy one into the folder")
    try:
        content = gzip.decompress(packed.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise ValueError(f"openai.pt.gz: no readable gzip file ({problem}); copy it again") from problem
    with tempfile.TemporaryDirectory() as temporary:
        unpacked = Path(temporary) / plain.name
        unpacked.write_bytes(content)
        try:
            yield unpacked
        except ValueError as problem:
            raise ValueError(str(problem).replace(str(unpacked), packed.name)) from problem


def run_clip_rc(folder: Path, case: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Mask, features, probabilities, and for each setting outputs, losses and gradients. Dropout is off."""
    from jseg.runtime.backend import jt

    check_settings(case)
    weights, inputs = _load(folder / "weights.npz", WEIGHT_ARRAYS), _load(folder / "inputs.npz", INPUT_ARRAYS)
    recorded = _load(folder / "outputs.npz", {})
    image = jt.array(inputs["image"].astype(np.float32))
    label = jt.array(inputs["label"].reshape(image.shape[0], *inputs["label"].shape[-2:]).astype(np.int32))
    parts = build_parts(case, weights, inputs["image"].shape[2:], recorded)
    segmentors = {
        setting: build_segmentor(case, parts, inputs["text"], setting)
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


def build_parts(
    case: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    image_size: tuple[int, int],
    recorded: Mapping[str, np.ndarray],
) -> tuple[Any, Any]:
    """Encoder and head of the sizes that `case` and the shapes in `weights` give."""
    from jseg.models.backbones import RegionBridgeEncoder
    from jseg.models.heads import CLIPRCHead

    width, _, patch, _ = weights["backbone.conv1.weight"].shape
    joint = weights["backbone.proj"].shape[1]
    trained = any(name.endswith("grad.backbone.region_level_bridge") for name in recorded)
    positions = weights["backbone.positional_embedding"].shape[0] - 1
    side = round(positions**0.5)  # the releases' tables are square, whatever the image
    grid = (side, side) if side * side == positions else (image_size[0] // patch, image_size[1] // patch)
    encoder = RegionBridgeEncoder(
        width,
        _count(weights, "backbone.transformer.resblocks."),
        case["heads"],
        patch,
        joint,
        position_grid=grid,
        num_prompts=weights["backbone.prompt_embeddings"].shape[1],
        trained_regions=case["regions"] if trained else 0,
    )
    fused = weights["decode_head.lateral_proj.weight"].shape[1] // joint - 1
    inputs = {0: (), 1: ("region",) if case["regions"] else ("global",), 2: ("region", "global")}[fused]
    has_recovery = "decode_head.recovery_decoder.linear_q_in.weight" in weights
    head = CLIPRCHead(
        joint,
        case["dec_heads"],
        _count(weights, "decode_head.decoder_q.layers."),
        inputs,
        _count(weights, "decode_head.recovery_decoder.decouple_q.") if has_recovery else None,
    )
    return encoder, head


def build_segmentor(case: Mapping[str, Any], parts: tuple[Any, Any], text: np.ndarray, setting: str) -> Any:
    """The segmentor of a case for one setting; settings share the parts."""
    from jseg.models.segmentors import CLIPRCSegmentor

    unseen = [i for i in range(len(text)) if i not in set(case["seen"])]
    return CLIPRCSegmentor(
        *parts,
        text,
        unseen,
        setting,
        case["regions"],
        focal_weight=case["mask_weight"],
        dice_weight=case["dice_weight"],
        recovery_weight=case["recovery_weight"],
        recovery_kind=case.get("recovery_loss", "l1"),
        dropout=0.0,
    )


def _evaluate(segmentors: Mapping[str, Any], image: Any) -> dict[str, Any]:
    from jseg.runtime.backend import jt

    segmentor = segmentors["inductive"]
    with jt.no_grad():
        features = segmentor.backbone(image, segmentor.num_regions)
    batch, _, joint = features.image.shape
    quantities = {
        "attn_mask_allowed": segmentor.backbone.attention_allowed(image.shape[2:], segmentor.num_regions),
        "eval.image_features": features.image.transpose(0, 2, 1).reshape(batch, joint, *features.grid),
        "eval.global_feature": features.global_feature,
        "eval.prob_seen_minus_0.1": segmentor.predict(image),
        "eval.prob_transductive": segmentors["transductive"].predict(image),
    }
    if features.regions is not None:
        regions = features.regions.transpose(0, 2, 1).reshape(batch, joint, *features.region_grid)
        quantities["eval.region_features"] = regions
    return quantities


def train_quantities(segmentor: Any, image: Any, label: Any) -> dict[str, Any]:
    """Outputs, loss terms and gradients of one training step, not computed yet, under the names of
    `outputs.npz`."""
    from jseg.runtime.backend import jt

    terms, logits, used_label, recovery = segmentor.loss_details(image, label)
    parameters = segmentor.trainable_parameters()
    gradients = jt.grad(terms["total"], list(parameters.values()))
    quantities = {**terms, "pred_masks": logits}
    quantities.update({f"grad.{name}": gradient for name, gradient in zip(parameters, gradients)})
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
        quantities["pseudo_label"] = used_label
    return quantities


def compare(computed: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray]) -> list[Row]:
    """One row for each recorded quantity; a quantity that was not computed differs infinitely."""
    rows = []
    for name, value in recorded.items():
        gradient = ".grad." in name
        # Softmax cancels a key bias: its gradient is rounding noise around 0, seen beside the weight's.
        key_bias = gradient and name.endswith(".k.bias")
        weight = recorded.get(name[: -len("bias")] + "weight") if key_bias else None
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


def format_rows(rows: list[Row]) -> str:
    """The table and a closing line."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'quantity':{width}}  {'shape':>18}  {'difference':>10}  {'tolerance':>9}"]
    for row in rows:
        shape = "x".join(map(str, row.shape)) or "scalar"
        lines.append(
            f"{row.name:{width}}  {shape:>18}  {row.difference:10.2e}  {row.tolerance:9.0e}"
            f"{'' if row.passed else '  FAIL'}"
        )
    failed = sum(not row.passed for row in rows)
    return "\n".join([*lines, f"{len(rows) - failed} of {len(rows)} within tolerance"])


def check_settings(case: Mapping[str, Any]) -> None:
    """Refuses a `case.json` of kind clip_rc that lacks a setting or has one of the wrong type.

    Raises:
        ValueError: names the key.
    """
    for key, kind in CASE_KEYS.items():
        if key not in case:
            raise ValueError(f"case.json: key {key!r} is missing; add it or copy the file again")
        if not isinstance(case[key], kind) or isinstance(case[key], bool):
            expected = {int: "a whole number", list: "a list"}.get(kind, "a number")
            raise ValueError(f"case.json: key {key!r} is {case[key]!r}, it must be {expected}")
    for key, least in (("heads", 1), ("dec_heads", 1), ("regions", 0)):
        if case[key] < least:
            raise ValueError(f"case.json: key {key!r} is {case[key]}, it must be at least {least}")
    for key, kind, expected in (("seen", int, "class indices"), ("settings", str, "names of settings")):
        if not all(isinstance(entry, kind) for entry in case[key]):
            raise ValueError(f"case.json: key {key!r} is {case[key]!r}, it must list {expected}")


def _check_text(item: Any, number: int) -> None:
    for key, kind in (("text", str), ("tokens_77_truncated", list)):
        if not isinstance(item, dict) or not isinstance(item.get(key), kind):
            raise ValueError(f"cases.json: entry {number} has no {key!r} of the right type; copy it again")
    tokens = item["tokens_77_truncated"]
    if len(tokens) != 77 or not all(isinstance(token, int) for token in tokens):
        raise ValueError(
            f"cases.json: 'tokens_77_truncated' of entry {number} must be 77 whole numbers; copy it again"
        )


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise FileNotFoundError(f"{path.name}: missing; copy it into the folder") from problem
    except ValueError as problem:
        raise ValueError(f"{path.name}: no readable JSON file ({problem}); copy it again") from problem


def _load(path: Path, axes: Mapping[str, int]) -> Arrays:
    """All arrays of a file; those that `axes` names must be there with so many axes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as problem:
        raise FileNotFoundError(f"{path.name}: missing; copy it into the folder") from problem
    # AttributeError, TypeError: a lone .npy array, which np.load reads as well.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
        AttributeError,
        TypeError,
    ) as problem:
        raise ValueError(f"{path.name}: no readable .npz file ({problem}); copy it again") from problem
    if not arrays:
        raise ValueError(f"{path.name}: holds no arrays; copy it again")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or not array.size:
            raise ValueError(f"{path.name}: array {name!r} is empty or holds no numbers; copy the file again")
    for name, count in axes.items():
        if name not in arrays:
            raise ValueError(f"{path.name}: array {name!r} is missing; copy the file again")
        if arrays[name].ndim != count:
            raise ValueError(
                f"{path.name}: array {name!r} has shape {arrays[name].shape}, it must "
                f"have {count} axes; copy the file again"
            )
    return arrays


def _count(names: Mapping[str, Any], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case_dir", type=Path, help="folder with case.json")
    parser.add_argument("--out", type=Path, help="write the computed arrays to this .npz file")
    add_device_options(parser)
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Computes and compares; the exit status.

    Raises:
        ValueError: the case cannot be computed. OSError: the file of the computed arrays cannot be written.
    """
    select_device(options.device, options.precision)
    if options.out:
        prove_writable(options.out)
    try:
        with memory_advice(ONE_INPUT):
            computed, recorded = run_case(options.case_dir)
        rows = compare(computed, recorded)
        table = format_rows(rows)
    except (OSError, ValueError) as problem:
        raise ValueError(f"{options.case_dir}: {problem}") from problem
    # Jittor's refusals of sizes that do not fit.
    except (RuntimeError, AssertionError, KeyError, IndexError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ValueError(
            f"{options.case_dir}: cannot be computed ({reason}); its files must belong together"
        ) from problem
    if options.out:
        with open(options.out, "wb") as file:  # given a name, np.savez would add an ending to it
            np.savez(file, **computed)
    name_device()
    print(table)
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
