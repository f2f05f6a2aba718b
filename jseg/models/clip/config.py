"""Sizes of a CLIP, and their derivation from its tensors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from jseg.checkpoints.clip import OPENAI
from jseg.checkpoints.clip_rc_architecture import EncoderSizes
from jseg.checkpoints.clip_settings import CLIPSettings, CLIPSizes, clip_settings, clip_sizes

# Tensors that determine the sizes, and their numbers of dimensions.
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
    context_length: int  # tokens, including start and end tokens
    vocab_size: int
    transformer_width: int
    transformer_layers: int
    vision_heads: int
    transformer_heads: int
    activation: str = "quick_gelu"  # or "gelu", of both towers

    @property
    def image_encoder(self) -> EncoderSizes:
        """Sizes of the image encoder, as segmentation models describe theirs."""
        return EncoderSizes(self.vision_layers, self.vision_width, self.vision_patch_size, self.embed_dim)

    def identity(self, sha256: str) -> str:
        """Returns the key of cached embeddings: the hash of the weights, and the settings not stored in
        them."""
        usual = (self.vision_width // 64, self.transformer_width // 64, "quick_gelu")
        told = (self.vision_heads, self.transformer_heads, self.activation)
        return sha256 if told == usual else f"{sha256} {told}"

    @property
    def grid_size(self) -> int:
        """Patches along each side of the image."""
        return self.image_resolution // self.vision_patch_size


def config_from_tensors(
    tensors: Mapping[str, np.ndarray],
    source: str,
    settings: Callable[[CLIPSizes], CLIPSettings] | None = None,
) -> CLIPConfig:
    """Derives the sizes from the tensors of a ViT CLIP with OpenAI's names.

    Args:
        source: the file, for messages.
        settings: sizes of the towers -> settings not stored in the tensors; by default those of
            OpenAI's models.

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
            f"{source} has tensors of invalid shapes for a ViT CLIP: {', '.join(wrong)}; choose another file"
        )
    sizes = clip_sizes(tensors)
    told = settings(sizes) if settings else clip_settings(source, OPENAI, sizes, {})
    return CLIPConfig(
        embed_dim=sizes.joint_width,
        image_resolution=grid * sizes.patch_size,
        vision_layers=sizes.vision_layers,
        vision_width=sizes.vision_width,
        vision_patch_size=sizes.patch_size,
        context_length=tensors["positional_embedding"].shape[0],
        vocab_size=tensors["token_embedding.weight"].shape[0],
        transformer_width=sizes.text_width,
        transformer_layers=sizes.text_layers,
        vision_heads=told.vision_heads,
        transformer_heads=told.text_heads,
        activation=told.activation,
    )
