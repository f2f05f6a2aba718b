"""CLIP-RC with 2 layers in the recovery decoder on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table8_2_layers.py --task train

Reproduces: Table 8, L1 and 2 layers
Paper: pAcc 95.4, hIoU 87.1, mIoU(S) 92.4, mIoU(U) 82.4
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(recovery=dict(num_layers=2)))
