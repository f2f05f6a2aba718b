"""Training-free segmentation of PASCAL Context, 60 classes with background.

    jseg val --config configs/dense_clip/dense_context60.py

Threshold and windows are those of the release of ClearCLIP. SCLIP's publishes mIoU 31.7 with `dense="sclip"`,
224 px windows on short side 336 and threshold 0.1.

Paper: none with background
Measured: not yet
"""

_base_ = ["../_base_/models/dense_clip.py", "../_base_/schedule.py"]

model = dict(background="background", threshold=0.15)

# Short side 448, with the mean and standard deviation of CLIP.
_pipeline = dict(
    short_side=448,
    mean=(122.7709383, 116.7460125, 104.09373615),
    std=(68.5005327, 66.6321579, 70.3231630),
)
_val = dict(type="PascalContextDataset", split="val", unseen=(), test_mode=True, pipeline=_pipeline)
dataset = dict(val=_val, test=_val)
