"""Do arrays reach Jittor and come back as they were? Looked at after each import of Jittor, before it
computes: where its idea of NumPy's memory is wrong, it raises nothing and computes with wrong values."""

from types import ModuleType

import numpy as np


def exchange_problem(jittor: ModuleType) -> str:
    """One sentence that names the first array that came back with other values; "" if none did. Takes
    milliseconds and compiles nothing.

    Args:
        jittor: the imported package, maybe one that jseg has not prepared.
    """
    numbers = np.arange(1, 25)
    # In an order in which a failure ends the comparison before a case that could crash.
    for kind, array in (
        ("float32", (numbers / 7).astype(np.float32).reshape(4, 6)),
        ("uint8", (numbers * 9).astype(np.uint8)),
        ("int64", numbers[::-1].copy()),
        ("reversed float32", (numbers / 3).astype(np.float32)[::-1]),
    ):
        if not np.array_equal(jittor.array(array).numpy(), array):
            return (
                f"arrays of NumPy {np.__version__} ({kind}) reach Jittor with other values; "
                "let jseg import Jittor first (from jseg.runtime.backend import jt), or pip install 'numpy<2'"
            )
    return ""
