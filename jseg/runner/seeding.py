"""Random state as a pure function of (seed, iteration), so that a resumed run repeats an uninterrupted one."""

import numpy as np

from jseg.runtime.backend import jt


BEFORE_TRAINING = -1
"""The "iteration" in which parameters get their initial values."""


def seed_everything(seed: int, iteration: int) -> None:
    """Seeds Python, numpy and Jittor for one iteration (0-based, or `BEFORE_TRAINING`); different on every rank.

    Jittor draws when it executes, not when it is called: the work of the previous iteration must have been launched
    (`jt.sync_all()`) before this, or it would draw from the new state.
    """
    state = int(np.random.SeedSequence([seed, iteration + 1]).generate_state(1)[0] % (1 << 30))
    jt.set_global_seed(state)
