"""CLIP-RC on PASCAL Context, inductive: trained with the masks of 50 classes, tested on 60.

    python tools/run_net.py --config configs/clip_rc/context_inductive.py --task train

Reproduces: Table 1
Paper: pAcc 76.2, hIoU 51.9, mIoU(S) 47.5, mIoU(U) 57.3
Measured: not yet
"""

_base_ = ["../_base_/datasets/context60.py", "../_base_/models/clip_rc_vit_b16.py", "../_base_/schedule.py"]

# Neither the paper nor the releases give values for Context. Prompts are as in other CLIP methods on it, and
# the rest as on VOC.
model = dict(templates="ensemble15", backbone=dict(num_prompts=35))
keep_checkpoints = 10  # all, since the transductive run starts from the one at half the length
