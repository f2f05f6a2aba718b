"""What the operators ask of their inputs.

A training step calls the operators a thousand times: the checks
compare, and words are put together for an error only.
"""

from jseg.runtime.backend import jt

FLOATING = ("float32", "float64", "float16", "bfloat16")


def require_tensors(operator: str, *inputs: jt.Var) -> None:
    """Raises TypeError, naming `operator`, for what is no tensor of Jittor."""
    for x in inputs:
        if not isinstance(x, jt.Var):
            raise TypeError(
                f"{operator} expects tensors of Jittor; got {type(x).__name__}: convert it with jt.array"
            )


def require_one_floating_type(operator: str, *inputs: jt.Var) -> None:
    """Raises TypeError for inputs that are no tensors, ValueError
    for those that are not all of one floating type."""
    require_tensors(operator, *inputs)
    wanted = inputs[0].dtype
    if wanted not in FLOATING or any(x.dtype != wanted for x in inputs):
        found = ", ".join(sorted({str(x.dtype) for x in inputs}))
        raise ValueError(f"{operator} expects one floating type; got {found}")


def require_heads(operator: str, num_heads: int) -> None:
    """Raises ValueError unless `num_heads` is a Python integer above 0."""
    if not isinstance(num_heads, int) or num_heads < 1:
        raise ValueError(
            f"{operator} needs at least one head, as an int; got {num_heads} ({type(num_heads).__name__})"
        )
