"""Random state as a pure function of (seed, iteration), so that
a resumed run repeats an uninterrupted one."""

import hashlib
import random

import numpy as np

from jseg.distributed import rank
from jseg.ops.randomness import set_first_sample
from jseg.runtime.backend import jt

BEFORE_TRAINING = -1
"""The "iteration" in which parameters get their initial values: the same on every rank."""


def seed_everything(seed: int, iteration: int, first_sample: int = 0) -> None:
    """Seeds Python, numpy and Jittor for one iteration (0-based, or `BEFORE_TRAINING`).

    Python, numpy and the dropout of jseg's models are set alike on every rank; dropout then depends on the
    position of an image in the whole batch. Jittor's own generator (`jt.random`), which knows no positions,
    is set differently on every rank in training.

    Jittor draws when it executes, not when it is called: the work of the previous iteration must have been
    launched (`jt.sync_all()`) before this, or it would draw from the new state.

    Args:
        first_sample: position of this process's first image in the whole batch.
    """
    state = int(np.random.SeedSequence([seed, iteration + 1]).generate_state(1)[0] % (1 << 30))
    jt.set_global_seed(state, different_seed_for_mpi=False)
    if iteration != BEFORE_TRAINING:
        jt.set_seed(state + 2591 * rank())  # Jittor's own distance between ranks
    set_first_sample(first_sample)


def fingerprint(seed: int, iteration: int) -> str:
    """16 hex digits of the first numbers that Python, numpy and Jittor draw in `iteration` on the main rank.

    Equal fingerprints mean equal random states. Leaves the generators seeded for that iteration.
    """
    jt.sync_all()
    seed_everything(seed, iteration)
    drawn = np.concatenate([[random.random()], np.random.random(1), jt.random((1,)).numpy()]).astype(
        np.float32
    )
    seed_everything(seed, iteration)
    return hashlib.sha256(drawn.tobytes()).hexdigest()[:16]
