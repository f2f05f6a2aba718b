"""Training-free segmentation of ZeroShapes by its tiny CLIP.

    jseg val --config configs/dense_clip/dense_zeroshapes.py

Measured: docs/zeroshapes.md
"""

_base_ = ["../_base_/datasets/zeroshapes.py", "../_base_/models/dense_clip.py", "../_base_/schedule.py"]

# The tiny CLIP was trained only on captions of this form.
model = dict(clip="weights/zeroshapes_clip.npz", templates="single")
inference = dict(mode="whole", crop_size=None, stride=None)
