"""CLIP-RC, which maps images and class words to class maps or losses (paper, Fig. 3a).

The ablations of the paper as options of the parts, with our interpretation of its tables:

Table 5. No RLB, RAM, RDL: `backbone.num_regions=0, decode_head.ram_inputs=(), decode_head.recovery=None`;
    queries are ZegCLIP's relationship descriptor concat[T ⊙ G, T], pixels are I alone. RLB: `ram_inputs=(),
    recovery=None`; region tokens enter the queries only, R_a = R + G as in Eq. 5. RLB + RAM: `recovery=None`.
    All: the defaults.
Table 6. `backbone.num_regions` = 1, 4, ... 1024; "Update": `backbone.train_regions=True`, one trained vector
    per region token.
Table 7. What Eq. 4 fuses with I: `decode_head.ram_inputs` = (), ('global',), ('region',), ('global',
    'region'). Queries stay as they are, RDL is on. (Table 5's second and Table 7's first row then differ by
    RDL alone.)
Table 8. `decode_head.recovery.loss` = 'l1', 'l2', 'kd'; `decode_head.recovery.num_layers` = 0 ... 3.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from jseg.checkpoints import CLIPRCArchitecture, EncoderSizes
from jseg.checkpoints.clip_rc import is_unused
from jseg.checkpoints.version_0_1 import MOVED
from jseg.labels import IGNORE_INDEX
from jseg.models.backbones import BACKBONES, Backbone, ImageFeatures
from jseg.models.clip.model import StoredCLIP
from jseg.models.clip.templates import get_templates
from jseg.models.heads import HEADS, Decoded, Head
from jseg.models.layers import fill_to_patches, filled_by_file
from jseg.models.losses import LOSSES, Loss, labelled_pixels, pixel_accuracy
from jseg.models.segmentors.base import MODELS, GridScores, Segmentor
from jseg.models.segmentors.labels import (
    PSEUDO_LABELS,
    SETTINGS,
    label_table,
    pseudo_label,
    split_classes,
)
from jseg.models.segmentors.text_cache import class_embeddings
from jseg.models.segmentors.text_file import normalized, read_text_embeddings
from jseg.models.state import arrays_of, load_arrays_into
from jseg.ops import resize_bilinear, transpose_last
from jseg.ops.cuda import resizes_maps
from jseg.runtime.backend import jt, nn

REGION_LOGIT_SCALE = 100.0
"""CLIP's learned logit scale, for the classification of regions (paper, Fig. 2)."""


class LossDetails(NamedTuple):
    """A loss with its inputs. C' classes of the setting (only the seen ones if inductive).

    terms: name -> (). label: (B, H, W) class indices of the setting, -1 for ignored pixels.
    decoded: output of the head.
    """

    terms: dict[str, jt.Var]
    label: jt.Var
    decoded: Decoded

    @property
    def logits(self) -> jt.Var:
        """(B, C', H, W), the logits at the size of the label."""
        return resize_bilinear(self.decoded.logits, tuple(self.label.shape[1:]))


