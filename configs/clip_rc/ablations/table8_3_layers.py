"""CLIP-RC with 3 layers in the recovery decoder on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table8_3_layers.py --task train

Reproduces: Table 8, L1 and 3 layers
Paper: pAcc 95.3, hIoU 87.0, mIoU(S) 91.6, mIoU(U) 82.8
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(recovery=dict(num_layers=3)))
