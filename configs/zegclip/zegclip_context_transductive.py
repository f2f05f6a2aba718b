"""ZegCLIP on PASCAL Context, transductive: the names of the 10 unseen classes are known, but not their masks.

Starts from the inductive run at half of its iterations, which must be trained first:

    jseg train --config configs/zegclip/zegclip_context_transductive.py

Reproduces: ZegCLIP with self-training in Table 2
Paper: pAcc 77.4, hIoU 54.0, mIoU(S) 47.2, mIoU(U) 63.2
Measured: not yet
"""

_base_ = "zegclip_context_inductive.py"

model = dict(setting="transductive")
init_from = "work_dirs/zegclip_context_inductive/checkpoints/iter_20000.safetensors"
max_iters = 20000
eval_interval = 2000
checkpoint_interval = 2000
keep_checkpoints = 3
