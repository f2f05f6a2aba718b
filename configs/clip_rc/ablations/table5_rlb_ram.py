"""CLIP-RC with RLB and RAM, without the recovery decoder (RDL), on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table5_rlb_ram.py --task train

Reproduces: Table 5 row 3
Paper: pAcc 95.4, hIoU 87.4, mIoU(S) 92.5, mIoU(U) 82.9
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(recovery=None))
