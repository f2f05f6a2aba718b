"""ZegCLIP on PASCAL VOC 2012, inductive: no mask of the 5 unseen classes is used in training.

    jseg train --config configs/zegclip/zegclip_voc2012_inductive.py

Reproduces: ZegCLIP in Table 1
Paper: pAcc 94.6, hIoU 84.3, mIoU(S) 91.9, mIoU(U) 77.8
Measured: not yet
"""

_base_ = ["../_base_/datasets/voc2012.py", "../_base_/models/zegclip_vit_b16.py", "../_base_/schedule.py"]

max_iters = 20000
eval_interval = 2000  # a tenth of the run
checkpoint_interval = 2000
keep_checkpoints = 10  # all, since the transductive run starts from the one at half the length
