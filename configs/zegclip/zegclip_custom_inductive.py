"""ZegCLIP on your own data, inductive: classes listed in unseen.txt have no masks in training.

    jseg train --config configs/zegclip/zegclip_custom_inductive.py --set data_root=FOLDER

The folder is described in docs/custom_dataset.md.
"""

_base_ = ["../_base_/datasets/folder.py", "../_base_/models/zegclip_vit_b16.py", "../_base_/schedule.py"]

# The recipe of PASCAL VOC at half of its length. Increase it for more than about 10,000 images.
max_iters = 10000
eval_interval = 1000
checkpoint_interval = 1000
keep_checkpoints = 10  # all, since a transductive run starts from the one at half the length
