"""CLIP-RC with only the region-level bridge, without RAM and RDL, on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table5_rlb.py --task train

Reproduces: Table 5 row 2
Paper: pAcc 95.2, hIoU 85.4, mIoU(S) 91.5, mIoU(U) 80.0
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(ram_inputs=(), recovery=None))
