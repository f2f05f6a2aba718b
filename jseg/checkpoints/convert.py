"""Shared parts of both converters: checksums, descriptions of files, and verified writing."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jseg.checkpoints.clip_settings import clip_sizes
from jseg.checkpoints.formats.reader import read_tensors
from jseg.checkpoints.formats.tensor_map import TensorMap, file_error
from jseg.checkpoints.positions import square_grid
from jseg.files import PathLike, find_file, replacing
from jseg.progress import progress

OPENAI_SHA256: Mapping[str, str] = {
    "vit-b-32.pt": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "vit-b-16.pt": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "vit-l-14.pt": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    "vit-l-14-336px.pt": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
}
"""Lower-case name -> SHA-256 of OpenAI's CLIP files, which is part of their published addresses."""

Digest = tuple[tuple[int, ...], str, str]


def how_to_download(path: PathLike) -> str:
    """Returns the command that downloads and converts a file of OpenAI's by its name, converted or not, or ''
    for other names."""
    name = Path(path).stem
    if f"{name.lower()}.pt" not in OPENAI_SHA256:
        return ""
    folder = Path(path).parent.as_posix()
    return f"jseg download clip {name}" + ("" if folder == "weights" else f" --root {folder}")


def find_weights(path: PathLike) -> str:
    """Finds a weight file, as `jseg.files.find_file` does.

    Raises:
        FileNotFoundError: if it does not exist. For a file of OpenAI, the message says how to download it.
    """
    try:
        return find_file(path)
    except FileNotFoundError as error:
        command = how_to_download(path)
        hint = f", or download it: {command}" if command else ""
        raise FileNotFoundError(f"{error}{hint}") from None


def published_sha256(path: PathLike) -> str | None:
    """Returns the SHA-256 published by OpenAI for a file of this name, or None for other names."""
    return OPENAI_SHA256.get(Path(path).name.lower())


def checksum_warning(path: PathLike, found: str, published: str) -> str:
    """Returns a prominent warning that a file is not the one published under its name."""
    line = "!" * 78
    return (
        f"{line}\nWARNING: {os.fspath(path)} is NOT the file published by OpenAI under this name.\n"
        f"  its SHA-256   {found}\n  published     {published}\n"
        "It is damaged, was altered, or only has the same name. Download it again, or rename it if it is\n"
        f"meant to be another CLIP.\n{line}"
    )


def digests(arrays: Mapping[str, np.ndarray]) -> dict[str, Digest]:
    """Returns name -> (shape, type, SHA-256 of the values), for comparisons with arrays no longer in
    memory."""
    result = {}
    for name in progress(arrays, unit="tensor", label="comparing"):
        array = np.asarray(arrays[name])
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        result[name] = (array.shape, array.dtype.name, hashlib.sha256(data.data).hexdigest())
    return result


def check_output(source: PathLike, out: PathLike, force: bool) -> None:
    """Refuses to overwrite the source, or without `force`, any file.

    Raises:
        FileExistsError, FileNotFoundError, IsADirectoryError.
    """
    source, out = Path(source), Path(out)
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; give the name of a file in it")
    if out.exists():
        if source.exists() and source.samefile(out):
            raise FileExistsError(f"{out} is the file to read; write to another name")
        if not force:
            raise FileExistsError(f"{out} exists; add --force to overwrite it, or choose another name")
    folder = out.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist; create it or choose another one")


def write_verified(
    out: PathLike, arrays: dict[str, np.ndarray], save: Callable[[str, Mapping[str, np.ndarray]], None]
) -> None:
    """Writes `arrays` to a file next to `out`, reads them back, compares every value, and only then renames.

    Args:
        arrays: emptied after writing, so that source and copy need not be in memory together.
        save: function that writes arrays to the given path.

    Raises:
        ValueError: if the values read back differ. An existing `out` is unchanged.
        OSError: if the file cannot be written.
    """
    expected = digests(arrays)
    with replacing(out) as temporary:
        try:
            save(os.fspath(temporary), arrays)
        except OSError as error:
            # Only the cause, since the error of `save` names the hidden file.
            raise error.__cause__ or error from None
        arrays.clear()
        written = digests(read_tensors(temporary))
        wrong = [key for key in sorted({*expected, *written}) if expected.get(key) != written.get(key)]
        if wrong:
            raise file_error(
                out, "was read back with different values; the disk may be failing, try another one", wrong[0]
            )


def file_lines(tensors: TensorMap, kind: str, sha256: str) -> list[str]:
    """Describes a file in lines for the terminal."""
    types = Counter(tensors.entry(name).dtype.name for name in tensors)
    size = Path(tensors.path).stat().st_size
    return [
        f"{tensors.path}",
        f"  format      {tensors.kind}, {size / 1e6:,.2f} MB",
        (
            f"  holds       {kind}: {len(tensors)} tensors, {tensors.parameter_count():,} numbers "
            f"({', '.join(f'{count} {name}' for name, count in types.most_common())})"
        ),
        f"  SHA-256     {sha256}",
    ]


def clip_size_line(state: Mapping[str, np.ndarray]) -> str:
    """Describes the sizes of a CLIP from `clip_state`."""
    sizes = clip_sizes(state)
    vocabulary = state["token_embedding.weight"].shape[0]
    grid, _ = square_grid(state["visual.positional_embedding"])
    return (
        f"image {grid * sizes.patch_size} px, patch {sizes.patch_size}, "
        f"{sizes.vision_layers} layers of width {sizes.vision_width}; "
        f"text {state['positional_embedding'].shape[0]} tokens of {vocabulary}, "
        f"{sizes.text_layers} layers of width {sizes.text_width}; "
        f"joint width {sizes.joint_width}"
    )
