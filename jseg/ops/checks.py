"""Checks that the operators make on their inputs.

A training step calls the operators a thousand times. The checks therefore only compare values, and put a
message together only when they fail.
"""

from jseg.runtime.backend import jt

FLOATING = ("float32", "float64", "float16", "bfloat16")


def require_tensors(operator: str, *inputs: jt.Var) -> None:
    """Raises TypeError, naming `operator`, if an input is not a Jittor tensor."""
    for x in inputs:
        if not isinstance(x, jt.Var):
            raise TypeError(
                f"{operator} expects Jittor tensors; got {type(x).__name__}: convert it with jt.array"
            )


def require_one_floating_type(operator: str, *inputs: jt.Var) -> None:
    """Raises an error unless all inputs are Jittor tensors of one floating-point type.

    Raises:
        TypeError: if an input is not a Jittor tensor.
        ValueError: if the types differ or are not floating-point types.
    """
    require_tensors(operator, *inputs)
    wanted = inputs[0].dtype
    if wanted not in FLOATING or any(x.dtype != wanted for x in inputs):
        found = ", ".join(sorted({str(x.dtype) for x in inputs}))
        raise ValueError(f"{operator} expects inputs of one floating-point type; got {found}")


def require_heads(operator: str, num_heads: int) -> None:
    """Raises ValueError unless `num_heads` is a positive Python integer."""
    if not isinstance(num_heads, int) or num_heads < 1:
        raise ValueError(
            f"{operator} needs at least one head, as an int; got {num_heads} ({type(num_heads).__name__})"
        )
