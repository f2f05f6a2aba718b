"""ZegCLIP on COCO-Stuff 164K, inductive: no mask of the 15 unseen classes is used in training.

    jseg train --config configs/zegclip/zegclip_coco_stuff_inductive.py

Reproduces: ZegCLIP in Table 1
Paper: pAcc 62.0, hIoU 40.8, mIoU(S) 40.2, mIoU(U) 41.4
Measured: not yet
"""

_base_ = [
    "../_base_/datasets/coco_stuff164k.py",
    "../_base_/models/zegclip_vit_b16.py",
    "../_base_/schedule.py",
]

model = dict(templates="ensemble15", backbone=dict(num_prompts=100))
max_iters = 80000
eval_interval = 8000  # a tenth of the run
checkpoint_interval = 8000
keep_checkpoints = 10  # all, since the transductive run starts from the one at half the length
