"""Builds the models of case folders."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jseg.checkpoints import CLIPRCArchitecture, architecture_of
from jseg.parity.files import Arrays

if TYPE_CHECKING:
    from jseg.models.segmentors import CLIPRC

REGIONS = "backbone.region_level_bridge"


def build_segmentor(
    case: Mapping[str, Any], weights: Arrays, inputs: Arrays, recorded: Arrays, setting: str
) -> "CLIPRC":
    """A segmentor with random weights, sized by `case` and the shapes in `weights`."""
    from jseg.models.segmentors import CLIPRC, ZegCLIP

    trained = any(name.endswith((".grad." + REGIONS, ".final." + REGIONS)) for name in recorded)
    regions = case.get("regions", 0)
    sizes = architecture_of(weights, "weights.npz", regions, trained)
    assert sizes.encoder is not None  # known from the shapes
    backbone = dict(
        type=sizes.backbone,
        num_prompts=sizes.num_prompts,
        num_regions=regions,
        train_regions=trained,
        dropout=0.0,
    )
    head: dict[str, Any] = dict(
        type=sizes.decode_head, num_layers=sizes.decoder_layers, num_heads=case["dec_heads"], dropout=0.0
    )
    if case["kind"] != "zegclip":
        head.update(_clip_rc_options(case, sizes))
    return (ZegCLIP if case["kind"] == "zegclip" else CLIPRC).from_sizes(
        sizes.encoder,
        case["heads"],
        inputs["text"],
        [i for i in range(len(inputs["text"])) if i not in set(case["seen"])],
        backbone=backbone,
        decode_head=head,
        loss=dict(type="NELLoss", focal_weight=case["mask_weight"], dice_weight=case["dice_weight"]),
        setting=setting,
        image_size=inputs["image"].shape[2:],
    )


def _clip_rc_options(case: Mapping[str, Any], sizes: CLIPRCArchitecture) -> dict[str, Any]:
    """Options of CLIP-RC's head other than layers and attention heads."""
    fused = sizes.ram_inputs
    if fused is None:  # one feature; the shapes do not tell which
        fused = ("region",) if case["regions"] else ("global",)
    recovery = None
    if sizes.recovery_layers is not None:
        loss = case.get("recovery_loss", "l1")
        recovery = dict(num_layers=sizes.recovery_layers, loss=loss, weight=case["recovery_weight"])
    return {"ram_inputs": fused, "recovery": recovery}
