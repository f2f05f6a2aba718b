"""CLIP-RC with 1 frozen region token on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table6_1.py --task train

Reproduces: Table 6, 1 frozen token
Paper: pAcc 95.3, hIoU 86.9, mIoU(S) 92.5, mIoU(U) 82.0
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(backbone=dict(num_regions=1))
