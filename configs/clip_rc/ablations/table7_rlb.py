"""CLIP-RC whose region alignment fuses the region features (RLB)
alone with the pixels, on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table7_rlb.py --task train

Reproduces: Table 7 row 3
Paper: pAcc 95.7, hIoU 87.0, mIoU(S) 92.9, mIoU(U) 81.8
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(ram_inputs=("region",)))
