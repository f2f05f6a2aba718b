"""Stage "golden" of `tools/gpu_check.py`: recorded outputs of the released code, and limits per precision."""

from collections.abc import Sequence
from typing import Any

from jseg.gpu_check.processes import ROOT
from jseg.parity import compare, run_case
from jseg.parity.comparison import Row
from jseg.runtime.device import wanted_precision

GOLDEN_LIMITS = {"tf32": (0.015, 0.025), "bfloat16": (0.1, 0.15)}
"""Largest relative differences from the golden vectors: of outputs, and of 9 gradients in 10.

One gradient in 10 may differ more, because the derivative of the L1 loss is a sign, which flips where a
difference is nearly 0. float32 has the tolerances of `tools/parity.py`. In bfloat16 on an H100, outputs
differed by at most 0.032, and in one case 31 gradients of 574 quantities were beyond 0.15. On a CPU with
operands rounded to bfloat16, outputs differed by 0.07. The limits of TF32 are about a sixth of those."""

FLOAT32_GRADIENT_LIMIT = 5e-4
"""Limit for float32 gradients, in place of the tolerance of `tools/parity.py`.

Three TF32 products keep 22 bits, which shows in derivatives of scores that are differences of nearly equal
numbers. On an H100, one gradient of 574 reached 2.1e-4. On a CPU, it reached 1e-5."""

GOLDEN_CASES = ("tiny", "tiny_m16", "clip_tiny")

FOLLOWS_ARGMAX = ("pseudo_label", "acc_seg")
"""Quantities that follow the class with the largest score, and so flip where two scores are nearly equal."""


def golden_stage(small: bool) -> dict[str, Any]:
    """Compares outputs with the recorded ones in the chosen precision.

    Returns:
        Quantities beyond the limits, and the largest differences.
    """
    cases: dict[str, dict[str, Any]] = {}
    for name in GOLDEN_CASES[-1:] if small else GOLDEN_CASES:
        rows = compare(*run_case(ROOT / "tests" / "golden" / name))
        cases[name] = {
            "quantities": len(rows),
            "failed": beyond_limits(rows, wanted_precision()),
            "worst_output": max(row.difference for row in rows if ".grad." not in row.name),
            "worst_gradient": max((row.difference for row in rows if ".grad." in row.name), default=0.0),
        }
    return {
        "cases": cases,
        "failed": [f"{name}: {entry}" for name, case in cases.items() for entry in case["failed"]],
    }


def beyond_limits(rows: Sequence[Row], precision: str) -> list[str]:
    """Returns the names of the quantities that differ too much, given the `rows` of `jseg.parity`."""
    if precision not in GOLDEN_LIMITS:
        return [
            row.name
            for row in rows
            if not (row.passed or (".grad." in row.name and row.difference <= FLOAT32_GRADIENT_LIMIT))
        ]
    limits = GOLDEN_LIMITS[precision]
    gradients = [row for row in rows if ".grad." in row.name]
    outputs = [
        row for row in rows if ".grad." not in row.name and row.name.split(".")[-1] not in FOLLOWS_ARGMAX
    ]
    failed = [row.name for row in outputs if not row.difference <= limits[0]]
    wide = [row.name for row in gradients if not row.difference <= limits[1]]
    # Not finite, or of a different order of magnitude.
    wrong = [row.name for row in gradients if not row.difference <= 1]
    return failed + (wide if len(wide) > len(gradients) / 10 else wrong)
