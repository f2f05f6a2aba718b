"""Saves the batch of a failed iteration for inspection."""

from pathlib import Path

import numpy as np

from jseg.datasets.batch import Batch
from jseg.distributed import rank
from jseg.files import PathLike, replacing


def save_batch(work_dir: PathLike, iteration: int, batch: Batch) -> Path:
    """Writes `bad_batch_iter_N_rank_R.npz` with image float32 (B, 3, H, W), label uint8 (B, H, W) and names.

    Returns:
        Path of the file.

    Raises:
        OSError: if it cannot be written.
    """
    path = Path(work_dir) / f"bad_batch_iter_{iteration}_rank_{rank()}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)  # on machines without the main rank, it does not exist yet
    with replacing(path) as temporary, temporary.open("xb") as file:
        np.savez(file, image=batch["image"], label=batch["label"], names=np.array(batch["names"]))
    return path
