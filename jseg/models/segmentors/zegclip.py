"""ZegCLIP (Zhou et al., CVPR 2023), the baseline of CLIP-RC, without region tokens and with its own head."""

from typing import Any, ClassVar

from jseg.checkpoints import CLIPRCArchitecture
from jseg.checkpoints.clip_rc_architecture import ZegCLIPArchitecture
from jseg.models.segmentors.base import MODELS
from jseg.models.segmentors.clip_rc import CLIPRC


@MODELS.register()
class ZegCLIP(CLIPRC):
    """The parts of ZegCLIP; encoder, text, settings, losses, pseudo labels and the bias are those of
    `CLIPRC`.

    Options and errors are those of `CLIPRC`. By default the head is a `ZegCLIPHead` and the encoder has no
    region tokens.
    """

    default_backbone: ClassVar[dict[str, Any]] = {"type": "RegionBridgeEncoder", "num_regions": 0}
    default_head: ClassVar[dict[str, Any]] = {"type": "ZegCLIPHead"}
    description: ClassVar[type[CLIPRCArchitecture]] = ZegCLIPArchitecture
