"""CLIP-RC on COCO-Stuff 164K, inductive: trained with the masks of 156 classes, tested on 171.

    python tools/run_net.py --config configs/clip_rc/coco_stuff_inductive.py --task train

Reproduces: Table 1
Paper: pAcc 63.1, hIoU 41.2, mIoU(S) 40.9, mIoU(U) 41.6
Measured: not yet
"""

_base_ = [
    "../_base_/datasets/coco_stuff164k.py",
    "../_base_/models/clip_rc_vit_b16.py",
    "../_base_/schedule.py",
]

model = dict(
    templates="ensemble15",
    backbone=dict(num_prompts=100),
    decode_head=dict(recovery=dict(weight=50.0)),
    loss=dict(focal_weight=200.0, dice_weight=3.0),
)
max_iters = 80000
eval_interval = 8000  # a tenth of the run
checkpoint_interval = 8000
keep_checkpoints = 10  # all, since the transductive run starts from the one at half the length
