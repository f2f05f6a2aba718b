"""CLIP-RC with the L2 recovery loss on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table8_l2.py --task train

Reproduces: Table 8, L2 and 1 layer
Paper: pAcc 95.2, hIoU 86.7, mIoU(S) 91.8, mIoU(U) 81.9
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(recovery=dict(loss="l2")))
