"""Convert a CLIP (OpenAI archive, Hugging Face CLIPModel, open_clip) to jseg's own format, without PyTorch.

    jseg convert-clip ViT-B-16.pt weights/ViT-B-16.safetensors

Writes safetensors, or a compressed NumPy archive if OUT ends in .npz, with OpenAI's parameter names. Half
precision is kept. The new file is read back and compared before it replaces OUT. A file that has the name of
one of OpenAI's but a different SHA-256 is converted only with --force.

The tensors do not contain the numbers of attention heads or the activation. They are read from config.json
(Hugging Face) or open_clip_config.json in the folder of IN, or given by --heads and --activation. Otherwise
OpenAI's are used: heads of 64 channels and QuickGELU. The safetensors file stores them.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from jseg.checkpoints import clip_state, read_tensors, save_arrays, save_npz
from jseg.checkpoints.clip import OPENAI
from jseg.checkpoints.clip_settings import ACTIVATIONS, CHANNELS_PER_HEAD, clip_settings, clip_sizes
from jseg.checkpoints.convert import (
    check_output,
    checksum_warning,
    clip_size_line,
    file_lines,
    published_sha256,
    write_verified,
)
from jseg.cli.output import Record, add_output_options, command_status
from jseg.files import file_sha256

_SUFFIXES = (".safetensors", ".npz")


def check_checksum(source: str, found: str, force: bool) -> str:
    """Compares the SHA-256 with OpenAI's, if the name is one of OpenAI's, and returns a line for the
    terminal.

    Raises:
        ValueError: if the SHA-256 differs, unless `force`. In both cases, a warning goes to stderr.
    """
    published = published_sha256(source)
    if published is None:
        return "  checksum    not a file name of OpenAI's, so there is no published value"
    if found == published:
        return "  checksum    as published by OpenAI"
    print(checksum_warning(source, found, published), file=sys.stderr)
    if not force:
        raise ValueError(
            f"{source}: SHA-256 differs from the published one; fetch the file again, rename it, or add "
            "--force to convert it anyway"
        )
    return "  checksum    NOT as published by OpenAI (converted because of --force)"


def parse_heads(text: str) -> tuple[int, int]:
    """'16,12' -> (16, 12): heads of the vision and the text tower."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not VISION,TEXT, such as 16,12")
    return int(parts[0]), int(parts[1])


def convert(
    source: str,
    out: str,
    force: bool,
    activation: str | None = None,
    heads: tuple[int, int] | None = None,
) -> dict[str, object]:
    """Reads and describes `source`, and writes and verifies `out`.

    Returns:
        What was written, for `--json`.

    Raises:
        ValueError, OSError: as in the readers, or if `out` exists or the SHA-256 is not the published one.
    """
    if not out.lower().endswith(_SUFFIXES):
        raise ValueError(f"{out}: the name must end in {' or '.join(_SUFFIXES)}")
    check_output(source, out, force)
    tensors = read_tensors(source)
    state, report = clip_state(tensors)
    sizes = clip_sizes(state)
    size_line = clip_size_line(state)
    settings = clip_settings(source, report.kind, sizes, tensors.metadata, activation, heads)
    usual = (
        clip_settings("", OPENAI, sizes, {}) if not any(w % CHANNELS_PER_HEAD for w in sizes[:2]) else None
    )
    if out.lower().endswith(".npz") and settings != usual:
        raise ValueError(
            f"{out}: an .npz file cannot store that this CLIP has {settings.vision_heads} and "
            f"{settings.text_heads} heads and the activation {settings.activation}; write .safetensors"
        )
    sha256 = file_sha256(source)
    for line in file_lines(tensors, report.kind, sha256):
        print(line)
    print(f"  sizes       {size_line}")
    print(
        f"  settings    {settings.vision_heads} heads for images, {settings.text_heads} for texts, "
        f"activation {settings.activation}"
    )
    if report.ignored:
        print(f"  left out    {', '.join(report.ignored)} (no parameters)")
    print(check_checksum(source, sha256, force), flush=True)
    # Closes the mapped file once `state` is empty: source and copy are never in memory together.
    del tensors
    metadata = {
        "kind": "CLIP",
        "names": "OpenAI",
        "converted_from": Path(source).name,
        "source_sha256": sha256,
        **settings.metadata(),
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
    return {
        "source": source,
        "source_sha256": sha256,
        "kind": report.kind,
        "out": out,
        "sha256": file_sha256(out),
        **dataclasses.asdict(settings),
    }


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
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
    parser.add_argument("--activation", choices=ACTIVATIONS, help="if there is no configuration file")
    parser.add_argument(
        "--heads",
        type=parse_heads,
        metavar="VISION,TEXT",
        help="attention heads of both towers, if there is none",
    )
    add_output_options(parser, "both files with their SHA-256")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    args = make_parser().parse_args(argv)

    def run(record: Record) -> None:
        record(convert(args.source, args.out, args.force, args.activation, args.heads))

    return command_status(args, run)
