"""CLIP (Radford et al., 2021) with a Vision Transformer, in Jittor.

Both towers use OpenAI's parameter names, so that weights are loaded without renaming.
"""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from jseg.checkpoints import clip_state, read_tensors
from jseg.checkpoints.clip_settings import clip_settings
from jseg.files import PathLike
from jseg.models.clip.config import CLIPConfig, config_from_tensors
from jseg.models.clip.transformer import Transformer, causal, over_regions
from jseg.models.layers import LayerNorm, PatchConvolution, trunc_normal
from jseg.models.state import load_arrays_into
from jseg.ops import RegionLayout, linear, transpose_last
from jseg.runtime.backend import jt, nn


class VisionTransformer(nn.Module):
    """CLIP's image tower: (B, 3, R, R) -> (B, embed_dim), the projected class token."""

    def __init__(self, config: CLIPConfig) -> None:
        width, patch = config.vision_width, config.vision_patch_size
        self.conv1 = PatchConvolution(width, patch, std=(3 * patch * patch) ** -0.5)
        self.class_embedding = trunc_normal((width,), std=width**-0.5)
        self.positional_embedding = trunc_normal((config.grid_size**2 + 1, width), std=width**-0.5)
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, config.vision_layers, config.vision_heads, config.activation)
        self.ln_post = LayerNorm(width)
        self.proj = trunc_normal((width, config.embed_dim), std=width**-0.5)

    def execute(self, image: jt.Var) -> jt.Var:
        patches = self.conv1(image)
        batch, count, width = patches.shape
        if count + 1 != self.positional_embedding.shape[0]:
            raise ValueError(
                f"image of {image.shape[2]}x{image.shape[3]} pixels has {count} patches, but this CLIP has "
                f"{self.positional_embedding.shape[0] - 1} positions; resize the image to its resolution"
            )
        first = self.class_embedding.reshape(1, 1, width).broadcast((batch, 1, width))
        tokens = jt.concat([first, patches], dim=1) + self.positional_embedding
        patch = self.conv1.weight.shape[-1]
        layout = RegionLayout((image.shape[2] // patch, image.shape[3] // patch), regions=(0, 0), prefix=1)
        tokens = self.transformer(self.ln_pre(tokens), over_regions(layout))
        return linear(self.ln_post(tokens[:, 0, :]), transpose_last(self.proj))


class TokenEmbedding(nn.Module):
    """Table of token vectors: `weight` (vocabulary, width)."""

    def __init__(self, vocab_size: int, width: int) -> None:
        self.weight = trunc_normal((vocab_size, width), std=0.02)

    def execute(self, tokens: jt.Var) -> jt.Var:
        return self.weight[tokens]


class CLIP(nn.Module):
    """Image tower `visual`, text tower (this module's own parameters), and the temperature."""

    def __init__(self, config: CLIPConfig) -> None:
        self.config = config
        self.visual = VisionTransformer(config)
        self.transformer = Transformer(
            config.transformer_width, config.transformer_layers, config.transformer_heads, config.activation
        )
        self.token_embedding = TokenEmbedding(config.vocab_size, config.transformer_width)
        self.positional_embedding = trunc_normal((config.context_length, config.transformer_width), std=0.01)
        self.ln_final = LayerNorm(config.transformer_width)
        self.text_projection = trunc_normal(
            (config.transformer_width, config.embed_dim), config.transformer_width**-0.5
        )
        self.logit_scale = jt.array(np.array([math.log(1 / 0.07)], np.float32))

    def encode_image(self, image: jt.Var) -> jt.Var:
        """(B, 3, R, R) normalised with CLIP's mean and std -> (B, embed_dim), not normalised."""
        return self.visual(image)

    def encode_text(self, tokens: np.ndarray) -> jt.Var:
        """Returns the text features at the end token.

        Args:
            tokens: (B, context_length) integers from `tokenize`. The end token has the largest id.

        Returns:
            (B, embed_dim), not normalised.
        """
        tokens = np.asarray(tokens)
        end = tokens.argmax(axis=1)
        # Tokens attend only to earlier ones, so tokens after the last end token can be omitted.
        length = int(end.max()) + 1
        x = (
            self.token_embedding(jt.array(tokens[:, :length].astype(np.int32)))
            + self.positional_embedding[:length]
        )
        x = self.transformer(x, causal)
        x = x.reshape(-1, x.shape[-1])[jt.array((np.arange(len(tokens)) * length + end).astype(np.int32))]
        return linear(self.ln_final(x), transpose_last(self.text_projection))

    def execute(self, image: jt.Var, tokens: np.ndarray) -> tuple[jt.Var, jt.Var]:
        """Cosine similarities times the temperature: (logits_per_image (B, T), logits_per_text (T, B))."""
        images, texts = l2_normalize(self.encode_image(image)), l2_normalize(self.encode_text(tokens))
        logits = linear(images, texts) * self.logit_scale.exp()
        return logits, transpose_last(logits)


def l2_normalize(x: jt.Var) -> jt.Var:
    """Divides by the L2 norm over the last axis."""
    return x / jt.sqrt((x * x).sum(-1, keepdims=True))


def read_clip_config(path: PathLike) -> CLIPConfig:
    """Returns sizes, heads and activation of the CLIP in a file, without building it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or not a CLIP.
    """
    return _read(path)[1]


def load_clip(path: PathLike) -> CLIP:
    """Builds the CLIP in `path`, with sizes derived from its tensors.

    The file may be an archive of OpenAI, a Hugging Face `CLIPModel`, an open_clip file or jseg's own. Values
    become float32.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or not a CLIP.
    """
    state, config = _read(path)
    model = CLIP(config)
    arrays = {name: np.asarray(value, dtype=np.float32) for name, value in state.items()}
    arrays["logit_scale"] = arrays["logit_scale"].reshape(-1)  # 0-d in the files, one number in the model
    load_arrays_into(model, arrays, str(path))
    model.eval()
    return model


def _read(path: PathLike) -> tuple[Mapping[str, np.ndarray], CLIPConfig]:
    tensors = read_tensors(path)
    state, report = clip_state(tensors)
    settings = partial(clip_settings, path, report.kind, metadata=tensors.metadata)
    return state, config_from_tensors(state, str(path), settings)
