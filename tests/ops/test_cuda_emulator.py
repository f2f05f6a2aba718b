"""The emulator that runs the CUDA kernels on the CPU must notice every error that would fail on a GPU."""

import re

import numpy as np
import pytest
from emulated import DEPTH_FIRST, IN_STEP, KERNELS, RANDOM, REVERSED, Kernels, library, round_to

WAIT = re.compile(r"^\s*(__syncthreads|__syncwarp|JSEG_COPY_WAIT)\(")


WIDTH = 32
"""Head width. At 16, a warp happens to copy the rows that it reads first, and does not need a barrier for
them."""


def waits() -> list[str]:
    """Returns file.cuh:line of every barrier and of every wait for an asynchronous copy."""
    return [
        f"{path.name}:{number}"
        for path in sorted(KERNELS.glob("**/*.cuh"))
        for number, line in enumerate(path.read_text().split("\n"), 1)
        if WAIT.match(line)
    ]


def results(kernels: Kernels, place: str) -> tuple[np.ndarray, ...]:
    """Runs the kernels of the file on sizes that reach every wait."""
    rng = np.random.default_rng(0)
    if place.startswith("layer_norm"):
        x, d = rng.standard_normal((2, 140, 40)).astype(np.float32)
        return kernels.layer_norm(x, x[0], x[1], 1e-5, d)
    if place.startswith("region"):
        qkv, d = rng.standard_normal((1, 87, 48)), rng.standard_normal((1, 87, 16))
        return kernels.region_attention(qkv, d, 1, [9, 9, 2, 2, 2, 1])
    q, k, v, d = (rng.standard_normal((1, length, 16)) for length in (150, 210, 210, 150))
    return kernels.attention(q, k, v, d, 1)


def test_every_kernel_with_barriers_is_covered() -> None:
    assert len(waits()) >= 15
    assert {place.split(":")[0] for place in waits()} >= {
        "attention_forward.cuh",
        "attention_backward.cuh",
        "region_rows_cuda.cuh",
        "layer_norm_cuda.cuh",
    }


@pytest.mark.parametrize("place", waits())
def test_a_missing_wait_is_found(place: str) -> None:
    """Without it, some schedule gives other results, or the emulator sees threads wait forever."""
    right = results(Kernels("Bfloat", WIDTH), place)
    for order in (DEPTH_FIRST, REVERSED, IN_STEP, RANDOM):
        for early_copies in (False, True):
            try:
                wrong = results(Kernels("Bfloat", WIDTH, order, 1, early_copies, skipped=place), place)
            except RuntimeError:
                return
            assert library("Bfloat", WIDTH).skipped_waits() > 0
            if not all(np.array_equal(a, b) for a, b in zip(wrong, right)):
                return
    pytest.fail(f"no schedule noticed that {place} was left out")


@pytest.mark.parametrize(
    "work, words",
    [
        ("barrier_of_some", "barrier"),
        ("lanes_apart", "warp"),
        ("lane_missing", "deadlock"),
        ("odd_address", "16-byte"),
    ],
)
def test_undefined_behaviour_is_refused(work: str, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        Kernels("Bfloat", 16)._call(work)


def test_rounding_of_number_formats() -> None:
    """The emulator rounds ties, subnormals, overflow and all exponents to 16 bits as NumPy does."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(20000) * 2.0 ** rng.integers(-30, 20, 20000)).astype(np.float32)
    special = np.array(
        [
            0,
            -0.0,
            1 + 2**-11,
            1 + 3 * 2**-11,
            65519,
            65520,
            6e-8,
            3e-8,
            2**-14,
            6.1e-5,
            1 + 2**-8,
            1 + 3 * 2**-8,
        ],
        np.float32,
    )
    x = np.concatenate([x, special])
    out = np.zeros((2, len(x)), np.float32)
    Kernels("Bfloat", 16)._call("round_numbers", len(x), x, out)
    with np.errstate(over="ignore"):
        assert np.array_equal(out[0], round_to(x, "Half"))
    assert np.array_equal(out[1], round_to(x, "Bfloat"))
