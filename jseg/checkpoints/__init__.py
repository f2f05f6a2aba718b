"""Weight files: readers for other projects' formats without PyTorch, name maps, and jseg's own safetensors
files.

`formats` reads and writes the bytes (`read_tensors` opens a file of any format). `clip` and `clip_rc`
translate tensor names between projects. `save_arrays` and `load_arrays` handle jseg's own files. Nothing in a
file is ever executed.
"""

from jseg.checkpoints.architecture import Architecture, Difference, listed
from jseg.checkpoints.clip import NameReport, clip_from_any, clip_state, clip_to_hugging_face
from jseg.checkpoints.clip_rc import (
    architecture_of,
    clip_rc_from_release,
    clip_rc_to_release,
    load_model_state,
)
from jseg.checkpoints.clip_rc_architecture import CLIPRCArchitecture, EncoderSizes
from jseg.checkpoints.formats.export import save_jittor, save_torch
from jseg.checkpoints.formats.npz import save_npz
from jseg.checkpoints.formats.reader import read_tensors
from jseg.checkpoints.formats.tensor_map import TensorMap, check_finite
from jseg.checkpoints.native import load_arrays, save_arrays
from jseg.checkpoints.positions import resize_positions

__all__ = [
    "Architecture",
    "CLIPRCArchitecture",
    "Difference",
    "EncoderSizes",
    "NameReport",
    "TensorMap",
    "architecture_of",
    "check_finite",
    "clip_from_any",
    "clip_rc_from_release",
    "clip_rc_to_release",
    "clip_state",
    "clip_to_hugging_face",
    "listed",
    "load_arrays",
    "load_model_state",
    "read_tensors",
    "resize_positions",
    "save_arrays",
    "save_jittor",
    "save_npz",
    "save_torch",
]
