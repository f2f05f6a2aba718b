"""CLIP-RC files in the formats of the releases."""

import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden"
sys.path.insert(0, str(TESTS / "checkpoints"))

from checkpoint_writers import jittor_bytes, tensor, torch_archive_bytes


@pytest.fixture(scope="session")
def golden_weights() -> dict[str, np.ndarray]:
    """A complete CLIP-RC with the names of the releases, including unused tensors."""
    with np.load(GOLDEN / "tiny" / "weights.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def releases(
    tmp_path_factory: pytest.TempPathFactory, golden_weights: dict[str, np.ndarray]
) -> dict[str, Path]:
    """The same weights as the PyTorch (.pth) and the JSeg (.pkl) release store them."""
    folder = tmp_path_factory.mktemp("releases")
    paths = {"pytorch": folder / "release.pth", "jseg": folder / "release.pkl"}
    tensors = {name: tensor(array) for name, array in golden_weights.items()}
    optimizer = {
        "state": {0: {"step": 7, "exp_avg": tensor(np.zeros(3, np.float32))}},
        "param_groups": [{"lr": 1e-4}],
    }
    paths["pytorch"].write_bytes(
        torch_archive_bytes(
            {"meta": {"iter": 40000, "CLASSES": ["c0", "c1"]}, "state_dict": tensors, "optimizer": optimizer}
        )
    )
    paths["jseg"].write_bytes(
        jittor_bytes({"meta": {"iter": 40000, "save_time": "x"}, "model": golden_weights})
    )
    return paths
