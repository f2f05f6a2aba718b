"""ZegCLIP on COCO-Stuff 164K, fully supervised: the masks of all 171 classes.

Seen and unseen are those of the benchmark and only name the parts of the scores.

    jseg train --config configs/zegclip/zegclip_coco_stuff_full.py

Reproduces: ZegCLIP, fully supervised, in Table 3
Paper: pAcc 69.9, hIoU 49.6, mIoU(S) 40.7, mIoU(U) 63.2
Measured: not yet
"""

_base_ = "zegclip_coco_stuff_inductive.py"

# No class is lowered at test time: the release counts all of them as seen.
model = dict(setting="full", seen_bias=0.0)
keep_checkpoints = 3
