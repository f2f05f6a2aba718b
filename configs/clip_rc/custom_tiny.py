"""Own data on the tiny CLIP of ZeroShapes: tries every step in
minutes on a CPU, on images of coloured shapes only.

    python tools/run_net.py --config configs/clip_rc/custom_tiny.py --task train --set data_root=FOLDER

For real images use custom_inductive.py, which is used in the same way. docs/custom_dataset.md
"""

_base_ = "zeroshapes_inductive.py"

dataset = dict(
    train=dict(type="FolderDataset", classes="classes.txt"),
    val=dict(type="FolderDataset", classes="classes.txt"),
    test=dict(type="FolderDataset", classes="classes.txt", split=None, image_dir="test", mask_dir=None),
)
data_root = None
max_iters = 600
eval_interval = 300
checkpoint_interval = 300
