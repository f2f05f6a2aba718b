"""CLIP-RC: image and class words in, class maps or losses out (paper, Fig. 3a).

The ablations of the paper as options of `CLIPRC`, and how its tables are read here:

Table 5. No RLB, RAM, RDL: `region_bridge=False, ram_inputs=(), recovery_layers=None`; queries are ZegCLIP's
    relationship descriptor concat[T ⊙ G, T], pixels are I alone. RLB: `ram_inputs=(), recovery_layers=None`;
    region tokens enter the queries only, R_a = R + G as in Eq. 5. RLB + RAM: `recovery_layers=None`. All: the
    defaults.
Table 6. `num_regions` = 1, 4, ... 1024; "Update": `train_regions=True`, one trained vector per region token.
Table 7. What Eq. 4 fuses with I: `ram_inputs` = (), ('global',), ('region',), ('global', 'region'). Queries
    stay as they are, RDL is on. (Table 5's second and Table 7's first row then differ by RDL alone.)
Table 8. `recovery_loss` = 'l1', 'l2', 'kd'; `recovery_layers` = 0 ... 3. 0 keeps the linear maps in and out,
    no attention layer: decoded queries have d channels and their originals 2d, so one map must remain.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jseg.checkpoints import clip_rc_sizes, resize_positions
from jseg.checkpoints.clip_rc import CLIPRCSizes
from jseg.files import file_sha256
from jseg.labels import IGNORE_INDEX
from jseg.models.backbones.region_bridge import ImageFeatures, RegionBridgeEncoder
from jseg.models.clip.model import load_clip
from jseg.models.clip.templates import get_templates
from jseg.models.clip.zero_shot import text_embeddings as embed_classes
from jseg.models.heads.clip_rc_head import CLIPRCHead, Recovery
from jseg.models.losses import RECOVERY_LOSSES, label_counts, nel_loss, pixel_accuracy, recovery_loss
from jseg.models.segmentors.base import Segmentor
from jseg.models.segmentors.labels import SETTINGS, label_table, pseudo_label, split_classes
from jseg.models.segmentors.text_cache import cached_embeddings
from jseg.models.segmentors.text_file import read_text_embeddings
from jseg.models.state import arrays_of, load_arrays_into
from jseg.ops import resize_bilinear, transpose_last
from jseg.ops.region_attention.layout import region_grid
from jseg.registry import MODELS
from jseg.runtime.backend import jt, nn

REGION_LOGIT_SCALE = 100.0
"""CLIP's learned logit scale, for the classification of regions (paper, Fig. 2)."""

UNUSED_PARAMETERS = (".self_attn.", ".norm1.", "backbone.region_level_bridge")
"""Parts of released checkpoints that nothing reads; region tokens only when they are not trained."""


