"""CLIP-RC on PASCAL VOC 2012, fully supervised: the masks of all 20 classes.

The seen and unseen classes of the benchmark are used only to group the scores.

    python tools/run_net.py --config configs/clip_rc/voc2012_full.py --task train

Reproduces: Table 3
Paper: pAcc 97.1, hIoU 93.7, mIoU(S) 94.1, mIoU(U) 93.4
Measured: not yet
"""

_base_ = "voc2012_inductive.py"

# Loss weights of the release. There is no seen bias at test time, since all classes are seen.
model = dict(setting="full", seen_bias=0.0, decode_head=dict(recovery=dict(weight=0.0)))
keep_checkpoints = 3
