"""Metadata in a run's checkpoints, including those of 0.1: the format, and the description of the model."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from jseg.checkpoints.clip_rc_architecture import CLIPRCArchitecture
from jseg.checkpoints.formats.tensor_map import TensorMap
from jseg.checkpoints.version_0_1 import model_from_0_1

RUN_FORMAT = "jseg run"
"""Prefix of `format` in the metadata of a run's checkpoints."""

FORMAT = f"{RUN_FORMAT} 2"

OPTIMIZER_PREFIX = "optimizer."
"""Prefix of the names of an optimizer's arrays."""

_FORMAT_OF_0_1 = f"{RUN_FORMAT} 1"


def is_run_checkpoint(tensors: TensorMap) -> bool:
    """Whether the file was written by a run of jseg."""
    return str(tensors.metadata.get("format", "")).startswith(RUN_FORMAT)


def saved_architecture(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `Architecture.metadata` of the model that a run trained, or nothing if the file does not
    contain it.

    Raises:
        ValueError: if it is not an object, or not valid JSON.
    """
    saved = json.loads(metadata.get("architecture", "{}"))
    if not isinstance(saved, dict):
        raise ValueError("its metadata has no architecture")
    if metadata.get("format") == _FORMAT_OF_0_1 and saved.get("type") == CLIPRCArchitecture.type:
        try:  # in 0.1, it was the part of the config that determines the parameters
            return CLIPRCArchitecture.from_config(model_from_0_1(saved)).metadata()
        except (TypeError, AttributeError) as error:
            raise ValueError("its metadata has an architecture that is not valid") from error
    return saved


def saved_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the run's resolved config in the current form, or nothing if the file has no readable one."""
    try:
        tree = ast.parse(str(metadata.get("config", "")))
        values = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        if isinstance(values.get("model"), dict):
            values["model"] = model_from_0_1(values["model"])
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        return {}
    return values
