"""Reads the safetensors format: one file, or shards listed in an index file.

Layout (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, the header as JSON
`{name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {text: text}}`, then the data.
Offsets are relative to the end of the header. The tensors must cover the data without gaps and without
overlap.
"""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jseg.checkpoints.formats.tensor_map import (
    BFLOAT16,
    StorageType,
    TensorEntry,
    TensorMap,
    check_shape,
    decode_bytes,
    element_count,
    file_error,
    map_file,
    object_limit,
)
from jseg.files import PathLike

DTYPES: dict[str, StorageType] = {
    "F64": np.dtype("float64"),
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": BFLOAT16,
    "I64": np.dtype("int64"),
    "I32": np.dtype("int32"),
    "I16": np.dtype("int16"),
    "I8": np.dtype("int8"),
    "U64": np.dtype("uint64"),
    "U32": np.dtype("uint32"),
    "U16": np.dtype("uint16"),
    "U8": np.dtype("uint8"),
    "BOOL": np.dtype("bool"),
}
MAX_HEADER_BYTES = 16 * 2**20
"""About 150,000 tensors. Parsed JSON takes several times the memory of its text, which this also bounds."""

METADATA_KEY = "__metadata__"


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def parse_json(path: PathLike, text: bytes, file_size: int) -> dict[str, Any]:
    """Parses a JSON object from an untrusted file of `file_size` bytes. Raises `ValueError` for anything
    else."""
    if text.count(b"{") + text.count(b"[") + text.count(b",") > object_limit(file_size):
        raise file_error(path, f"the JSON text contains more than {object_limit(file_size)} values; refused")
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise file_error(path, f"the JSON text is damaged ({str(error)[:100]})") from None
    if not isinstance(value, dict):
        raise file_error(path, "the JSON text is not an object; the file is damaged")
    return value


def looks_like_safetensors(head: bytes, file_size: int) -> bool:
    """Whether the first bytes are a plausible header length followed by a JSON object."""
    return (
        len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= max(file_size, 2**32)
    )


def _header(path: PathLike, data: np.ndarray) -> tuple[dict[str, Any], int]:
    """Returns the parsed header and the position of the first data byte."""
    if data.size < 8:
        raise file_error(path, f"only {data.size} bytes long, too short for a safetensors file")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > MAX_HEADER_BYTES:
        raise file_error(
            path,
            f"the header claims {length} bytes, more than the limit of {MAX_HEADER_BYTES}; "
            "the file is damaged or not a safetensors file",
        )
    if 8 + length > data.size:
        raise file_error(
            path, f"the header claims {length} bytes but the file has {data.size}; it is truncated"
        )
    return parse_json(path, data[8 : 8 + length].tobytes(), data.size), 8 + length


def _metadata(path: PathLike, header: Mapping[str, Any]) -> dict[str, str]:
    metadata = header.get(METADATA_KEY, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise file_error(
            path, "the metadata is not a map from text to text; the file is damaged", METADATA_KEY
        )
    return metadata


def _fetch(data: np.ndarray, begin: int, end: int, dtype: StorageType, shape: tuple[int, ...]) -> np.ndarray:
    return decode_bytes(data[begin:end], dtype).reshape(shape)


def _entry(
    path: PathLike, name: str, info: Any, data: np.ndarray, start: int
) -> tuple[TensorEntry, int, int]:
    """Checks one header entry. Returns the entry and its begin and end offset."""
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise file_error(path, "needs exactly dtype, shape and data_offsets; the file is damaged", name)
    dtype = DTYPES.get(info["dtype"]) if isinstance(info["dtype"], str) else None
    if dtype is None:
        raise file_error(
            path, f"type {ascii(info['dtype'])[:40]} is not supported; accepted: {', '.join(DTYPES)}", name
        )
    shape = check_shape(path, name, info["shape"])
    offsets = info["data_offsets"]
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or any(type(offset) is not int for offset in offsets)
    ):
        raise file_error(path, "data_offsets is not a pair of integers; the file is damaged", name)
    begin, end = offsets
    if not 0 <= begin <= end <= data.size - start:
        raise file_error(
            path,
            f"data_offsets {ascii(offsets)[:60]} are outside the {data.size - start} data bytes; "
            "the file is truncated or damaged",
            name,
        )
    expected = element_count(shape) * (2 if dtype == BFLOAT16 else dtype.itemsize)
    if end - begin != expected:
        raise file_error(path, f"has {end - begin} data bytes but its shape and type need {expected}", name)
    result_dtype = np.dtype("float32") if dtype == BFLOAT16 else dtype
    fetch = partial(_fetch, data, start + begin, start + end, dtype, shape)
    return TensorEntry(shape, result_dtype, fetch), begin, end


def read_safetensors(path: PathLike) -> TensorMap:
    """Opens a safetensors file. Tensors are views of the memory-mapped file; bfloat16 becomes float32.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged. The message names file and entry.
    """
    data = map_file(path)
    header, start = _header(path, data)
    entries: dict[str, TensorEntry] = {}
    spans: list[tuple[int, int, str]] = []
    for name, info in header.items():
        if name != METADATA_KEY:
            entries[name], begin, end = _entry(path, name, info, data, start)
            spans.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            problem = "overlaps another tensor" if begin < position else "leaves a gap before it"
            raise file_error(path, f"its data {problem}; the file is damaged", name)
        position = end
    if position != data.size - start:
        raise file_error(
            path,
            f"{data.size - start - position} bytes after the last tensor are not used; the file is damaged",
        )
    return TensorMap(path, entries, _metadata(path, header), kind="safetensors")


def read_sharded_safetensors(path: PathLike) -> TensorMap:
    """Opens the shards listed in an index file (`*.safetensors.index.json`), which are in the same folder.

    Raises:
        FileNotFoundError: if a shard is missing.
        ValueError: if the index or a shard is damaged, or they disagree.
    """
    if Path(path).stat().st_size > MAX_HEADER_BYTES:
        raise file_error(path, f"larger than the limit of {MAX_HEADER_BYTES} bytes for an index file")
    text = Path(path).read_bytes()
    index = parse_json(path, text, len(text))
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise file_error(
            path, "has no 'weight_map' from tensor names to shard files; not a safetensors index"
        )
    shards: dict[str, TensorMap] = {}
    entries: dict[str, TensorEntry] = {}
    for name, shard in weight_map.items():
        if shard not in shards:
            shards[shard] = _open_shard(path, name, shard)
        if name not in shards[shard]:
            raise file_error(path, f"according to the index, it is in {shard!a}, but it is not", name)
        entries[name] = shards[shard].entry(name)
    for shard, tensors in shards.items():
        for name in tensors:
            if weight_map.get(name) != shard:
                raise file_error(path, f"is in shard {shard!a}, but not according to the index", name)
    metadata = index.get("metadata", {})
    return TensorMap(path, entries, metadata if isinstance(metadata, dict) else {}, kind="safetensors index")


def _open_shard(path: PathLike, name: str, shard: str) -> TensorMap:
    """Opens a shard named by an index. Only plain file names are allowed, so that no path leaves the
    folder."""
    if shard in ("", ".", "..") or any(character in shard for character in "/\\\0"):
        raise file_error(path, f"shard {ascii(shard)[:100]} is not a plain file name; refused", name)
    shard_path = Path(path).with_name(shard)
    try:
        missing = not shard_path.is_file()
    except (OSError, ValueError):
        missing = True
    if missing:
        raise FileNotFoundError(
            f"{os.fspath(path)}: shard {ascii(shard)[:200]} is not in the folder of the index file; "
            "download every shard into the same folder"
        )
    return read_safetensors(shard_path)
