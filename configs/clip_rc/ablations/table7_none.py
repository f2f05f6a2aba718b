"""CLIP-RC whose region alignment fuses nothing with the pixels, on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table7_none.py --task train

Reproduces: Table 7 row 1
Paper: pAcc 94.9, hIoU 85.6, mIoU(S) 91.5, mIoU(U) 80.5
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(ram_inputs=()))
