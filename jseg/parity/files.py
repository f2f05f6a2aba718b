"""Reads the files of a case, and reports missing or damaged contents in one sentence."""

import contextlib
import gzip
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

_Kind = type | tuple[type, ...]

# Expected contents of each file: the type of a setting, or the number of axes of an array.
CASE_KEYS: dict[str, _Kind] = {
    "heads": int,
    "dec_heads": int,
    "regions": int,
    "seen": list,
    "settings": list,
    "mask_weight": (int, float),
    "dice_weight": (int, float),
    "recovery_weight": (int, float),
}
ONLY_OF_CLIP_RC = ("regions", "recovery_weight")
CLIP_ARRAYS = {"image": 4, "tokens": 2, "image_features": 2, "text_features": 2, "logits_per_image": 2}
INPUT_ARRAYS = {"image": 4, "text": 2, "label": 4}
TRAINING_ARRAYS = {"image": 5, "text": 2, "label": 5}
_ENCODER_ARRAYS = {
    "backbone.conv1.weight": 4,
    "backbone.proj": 2,
    "backbone.positional_embedding": 2,
    "backbone.prompt_embeddings": 3,
}
WEIGHT_ARRAYS = {
    "clip_rc": {**_ENCODER_ARRAYS, "decode_head.lateral_proj.weight": 2},
    "zegclip": {**_ENCODER_ARRAYS, "decode_head.q_proj.weight": 2},
}


@contextlib.contextmanager
def clip_weights(folder: Path, case: Mapping[str, Any]) -> Iterator[Path]:
    """Yields the file named by `weights` in `case`, with a configuration next to it, or OpenAI's archive.

    Raises:
        FileNotFoundError: if the file is missing. ValueError: if the name points outside the folder, or the
            file is damaged.
    """
    name = case.get("weights")
    if name is None:
        with openai_archive(folder) as path:
            yield path
        return
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(
            f"case.json: key 'weights' is {name!r}, but it must be the name of a file in the folder"
        )
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{name} is missing; copy it into the folder")
    yield folder / name


@contextlib.contextmanager
def openai_archive(folder: Path) -> Iterator[Path]:
    """Yields `openai.pt` of a case folder, or `openai.pt.gz` unpacked to a temporary file that is removed
    afterwards.

    Raises:
        FileNotFoundError: if neither file exists.
        ValueError: if the file is damaged. The message names the one in the folder.
    """
    plain, packed = folder / "openai.pt", folder / "openai.pt.gz"
    if plain.exists():
        yield plain
        return
    if not packed.exists():
        raise FileNotFoundError("openai.pt and openai.pt.gz are missing; copy one of them into the folder")
    try:
        content = gzip.decompress(packed.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise ValueError(f"openai.pt.gz: not a readable gzip file ({problem}); copy it again") from problem
    with tempfile.TemporaryDirectory() as temporary:
        unpacked = Path(temporary) / plain.name
        unpacked.write_bytes(content)
        try:
            yield unpacked
        except ValueError as problem:
            raise ValueError(str(problem).replace(str(unpacked), packed.name)) from problem


def check_settings(case: Mapping[str, Any]) -> None:
    """Checks that a `case.json` of kind clip_rc or zegclip has all settings, with the right types.

    Raises:
        ValueError: if not. The message names the key.
    """
    for key, kind in CASE_KEYS.items():
        if key not in case and key in ONLY_OF_CLIP_RC and case["kind"] == "zegclip":
            continue
        if key not in case:
            raise ValueError(f"case.json: key {key!r} is missing; add it or copy the file again")
        if not isinstance(case[key], kind) or isinstance(case[key], bool):
            names: dict[_Kind, str] = {int: "a whole number", list: "a list"}
            expected = names.get(kind, "a number")
            raise ValueError(f"case.json: key {key!r} is {case[key]!r}, but it must be {expected}")
    for key, least in (("heads", 1), ("dec_heads", 1), ("regions", 0)):
        if case.get(key, least) < least:
            raise ValueError(f"case.json: key {key!r} is {case[key]}, but it must be at least {least}")
    for key, kind, expected in (("seen", int, "class indices"), ("settings", str, "names of settings")):
        if not all(isinstance(entry, kind) for entry in case[key]):
            raise ValueError(f"case.json: key {key!r} is {case[key]!r}, but it must list {expected}")


def check_training_settings(case: Mapping[str, Any]) -> None:
    """Checks what a `case.json` of kind training has beyond that of kind clip_rc.

    Raises:
        ValueError: if a key is missing or not supported. The message names it.
    """
    if not isinstance(case.get("steps"), int) or case["steps"] < 1:
        raise ValueError(
            f"case.json: key 'steps' is {case.get('steps')!r}, but it must be a whole number above 0"
        )
    wanted = {
        "optimizer": ("lr", "weight_decay", "betas", "eps"),
        "schedule": ("max_iters", "power", "min_lr", "warmup_iters"),
    }
    for part, keys in wanted.items():
        if not isinstance(case.get(part), dict):
            raise ValueError(f"case.json: key {part!r} is {case.get(part)!r}, but it must hold its options")
        for key in keys:
            if key not in case[part]:
                raise ValueError(f"case.json: key {part}.{key} is missing; add it or copy the file again")
    for part, key, known in (
        ("optimizer", "type", ("AdamW",)),
        ("optimizer", "grad_clip", (None,)),
        ("schedule", "policy", ("poly",)),
        ("schedule", "warmup", ("linear", None)),
    ):
        if key in case[part] and case[part][key] not in known:
            raise ValueError(
                f"case.json: key {part}.{key} is {case[part][key]!r}; only {known[0]!r} is supported"
            )
    entries = case.get("trained")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and {"name", "weight_decay"} <= set(entry) for entry in entries
    ):
        raise ValueError("case.json: key 'trained' must list objects with 'name' and 'weight_decay'")


