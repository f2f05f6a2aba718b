"""ZegCLIP on COCO-Stuff 164K, fully supervised: the masks of all 171 classes.

The seen and unseen classes of the benchmark are used only to group the scores.

    jseg train --config configs/zegclip/zegclip_coco_stuff_full.py

Reproduces: ZegCLIP, fully supervised, in Table 3
Paper: pAcc 69.9, hIoU 49.6, mIoU(S) 40.7, mIoU(U) 63.2
Measured: not yet
"""

_base_ = "zegclip_coco_stuff_inductive.py"

# There is no seen bias at test time, since all classes are seen.
model = dict(setting="full", seen_bias=0.0)
keep_checkpoints = 3
