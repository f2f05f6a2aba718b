"""CLIP-RC on your own data, inductive: classes listed in unseen.txt have no masks in training.

The folder is described in docs/custom_dataset.md.

python tools/run_net.py --config configs/clip_rc/custom_inductive.py --task train --set data_root=FOLDER
"""

_base_ = ["../_base_/datasets/folder.py", "../_base_/models/clip_rc_vit_b16.py", "../_base_/schedule.py"]

# The recipe of PASCAL VOC at a quarter of its length. Increase it for more than about 10,000 images.
max_iters = 10000
eval_interval = 1000
checkpoint_interval = 1000
keep_checkpoints = 10  # all, since a transductive run starts from the one at half the length
