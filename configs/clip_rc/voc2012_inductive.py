"""CLIP-RC on PASCAL VOC 2012, inductive: trained with the masks of 15 classes, tested on 20.

    python tools/run_net.py --config configs/clip_rc/voc2012_inductive.py --task train

Reproduces: Table 1; Table 5 row 4; Table 6, 16 frozen tokens; Table 7 row 4; Table 8, L1 and 1 layer
Paper: pAcc 95.8, hIoU 88.4, mIoU(S) 92.8, mIoU(U) 84.4
Measured: not yet
"""

_base_ = ["../_base_/datasets/voc2012.py", "../_base_/models/clip_rc_vit_b16.py", "../_base_/schedule.py"]

keep_checkpoints = 10  # all, since the transductive run starts from the one at half the length
