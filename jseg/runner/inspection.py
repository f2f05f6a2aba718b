"""Keeps the batch of an iteration that went wrong, to be looked at afterwards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jseg.distributed import rank
from jseg.files import PathLike, replacing


def save_batch(work_dir: PathLike, iteration: int, batch: Mapping[str, Any]) -> Path:
    """Writes `bad_batch_iter_N_rank_R.npz`: image float32 (B, 3, H, W),
    label uint8 (B, H, W), names; returns its path.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(work_dir) / f"bad_batch_iter_{iteration}_rank_{rank()}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)  # on machines without the main rank nothing exists yet
    with replacing(path) as temporary, temporary.open("xb") as file:
        np.savez(file, image=batch["image"], label=batch["label"], names=np.array(batch["names"]))
    return path
