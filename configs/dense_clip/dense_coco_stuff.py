"""Training-free segmentation of COCO-Stuff 164K, 171 classes.

    jseg val --config configs/dense_clip/dense_coco_stuff.py

Paper: mIoU 23.9 (ClearCLIP, ViT-B/16)
Measured: not yet
"""

_base_ = ["../_base_/models/dense_clip.py", "../_base_/schedule.py"]

# Short side 448, with the mean and standard deviation of CLIP.
_pipeline = dict(
    short_side=448,
    mean=(122.7709383, 116.7460125, 104.09373615),
    std=(68.5005327, 66.6321579, 70.3231630),
)
_val = dict(type="COCOStuffDataset", split="val2017", unseen=(), test_mode=True, pipeline=_pipeline)
dataset = dict(val=_val, test=_val)
