"""A single reader for every weight file. The format is recognised by the first bytes, not by the suffix."""

import os
from pathlib import Path

from jseg.checkpoints.formats.jittor_pickle import read_jittor_pickle
from jseg.checkpoints.formats.npz import read_npz
from jseg.checkpoints.formats.safetensors import (
    looks_like_safetensors,
    read_safetensors,
    read_sharded_safetensors,
)
from jseg.checkpoints.formats.tensor_map import TensorMap, file_error, map_file
from jseg.checkpoints.formats.torch_files import LEGACY_HEAD, read_torch_archive, read_torch_legacy
from jseg.checkpoints.formats.zip_archive import LOCAL_SIGNATURE, ZipArchive
from jseg.files import PathLike

_ACCEPTED = (
    "safetensors (also its index file), torch.save (zip and the older format), TorchScript archives, "
    "Jittor pickles and .npz are supported"
)


def read_tensors(path: PathLike) -> TensorMap:
    """Opens a weight file of any supported format as a lazy mapping from flat names to NumPy arrays.

    Wrappers such as 'state_dict' or 'model' are removed. `.metadata` contains the plain values outside them,
    and `.kind` describes the file. bfloat16 becomes float32; other types are kept. Nothing in the file is
    ever executed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the format is unknown or the file is damaged. The message names file and entry.
    """
    if Path(path).is_dir():
        raise file_error(path, "is a folder; give the weight file in it")
    try:
        with Path(path).open("rb") as file:
            head = file.read(len(LEGACY_HEAD) + 64)
    except FileNotFoundError:
        raise FileNotFoundError(f"{os.fspath(path)}: no such weight file; check the path") from None
    if head.startswith(LOCAL_SIGNATURE):
        archive = ZipArchive(path, map_file(path))
        is_numpy = archive.names() and all(name.endswith(".npy") for name in archive.names())
        return read_npz(archive) if is_numpy else read_torch_archive(archive)
    if head.startswith(LEGACY_HEAD):
        return read_torch_legacy(path)
    if looks_like_safetensors(head, Path(path).stat().st_size):
        return read_safetensors(path)
    if len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return read_jittor_pickle(path)
    if head.lstrip().startswith(b"{"):
        return read_sharded_safetensors(path)
    raise file_error(path, _unknown_format(head))


def _unknown_format(head: bytes) -> str:
    """Describes what an unreadable file probably is, and what is supported."""
    if not head:
        return "is empty; download it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; run 'git lfs pull'"
    if head.lstrip()[:1] == b"<":
        return "is a web page, not the weights; the download failed, download it again"
    return f"not a known weight file; {_ACCEPTED}"
