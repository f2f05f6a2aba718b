"""CLIP-RC whose region alignment fuses the global feature (CLS)
alone with the pixels, on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table7_cls.py --task train

Reproduces: Table 7 row 2
Paper: pAcc 95.4, hIoU 86.6, mIoU(S) 92.1, mIoU(U) 82.0
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(decode_head=dict(ram_inputs=("global",)))
