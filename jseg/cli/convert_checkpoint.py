"""Convert a CLIP-RC or ZegCLIP checkpoint between the PyTorch release, the JSeg release and jseg, without
PyTorch.

    jseg convert-checkpoint clip_rc_voc.pth clip_rc_voc.safetensors
    jseg convert-checkpoint model.pkl model.pth --to pytorch
    jseg convert-checkpoint iter_N.safetensors model.pth --clip weights/CLIP_FILE
    jseg convert-checkpoint iter_N.safetensors model.safetensors --to trained

Targets of --to:
  jseg         jseg's own format (safetensors with only the tensors that the model uses), or if OUT ends
               in .pkl, the pickle that JSeg loads
  pytorch      a torch.save archive with state_dict and meta that the PyTorch release loads strictly
  safetensors  the same names and tensors as safetensors
  trained      a run's checkpoint without the optimizer state, a third of the size, for sharing and for
               segmentation, but not for resuming
The default depends on OUT: pytorch for .pth and .pt, otherwise jseg. Checkpoints of a jseg run contain only
the trained parameters, so pass the CLIP that was used for training with --clip. The new file is read back and
compared before it replaces OUT.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jseg import __version__
from jseg.checkpoints import (
    TensorMap,
    architecture_of,
    check_finite,
    clip_rc_to_release,
    load_arrays,
    read_tensors,
    save_arrays,
    save_jittor,
    save_torch,
)
from jseg.checkpoints.clip_rc_architecture import is_zegclip
from jseg.checkpoints.complete import CompleteModel, complete_model
from jseg.checkpoints.convert import check_output, file_lines, write_verified
from jseg.checkpoints.run_metadata import OPTIMIZER_PREFIX, is_run_checkpoint
from jseg.cli.output import Record, add_output_options, command_status
from jseg.files import expanded, file_sha256

TARGETS = ("jseg", "pytorch", "safetensors", "trained")

_ABOUT_THE_RUN = ("data", "random", "losses", "bad_images", "bad_pictures")
"""Metadata that is only needed to resume a run."""


def target_of(out: str, to: str | None) -> str:
    """Returns 'jseg', 'jittor' (the pickle of JSeg), 'pytorch' or 'safetensors', from --to and the suffix of
    OUT.

    Raises:
        ValueError: if the suffix belongs to a different format than --to.
    """
    suffix = Path(out).suffix.lower()
    if to is None:
        to = "pytorch" if suffix in (".pth", ".pt") else "jseg"
    if to == "jseg" and suffix == ".pkl":
        return "jittor"
    belongs = {".pth": "pytorch", ".pt": "pytorch", ".pkl": "jittor"}.get(suffix, to)
    if belongs != to or (to == "pytorch" and suffix == ".safetensors"):
        raise ValueError(
            f"{out}: the suffix {suffix} does not match --to {to}; choose another name or target"
        )
    return to


def size_line(source: str, model: CompleteModel) -> str:
    """Describes the model sizes, which are read from the tensors."""
    sizes = architecture_of(model.state, source, model.num_regions)
    assert sizes.encoder is not None  # known from the shapes
    positions = model.state["backbone.positional_embedding"].shape[0] - 1
    recovery = "none" if sizes.recovery_layers is None else str(sizes.recovery_layers)
    return (
        f"encoder of {sizes.encoder.layers} layers, width {sizes.encoder.width}, "
        f"patch {sizes.encoder.patch_size}, {positions} positions; {sizes.num_prompts} prompts per layer, "
        f"{sizes.num_regions or 'no'} region tokens{' (trained)' if sizes.train_regions else ''}; "
        f"joint width {sizes.encoder.joint_width}; decoder layers {sizes.decoder_layers}, "
        f"recovery layers {recovery}"
    )


def write(out: str, target: str, model: CompleteModel, text: Mapping[str, str]) -> None:
    """Writes and verifies the model with the target's names and format."""
    meta: dict[str, object] = dict(text)
    if model.class_names:
        meta["CLASSES"] = model.class_names
    if model.iteration is not None:
        meta["iter"] = model.iteration
    plain = {**text, "num_regions": str(model.num_regions)}
    if model.trained_classes is not None:
        plain["trained_classes"] = str(model.trained_classes)
    if model.class_names:
        plain["class_names"] = json.dumps(list(model.class_names))
    if model.iteration is not None:
        plain["iteration"] = str(model.iteration)
    arrays = (
        model.state
        if target == "jseg"
        else clip_rc_to_release(model.state, model.num_regions, model.trained_classes)
    )
    savers = {
        "jseg": lambda path, values: save_arrays(path, values, plain),
        "safetensors": lambda path, values: save_arrays(path, values, plain),
        "jittor": lambda path, values: save_jittor(path, values, meta),
        "pytorch": lambda path, values: save_torch(path, values, meta),
    }
    write_verified(out, dict(arrays), savers[target])