class CLIPRCSegmentor(Segmentor):
    """Encoder, head and text embeddings joined for one dataset and setting.

    Args:
        backbone: the region bridge encoder.
        decode_head: of the same joint width.
        text: (C, d) L2-normalised embeddings of all classes.
        unseen: indices of the unseen classes.
        setting: 'inductive', 'transductive' or 'full'.
        num_regions: M, 0 for no region bridge. May be changed between calls unless region tokens are trained.
        focal_weight, dice_weight, recovery_weight: of the loss terms.
        recovery_kind: 'l1', 'l2' or 'kd'.
        seen_bias: by how much probabilities of seen classes are lowered at test time (not in 'transductive').
        ignore_index: label of pixels without a class.
        dropout: of prompts and head, in `loss` while the module is in training mode.

    Raises:
        ValueError: naming the argument that is wrong.
    """

    def __init__(
        self,
        backbone: RegionBridgeEncoder,
        decode_head: CLIPRCHead,
        text: np.ndarray,
        unseen: Sequence[int],
        setting: str = "inductive",
        num_regions: int = 16,
        focal_weight: float = 100.0,
        dice_weight: float = 1.0,
        recovery_weight: float = 2.0,
        recovery_kind: str = "l1",
        seen_bias: float = 0.1,
        ignore_index: int = IGNORE_INDEX,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if setting not in SETTINGS:
            raise ValueError(f"setting is '{setting}': choose one of {', '.join(SETTINGS)}")
        if recovery_kind not in RECOVERY_LOSSES:
            raise ValueError(f"recovery_loss is '{recovery_kind}': use one of {', '.join(RECOVERY_LOSSES)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: it must be at least 0 and below 1")
        self.backbone = backbone
        self.decode_head = decode_head
        self.setting, self.num_regions = setting, num_regions
        self.focal_weight, self.dice_weight, self.recovery_weight = focal_weight, dice_weight, recovery_weight
        self.recovery_kind, self.dropout = recovery_kind, dropout
        seen, unseen = split_classes(len(text), unseen)
        if setting == "transductive" and not len(unseen):
            raise ValueError("setting is 'transductive' but unseen is empty: list classes or use 'full'")
        # Leading underscores keep these out of Jittor's parameters and checkpoints.
        text = np.asarray(text, dtype=np.float32)
        self._text = jt.array(text).stop_grad()
        self._train_text = jt.array(text[seen]).stop_grad() if setting == "inductive" else self._text
        self._unseen = jt.array(unseen) if len(unseen) else None
        self._label_table = jt.array(label_table(setting, seen, unseen, ignore_index))
        bias = np.zeros((1, len(text), 1, 1), dtype=np.float32)
        bias[:, seen] = seen_bias if setting != "transductive" else 0.0
        self._seen_bias = jt.array(bias).stop_grad()

    @property
    def trains_regions(self) -> bool:
        """Whether region tokens are parameters (Table 6, "Update"), which fixes their number."""
        return self.backbone.trained_regions > 0

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels; sides of pictures must be multiples of it."""
        return int(self.backbone.conv1.weight.shape[-1])

    def loss(self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """Weighted loss terms of a batch, in the numbers and names of the releases.

        Args:
            image: (B, 3, H, W) normalised RGB.
            label: (B, H, W) integers in the dataset's numbering (all C classes), at the size of the image.
            divisors: (2,) means of `divisors` over the parts of a larger batch.

        Returns:
            `loss_mask`, `loss_dice`, `acc_seg` (percent, no gradient), `total` (to optimise); with a recovery
            decoder of non-zero weight also `recovery_loss_q`, `recovery_loss_k`.
        """
        terms, _, _, _ = self.loss_details(image, label, divisors)
        return terms

    def divisors(self, image: jt.Var, label: jt.Var) -> jt.Var:
        """(2,) what some terms of `loss` are divided by: present (image, class) pairs, and labelled pixels.

        Only the pseudo labels of the transductive setting need a forward pass, with the dropout of the
        current random state. No gradient.
        """
        with jt.no_grad():
            logits = None
            if self.setting == "transductive":
                dropout_rate = self.dropout if self.is_training() else 0.0
                features = self.backbone(image, self.num_regions, dropout_rate)
                logits, _ = self.decode_head(features, self._train_text, dropout_rate)
                logits = resize_bilinear(logits, tuple(label.shape[1:]))
            return label_counts(self._train_label(logits, label), self._train_text.shape[0])

    def _train_label(self, logits: jt.Var | None, label: jt.Var) -> jt.Var:
        """The dataset's label in the numbers of the setting; logits are for pseudo labels."""
        label = self._label_table[label.int32()]
        return pseudo_label(logits, label, self._unseen) if self.setting == "transductive" else label

    def loss_details(
        self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None
    ) -> tuple[dict[str, jt.Var], jt.Var, jt.Var, Recovery | None]:
        """`loss` and what it was made from: terms, logits (B, C', H, W), label (B, H, W), recovery.

        C' and the numbers of the label are those of the setting: seen
        classes alone when inductive. Ignored pixels are -1.
        """
        dropout_rate = self.dropout if self.is_training() else 0.0
        recover = self.decode_head.has_recovery and self.recovery_weight > 0
        features = self.backbone(image, self.num_regions, dropout_rate)
        logits, recovery = self.decode_head(features, self._train_text, dropout_rate, recover)
        logits = resize_bilinear(logits, tuple(label.shape[1:]))
        label = self._train_label(logits, label)
        pairs, pixels = (None, None) if divisors is None else (divisors[0], divisors[1])
        terms = nel_loss(logits, label, self.focal_weight, self.dice_weight, pairs)
        if recovery is not None:
            weight, kind = self.recovery_weight, self.recovery_kind
            terms["recovery_loss_q"] = weight * recovery_loss(recovery.queries, recovery.query_target, kind)
            terms["recovery_loss_k"] = weight * recovery_loss(recovery.pixels, recovery.pixel_target, kind)
        total = sum(terms.values())
        terms["acc_seg"] = pixel_accuracy(logits, label, pixels)
        terms["total"] = total
        return terms, logits, label, recovery

    def encode(self, image: jt.Var) -> ImageFeatures:
        """Features of the frozen encoder with prompts and regions; see `Segmentor.encode`."""
        with jt.no_grad():
            return self.backbone(image, self.num_regions)

    def decode(self, features: ImageFeatures, text: jt.Var) -> jt.Var:
        """(B, C, h, w) logits of the words of `text` (C, d), L2-normalised; see `Segmentor.decode`."""
        with jt.no_grad():
            logits, _ = self.decode_head(features, text)
            return logits

    def predict(self, image: jt.Var) -> jt.Var:
        """(B, 3, H, W) -> (B, C, H, W) sigmoid probabilities, seen ones lowered by the bias. No dropout."""
        logits = self.decode(self.encode(image), self._text)
        with jt.no_grad():
            return resize_bilinear(logits, tuple(image.shape[2:])).sigmoid() - self._seen_bias

    def architecture(self) -> CLIPRCSizes:
        """The sizes that files of whole models are compared with."""
        shapes = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        return clip_rc_sizes(shapes, "this config's model", self.num_regions or None, self.trains_regions)

    def region_probabilities(
        self, image: jt.Var, original_clip: bool = False, num_regions: int | None = None
    ) -> jt.Var | None:
        """Classification of each region by its token (paper, Fig. 2).

        Args:
            image: (B, 3, H, W).
            original_clip: run the frozen encoder without prompts (left side of the figure).
            num_regions: regions to classify, by default those of the model; trained region tokens allow no
                other.

        Returns:
            (B, C, m, m): softmax over classes of 100·cos(R, T); None without a region bridge.
        """
        if not self.num_regions:
            return None
        with jt.no_grad():
            features = self.backbone(image, num_regions or self.num_regions, use_prompts=not original_clip)
            scores = REGION_LOGIT_SCALE * nn.matmul_transpose(
                features.regions.reshape(-1, self._text.shape[1]), self._text
            )
            scores = (scores - scores.max(1, keepdims=True)).exp()
            probabilities = scores / scores.sum(1, keepdims=True)
            probabilities = probabilities.reshape(image.shape[0], -1, self._text.shape[0])
            return transpose_last(probabilities).reshape(image.shape[0], -1, *features.region_grid)

    def trainable_parameters(self) -> dict[str, jt.Var]:
        """Names -> parameters to optimise: prompts, their map and norm, the head. CLIP stays frozen."""
        named = {f"backbone.{name}": p for name, p in self.backbone.trainable_parameters().items()}
        named.update({f"decode_head.{name}": p for name, p in self.decode_head.state_dict().items()})
        return named

    def state_arrays(self) -> dict[str, np.ndarray]:
        """All parameters, frozen ones included, under the names of the released checkpoints."""
        return dict(arrays_of(self))

    def load_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "the checkpoint") -> list[str]:
        """Loads a whole checkpoint; strict.

        A position table of another square grid is accepted as it is and becomes the model's own.

        Args:
            arrays: names of the released checkpoints -> values.
            source: what to call them in an error message, e.g. the file.

        Returns:
            Names that were ignored because nothing uses them.

        Raises:
            ValueError: if parameters are missing, unknown or of another shape; names them.
        """
        own = self.state_dict()
        ignored = [
            name for name in arrays if name not in own and any(part in name for part in UNUSED_PARAMETERS)
        ]
        used = {name: arrays[name] for name in arrays if name not in set(ignored)}
        if "backbone.positional_embedding" in used:
            self._adopt_positions(used["backbone.positional_embedding"], source)
        load_arrays_into(self, used, source)
        self.backbone.freeze()
        return ignored

    def _adopt_positions(self, table: np.ndarray, source: str) -> None:
        """Makes room for a position table of another, square grid."""
        grid, rows = self.backbone.position_grid, table.shape[0] - 1
        if rows == grid[0] * grid[1]:
            return
        side = round(max(rows, 0) ** 0.5)
        if side < 1 or side * side != rows:
            raise ValueError(
                f"{source}: its position table has {rows} rows for patches, neither this "
                f"model's grid of {grid[0]}x{grid[1]} nor a square one; set image_size to the "
                "crop it was trained with"
            )
        self.backbone.positional_embedding = jt.zeros((rows + 1, self.backbone.positional_embedding.shape[1]))
        self.backbone.position_grid = (side, side)


