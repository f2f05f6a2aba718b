"""CLIP's image encoder with a modified last block for patch features, without training.

CLIP's own patch features mix content of the whole image. These papers change the attention of the last
block: MaskCLIP (Zhou et al., ECCV 2022), SCLIP (Wang et al., ECCV 2024), ClearCLIP (Lan et al., ECCV
2024).
"""

from collections.abc import Callable

import numpy as np

from jseg.checkpoints import resize_positions
from jseg.checkpoints.positions import MODES
from jseg.models.backbones.base import ImageFeatures
from jseg.models.clip.config import CLIPConfig
from jseg.models.clip.model import VisionTransformer, l2_normalize
from jseg.models.clip.transformer import ResidualAttentionBlock, over_regions
from jseg.ops import RegionLayout, attention, linear, transpose_last
from jseg.runtime.backend import jt

Mix = Callable[[jt.Var, jt.Var, jt.Var, int], jt.Var]
"""(query, key, value (B, L, D), heads) -> (B, L, D), before the output map."""

DENSE: dict[str, Mix] = {
    "vanilla": lambda q, k, v, heads: attention(q, k, v, heads),
    "maskclip": lambda q, k, v, heads: v,
    "sclip": lambda q, k, v, heads: attention(q, q, v, heads) + attention(k, k, v, heads),
    "clearclip": lambda q, k, v, heads: attention(q, q, v, heads),
}
"""Attention of the last block. All but "clearclip" keep its residual and its feed-forward part."""


class DenseEncoder(VisionTransformer):
    """CLIP's image tower with all patches as its output.

    Args:
        config: sizes of the CLIP.
        dense: a name of `DENSE`.
        positions: how the position table is resized to other grids, 'bicubic' or 'bilinear'.

    Raises:
        ValueError: if an option is invalid. The message names it.
    """

    def __init__(self, config: CLIPConfig, dense: str = "clearclip", positions: str = "bicubic") -> None:
        for name, value, known in (("dense", dense, DENSE), ("positions", positions, MODES)):
            if value not in known:
                raise ValueError(f"{name} is '{value}': choose one of {', '.join(known)}")
        super().__init__(config)
        self.dense, self.positions, self.patch_size = dense, positions, config.vision_patch_size
        self._tables: dict[tuple[int, int], jt.Var] = {}

    def execute(self, image: jt.Var) -> ImageFeatures:
        """(B, 3, H, W), H and W divisible by the patch size -> features of the patches, each of length 1.

        Raises:
            ValueError: if the image size is not supported.
        """
        patches = self.conv1(image)
        batch, _, width = patches.shape
        grid = (image.shape[2] // self.patch_size, image.shape[3] // self.patch_size)
        first = self.class_embedding.reshape(1, 1, width).broadcast((batch, 1, width))
        x = self.ln_pre(jt.concat([first, patches], dim=1) + self.position(grid))
        attend = over_regions(RegionLayout(grid, regions=(0, 0), prefix=1))
        *blocks, last = list(self.transformer.resblocks)
        for block in blocks:
            x = block(x, attend)
        x = linear(self.ln_post(self._last(last, x)), transpose_last(self.proj))
        x = l2_normalize(x)
        return ImageFeatures(x[:, 1:], x[:, 0], None, grid, (0, 0))

    def _last(self, block: ResidualAttentionBlock, x: jt.Var) -> jt.Var:
        width, heads = x.shape[-1], block.attn.heads
        packed = linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
        q, k, v = (packed[:, :, i * width : (i + 1) * width] for i in range(3))
        z = block.attn.out_proj(DENSE[self.dense](q, k, v, heads))
        return z if self.dense == "clearclip" else block.feed_forward(x + z)

    def position(self, grid: tuple[int, int]) -> jt.Var:
        """(1 + h·w, D): the table of positions on a grid (h, w), CLS first."""
        if grid not in self._tables:
            table = resize_positions(
                np.asarray(self.positional_embedding.numpy(), np.float32), grid, mode=self.positions
            )
            self._tables[grid] = jt.array(table).stop_grad()
        return self._tables[grid]
