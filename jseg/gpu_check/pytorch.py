"""The layers of CLIP-RC as plain PyTorch operations, timed at the settings of `settings.py`.

    python jseg/gpu_check/pytorch.py [--small]

This is only a yardstick for `tools/gpu_check.py`, which runs it by this path if PyTorch is installed. It has
random weights, a frozen encoder with the dense region mask, trained prompts and head, the recovery decoder
and a loss over all pixels. It is not a second implementation: parts that take hardly any time (dice loss,
prompt normalisation, dropout) are left out. JSEG_PRECISION chooses the precision. The program prints one line
`RESULT {json}` for each setting.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from settings import MARK, SETTINGS, SMALL_SETTINGS, TIMED_RUNS, Setting  # the file beside this one
from torch import Tensor, nn

DEVICE = "cuda" if torch.cuda.is_available() and os.environ.get("JSEG_DEVICE") != "cpu" else "cpu"
PRECISION = os.environ.get("JSEG_PRECISION") or "float32"
PATCH = 16


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None) -> Tensor:
    """Computes attention of q, k and v, each (B, L, C), giving (B, Lq, C)."""
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*split, attn_mask=mask).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Pre-norm transformer block of CLIP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.packed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.out(attend(*self.packed(self.ln_1(x)).chunk(3, -1), x.shape[-1] // 64, mask))
        hidden = self.fc(self.ln_2(x))
        return x + self.proj(hidden * torch.sigmoid(1.702 * hidden))


class CrossLayer(nn.Module):
    """Post-norm cross-attention and feed-forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.norm2(x + self.out(attend(self.q(x), self.k(memory), self.v(memory), x.shape[-1] // 64)))
        return self.norm3(x + self.proj(F.relu(self.fc(x))))


def region_mask(grid: int, side: int, prefix: int) -> Tensor:
    """Returns the region mask, bool (E, E), True where a query may attend.

    Patches see the region of their window, and regions see their patches.
    """
    base, count = prefix + grid * grid, side * side
    allowed = torch.zeros(base + count, base + count, dtype=torch.bool)
    allowed[:base, :base] = True
    patch = torch.arange(grid * grid)
    region = base + patch // grid * side // grid * side + patch % grid * side // grid
    allowed[prefix + patch, region] = allowed[region, prefix + patch] = True
    allowed[base:, base:] = torch.eye(count, dtype=torch.bool)
    return allowed


class Model(nn.Module):
    """Frozen encoder with trained prompts, two-stream decoder and recovery decoder."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        width, joint, self.setting = setting.width, setting.joint, setting
        self.grid, self.side = setting.size // PATCH, round(setting.regions**0.5)
        self.patch, self.blocks = nn.Linear(3 * PATCH * PATCH, width, bias=False), nn.ModuleList()
        self.blocks.extend(Block(width) for _ in range(setting.layers))
        self.ln_post, self.joint = nn.LayerNorm(width), nn.Linear(width, joint, bias=False)
        self.start = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.prompts = nn.Parameter(torch.randn(setting.layers, setting.prompts, width) * 0.02)
        self.q_proj, self.lateral = nn.Linear(2 * joint, joint), nn.Linear(3 * joint, joint)
        self.decoder = nn.ModuleList(CrossLayer(joint) for _ in range(2 * 3))
        self.recovery = nn.ModuleList(CrossLayer(joint) for _ in range(2))
        self.recover_q, self.recover_v = nn.Linear(joint, 2 * joint), nn.Linear(joint, joint)
        self.register_buffer("mask", region_mask(self.grid, self.side, 1 + setting.prompts))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encodes images into patches (B, N, d), a global token (B, 1, d) and regions (B, M, d)."""
        batch, prompts = len(image), self.setting.prompts
        patches = self.patch(F.unfold(image, PATCH, stride=PATCH).transpose(1, 2))
        start = self.start.expand(batch, 1, -1)
        regions = start.expand(batch, self.side**2, -1)
        x = torch.cat([start, self.prompts[0].expand(batch, -1, -1), patches, regions], 1)
        for layer, block in enumerate(self.blocks):
            x = torch.cat([x[:, :1], self.prompts[layer].expand(batch, -1, -1), x[:, 1 + prompts :]], 1)
            x = block(x, self.mask)
        x = F.normalize(self.joint(self.ln_post(x)), dim=-1)
        patches = slice(1 + prompts, 1 + prompts + self.grid**2)
        return x[:, patches], x[:, :1], x[:, patches.stop :]

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits (B, C, H, W) and the recovery loss."""
        features, whole, regions = self.encode(image)
        aligned = (regions + whole)[:, :, None] * text  # (B, M, C, d)
        target = torch.cat([aligned, text.expand_as(aligned)], -1).flatten(1, 2)
        square = regions.transpose(1, 2).unflatten(-1, (self.side, self.side))
        wide = F.interpolate(square, (self.grid, self.grid), mode="bilinear").flatten(2).transpose(1, 2)
        q, v = self.q_proj(target), self.lateral(torch.cat([wide, whole.expand_as(features), features], -1))
        for first, second in zip(self.decoder[::2], self.decoder[1::2]):
            q, v = first(q, v), second(v, q)
        mean = q.unflatten(1, (self.side**2, -1)).mean(1)
        logits = (mean @ v.transpose(1, 2)).unflatten(-1, (self.grid, self.grid))
        logits = F.interpolate(logits, (self.setting.size,) * 2, mode="bilinear")
        if not self.training:
            return logits, logits.new_zeros(())
        q, v = self.recovery[0](q, v), self.recovery[1](v, q)
        return logits, F.l1_loss(self.recover_q(q), target.detach()) + F.l1_loss(
            self.recover_v(v), features.detach()
        )


def time_setting(setting: Setting, runs: int) -> dict[str, Any]:
    """Measures the images per second of training and of inference."""
    torch.manual_seed(0)
    model = Model(setting).to(DEVICE)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    image = torch.randn(setting.batch, 3, setting.size, setting.size, device=DEVICE)
    text = F.normalize(torch.randn(setting.classes, setting.joint, device=DEVICE), dim=-1)
    label = torch.randint(setting.seen, (setting.batch, setting.size, setting.size), device=DEVICE)
    low = torch.autocast(DEVICE, torch.bfloat16) if PRECISION == "bfloat16" else contextlib.nullcontext()

    def train() -> None:
        with low:
            logits, recovery = model(image, text[: setting.seen])
        truth = F.one_hot(label, setting.seen).permute(0, 3, 1, 2).float()
        probability = torch.sigmoid(logits.float())
        error = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
        focal = error * (1 - probability * truth - (1 - probability) * (1 - truth)) ** 2
        optimizer.zero_grad(set_to_none=True)
        (focal.sum(1).mean() + recovery.float()).backward()
        optimizer.step()

    def infer() -> None:
        with torch.no_grad(), low:
            torch.sigmoid(model(image, text)[0])

    model.train()
    training = seconds(train, runs)
    model.eval()
    memory = torch.cuda.max_memory_reserved() / (1 << 20) if DEVICE == "cuda" else None
    return {
        "setting": setting.name,
        "batch": setting.batch,
        "train": setting.batch / training,
        "infer": setting.batch / seconds(infer, runs),
        "gpu_memory_mb": memory,
    }


def seconds(work: Callable[[], None], runs: int) -> float:
    """Returns the median time of a call after two warm-up calls."""
    times: list[float] = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        work()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[2:])[runs // 2]


def main() -> int:
    """Prints one line for each setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="small sizes, for a CPU")
    small = parser.parse_args().small
    torch.backends.cuda.matmul.allow_tf32 = PRECISION == "tf32"
    for setting in SMALL_SETTINGS if small else SETTINGS:
        result = time_setting(setting, 2 if small else TIMED_RUNS)
        print(MARK + json.dumps({**result, "torch": torch.__version__}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
