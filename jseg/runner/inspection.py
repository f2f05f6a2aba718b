"""Keeps the batch of an iteration that went wrong, to be looked at afterwards."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.checkpoints.native import write_atomically
from jseg.distributed import rank


def save_batch(work_dir: str, iteration: int, batch: Mapping[str, Any]) -> str:
    """Writes `bad_batch_iter_N_rank_R.npz`: image float32 (B, 3, H, W), label uint8 (B, H, W), names; returns
    its path.

    Raises:
        OSError: it cannot be written.
    """
    os.makedirs(work_dir, exist_ok=True)  # on other machines than the main rank's nothing was written so far
    path = os.path.join(work_dir, f"bad_batch_iter_{iteration}_rank_{rank()}.npz")
    write_atomically(
        path,
        lambda file: np.savez(
            file, image=batch["image"], label=batch["label"], names=np.array(batch["names"])
        ),
    )
    return path
