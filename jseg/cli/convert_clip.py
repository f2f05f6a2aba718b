"""Convert a CLIP (OpenAI's archives, Hugging Face CLIPModel, open_clip) to jseg's own file, without PyTorch.

    python tools/convert_clip.py ViT-B-16.pt weights/ViT-B-16.safetensors

Writes safetensors, or a compressed NumPy archive if OUT ends in .npz, under OpenAI's parameter names. Half
precision stays half precision. What was written is read back and compared before it gets its name. A file
that is named like one of OpenAI's but has another SHA-256 is converted with --force only.
"""

import argparse
import sys
from pathlib import Path

from jseg.checkpoints import clip_state, read_tensors, save_arrays, save_npz
from jseg.checkpoints.convert import (
    check_output,
    checksum_warning,
    clip_size_line,
    file_lines,
    published_sha256,
    write_verified,
)
from jseg.files import file_sha256
from jseg.runtime.command import exit_status

_SUFFIXES = (".safetensors", ".npz")


def check_checksum(source: str, found: str, force: bool) -> str:
    """Compares with OpenAI's published sum, if the name has one; a line for the terminal.

    Raises:
        ValueError: another sum, without `force`. The warning goes to stderr in any case.
    """
    published = published_sha256(source)
    if published is None:
        return "  checksum    the name is not one of OpenAI's: no published sum to compare with"
    if found == published:
        return "  checksum    as published by OpenAI"
    print(checksum_warning(source, found, published), file=sys.stderr)
    if not force:
        raise ValueError(
            f"{source}: SHA-256 differs from the published one; fetch the file again, rename it, or add "
            "--force to convert it as it is"
        )
    return "  checksum    NOT as published by OpenAI (converted because of --force)"


def convert(source: str, out: str, force: bool) -> None:
    """Reads `source`, says what it is, writes and verifies `out`.

    Raises:
        ValueError, OSError: see the readers; `out` exists; the checksum is not the published one.
    """
    if not out.lower().endswith(_SUFFIXES):
        raise ValueError(f"{out}: end its name in {' or '.join(_SUFFIXES)}, the formats that are written")
    check_output(source, out, force)
    tensors = read_tensors(source)
    state, report = clip_state(tensors)
    sizes = clip_size_line(state)
    sha256 = file_sha256(source)
    for line in file_lines(tensors, report.kind, sha256):
        print(line)
    print(f"  sizes       {sizes}")
    if report.ignored:
        print(f"  left out    {', '.join(report.ignored)} (no parameters)")
    print(check_checksum(source, sha256, force), flush=True)
    del tensors  # closes the mapped file once `state` is empty: source and copy are never in memory together
    metadata = {
        "kind": "CLIP",
        "names": "OpenAI",
        "converted_from": Path(source).name,
        "source_sha256": sha256,
    }
    write_verified(
        out,
        state,
        lambda path, arrays: (
            save_npz(path, arrays) if out.lower().endswith(".npz") else save_arrays(path, arrays, metadata)
        ),
    )
    for line in file_lines(read_tensors(out), "jseg CLIP, read back and equal", file_sha256(out)):
        print(line)


def main(argv: list[str] | None = None) -> int:
    """0 on success, 2 after an error of the user."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="IN", help="CLIP weights of any known format")
    parser.add_argument("out", metavar="OUT", help="file to write: .safetensors or .npz")
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite OUT, and convert even if the SHA-256 is not the published one",
    )
    args = parser.parse_args(argv)
    return exit_status(lambda: convert(args.source, args.out, args.force))
