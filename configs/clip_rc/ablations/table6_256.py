"""CLIP-RC with 256 frozen region tokens on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table6_256.py --task train

Reproduces: Table 6, 256 frozen tokens
Paper: pAcc 96.0, hIoU 89.2, mIoU(S) 92.7, mIoU(U) 86.0
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(backbone=dict(num_regions=256))