def check_dense_settings(case: Mapping[str, Any]) -> None:
    """Checks that a `case.json` of kind dense_clip has all settings, with the right types.

    Raises:
        ValueError: if not. The message names the key.
    """
    for key in ("image_resolution", "patch", "width", "layers", "heads"):
        if not isinstance(case.get(key), int) or case[key] < 1:
            raise ValueError(
                f"case.json: key {key!r} is {case.get(key)!r}, but it must be a whole number above 0"
            )
    for key, known in (
        ("positions", ("bicubic", "bilinear")),
        ("variants", ("vanilla", "maskclip", "sclip", "clearclip")),
    ):
        if not isinstance(case.get(key), list) or set(case[key]) - set(known):
            raise ValueError(
                f"case.json: key {key!r} is {case.get(key)!r}, but it must list {', '.join(known)}"
            )
    if not isinstance(case.get("sizes"), dict):
        raise ValueError(f"case.json: key 'sizes' is {case.get('sizes')!r}, but it must name the images")


def check_text(item: Any, number: int) -> None:
    """Checks that entry `number` of `cases.json` has a text and its 77 token ids.

    Raises:
        ValueError: if not. The message names the entry and the key.
    """
    for key, kind in (("text", str), ("tokens_77_truncated", list)):
        if not isinstance(item, dict) or not isinstance(item.get(key), kind):
            raise ValueError(
                f"cases.json: entry {number} has no {key!r} of the right type; copy the file again"
            )
    tokens = item["tokens_77_truncated"]
    if len(tokens) != 77 or not all(isinstance(token, int) for token in tokens):
        raise ValueError(
            f"cases.json: 'tokens_77_truncated' of entry {number} must be 77 integers; copy the file again"
        )


def load_json(path: Path) -> Any:
    """Returns the contents of a JSON file.

    Raises:
        FileNotFoundError, ValueError: if it is missing or damaged. The message names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise FileNotFoundError(f"{path.name}: missing; copy it into the folder") from problem
    except ValueError as problem:
        raise ValueError(f"{path.name}: not a readable JSON file ({problem}); copy it again") from problem


def load_arrays(path: Path, axes: Mapping[str, int]) -> Arrays:
    """Returns all arrays of a file. Those named in `axes` must be present with the given number of axes.

    Raises:
        FileNotFoundError, ValueError: if the file or an array is missing or damaged. The message names it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as problem:
        raise FileNotFoundError(f"{path.name}: missing; copy it into the folder") from problem
    # AttributeError, TypeError: np.load also reads a single .npy array.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
        AttributeError,
        TypeError,
    ) as problem:
        raise ValueError(f"{path.name}: not a readable .npz file ({problem}); copy it again") from problem
    if not arrays:
        raise ValueError(f"{path.name}: contains no arrays; copy the file again")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or not array.size:
            raise ValueError(f"{path.name}: array {name!r} is empty or not numeric; copy the file again")
    for name, count in axes.items():
        if name not in arrays:
            raise ValueError(f"{path.name}: array {name!r} is missing; copy the file again")
        if arrays[name].ndim != count:
            raise ValueError(
                f"{path.name}: array {name!r} has shape {arrays[name].shape}, but it must "
                f"have {count} axes; copy the file again"
            )
    return arrays
