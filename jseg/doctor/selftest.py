"""The part of `doctor` that runs in a process of its own: forward and backward computations with Jittor.

`python -m jseg.doctor.selftest` prints `SELFTEST {json}` as its last line. Success is recognised by that line
and not by the exit status, because Jittor exits with status 0 after some failures.
"""

import json
import time
from collections.abc import Callable

MARK = "SELFTEST "
_TOLERANCE = 1e-4  # float32 against float64, values of order one


def main() -> None:
    """Imports Jittor, runs each check, and prints the time of both and the largest error of each check."""
    start = time.perf_counter()
    import numpy as np

    from jseg.runtime.backend import device, jt

    imported = time.perf_counter()
    random = np.random.RandomState(0)
    checks: dict[str, Callable[..., float]] = {
        "matrix product": _matmul,
        "attention": _attention,
        "layer_norm": _layer_norm,
    }
    errors = {name: check(jt, np, random) for name, check in checks.items()}
    result = {
        "device": device.kind.upper(),
        "line": device.line,
        "import_seconds": imported - start,
        "check_seconds": time.perf_counter() - imported,
        "errors": errors,
        "tolerance": _TOLERANCE,
        "wrong": [name for name, error in errors.items() if not error <= _TOLERANCE],
    }
    print(MARK + json.dumps(result), flush=True)


def _matmul(jt, np, random) -> float:
    a, b, weight = random.randn(33, 65), random.randn(65, 17), random.randn(33, 17)
    a_var, b_var = _vars(jt, a, b)
    product = a_var @ b_var
    grad_a, grad_b = jt.grad((product * jt.array(weight.astype("float32"))).sum(), [a_var, b_var])
    return _worst(np, (product, a @ b), (grad_a, weight @ b.T), (grad_b, a.T @ weight))


def _attention(jt, np, random) -> float:
    from jseg.ops import attention

    heads, width = 2, 64
    q, k, v, weight = (random.randn(1, rows, heads * width) for rows in (5, 9, 9, 5))
    q_var, k_var, v_var = _vars(jt, q, k, v)
    output = attention(q_var, k_var, v_var, heads)
    grads = jt.grad((output * jt.array(weight.astype("float32"))).sum(), [q_var, k_var, v_var])

    def split(x):  # (1, rows, heads * width) -> (heads, rows, width)
        return x[0].reshape(-1, heads, width).transpose(1, 0, 2)

    def join(x):
        return x.transpose(1, 0, 2).reshape(1, -1, heads * width)

    query, key, value, upstream = map(split, (q, k, v, weight))
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(width)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    d_shares = upstream @ value.transpose(0, 2, 1)
    d_scores = shares * (d_shares - (d_shares * shares).sum(-1, keepdims=True)) / np.sqrt(width)
    expected = (d_scores @ key, d_scores.transpose(0, 2, 1) @ query, shares.transpose(0, 2, 1) @ upstream)
    return _worst(np, (output, join(shares @ value)), *zip(grads, map(join, expected)))


def _layer_norm(jt, np, random) -> float:
    from jseg.ops import layer_norm

    x, scale, shift, weight = random.randn(7, 48), random.randn(48), random.randn(48), random.randn(7, 48)
    x_var, scale_var, shift_var = _vars(jt, x, scale, shift)
    output = layer_norm(x_var, scale_var, shift_var, 1e-5)
    grads = jt.grad((output * jt.array(weight.astype("float32"))).sum(), [x_var, scale_var, shift_var])
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    normal = (x - x.mean(-1, keepdims=True)) / deviation
    inner = weight * scale
    slope = (inner * normal).mean(-1, keepdims=True)
    d_x = (inner - inner.mean(-1, keepdims=True) - normal * slope) / deviation
    expected = (d_x, (weight * normal).sum(0), weight.sum(0))
    return _worst(np, (output, normal * scale + shift), *zip(grads, expected))


def _vars(jt, *arrays) -> tuple:
    return tuple(jt.array(array.astype("float32")) for array in arrays)


def _worst(np, *pairs: tuple) -> float:
    """Largest difference of any (Jittor, NumPy) pair, relative to its largest value. NaN is propagated."""
    return float(np.max([np.abs(got.numpy() - want).max() / np.abs(want).max() for got, want in pairs]))


if __name__ == "__main__":
    main()
