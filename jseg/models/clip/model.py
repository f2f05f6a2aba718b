"""CLIP (Radford et al., 2021) with a Vision Transformer, in Jittor.

Both towers use OpenAI's parameter names, so that weights are loaded without renaming.
"""

import math
from functools import cached_property, partial

import numpy as np

from jseg.checkpoints import check_finite, clip_state, read_tensors
from jseg.checkpoints.clip_settings import clip_settings
from jseg.files import PathLike
from jseg.models.clip.config import CLIPConfig, config_from_tensors
from jseg.models.clip.transformer import Transformer, causal, over_regions
from jseg.models.layers import LayerNorm, PatchConvolution, filled_by_file, trunc_normal
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


class TextTransformer(nn.Module):
    """CLIP's text tower."""

    def __init__(self, config: CLIPConfig) -> None:
        self.config = config
        self.transformer = Transformer(
            config.transformer_width, config.transformer_layers, config.transformer_heads, config.activation
        )
        self.token_embedding = TokenEmbedding(config.vocab_size, config.transformer_width)
        self.positional_embedding = trunc_normal((config.context_length, config.transformer_width), std=0.01)
        self.ln_final = LayerNorm(config.transformer_width)
        self.text_projection = trunc_normal(
            (config.transformer_width, config.embed_dim), config.transformer_width**-0.5
        )

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


class CLIP(TextTransformer):
    """Image tower `visual`, text tower (this module's own parameters), and the temperature."""

    def __init__(self, config: CLIPConfig) -> None:
        self.visual = VisionTransformer(config)
        super().__init__(config)
        self.logit_scale = jt.array(np.array([math.log(1 / 0.07)], np.float32))

    def encode_image(self, image: jt.Var) -> jt.Var:
        """(B, 3, R, R) normalised with CLIP's mean and std -> (B, embed_dim), not normalised."""
        return self.visual(image)

    def execute(self, image: jt.Var, tokens: np.ndarray) -> tuple[jt.Var, jt.Var]:
        """Cosine similarities times the temperature: (logits_per_image (B, T), logits_per_text (T, B))."""
        images, texts = l2_normalize(self.encode_image(image)), l2_normalize(self.encode_text(tokens))
        logits = linear(images, texts) * self.logit_scale.exp()
        return logits, transpose_last(logits)


def l2_normalize(x: jt.Var) -> jt.Var:
    """Divides by the L2 norm over the last axis."""
    return x / jt.sqrt((x * x).sum(-1, keepdims=True))


class StoredCLIP:
    """A CLIP in a file. Names, shapes and sizes are read at once, the values of a tower only when needed.

    The file may be an archive of OpenAI, a Hugging Face `CLIPModel`, an open_clip file or jseg's own.

    Args:
        path: the file.

    Attributes:
        config: sizes, heads and activation.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or not a CLIP.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = str(path)
        tensors = read_tensors(path)
        self._state, report = clip_state(tensors, finite=False)
        settings = partial(clip_settings, path, report.kind, metadata=tensors.metadata)
        self.config: CLIPConfig = config_from_tensors(self._state, self.path, settings)

    def visual(self) -> dict[str, np.ndarray]:
        """Returns the parameters of the image tower, without `visual.` in their names.

        Raises:
            ValueError: if values are not finite.
        """
        prefix = "visual."
        state = {name: value for name, value in self._state.items() if name.startswith(prefix)}
        check_finite(self.path, state)
        return {name[len(prefix) :]: value for name, value in state.items()}

    @cached_property
    def text_tower(self) -> TextTransformer:
        """The text tower, built when first used.

        Raises:
            ValueError: if values are not finite.
        """
        state = {name: value for name, value in self._state.items() if not name.startswith("visual.")}
        del state["logit_scale"]
        check_finite(self.path, state)
        with filled_by_file():
            tower = TextTransformer(self.config)
        load_arrays_into(tower, state, self.path)
        tower.eval()
        return tower

    def build(self) -> CLIP:
        """Builds the whole model. Values become float32.

        Raises:
            ValueError: if values are not finite.
        """
        check_finite(self.path, self._state)
        with filled_by_file():
            model = CLIP(self.config)
        # 0-d in the files, one element in the model
        scale = np.asarray(self._state["logit_scale"]).reshape(-1)
        load_arrays_into(model, {**self._state, "logit_scale": scale}, self.path)
        model.eval()
        return model


def read_clip_config(path: PathLike) -> CLIPConfig:
    """Returns sizes, heads and activation of the CLIP in a file. Arguments and errors are those of
    `StoredCLIP`."""
    return StoredCLIP(path).config


def load_clip(path: PathLike) -> CLIP:
    """Builds the CLIP in `path`. Arguments and errors are those of `StoredCLIP` and its `build`."""
    return StoredCLIP(path).build()
