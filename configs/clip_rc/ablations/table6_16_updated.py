"""CLIP-RC with 16 trained region tokens on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table6_16_updated.py --task train

Reproduces: Table 6, 16 updated tokens
Paper: pAcc 95.8, hIoU 87.9, mIoU(S) 93.3, mIoU(U) 83.1
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(backbone=dict(train_regions=True))
