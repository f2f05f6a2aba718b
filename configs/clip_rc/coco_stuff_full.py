"""CLIP-RC on COCO-Stuff 164K, fully supervised: the masks of all 171 classes.

The seen and unseen classes of the benchmark are used only to group the scores.

    python tools/run_net.py --config configs/clip_rc/coco_stuff_full.py --task train

Reproduces: Table 3
Paper: pAcc 70.8, hIoU 51.4, mIoU(S) 42.9, mIoU(U) 64.1
Measured: not yet
"""

_base_ = "coco_stuff_inductive.py"

# Loss weights of the release. There is no seen bias at test time, since all classes are seen.
model = dict(
    setting="full",
    seen_bias=0.0,
    decode_head=dict(recovery=dict(weight=1.0)),
    loss=dict(focal_weight=100.0, dice_weight=1.5),
)
keep_checkpoints = 3
