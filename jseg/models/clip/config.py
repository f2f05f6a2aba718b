"""Sizes of a CLIP, and how to read them off its tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jseg.checkpoints.clip_heads import CHANNELS_PER_HEAD

# The tensors that tell the sizes, and their numbers of dimensions.
_DIMENSIONS = {
    "visual.conv1.weight": 4,
    "visual.positional_embedding": 2,
    "visual.proj": 2,
    "token_embedding.weight": 2,
    "positional_embedding": 2,
    "text_projection": 2,
}


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes of both towers; the names are those of OpenAI's `CLIP` constructor."""

    embed_dim: int  # joint space of images and texts
    image_resolution: int  # pixels, square
    vision_layers: int
    vision_width: int
    vision_patch_size: int  # pixels
    context_length: int  # tokens, start and end marks included
    vocab_size: int
    transformer_width: int
    transformer_layers: int

    @property
    def vision_heads(self) -> int:
        return max(1, self.vision_width // CHANNELS_PER_HEAD)

    @property
    def transformer_heads(self) -> int:
        return max(1, self.transformer_width // CHANNELS_PER_HEAD)

    @property
    def grid_size(self) -> int:
        """Patches along each side of the image."""
        return self.image_resolution // self.vision_patch_size


def config_from_tensors(tensors: Mapping[str, np.ndarray], source: str) -> CLIPConfig:
    """Read the sizes off the tensors of a ViT CLIP in OpenAI's naming.

    Raises:
        ValueError: `source` (a file name) has no such tensors, e.g. because it is a ResNet CLIP, or of
            impossible shapes.
    """
    if "visual.layer1.0.conv1.weight" in tensors:
        raise ValueError(
            f"{source} is a ResNet CLIP, which jseg does not implement; choose ViT-B/16, B/32 or L/14"
        )
    missing = [name for name in _DIMENSIONS if name not in tensors]
    if missing:
        raise ValueError(
            f"{source} is not a ViT CLIP in OpenAI's naming: {', '.join(missing)} missing; convert it "
            "first, or choose another file"
        )
    wrong = [
        f"{name} {tuple(tensors[name].shape)}"
        for name, dimensions in _DIMENSIONS.items()
        if len(tensors[name].shape) != dimensions
    ]
    if not wrong:
        positions = tensors["visual.positional_embedding"].shape[0]
        grid = math.isqrt(positions)
        if grid < 1 or positions != grid**2 + 1:
            wrong = [f"visual.positional_embedding of {positions} rows (a square and one was expected)"]
    if wrong:
        raise ValueError(
            f"{source} holds tensors of shapes that no ViT CLIP has: {', '.join(wrong)}; choose another file"
        )
    width, _, patch, _ = tensors["visual.conv1.weight"].shape
    return CLIPConfig(
        embed_dim=tensors["text_projection"].shape[1],
        image_resolution=grid * patch,
        vision_layers=_count_blocks(tensors, "visual.transformer.resblocks."),
        vision_width=width,
        vision_patch_size=patch,
        context_length=tensors["positional_embedding"].shape[0],
        vocab_size=tensors["token_embedding.weight"].shape[0],
        transformer_width=tensors["token_embedding.weight"].shape[1],
        transformer_layers=_count_blocks(tensors, "transformer.resblocks."),
    )


def _count_blocks(tensors: Mapping[str, np.ndarray], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})
