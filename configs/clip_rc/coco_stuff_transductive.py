"""CLIP-RC on COCO-Stuff 164K, transductive: with the names, but no masks, of 15 unseen classes.

Starts from the inductive run at half of its iterations, which must be trained first:

    python tools/run_net.py --config configs/clip_rc/coco_stuff_transductive.py --task train

Reproduces: Table 2
Paper: pAcc 69.9, hIoU 49.7, mIoU(S) 42.0, mIoU(U) 60.8
Measured: not yet
"""

_base_ = "coco_stuff_inductive.py"

model = dict(setting="transductive")
init_from = "work_dirs/coco_stuff_inductive/checkpoints/iter_40000.safetensors"
max_iters = 40000
eval_interval = 4000
checkpoint_interval = 4000
keep_checkpoints = 3
