"""Weight files: readers for foreign formats without PyTorch, name maps, and jseg's own safetensors files.

`read_tensors` opens a file of any format, `names` and `clip_rc_names` translate tensor names between
projects, `save_arrays` and `load_arrays` are jseg's own files. Nothing in a file is ever executed.
"""

from jseg.checkpoints.clip_rc_names import clip_rc_from_release, clip_rc_to_release
from jseg.checkpoints.export import save_jittor, save_torch
from jseg.checkpoints.names import NameReport, clip_from_any, clip_to_hugging_face
from jseg.checkpoints.native import load_arrays, save_arrays
from jseg.checkpoints.npz import save_npz
from jseg.checkpoints.positions import resize_position_table
from jseg.checkpoints.reader import read_tensors
from jseg.checkpoints.release import (
    CLIPRCSizes,
    clip_rc_sizes,
    clip_state,
    config_differences,
    load_model_state,
)
from jseg.checkpoints.tensor_map import TensorMap

__all__ = [
    "CLIPRCSizes",
    "NameReport",
    "TensorMap",
    "clip_from_any",
    "clip_rc_from_release",
    "clip_rc_sizes",
    "clip_rc_to_release",
    "clip_state",
    "clip_to_hugging_face",
    "config_differences",
    "load_arrays",
    "load_model_state",
    "read_tensors",
    "resize_position_table",
    "save_arrays",
    "save_jittor",
    "save_npz",
    "save_torch",
]
