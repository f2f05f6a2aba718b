"""CLIP-RC on PASCAL Context, fully supervised: the masks of all 60 classes.

The seen and unseen classes of the benchmark are used only to group the scores.

    python tools/run_net.py --config configs/clip_rc/context_full.py --task train

Reproduces: Table 3
Paper: pAcc 76.9, hIoU 56.7, mIoU(S) 47.1, mIoU(U) 71.3
Measured: not yet
"""

_base_ = "context_inductive.py"

# Loss weights of the VOC release. There is no seen bias at test time, since all classes are seen.
model = dict(setting="full", seen_bias=0.0, decode_head=dict(recovery=dict(weight=0.0)))
keep_checkpoints = 3
