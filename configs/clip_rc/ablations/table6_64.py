"""CLIP-RC with 64 frozen region tokens on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table6_64.py --task train

Reproduces: Table 6, 64 frozen tokens
Paper: pAcc 96.0, hIoU 89.1, mIoU(S) 93.0, mIoU(U) 85.6
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(backbone=dict(num_regions=64))
