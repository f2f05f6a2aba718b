"""CLIP-RC on PASCAL VOC 2012, transductive: the names of the 5 unseen classes are known, but not their masks.

Starts from the inductive run at half of its iterations, which must be trained first:

    python tools/run_net.py --config configs/clip_rc/voc2012_transductive.py --task train

Reproduces: Table 2
Paper: pAcc 97.0, hIoU 93.0, mIoU(S) 93.9, mIoU(U) 92.2
Measured: not yet
"""

_base_ = "voc2012_inductive.py"

model = dict(setting="transductive")
init_from = "work_dirs/voc2012_inductive/checkpoints/iter_20000.safetensors"
max_iters = 20000
eval_interval = 2000
checkpoint_interval = 2000
keep_checkpoints = 3
