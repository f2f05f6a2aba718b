"""CLIP-RC with 4 frozen region tokens on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table6_4.py --task train

Reproduces: Table 6, 4 frozen tokens
Paper: pAcc 95.6, hIoU 87.3, mIoU(S) 92.6, mIoU(U) 82.6
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(backbone=dict(num_regions=4))
