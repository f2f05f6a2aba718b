"""Your own data with the tiny CLIP of ZeroShapes, to try all steps in minutes on a CPU.

The tiny CLIP only supports images of coloured shapes.

    python tools/run_net.py --config configs/clip_rc/custom_tiny.py --task train --set data_root=FOLDER

For real images, use custom_inductive.py in the same way. See docs/custom_dataset.md.
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
