"""Worker of the operator benchmarks for jseg's operators and blocks, fused or plain by JSEG_FUSED."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import label_of, serve

from jseg.models.clip.transformer import ResidualAttentionBlock, over_regions
from jseg.models.heads.decoder import DecoderLayer
from jseg.models.losses import NELLoss, recovery_loss
from jseg.ops import (
    RegionLayout,
    attention,
    bias_quick_gelu,
    bias_relu,
    layer_norm,
    linear,
    region_attention,
)
from jseg.runtime.backend import jt, nn

PLAIN = os.environ.get("JSEG_FUSED") == "0"


def arrays(job: dict) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in job["shapes"]]


def layout(job: dict) -> RegionLayout:
    return RegionLayout(tuple(job["grid"]), tuple(job["regions"]), job["prefix"], job["skipped"])


def stock_layer_norm(x: jt.Var, weight: jt.Var, bias: jt.Var) -> jt.Var:
    """Computes layer normalisation by Jittor's own formula, with the variance as E[x²] - E[x]²."""
    mean = x.mean(-1, keepdims=True)
    variance = (x * x).mean(-1, keepdims=True) - mean * mean
    return (x - mean) / jt.sqrt(variance + 1e-5) * weight + bias


modules = {}


def module(job: dict, build: Callable[[], nn.Module], frozen: bool) -> nn.Module:
    """Returns the module of a job, built once, with or without trained weights."""
    key = repr(job)
    if key not in modules:
        modules[key] = build()
        for parameter in modules[key].parameters():
            if frozen:
                parameter.stop_grad()
    return modules[key]


def operator(job: dict) -> tuple[Callable[..., jt.Var], list[jt.Var]]:
    """Returns the function that the job names, and its trained weights."""
    name = job["op"]
    if name == "attention":
        return (
            lambda q, k, v: attention(q, k, v, job["heads"], causal=job["causal"], dropout=job["dropout"])
        ), []
    if name == "region_attention":
        return (lambda x: region_attention(x, job["heads"], layout(job))), []
    if name == "layer_norm":
        return (stock_layer_norm if PLAIN else layer_norm), []
    if name in ("bias_quick_gelu", "bias_relu"):
        return {"bias_quick_gelu": bias_quick_gelu, "bias_relu": bias_relu}[name], []
    if name == "nel":
        label = jt.array(label_of(job))
        return (lambda x: sum(NELLoss()(x, label).values()).reshape(1)), []
    if name == "recovery":
        return (lambda x, target: recovery_loss(x, target).reshape(1)), []
    if name == "linear_residual":
        return (lambda x, weight, bias, residual: linear(x, weight, bias, residual)), []
    if name == "residual":
        return (lambda x, y, bias: x + (y + bias)), []
    if name == "block":
        block = module(job, lambda: ResidualAttentionBlock(job["width"], job["heads"]), frozen=True)
        return (lambda x: block(x, over_regions(layout(job)))), []
    if name == "decoder_layer":
        layer = module(job, lambda: DecoderLayer(job["width"], job["heads"]), frozen=False)
        return (lambda x, memory: layer(x, memory, job["dropout"])), layer.parameters()
    raise ValueError(f"unknown operator {name}")


class GradientArrives(jt.Function):
    """A sum of `result` whose gradient is `upstream`, like that of a later layer, without product or copy."""

    def execute(self, result: jt.Var, upstream: jt.Var) -> jt.Var:
        self.upstream = upstream
        return result.sum()

    def grad(self, _: jt.Var) -> tuple[jt.Var, None]:
        return self.upstream, None


def prepare(job: dict) -> tuple[Callable[[], None], Callable[[], None]]:
    function, weights = operator(job)
    inputs = [jt.array(a) for a in arrays(job)]
    upstream = jt.array(np.random.default_rng(1).standard_normal(job["output"]).astype(np.float32))
    jt.sync_all(True)
    results = []

    def forward() -> None:
        results[:] = [function(*inputs)]
        results[0].sync()
        jt.sync_all(True)

    def backward() -> None:
        grads = jt.grad(GradientArrives()(results[0], upstream), inputs + weights, retain_graph=False)
        jt.sync(grads)
        jt.sync_all(True)

    return forward, backward


if __name__ == "__main__":
    serve(prepare)