def convert(source: str, out: str, to: str | None, clip: str | None, force: bool) -> dict[str, object]:
    """Reads and describes `source`, and writes and verifies `out`.

    Returns:
        What was written, for `--json`.

    Raises:
        ValueError, OSError: as in `complete_model`, or if `out` exists or does not match `to`.
    """
    target = target_of(out, to)
    check_output(source, out, force)
    tensors = read_tensors(source)
    if target == "trained":
        keep_trained(tensors, out)
        return written(source, out, target)
    model = complete_model(tensors, clip)
    check_finite(source, model.state)
    sha256 = file_sha256(source)
    kind = "ZegCLIP" if is_zegclip(model.state) else "CLIP-RC"
    for line in file_lines(tensors, kind, sha256):
        print(line)
    print(f"  sizes       {size_line(source, model)}")
    parameters = sum(int(np.prod(array.shape)) for array in model.state.values())
    print(
        f"  parameters  {parameters:,} in {len(model.state)} tensors of the model; "
        f"{len(model.ignored)} unused tensors are left out"
    )
    if model.class_names:
        print(f"  classes     {', '.join(model.class_names)}")
    sys.stdout.flush()
    text = {
        "kind": kind,
        "converted_by": f"jseg {__version__}",
        "converted_from": Path(source).name,
        "source_sha256": sha256,
    }
    write(out, target, model, text)
    for line in file_lines(read_tensors(out), f"{kind} for {target}, read back and equal", file_sha256(out)):
        print(line)
    return {**written(source, out, target), "kind": kind, "parameters": parameters}


def written(source: str, out: str, target: str) -> dict[str, object]:
    """Returns both files with their checksums."""
    return {
        "source": source,
        "source_sha256": file_sha256(source),
        "out": out,
        "sha256": file_sha256(out),
        "target": target,
    }


def keep_trained(tensors: TensorMap, out: str) -> None:
    """Writes the trained parameters of a run's checkpoint, with the metadata needed to use them.

    Raises:
        ValueError: if the file is not a checkpoint of a run, or is damaged.
    """
    if not is_run_checkpoint(tensors):
        raise ValueError(f"--to trained: {tensors.path} is not a checkpoint of a jseg run; use --to jseg")
    arrays, metadata = load_arrays(tensors.path)
    kept = {name: array for name, array in arrays.items() if not name.startswith(OPTIMIZER_PREFIX)}
    check_finite(tensors.path, kept)
    text = {key: value for key, value in metadata.items() if key not in _ABOUT_THE_RUN}
    for line in file_lines(tensors, "checkpoint of a run", file_sha256(tensors.path)):
        print(line)
    write_verified(out, dict(kept), lambda path, values: save_arrays(path, values, text))
    for line in file_lines(
        read_tensors(out), "its trained parameters, read back and equal", file_sha256(out)
    ):
        print(line)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="IN", help="checkpoint of any known format")
    parser.add_argument("out", metavar="OUT", help="file to write")
    parser.add_argument("--to", choices=TARGETS, help="names and format to write (default: by suffix of OUT)")
    parser.add_argument(
        "--clip", type=expanded, metavar="PATH", help="CLIP weights, for a checkpoint of a jseg run"
    )
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    add_output_options(parser, "both files with their SHA-256")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    args = make_parser().parse_args(argv)

    def run(record: Record) -> None:
        record(convert(args.source, args.out, args.to, args.clip, args.force))

    return command_status(args, run)
