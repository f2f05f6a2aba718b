"""CLIP-RC with 0 layers in the recovery decoder on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table8_0_layers.py --task train

Reproduces: Table 8, L1 and 0 layers
Paper: pAcc 95.0, hIoU 86.6, mIoU(S) 91.3, mIoU(U) 82.1
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(recovery=dict(num_layers=0)))
