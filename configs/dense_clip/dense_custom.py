"""Training-free segmentation of your own images, without masks.

    jseg test --config configs/dense_clip/dense_custom.py --set data_root=FOLDER

FOLDER contains images/ and classes.txt, with one class word per line. If it also contains masks/, `jseg val`
computes scores.
"""

_base_ = ["../_base_/models/dense_clip.py", "../_base_/schedule.py"]

_pipeline = dict(
    short_side=448,
    mean=(122.7709383, 116.7460125, 104.09373615),
    std=(68.5005327, 66.6321579, 70.3231630),
)
_val = dict(type="FolderDataset", split=None, classes="classes.txt", test_mode=True, pipeline=_pipeline)
dataset = dict(val=_val, test=dict(mask_dir=None, **_val))
