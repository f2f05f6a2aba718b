"""ZegCLIP on PASCAL Context, inductive: no mask of the 10 unseen classes is used in training.

    jseg train --config configs/zegclip/zegclip_context_inductive.py

The release has no configuration for Context: prompts and templates are those of CLIP-RC here.

Reproduces: ZegCLIP in Table 1
Paper: pAcc 76.2, hIoU 49.9, mIoU(S) 46.0, mIoU(U) 54.6
Measured: not yet
"""

_base_ = ["../_base_/datasets/context60.py", "../_base_/models/zegclip_vit_b16.py", "../_base_/schedule.py"]

model = dict(templates="ensemble15", backbone=dict(num_prompts=35))
keep_checkpoints = 10  # all, since the transductive run starts from the one at half the length
