"""CLIP-RC on PASCAL Context, transductive: the names of the 10 unseen classes are known, but not their masks.

Starts from the inductive run at half of its iterations, which must be trained first:

    python tools/run_net.py --config configs/clip_rc/context_transductive.py --task train

Reproduces: Table 2
Paper: pAcc 77.2, hIoU 55.1, mIoU(S) 48.1, mIoU(U) 64.5
Measured: not yet
"""

_base_ = "context_inductive.py"

model = dict(setting="transductive")
init_from = "work_dirs/context_inductive/checkpoints/iter_20000.safetensors"
max_iters = 20000
eval_interval = 2000
checkpoint_interval = 2000
keep_checkpoints = 3
