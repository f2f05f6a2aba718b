"""ZegCLIP on PASCAL VOC 2012, transductive: the names of the 5 unseen classes are known, but not their masks.

Starts from the inductive run at half of its iterations, which must be trained first:

    jseg train --config configs/zegclip/zegclip_voc2012_transductive.py

Reproduces: ZegCLIP with self-training in Table 2
Paper: pAcc 96.2, hIoU 91.1, mIoU(S) 92.3, mIoU(U) 89.9
Measured: not yet
"""

_base_ = "zegclip_voc2012_inductive.py"

model = dict(setting="transductive")
init_from = "work_dirs/zegclip_voc2012_inductive/checkpoints/iter_10000.safetensors"
max_iters = 10000
eval_interval = 1000
checkpoint_interval = 1000
keep_checkpoints = 3
