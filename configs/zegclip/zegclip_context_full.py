"""ZegCLIP on PASCAL Context, fully supervised: the masks of all 60 classes.

The seen and unseen classes of the benchmark are used only to group the scores.

    jseg train --config configs/zegclip/zegclip_context_full.py

Reproduces: ZegCLIP, fully supervised, in Table 3
Paper: pAcc 77.4, hIoU 56.2, mIoU(S) 46.9, mIoU(U) 70.0
Measured: not yet
"""

_base_ = "zegclip_context_inductive.py"

# There is no seen bias at test time, since all classes are seen.
model = dict(setting="full", seen_bias=0.0)
keep_checkpoints = 3
