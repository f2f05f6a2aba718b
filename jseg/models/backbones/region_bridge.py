"""CLIP's vision encoder with deep prompts and the region-level bridge (paper, section 3.2, Figs. 4 and 5)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from jseg.checkpoints import EncoderSizes, resize_positions
from jseg.models.backbones.base import BACKBONES, Backbone, ImageFeatures
from jseg.models.checkpointing import checkpointed
from jseg.models.clip.model import l2_normalize
from jseg.models.clip.transformer import Transformer, over_regions
from jseg.models.initialization import check_start, normal, pytorch_default, uniform
from jseg.models.layers import LayerNorm, Linear, PatchConvolution, clip_parameters, trunc_normal
from jseg.models.remembered import Remembered
from jseg.models.state import load_arrays_into
from jseg.ops import RegionLayout, drop_rows, dropout, insert_rows, linear, transpose_last
from jseg.ops.region_attention.layout import region_grid
from jseg.runtime.backend import jt

PROMPT_NORM_EPS = 1e-6


@BACKBONES.register()
class RegionBridgeEncoder(Backbone):
    """Image -> global, patch and region features. CLIP is frozen; prompts, their projection and norm are
    trained.

    Args:
        sizes: sizes of CLIP's image encoder.
        heads: number of its attention heads.
        position_grid: (h, w) of the position table; other grids are resized from it at run time.
        activation: activation of the feed-forward parts, 'quick_gelu' or 'gelu'.
        num_prompts: number K of prompt tokens per layer.
        num_regions: number M of region tokens, a square; 0 for no region bridge. The attribute may be changed
            between calls unless region tokens are trained.
        train_regions: give region tokens parameters of their own (Table 6, "Update"), stored as the releases
            do, pos[0] included. Otherwise every region token is class embedding + pos[0].
        dropout: dropout rate of the prompts in training.
        double_class_embedding: release quirk, CLS = class + (pos[0] + class).
        checkpoint_blocks: activation checkpointing: keep only the input of each block for the backward pass
            and compute the block again, which takes less memory and more time.
        init: of `prompt_proj`, whose weight is normal with standard deviation sqrt(2/D). 'released': not
            truncated, bias uniform in ±1/sqrt(D). 'designed': truncated at twice that, bias zero.

    Raises:
        ValueError: if an option is invalid. The message names it.
    """

    def __init__(
        self,
        sizes: EncoderSizes,
        heads: int,
        position_grid: tuple[int, int],
        activation: str = "quick_gelu",
        num_prompts: int = 10,
        num_regions: int = 16,
        train_regions: bool = False,
        dropout: float = 0.1,
        double_class_embedding: bool = True,
        checkpoint_blocks: bool = False,
        init: str = "released",
    ) -> None:
        super().__init__()
        if num_prompts < 1:
            raise ValueError(f"num_prompts is {num_prompts}: at least one prompt token is needed")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: it must be at least 0 and below 1")
        if train_regions and not num_regions:
            raise ValueError(
                "train_regions is True but num_regions is 0: there are no region tokens to train"
            )
        if num_regions:
            region_grid(num_regions)
        check_start(init)
        layers, width, patch_size = sizes.layers, sizes.width, sizes.patch_size
        self.patch_size, self.num_prompts, self.num_layers = patch_size, num_prompts, layers
        self.num_regions, self.dropout = num_regions, dropout
        self.double_class_embedding, self.checkpoint_blocks = double_class_embedding, checkpoint_blocks
        self.position_grid = (position_grid[0], position_grid[1])
        with clip_parameters():
            scale = width**-0.5
            self.class_embedding = trunc_normal((width,), scale)
            self.positional_embedding = trunc_normal((1 + position_grid[0] * position_grid[1], width), scale)
            self.proj = trunc_normal((width, sizes.joint_width), scale)
            self.conv1 = PatchConvolution(width, patch_size, std=scale)
            self.ln_pre = LayerNorm(width)
            self.transformer = Transformer(width, layers, heads, activation)
            self.ln_post = LayerNorm(width)
            if train_regions:  # they start from CLIP's values
                self.region_level_bridge = trunc_normal((num_regions, width), scale)
        self._make_prompts(width, layers, init)
        self.trained_regions = num_regions if train_regions else 0
        self._positions: dict[tuple[int, int], jt.Var] = {}
        self._shared_rows = Remembered()
        self.freeze()

    def _make_prompts(self, width: int, layers: int, init: str) -> None:
        bound = (6.0 / (3 * self.patch_size**2 + width)) ** 0.5
        self.prompt_embeddings = uniform((1, self.num_prompts, width), bound)
        if layers > 1:
            self.deep_prompt_embeddings = uniform((layers - 1, self.num_prompts, width), bound)
        self.prompt_proj = Linear(width, width)
        std = (2.0 / width) ** 0.5
        if init == "released":
            pytorch_default(self.prompt_proj)
            self.prompt_proj.weight = normal((width, width), std)
        else:
            self.prompt_proj.weight = trunc_normal((width, width), std)
        self.prompt_norm = LayerNorm(width, eps=PROMPT_NORM_EPS)

    @property
    def trains_regions(self) -> bool:
        """Whether region tokens are parameters (Table 6, "Update"), which fixes their number."""
        return self.trained_regions > 0

    def architecture(self) -> dict[str, Any]:
        """See `Backbone.architecture`."""
        return {
            "num_prompts": self.num_prompts,
            "num_regions": self.num_regions,
            "train_regions": self.trains_regions,
            "double_class_embedding": self.double_class_embedding,
        }

    def load_clip(self, visual: Mapping[str, np.ndarray]) -> None:
        """See `Backbone.load_clip`.

        The square position table is resized to the encoder's grid; trained region tokens start as the
        untrained ones: class embedding + pos[0].
        """
        table = np.asarray(visual["positional_embedding"], np.float32)
        values = {**visual, "positional_embedding": resize_positions(table, self.position_grid)}
        if self.trains_regions:
            start = np.asarray(visual["class_embedding"], np.float32) + table[0]
            values["region_level_bridge"] = np.tile(start, (self.trained_regions, 1))
        prompts = self.trainable_parameters().keys() - values.keys()
        load_arrays_into(self, values, "CLIP's vision transformer", without=prompts)
        self.freeze()

    def adopt_positions(self, table: np.ndarray, source: str) -> None:
        """See `Backbone.adopt_positions`."""
        grid, rows = self.position_grid, table.shape[0] - 1
        if rows == grid[0] * grid[1]:
            return
        side = round(max(rows, 0) ** 0.5)
        if side < 1 or side * side != rows:
            raise ValueError(
                f"{source}: its position table has {rows} rows for patches, neither this "
                f"model's grid of {grid[0]}x{grid[1]} nor a square one; set image_size to the "
                "crop it was trained with"
            )
        self.positional_embedding = jt.zeros((rows + 1, self.positional_embedding.shape[1]))
        self.position_grid = (side, side)

    def trainable_parameters(self) -> dict[str, jt.Var]:
        """Returns the trained parameters by name: prompts, their projection and norm, and trained region
        tokens."""
        return {
            name: p
            for name, p in self.state_dict().items()
            if "prompt" in name or name == "region_level_bridge"
        }

    def freeze(self) -> None:
        """Disables gradients of CLIP's own weights, including replaced ones, and clears cached positions."""
        trained = self.trainable_parameters()
        for name, parameter in self.state_dict().items():
            if name not in trained:
                parameter.stop_grad()
        self._positions.clear()

    def execute(self, image: jt.Var, training: bool = False, num_regions: int | None = None) -> ImageFeatures:
        """See `Backbone.execute`."""
        rate = self.dropout if training and self.is_training() else 0.0
        regions = self.num_regions if num_regions is None else num_regions
        return self.encode(image, regions, rate, fixed=not training and bool(jt.flags.no_grad))

    def region_features(
        self, image: jt.Var, original_clip: bool = False, num_regions: int | None = None
    ) -> ImageFeatures | None:
        """See `Backbone.region_features`.

        The original CLIP (paper, Fig. 2, left) has neither prompts nor their norm nor the doubled class
        embedding. Only its region tokens are used.

        Raises:
            ValueError: if the number of trained region tokens would change.
        """
        if not self.num_regions:
            return None
        return self.encode(image, num_regions or self.num_regions, use_prompts=not original_clip)

    def encode(
        self,
        image: jt.Var,
        num_regions: int,
        dropout_rate: float = 0.0,
        use_prompts: bool = True,
        fixed: bool = False,
    ) -> ImageFeatures:
        """Encodes a batch with the given options instead of the encoder's.

        Args:
            image: (B, 3, H, W), H and W divisible by the patch size.
            num_regions: M, a square; 0 for no region tokens.
            dropout_rate: dropout rate of the prompts.
            use_prompts: False leaves prompts, prompt norm and the doubled class embedding out.
            fixed: without dropout and gradients. What depends on the parameters alone is then computed once:
                keys and values of prompts, and of [CLS] and regions in the first layer.

        Raises:
            ValueError: if the image size or the number of regions is not supported.
        """
        grid, regions = self._grid(*image.shape[2:]), self._region_grid(num_regions)
        prompts = self.num_prompts if use_prompts else 0
        # Prompts are keys and values of one layer, and each layer has its own: their rows end with attention.
        layout = RegionLayout(grid, regions, prefix=1 + prompts, skipped=prompts)
        cls, patches, bridge = self._embed(image, grid, num_regions, doubled=use_prompts)
        x = jt.concat([cls, patches, *([bridge] if num_regions else [])], dim=1)
        x = self._run_fixed(x, layout) if fixed and prompts else self._run(x, layout, dropout_rate)
        start = 1 + grid[0] * grid[1]
        return ImageFeatures(
            image=self._joint(x[:, 1:start], use_prompts),
            global_feature=self._joint(x[:, 0], use_prompts),
            regions=self._joint(x[:, start:], False) if num_regions else None,
            grid=grid,
            region_grid=regions,
        )

    def _run(self, x: jt.Var, layout: RegionLayout, dropout_rate: float) -> jt.Var:
        """All blocks: [CLS], patches and regions (B, E − skipped, D) -> the same shape."""
        prompts, attend = layout.skipped, over_regions(layout)
        keep = partial(drop_rows, start=1, count=prompts) if prompts else None
        for i, block in enumerate(self.transformer.resblocks):
            run, tokens = partial(block, attend=attend, keep=keep), x
            if prompts:
                prompt = self._prompt(i, x.shape[0], dropout_rate)
                if i or self.trains_regions:
                    tokens = insert_rows(x, prompt, 1)
                else:  # in the first layer, nothing but prompts needs gradients
                    frozen = over_regions(layout, frozen=True)
                    run, tokens = partial(block.with_prompts, x=x, attend=frozen, keep=keep), prompt
            x = checkpointed(run, tokens) if self.checkpoint_blocks else run(tokens)
        return x

    def _run_fixed(self, x: jt.Var, layout: RegionLayout) -> jt.Var:
        """`_run` with prompts, without dropout and gradients. The projected rows of prompts, and in the first
        layer those of [CLS] and regions, depend on the parameters alone and are computed once."""
        patches = layout.base - layout.prefix
        for i, block in enumerate(self.transformer.resblocks):
            own = x if i else x[:, 1 : 1 + patches]
            others = [] if i else [x[:1, :1], x[:1, 1 + patches :]]
            x = block.with_shared(x, own, self._projected(i, others), layout)
        return x

    def _projected(self, layer: int, others: list[jt.Var]) -> jt.Var:
        """(S, 3·D): projected rows of the prompts of a layer, and of `others`, [CLS] before and regions after
        them, (1, ..., D) each."""
        block, made_from = self.transformer.resblocks[layer], self._prompt_parameters(layer)
        if others:
            made_from += self._start_parameters()

        def project() -> jt.Var:
            tokens = [*others[:1], self._prompt(layer, 1, 0.0), *others[1:]]
            return block.project_tokens(jt.concat(tokens, 1) if others else tokens[0])[0]

        key = layer, sum(tokens.shape[1] for tokens in others)
        return self._shared_rows(key, [*made_from, *block.projection], project)

    def attention_allowed(self, image_size: tuple[int, int], num_regions: int) -> np.ndarray:
        """(E, E) bool: which token may attend to which, for an image of (H, W) pixels with prompts."""
        regions = self._region_grid(num_regions)
        return RegionLayout(self._grid(*image_size), regions, 1 + self.num_prompts).allowed()

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        patch = self.patch_size
        if height % patch or width % patch or min(height, width) < patch:
            raise ValueError(
                f"the image is {height}x{width} pixels: both sides must be multiples of the "
                f"patch size {patch}; resize or pad it"
            )
        return height // patch, width // patch

    def _region_grid(self, num_regions: int) -> tuple[int, int]:
        if num_regions == 0:
            return 0, 0
        if self.trained_regions and num_regions != self.trained_regions:
            raise ValueError(
                f"num_regions is {num_regions}, but this model trains {self.trained_regions} "
                "region tokens of its own; only untrained region tokens may change in number"
            )
        return region_grid(num_regions)

    def _position(self, grid: tuple[int, int]) -> jt.Var:
        if grid == self.position_grid:
            return self.positional_embedding
        if grid not in self._positions:
            table = resize_positions(self.positional_embedding.numpy(), grid, self.position_grid)
            self._positions[grid] = jt.array(table).stop_grad()
        return self._positions[grid]

    def _embed(
        self, image: jt.Var, grid: tuple[int, int], num_regions: int, doubled: bool
    ) -> tuple[jt.Var, jt.Var, jt.Var | None]:
        """CLS (B, 1, D), patches (B, N, D) and regions (B, M, D) after positions and `ln_pre`."""
        batch, width = image.shape[0], self.class_embedding.shape[0]
        position = self._position(grid)
        cls = self.class_embedding + position[0]
        patches = self.ln_pre(self.conv1(image) + position[1:].unsqueeze(0))
        bridge = None
        if num_regions:
            bridge = self.region_level_bridge if self.trained_regions else cls.unsqueeze(0)
            bridge = self.ln_pre(bridge).unsqueeze(0).expand(batch, num_regions, width)
        if doubled and self.double_class_embedding:
            cls = cls + self.class_embedding
        return self.ln_pre(cls.reshape(1, 1, width)).expand(batch, 1, width), patches, bridge

    def _start_parameters(self) -> list[jt.Var]:
        """What [CLS] and regions of the first layer are made from."""
        regions = [self.region_level_bridge] if self.trained_regions else []
        return [
            self.class_embedding,
            self.positional_embedding,
            self.ln_pre.weight,
            self.ln_pre.bias,
            *regions,
        ]

    def _prompt_parameters(self, layer: int) -> list[jt.Var]:
        """What `_prompt` is made from."""
        embeddings = self.deep_prompt_embeddings if layer else self.prompt_embeddings
        return [embeddings, self.prompt_proj.weight, self.prompt_proj.bias]

    def _prompt(self, layer: int, batch: int, dropout_rate: float) -> jt.Var:
        """(B, K, D) prompts of a layer."""
        embedding = self.deep_prompt_embeddings[layer - 1] if layer else self.prompt_embeddings[0]
        prompt = self.prompt_proj(embedding).unsqueeze(0).expand(batch, *embedding.shape)
        return dropout(prompt, dropout_rate)

    def _joint(self, x: jt.Var, prompt_norm: bool) -> jt.Var:
        """Final norms, projection to the joint space, unit length: (..., D) -> (..., d)."""
        if prompt_norm:
            x = self.prompt_norm(x)
        return l2_normalize(linear(self.ln_post(x), transpose_last(self.proj)))
