"""ZegCLIP on PASCAL VOC 2012, fully supervised: the masks of all 20 classes.

The seen and unseen classes of the benchmark are used only to group the scores.

    jseg train --config configs/zegclip/zegclip_voc2012_full.py

Reproduces: ZegCLIP, fully supervised, in Table 3
Paper: pAcc 96.3, hIoU 91.6, mIoU(S) 92.4, mIoU(U) 90.9
Measured: not yet
"""

_base_ = "zegclip_voc2012_inductive.py"

# There is no seen bias at test time, since all classes are seen.
model = dict(setting="full", seen_bias=0.0)
keep_checkpoints = 3
