"""Worker of `model.py`: CLIP-RC in plain PyTorch layers; needs only PyTorch and NumPy.

The last argument says how the decoder attends: 'written-out' (scores, softmax, dropout and product, as in
the released code) or 'sdpa'. The encoder calls `scaled_dot_product_attention` with the dense mask. Parameter
names are those of released checkpoints. JSEG_DEVICE and JSEG_PRECISION choose device and precision, as in
jseg.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from model_sizes import PATCH, Sizes
from model_worker import Job, read_job, serve, settled

WRITTEN_OUT = len(sys.argv) > 4 and sys.argv[4] == "written-out"
DROPOUT = 0.1
DEVICE = "cuda" if torch.cuda.is_available() and os.environ.get("JSEG_DEVICE") != "cpu" else "cpu"
PRECISION = os.environ.get("JSEG_PRECISION", "float32")


def heads_of(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def dropped(x: Tensor, training: bool) -> Tensor:
    return F.dropout(x, DROPOUT, training)


class SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        q, k, v = (heads_of(part, x.shape[-1] // 64) for part in packed)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Feed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        return self.c_proj(x * torch.sigmoid(1.702 * x))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn, self.mlp = SelfAttention(width), Feed(width)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Layers(nn.Module):
    def __init__(self, name: str, layers: list[nn.Module]) -> None:
        super().__init__()
        setattr(self, name, nn.ModuleList(layers))


class Backbone(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.s, side = s, s.size // PATCH
        self.class_embedding = nn.Parameter(torch.empty(s.width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + side * side, s.width))
        self.proj = nn.Parameter(torch.empty(s.width, s.joint))
        self.conv1 = nn.Conv2d(3, s.width, PATCH, PATCH, bias=False)
        self.ln_pre, self.ln_post = nn.LayerNorm(s.width), nn.LayerNorm(s.width)
        self.transformer = Layers("resblocks", [Block(s.width) for _ in range(s.layers)])
        self.prompt_embeddings = nn.Parameter(torch.empty(1, s.prompts, s.width))
        self.deep_prompt_embeddings = nn.Parameter(torch.empty(s.layers - 1, s.prompts, s.width))
        self.prompt_proj = nn.Linear(s.width, s.width)
        self.prompt_norm = nn.LayerNorm(s.width, eps=1e-6)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("prompt" in name)
        self.register_buffer("_mask", self.mask(), persistent=False)

    def mask(self) -> Tensor:
        """Dense additive mask of the region-level bridge."""
        s, grid, m = self.s, self.s.size // PATCH, round(self.s.regions**0.5)
        base = 1 + s.prompts + grid * grid
        allowed = torch.zeros(base + s.regions, base + s.regions, dtype=torch.bool)
        allowed[:base, :base] = True
        patch = torch.arange(grid * grid)
        region = base + patch // grid * m // grid * m + patch % grid * m // grid
        allowed[1 + s.prompts + patch, region] = allowed[region, 1 + s.prompts + patch] = True
        allowed[base:, base:] = torch.eye(s.regions, dtype=torch.bool)
        return torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))

    def prompt(self, layer: int, batch: int) -> Tensor:
        embedding = self.deep_prompt_embeddings[layer - 1] if layer else self.prompt_embeddings[0]
        return dropped(self.prompt_proj(embedding).expand(batch, -1, -1), self.training)

    def joint(self, x: Tensor, norm: bool) -> Tensor:
        return F.normalize(self.ln_post(self.prompt_norm(x) if norm else x) @ self.proj, dim=-1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, k = len(image), self.s.prompts
        patches = self.conv1(image).flatten(2).transpose(1, 2) + self.positional_embedding[1:]
        cls = self.class_embedding + self.positional_embedding[0]
        regions = self.ln_pre(cls.expand(batch, self.s.regions, -1))
        cls = self.ln_pre((cls + self.class_embedding).expand(batch, 1, -1))
        x = torch.cat([cls, self.prompt(0, batch), self.ln_pre(patches), regions], 1)
        for i, block in enumerate(self.transformer.resblocks):
            if i:
                x = torch.cat([x[:, :1], self.prompt(i, batch), x[:, 1 + k :]], 1)
            x = block(x, self._mask)
        start = x.shape[1] - self.s.regions
        return (
            self.joint(x[:, 1 + k : start], True),
            self.joint(x[:, 0], True),
            self.joint(x[:, start:], False),
        )


class CrossAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        heads = x.shape[-1] // 64
        q, k, v = (heads_of(y, heads) for y in (self.q(x), self.k(memory), self.v(memory)))
        if WRITTEN_OUT:
            share = ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(-1)
            y = dropped(share, self.training) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=DROPOUT if self.training else 0.0)
        return self.proj(y.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.multihead_attn = CrossAttention(width)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.norm2(x + dropped(self.multihead_attn(x, memory), self.training))
        hidden = dropped(F.relu(self.linear1(x)), self.training)
        return self.norm3(x + dropped(self.linear2(hidden), self.training))


class Recovery(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.decouple_q, self.decouple_v = (nn.ModuleList([DecoderLayer(width)]) for _ in range(2))
        self.linear_q_in, self.linear_k_in = nn.Linear(width, width), nn.Linear(width, width)
        self.linear_q_out, self.linear_k_out = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        q, v = self.linear_q_in(q), self.linear_k_in(v)
        q, v = self.decouple_q[0](q, v), self.decouple_v[0](v, q)
        return self.linear_q_out(q), self.linear_k_out(v)


class Head(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.decoder_q, self.decoder_v = (
            Layers("layers", [DecoderLayer(d) for _ in range(3)]) for _ in range(2)
        )
        self.recovery_decoder = Recovery(d)
        self.lateral_proj, self.q_proj = nn.Linear(3 * d, d), nn.Linear(2 * d, d)

    def forward(
        self, image: Tensor, whole: Tensor, regions: Tensor, text: Tensor, recover: bool
    ) -> tuple[Tensor, list[Tensor]]:
        batch, patches, _ = image.shape
        grid, m = round(patches**0.5), round(regions.shape[1] ** 0.5)
        relation = ((regions + whole[:, None])[:, :, None] * text).flatten(1, 2)
        described = torch.cat([relation, text.repeat(regions.shape[1], 1).expand(batch, -1, -1)], -1)
        wide = F.interpolate(regions.transpose(1, 2).unflatten(-1, (m, m)), (grid, grid), mode="bilinear")
        wide = wide.flatten(2).transpose(1, 2)
        v = self.lateral_proj(torch.cat([wide, whole[:, None].expand_as(image), image], -1))
        q = self.q_proj(described)
        for first, second in zip(self.decoder_q.layers, self.decoder_v.layers):
            q, v = first(q, v), second(v, q)
        # As released: a map for each region, and the mean of the maps.
        maps = (q @ v.transpose(1, 2)).unflatten(1, (regions.shape[1], -1)).mean(1)
        terms = []
        if recover:
            made_q, made_v = self.recovery_decoder(q, v)
            terms = [2 * F.l1_loss(made_q, described.detach()), 2 * F.l1_loss(made_v, image.detach())]
        return maps.unflatten(-1, (grid, grid)), terms


class Model(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.backbone, self.decode_head, self.s = Backbone(s), Head(s.joint), s

    def predict(self, image: Tensor, text: Tensor) -> Tensor:
        with torch.no_grad():
            maps, _ = self.decode_head(*self.backbone(image), text, False)
            maps = F.interpolate(maps, (self.s.size,) * 2, mode="bilinear").sigmoid()
            maps[:, : self.s.seen] -= 0.1
            return maps

    def loss(self, image: Tensor, label: Tensor, text: Tensor) -> dict[str, Tensor]:
        maps, terms = self.decode_head(*self.backbone(image), text, True)
        x = F.interpolate(maps, (self.s.size,) * 2, mode="bilinear").flatten(2)
        t = F.one_hot(label.flatten(1).long(), len(text)).transpose(1, 2).float()
        p = x.sigmoid()
        truth = p * t + (1 - p) * (1 - t)
        focal = F.binary_cross_entropy_with_logits(x, t, reduction="none") * (1 - truth).square()
        focal = (focal * (0.25 * t + 0.75 * (1 - t))).mean(-1).sum()
        present = (t.sum(-1) > 0).float()
        pairs = present.sum().clamp(min=1)
        dice = ((1 - (2 * (p * t).sum(-1) + 1) / (p.sum(-1) + t.sum(-1) + 1)) * present).sum()
        named = {"loss_mask": 100 * focal / pairs, "loss_dice": dice / pairs}
        named |= {"recovery_loss_q": terms[0], "recovery_loss_k": terms[1]}
        accuracy = 100 * (x.argmax(1) == label.flatten(1)).float().mean().detach()
        return {**named, "total": sum(named.values()), "acc_seg": accuracy}


def build(job: Job) -> Model:
    model = Model(job.sizes)
    with np.load(job.folder / "weights.npz") as arrays:
        model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    return model.to(DEVICE)


def main() -> None:
    job = read_job()
    model = build(job)
    image, label, text = (torch.from_numpy(a).to(DEVICE) for a in (job.image, job.label, job.text))
    held = settled()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    torch.backends.cuda.matmul.allow_tf32 = PRECISION == "tf32"
    low = torch.autocast(DEVICE, torch.bfloat16, enabled=PRECISION == "bfloat16")

    def work() -> None:
        if job.kind == "inference":
            with low:
                model.eval().predict(image, text).cpu()
            return
        with low:
            terms = model.train().loss(image, label, text[: job.sizes.seen])
        optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        optimizer.step()
        [term.item() for term in terms.values()]

    def parity() -> dict[str, np.ndarray]:
        model.eval()
        with torch.no_grad(), low:
            if job.kind == "inference":
                return {"probabilities": model.predict(image, text).float().cpu().numpy()}
            terms = model.loss(image, label, text[: job.sizes.seen])
        return {name: term.float().cpu().numpy() for name, term in terms.items() if name != "acc_seg"}

    serve(job, work, parity, held)


if __name__ == "__main__":
    main()
