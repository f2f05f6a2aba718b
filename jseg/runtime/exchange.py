"""Checks that arrays are passed to Jittor and back unchanged, after each import of Jittor and before it
computes. If it assumes a wrong memory layout of NumPy's arrays, it computes wrong values without an error."""

from types import ModuleType

import numpy as np


def exchange_problem(jittor: ModuleType) -> str:
    """Returns a sentence naming the first array that came back with different values, or "". Takes
    milliseconds and compiles nothing.

    Args:
        jittor: the imported package, possibly one that jseg has not prepared.
    """
    numbers = np.arange(1, 25)
    # Ordered so that a failure ends the comparison before a case that could crash.
    for kind, array in (
        ("float32", (numbers / 7).astype(np.float32).reshape(4, 6)),
        ("uint8", (numbers * 9).astype(np.uint8)),
        ("int64", numbers[::-1].copy()),
        ("reversed float32", (numbers / 3).astype(np.float32)[::-1]),
    ):
        if not np.array_equal(jittor.array(array).numpy(), array):
            return (
                f"arrays of NumPy {np.__version__} ({kind}) reach Jittor with wrong values; "
                "let jseg import Jittor first (from jseg.runtime.backend import jt), or pip install 'numpy<2'"
            )
    return ""
