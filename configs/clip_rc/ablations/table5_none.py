"""CLIP-RC without RLB, RAM and RDL (the baseline ZegCLIP) on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table5_none.py --task train

Reproduces: Table 5 row 1
Paper: pAcc 94.6, hIoU 84.3, mIoU(S) 91.9, mIoU(U) 77.8
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(backbone=dict(num_regions=0), decode_head=dict(ram_inputs=(), recovery=None))
