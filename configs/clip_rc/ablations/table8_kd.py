"""CLIP-RC with the KD recovery loss on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table8_kd.py --task train

Reproduces: Table 8, KD and 1 layer
Paper: pAcc 95.4, hIoU 86.4, mIoU(S) 92.2, mIoU(U) 81.2
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(recovery=dict(loss="kd")))
