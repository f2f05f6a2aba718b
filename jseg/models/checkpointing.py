"""Activation checkpointing: what a function computes inside is not
kept for the backward pass but computed again."""

from collections.abc import Callable

from jseg.runtime.backend import jt


def checkpointed(function: Callable[[jt.Var], jt.Var], x: jt.Var) -> jt.Var:
    """Computes function(x), but stores only x and the result. The backward pass runs the function again.

    Args:
        function: deterministic function of one Var, without dropout. Weights inside it receive no gradient,
            so they must be frozen.
        x: its input. The result is differentiable only with respect to x.
    """
    return function(x) if jt.flags.no_grad else _Checkpointed(function)(x)


class _Checkpointed(jt.Function):
    def __init__(self, function: Callable[[jt.Var], jt.Var]) -> None:
        self.function = function

    def execute(self, x: jt.Var) -> jt.Var:
        self.x = x.detach()
        with jt.no_grad():
            return self.function(self.x)

    def grad(self, grad_output: jt.Var) -> jt.Var:
        x = _after(grad_output, self.x).start_grad()
        return jt.grad((self.function(x) * grad_output).sum(), [x], retain_graph=False)[0]


def _after(first: jt.Var, x: jt.Var) -> jt.Var:
    """Returns a copy of x that is only computed after `first`.

    Jittor runs pending operators in any order that their inputs allow. Without this dependency, it would
    first recompute all functions of a stack, and keep all their activations in memory.
    """
    return jt.code(
        x.shape,
        x.dtype,
        [x, first],
        cpu_src="std::memcpy(out0_p, in0_p, in0->size);",
        cuda_header='#include "helper_cuda.h"',  # Jittor's, for checkCudaErrors
        cuda_src="checkCudaErrors(cudaMemcpyAsync(out0_p, in0_p, in0->size, cudaMemcpyDeviceToDevice, 0));",
    )
