"""The text that checkpoints of a run carry: which format, and what it says of the model, as 0.1 wrote it
too."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from jseg.checkpoints.clip_rc_architecture import CLIPRCArchitecture
from jseg.checkpoints.formats.tensor_map import TensorMap
from jseg.checkpoints.version_0_1 import model_from_0_1

RUN_FORMAT = "jseg run"
"""How `format` in the metadata of a run's checkpoints begins."""

FORMAT = f"{RUN_FORMAT} 2"

OPTIMIZER_PREFIX = "optimizer."
"""How the names of an optimizer's arrays begin, beside the parameters."""

_FORMAT_OF_0_1 = f"{RUN_FORMAT} 1"


def is_run_checkpoint(tensors: TensorMap) -> bool:
    """Whether a run of jseg wrote the file."""
    return str(tensors.metadata.get("format", "")).startswith(RUN_FORMAT)


def saved_architecture(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`Architecture.metadata` of the model that a run trained; empty where the file does not say.

    Raises:
        ValueError: it is no object, or no readable JSON.
    """
    saved = json.loads(metadata.get("architecture", "{}"))
    if not isinstance(saved, dict):
        raise ValueError("its metadata has no architecture")
    if metadata.get("format") == _FORMAT_OF_0_1 and saved.get("type") == CLIPRCArchitecture.type:
        try:  # there, it was the part of the config that decides about parameters
            return CLIPRCArchitecture.from_config(model_from_0_1(saved)).metadata()
        except (TypeError, AttributeError) as error:
            raise ValueError("its metadata has an architecture that no config could describe") from error
    return saved


def saved_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved config of the run, in today's form; empty where the file does not hold a readable one."""
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