@MODELS.register(moved=MOVED)
class CLIPRC(Segmentor[ImageFeatures]):
    """An image encoder, a decode head, a loss and the text embeddings of the classes, joined for one setting.

    Args:
        class_names: C class words.
        unseen: indices of the classes without labels in training.
        clip: file of CLIP weights (OpenAI's archive, or jseg's own safetensors).
        backbone, decode_head, loss: configs of the parts, entries of `BACKBONES`, `HEADS` and `LOSSES`; by
            default those of the class.
        setting: 'inductive', 'transductive' or 'full'.
        templates: prompt templates, a name of `jseg.models.clip.templates.TEMPLATES` or a list with `{}`.
        seen_bias: subtracted from probabilities of seen classes at test time (not in 'transductive').
        ignore_index: label of pixels without a class.
        image_size: crop size in pixels, one number or (H, W), which determines the grid of the position
            table.
        text_embeddings: `.npy` file of the released form, one row for each class, instead of `templates`.
            None: computed from the class words once and cached.
        normalize_text: whether the rows of `text_embeddings` are normalised. None: yes, except when a
            released checkpoint is evaluated, because the releases train with the rows as they are.
        pseudo_labels: pseudo labels of the transductive setting are the arg-max of 'probabilities', as in the
            releases, or of 'logits'; see `pseudo_label`.

    Raises:
        ValueError: if an option is invalid. FileNotFoundError: if weights or embeddings do not exist.
    """

    default_backbone: ClassVar[dict[str, Any]] = {"type": "RegionBridgeEncoder"}
    default_head: ClassVar[dict[str, Any]] = {"type": "CLIPRCHead"}
    default_loss: ClassVar[dict[str, Any]] = {"type": "NELLoss"}
    description: ClassVar[type[CLIPRCArchitecture]] = CLIPRCArchitecture

    def __init__(
        self,
        class_names: Sequence[str],
        unseen: Sequence[int],
        clip: str,
        backbone: Mapping[str, Any] | None = None,
        decode_head: Mapping[str, Any] | None = None,
        loss: Mapping[str, Any] | None = None,
        setting: str = "inductive",
        templates: str | Sequence[str] = "single",
        seen_bias: float = 0.1,
        ignore_index: int = IGNORE_INDEX,
        image_size: int | Sequence[int] = 512,
        text_embeddings: str | None = None,
        normalize_text: bool | None = None,
        pseudo_labels: str = "probabilities",
    ) -> None:
        super().__init__()
        words = get_templates(templates)
        if not Path(clip).is_file():
            raise FileNotFoundError(f"clip: no weight file at '{clip}'; give the path of CLIP weights")
        source = StoredCLIP(clip)
        stored = None
        if text_embeddings is not None:
            stored = read_text_embeddings(text_embeddings, class_names, source.config.embed_dim)
            text = stored if normalize_text is False else normalized(stored)
        else:
            text = class_embeddings(source, class_names, words)
        config = source.config
        with filled_by_file("clip"):
            self._build_parts(
                config.image_encoder,
                config.vision_heads,
                config.activation,
                backbone,
                decode_head,
                loss,
                image_size,
            )
        self.backbone.load_clip(source.visual())
        self._set_classes(text, unseen, setting, seen_bias, ignore_index, pseudo_labels)
        self._stored_text = stored if normalize_text is None else None

    @classmethod
    def from_sizes(
        cls,
        sizes: EncoderSizes,
        heads: int,
        text: np.ndarray,
        unseen: Sequence[int],
        backbone: Mapping[str, Any] | None = None,
        decode_head: Mapping[str, Any] | None = None,
        loss: Mapping[str, Any] | None = None,
        setting: str = "inductive",
        seen_bias: float = 0.1,
        ignore_index: int = IGNORE_INDEX,
        image_size: int | Sequence[int] = 512,
        activation: str = "quick_gelu",
        pseudo_labels: str = "probabilities",
    ) -> "CLIPRC":
        """Creates a model without CLIP weights, with random parameters.

        Args:
            sizes, heads, activation: values of the CLIP's image encoder.
            text: (C, d) L2-normalised embeddings of all classes.

        The other arguments and errors are those of the class.
        """
        self = cls.__new__(cls)
        Segmentor.__init__(self)
        self._build_parts(sizes, heads, activation, backbone, decode_head, loss, image_size)
        self._set_classes(text, unseen, setting, seen_bias, ignore_index, pseudo_labels)
        self._stored_text = None
        return self

    def _build_parts(
        self,
        sizes: EncoderSizes,
        heads: int,
        activation: str,
        backbone: Mapping[str, Any] | None,
        decode_head: Mapping[str, Any] | None,
        loss: Mapping[str, Any] | None,
        image_size: int | Sequence[int],
    ) -> None:
        backbone, decode_head = backbone or self.default_backbone, decode_head or self.default_head
        patch = sizes.patch_size
        grid = _position_grid(image_size, patch)
        self.backbone: Backbone = BACKBONES.build(
            backbone,
            where="model.backbone",
            sizes=sizes,
            heads=heads,
            activation=activation,
            position_grid=grid,
        )
        self.decode_head: Head = HEADS.build(decode_head, where="model.decode_head", width=sizes.joint_width)
        self._loss: Loss = LOSSES.build(loss or self.default_loss, where="model.loss")
        if self.decode_head.needs_regions and not self.backbone.num_regions:
            raise ValueError(
                "model.backbone.num_regions is 0, but model.decode_head reads region features: set it to a "
                "square number, or drop 'region' from model.decode_head.ram_inputs"
            )
        self._architecture = self.description(
            encoder=sizes,
            heads=heads,
            image_size=(grid[0] * patch, grid[1] * patch),
            backbone=str(backbone["type"]),
            decode_head=str(decode_head["type"]),
            **self.backbone.architecture(),
            **self.decode_head.architecture(),
        )

    def _set_classes(
        self,
        text: np.ndarray,
        unseen: Sequence[int],
        setting: str,
        seen_bias: float,
        ignore_index: int,
        pseudo_labels: str,
    ) -> None:
        if setting not in SETTINGS:
            raise ValueError(f"setting is '{setting}': choose one of {', '.join(SETTINGS)}")
        seen, hidden = split_classes(len(text), unseen)
        if setting == "transductive" and not len(hidden):
            raise ValueError("setting is 'transductive' but unseen is empty: list classes or use 'full'")
        if pseudo_labels not in PSEUDO_LABELS:
            raise ValueError(f"pseudo_labels is '{pseudo_labels}': choose one of {', '.join(PSEUDO_LABELS)}")
        self.setting, self._ignore_index, self._pseudo_labels = setting, ignore_index, pseudo_labels
        # Leading underscores keep these out of Jittor's parameters and checkpoints.
        text = np.asarray(text, dtype=np.float32)
        self._text = jt.array(text).stop_grad()
        self._train_text = jt.array(text[seen]).stop_grad() if setting == "inductive" else self._text
        self._unseen = jt.array(hidden) if len(hidden) else None
        self._label_table = jt.array(label_table(setting, seen, hidden, ignore_index))
        bias = np.zeros((1, len(text), 1, 1), dtype=np.float32)
        bias[:, seen] = seen_bias if setting != "transductive" else 0.0
        self._seen_bias = jt.array(bias).stop_grad()

    @property
    def num_regions(self) -> int:
        """Number M of region tokens of the encoder; 0 for no region bridge."""
        return self.backbone.num_regions

    @property
    def trains_regions(self) -> bool:
        """Whether region tokens are parameters (Table 6, "Update"), which fixes their number."""
        return self.backbone.trains_regions

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels; images are filled up to multiples of it."""
        return self.backbone.patch_size

    def loss(self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """Returns the weighted loss terms of a batch, with the names and values of the releases.

        Args:
            image: (B, 3, H, W) normalised RGB.
            label: (B, H, W) class indices of the dataset (all C classes), at the size of the image.
            divisors: means of `divisors` over the parts of a larger batch.

        Returns:
            The terms of the loss and of the head, `acc_seg` (percent, no gradient), `total` (to optimise).
        """
        return self.loss_details(image, label, divisors).terms

    def loss_details(self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> LossDetails:
        """Returns `loss` with its inputs, padded to whole patches."""
        image, label = self._filled(image, label)
        decoded = self.decode_head(self.backbone(image, training=True), self._train_text, training=True)
        label = self._train_label(decoded.logits, label)
        counts, pixels = (None, None) if divisors is None else (divisors[:-1], divisors[-1])
        logits = decoded.logits
        if not (self._loss.resizes and resizes_maps(logits)):  # then loss and accuracy share the resized maps
            logits = resize_bilinear(logits, tuple(label.shape[1:]))
        terms = {**self._loss(logits, label, counts), **decoded.terms}
        total = sum(terms.values())
        terms["acc_seg"] = pixel_accuracy(logits, label, pixels)
        terms["total"] = total
        return LossDetails(terms, label, decoded)

    def divisors(self, image: jt.Var, label: jt.Var) -> jt.Var:
        """Returns the divisors of `loss`: those of the loss module, then the number of labelled pixels.

        Only the pseudo labels of the transductive setting need a forward pass, with the dropout of the
        current random state. No gradient.
        """
        image, label = self._filled(image, label)
        with jt.no_grad():
            logits = None
            if self.setting == "transductive":
                features = self.backbone(image, training=True)
                logits = self.decode_head(features, self._train_text, training=True).logits
            label, classes = self._train_label(logits, label), self._train_text.shape[0]
            counts = self._loss.divisors(label, classes)
            pixels = labelled_pixels(label, classes)
            return pixels if counts is None else jt.concat([counts, pixels])

    def _filled(self, image: jt.Var, label: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Image and label filled up to whole patches, the label with ignored pixels: as the crops of training
        where an image is smaller than a crop."""
        patch = self.patch_size
        return fill_to_patches(image, patch), fill_to_patches(label, patch, self._ignore_index)

    def _train_label(self, logits: jt.Var | None, label: jt.Var) -> jt.Var:
        """Converts the dataset's label to class indices of the setting.

        Pseudo labels are taken from the logits (B, C, h, w), which are resized to the label.
        """
        label = self._label_table[label.int32()]
        if self.setting != "transductive":
            return label
        logits = resize_bilinear(logits, tuple(label.shape[1:]))
        return pseudo_label(logits, label, self._unseen, self._pseudo_labels)

    def encode(self, image: jt.Var, num_regions: int | None = None) -> ImageFeatures:
        """Features of the frozen encoder with prompts and regions; see `Segmentor.encode`."""
        with jt.no_grad():
            return self.backbone(fill_to_patches(image, self.patch_size), num_regions=num_regions)

    def decode(self, features: ImageFeatures, text: jt.Var) -> jt.Var:
        """(B, C, h, w) logits of the words of `text` (C, d), L2-normalised; see `Segmentor.decode`."""
        with jt.no_grad():
            return self.decode_head(features, text).logits

    def predict(self, image: jt.Var) -> jt.Var:
        """(B, 3, H, W) -> (B, C, H, W) sigmoid probabilities, minus the bias for seen classes. No dropout."""
        probabilities = self.probabilities(self.encode(image), self._text, tuple(image.shape[2:]))
        with jt.no_grad():
            return probabilities - self._seen_bias

    def predict_on_grid(self, image: jt.Var) -> GridScores | None:
        """See `Segmentor.predict_on_grid`."""
        if not self.resizes_logits or type(self).predict is not CLIPRC.predict:
            return None  # a subclass makes its scores in another way
        return GridScores(self.decode(self.encode(image), self._text), self._seen_bias.reshape(-1))

    def evaluates_released_weights(self) -> None:
        """See `Segmentor.evaluates_released_weights`: text embeddings of a file as they are stored."""
        if self._stored_text is not None:
            self._text = jt.array(self._stored_text).stop_grad()

    def architecture(self) -> CLIPRCArchitecture:
        """See `Segmentor.architecture`."""
        return self._architecture

    def region_probabilities(
        self, image: jt.Var, original_clip: bool = False, num_regions: int | None = None
    ) -> jt.Var | None:
        """Classification of each region by its token (paper, Fig. 2).

        Args:
            image: (B, 3, H, W).
            original_clip: run the frozen encoder without prompts (left side of the figure).
            num_regions: number of regions, by default that of the model; with trained region tokens, no other
                number is possible.

        Returns:
            (B, C, m, m): softmax over classes of 100·cos(R, T); None without a region bridge.
        """
        with jt.no_grad():
            features = self.backbone.region_features(image, original_clip, num_regions)
        return None if features is None else self.region_scores(features, self._text)

    def region_scores(self, features: ImageFeatures, text: jt.Var) -> jt.Var | None:
        """(B, C, m, m): softmax over the words of 100·cos(R, T); see `Segmentor.region_scores`."""
        if features.regions is None:
            return None
        with jt.no_grad():
            batch, _, width = features.regions.shape
            scores = REGION_LOGIT_SCALE * nn.matmul_transpose(features.regions.reshape(-1, width), text)
            scores = (scores - scores.max(1, keepdims=True)).exp()
            probabilities = (scores / scores.sum(1, keepdims=True)).reshape(batch, -1, text.shape[0])
            return transpose_last(probabilities).reshape(batch, -1, *features.region_grid)

    def trainable_parameters(self) -> dict[str, jt.Var]:
        """Returns the trained parameters by name: prompts, their projection and norm, the head. CLIP is
        frozen."""
        named = {f"backbone.{name}": p for name, p in self.backbone.trainable_parameters().items()}
        named.update({f"decode_head.{name}": p for name, p in self.decode_head.state_dict().items()})
        return named

    def state_arrays(self) -> dict[str, np.ndarray]:
        """All parameters, frozen ones included, under the names of the released checkpoints."""
        return dict(arrays_of(self))

    def load_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "the checkpoint") -> list[str]:
        """Loads a complete checkpoint strictly.

        A position table of another square grid is accepted and replaces the model's.

        Args:
            arrays: names of the released checkpoints -> values.
            source: name of their origin for error messages, e.g. the file.

        Returns:
            Names that were ignored because they are not used.

        Raises:
            ValueError: if parameters are missing, unknown or have other shapes. The message names them.
        """
        own = self.state_dict()
        ignored = [name for name in arrays if name not in own and is_unused(name, arrays)]
        used = {name: arrays[name] for name in arrays if name not in set(ignored)}
        if "backbone.positional_embedding" in used:
            self.backbone.adopt_positions(used["backbone.positional_embedding"], source)
        load_arrays_into(self, used, source)
        self.backbone.freeze()
        return ignored


def _position_grid(image_size: int | Sequence[int], patch: int) -> tuple[int, int]:
    """(h, w) patches of a crop of `image_size` pixels, filled up to whole patches."""
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(side < patch for side in size):
        raise ValueError(
            f"image_size is {image_size}: it must be one or two numbers, at least the patch size {patch}"
        )
    return -(-size[0] // patch), -(-size[1] // patch)