@MODELS.register()
def CLIPRC(
    class_names: Sequence[str],
    unseen: Sequence[int],
    clip: str,
    setting: str = "inductive",
    templates: str | Sequence[str] = "single",
    num_prompts: int = 10,
    num_regions: int = 16,
    train_regions: bool = False,
    region_bridge: bool = True,
    ram_inputs: Sequence[str] = ("global", "region"),
    decoder_layers: int = 3,
    decoder_heads: int = 8,
    recovery_layers: int | None = 1,
    recovery_loss: str = "l1",
    focal_weight: float = 100.0,
    dice_weight: float = 1.0,
    recovery_weight: float = 2.0,
    seen_bias: float = 0.1,
    ignore_index: int = IGNORE_INDEX,
    dropout: float = 0.1,
    image_size: int | tuple[int, int] = 512,
    double_class_embedding: bool = True,
    text_embeddings: str | None = None,
    checkpoint_blocks: bool = False,
) -> CLIPRCSegmentor:
    """Builds CLIP-RC on a CLIP vision transformer; see the module for the ablations.

    Args:
        class_names: C class words.
        unseen: indices of the classes without labels in training.
        clip: file of CLIP weights (OpenAI's archive, or jseg's own safetensors).
        setting: 'inductive', 'transductive' or 'full'.
        templates: prompt templates, a name of `jseg.models.clip.templates.TEMPLATES` or a list with `{}`.
        num_prompts: K prompt tokens a layer.
        num_regions: M region tokens, a square.
        train_regions: give region tokens parameters of their own.
        region_bridge: False leaves region tokens out; `ram_inputs` must not name 'region' then.
        ram_inputs: features fused with the image features: 'global', 'region', both or none.
        decoder_layers, decoder_heads: of the decoder; the recovery decoder has the same heads.
        recovery_layers: layers of the recovery decoder, None for none.
        recovery_loss: 'l1', 'l2' or 'kd'.
        focal_weight, dice_weight, recovery_weight: of the loss terms.
        seen_bias: by how much seen probabilities are lowered at test time (inductive and full).
        ignore_index: label of pixels without a class.
        dropout: rate in prompts and head while training.
        image_size: crop in pixels, one number or (H, W); fixes the grid of the position table.
        double_class_embedding: release quirk: CLS holds the class embedding twice.
        text_embeddings: `.npy` file of the released form, one row for each class, in place of `templates`;
            None computes them from the class words once and keeps them in a cache.
        checkpoint_blocks: compute the encoder's blocks again backwards in place of keeping what is inside
            them: training takes less memory and more time.

    Raises:
        ValueError: naming the option that is wrong. FileNotFoundError: no such file of weights or embeddings.
    """
    words = get_templates(templates)
    if not region_bridge and (train_regions or "region" in ram_inputs):
        raise ValueError("region_bridge is False: set train_regions=False and drop 'region' from ram_inputs")
    num_regions = num_regions if region_bridge else 0
    if region_bridge:
        region_grid(num_regions)
    if not Path(clip).is_file():
        raise FileNotFoundError(f"clip: no weight file at '{clip}'; give the path of CLIP weights")
    source = load_clip(clip)
    config = source.config
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    patch = config.vision_patch_size
    if len(size) != 2 or any(side < patch or side % patch for side in size):
        raise ValueError(
            f"image_size is {image_size}: it must be one or two multiples of the patch size {patch}"
        )
    if text_embeddings is not None:
        text = read_text_embeddings(text_embeddings, class_names, config.embed_dim)
    else:
        text = cached_embeddings(
            file_sha256(clip), class_names, words, lambda: embed_classes(source, class_names, words)
        )
    backbone = RegionBridgeEncoder(
        config.vision_width,
        config.vision_layers,
        config.vision_heads,
        patch,
        config.embed_dim,
        position_grid=(size[0] // patch, size[1] // patch),
        num_prompts=num_prompts,
        trained_regions=num_regions if train_regions else 0,
        double_class_embedding=double_class_embedding,
        checkpoint_blocks=checkpoint_blocks,
    )
    copy_clip_weights(backbone, arrays_of(source.visual))
    head = CLIPRCHead(config.embed_dim, decoder_heads, decoder_layers, ram_inputs, recovery_layers)
    return CLIPRCSegmentor(
        backbone,
        head,
        text,
        unseen,
        setting,
        num_regions,
        focal_weight,
        dice_weight,
        recovery_weight,
        recovery_loss,
        seen_bias,
        ignore_index,
        dropout,
    )


def copy_clip_weights(backbone: RegionBridgeEncoder, visual: Mapping[str, np.ndarray]) -> None:
    """Fills the frozen part of an encoder from CLIP's vision transformer (names without `visual.`).

    The square position table is resized to the encoder's grid; trained region tokens start as the untrained
    ones: class embedding + pos[0].
    """
    values = {**arrays_of(backbone), **visual}
    values["positional_embedding"] = resize_positions(
        np.asarray(visual["positional_embedding"], np.float32), backbone.position_grid
    )
    if backbone.trained_regions:
        start = visual["class_embedding"] + visual["positional_embedding"][0]
        values["region_level_bridge"] = np.tile(start, (backbone.trained_regions, 1))
    load_arrays_into(backbone, values, "CLIP's vision transformer")
    backbone.freeze()
