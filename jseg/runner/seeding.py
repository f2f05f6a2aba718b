"""Random state as a pure function of (seed, iteration), so that a resumed run repeats an uninterrupted
one."""

import hashlib
import random

import numpy as np

from jseg.distributed import rank
from jseg.ops.randomness import set_first_sample
from jseg.runtime.backend import jt

BEFORE_TRAINING = -1
"""Pseudo-iteration in which parameters are initialised, identically on every rank."""


def seed_everything(seed: int, iteration: int, first_sample: int = 0) -> None:
    """Seeds Python, NumPy and Jittor for one iteration (0-based, or `BEFORE_TRAINING`).

    Python, NumPy and the dropout of jseg's models are seeded identically on every rank. Dropout then depends
    on the position of an image in the whole batch. Jittor's own generator (`jt.random`), which does not
    depend on positions, is seeded differently on every rank during training.

    Jittor draws numbers on execution, not on the call. The previous iteration must have been launched
    (`jt.sync_all()`) before this call, or it would draw from the new state.

    Args:
        first_sample: position of this process's first image in the whole batch.
    """
    state = int(np.random.SeedSequence([seed, iteration + 1]).generate_state(1)[0] % (1 << 30))
    jt.set_global_seed(state, different_seed_for_mpi=False)
    if iteration != BEFORE_TRAINING:
        jt.set_seed(state + 2591 * rank())  # the offset that Jittor itself uses between ranks
    set_first_sample(first_sample)


def fingerprint(seed: int, iteration: int) -> str:
    """Returns 16 hex digits of the first random numbers of Python, NumPy and Jittor in `iteration` on rank 0.

    Equal fingerprints mean equal random states. The generators are left seeded for that iteration.
    """
    jt.sync_all()
    seed_everything(seed, iteration)
    drawn = np.concatenate([[random.random()], np.random.random(1), jt.random((1,)).numpy()]).astype(
        np.float32
    )
    seed_everything(seed, iteration)
    return hashlib.sha256(drawn.tobytes()).hexdigest()[:16]
