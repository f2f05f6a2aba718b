"""Worker of the operator benchmarks for the same work in PyTorch, which needs only PyTorch and NumPy."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import label_of, serve


def arrays(job: dict) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in job["shapes"]]


masks = {}


def mask_of(job: dict) -> torch.Tensor:
    """Returns the dense additive mask of the region-level bridge, built once, or None without regions."""
    key = repr([job[name] for name in ("grid", "regions", "prefix")])
    if key not in masks:
        (h, w), (mh, mw), prefix = job["grid"], job["regions"], job["prefix"]
        base, count = prefix + h * w, mh * mw
        allowed = torch.zeros(base + count, base + count, dtype=torch.bool)
        allowed[:base, :base] = True
        patch = torch.arange(h * w)
        region = base + patch // w * mh // h * mw + patch % w * mw // w
        if count:
            allowed[prefix + patch, region] = allowed[region, prefix + patch] = True
        allowed[base:, base:] = torch.eye(count, dtype=torch.bool)
        masks[key] = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf")) if count else None
    return masks[key]


def heads_of(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def mix(q, k, v, heads: int, **options) -> torch.Tensor:
    y = F.scaled_dot_product_attention(*(heads_of(x, heads) for x in (q, k, v)), **options)
    return y.transpose(1, 2).flatten(2)


modules = {}


class Block(torch.nn.Module):
    """CLIP's residual block with frozen weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.packed, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.c_fc, self.c_proj = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = self.packed(self.ln_1(x)).chunk(3, dim=-1)
        x = x + self.out(mix(q, k, v, self.heads, attn_mask=mask))
        hidden = self.c_fc(self.ln_2(x))
        return x + self.c_proj(hidden * torch.sigmoid(1.702 * hidden))


class DecoderLayer(torch.nn.Module):
    """One trained stream of a decoder layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.proj = (torch.nn.Linear(width, width) for _ in range(4))
        self.linear1, self.linear2 = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)
        self.norm2, self.norm3 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, memory: torch.Tensor, rate: float) -> torch.Tensor:
        mixed = self.proj(mix(self.q(x), self.k(memory), self.v(memory), self.heads, dropout_p=rate))
        x = self.norm2(x + F.dropout(mixed, rate))
        return self.norm3(x + F.dropout(self.linear2(F.relu(self.linear1(x))), rate))


def nel(maps: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Returns focal and dice loss as the releases compute them, from maps on a grid."""
    x = F.interpolate(maps, label.shape[1:], mode="bilinear").flatten(2)
    t = F.one_hot(label.flatten(1).long(), x.shape[1]).transpose(1, 2).float()
    p = x.sigmoid()
    miss = p + t - 2 * p * t
    focal = F.binary_cross_entropy_with_logits(x, t, reduction="none") * miss**2 * (0.75 - 0.5 * t)
    present = (t.sum(-1) > 0).float()
    dice = (1 - (2 * (p * t).sum(-1) + 1) / (p.sum(-1) + t.sum(-1) + 1)) * present
    return (100 * focal.mean(-1).sum() + dice.sum()) / present.sum()


def module(job: dict, build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Returns the module of a job, built once."""
    if repr(job) not in modules:
        modules[repr(job)] = build()
    return modules[repr(job)]


def operator(job: dict) -> tuple[Callable[..., torch.Tensor], list[torch.Tensor]]:
    """Returns the function that the job names, and its trained weights."""
    name = job["op"]
    if name == "attention":
        return (
            lambda q, k, v: mix(q, k, v, job["heads"], is_causal=job["causal"], dropout_p=job["dropout"])
        ), []
    if name == "region_attention":
        mask = mask_of(job)
        return (lambda x: mix(*x.chunk(3, dim=-1), job["heads"], attn_mask=mask)), []
    if name == "layer_norm":
        return (lambda x, weight, bias: F.layer_norm(x, x.shape[-1:], weight, bias)), []
    if name == "bias_quick_gelu":
        return (lambda x, bias: (x + bias) * torch.sigmoid(1.702 * (x + bias))), []
    if name == "bias_relu":
        return (lambda x, bias: F.relu(x + bias)), []
    if name == "nel":
        label = torch.from_numpy(label_of(job))
        return (lambda x: nel(x, label).reshape(1)), []
    if name == "recovery":
        return (lambda x, target: F.l1_loss(x, target.detach()).reshape(1)), []
    if name == "linear_residual":
        return (lambda x, weight, bias, residual: residual + F.linear(x, weight, bias)), []
    if name == "residual":
        return (lambda x, y, bias: x + (y + bias)), []
    if name == "block":
        block, mask = module(job, lambda: Block(job["width"], job["heads"])), mask_of(job)
        return (lambda x: block(x, mask)), []
    if name == "decoder_layer":
        layer = module(job, lambda: DecoderLayer(job["width"], job["heads"]))
        return (lambda x, memory: layer(x, memory, job["dropout"])), list(layer.parameters())
    raise ValueError(f"unknown operator {name}")


def prepare(job: dict) -> tuple[Callable[[], None], Callable[[], None]]:
    function, weights = operator(job)
    inputs = [torch.from_numpy(a).requires_grad_() for a in arrays(job)]
    upstream = torch.from_numpy(np.random.default_rng(1).standard_normal(job["output"]).astype(np.float32))
    results = []

    def forward() -> None:
        results[:] = [function(*inputs)]

    def backward() -> None:
        torch.autograd.grad(results[0], inputs + weights, upstream, allow_unused=True)

    return forward, backward


if __name__ == "__main__":
    serve(prepare)
