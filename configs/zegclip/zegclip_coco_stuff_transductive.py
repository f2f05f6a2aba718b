"""ZegCLIP on COCO-Stuff 164K, transductive: names of the 15 unseen classes are known, but not their masks.

Starts from the inductive run at half of its iterations, which must be trained first:

    jseg train --config configs/zegclip/zegclip_coco_stuff_transductive.py

Reproduces: ZegCLIP with self-training in Table 2
Paper: pAcc 69.2, hIoU 48.5, mIoU(S) 40.7, mIoU(U) 59.9
Measured: not yet
"""

_base_ = "zegclip_coco_stuff_inductive.py"

model = dict(setting="transductive")
init_from = "work_dirs/zegclip_coco_stuff_inductive/checkpoints/iter_40000.safetensors"
max_iters = 40000
eval_interval = 4000
checkpoint_interval = 4000
keep_checkpoints = 3
