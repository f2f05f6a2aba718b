"""Training-free segmentation of PASCAL VOC 2012 with background as a class, 21 classes.

    jseg val --config configs/dense_clip/dense_voc21.py

Words, threshold and windows are those of the release of ClearCLIP. SCLIP's publishes mIoU 59.6 with its own:
224 px windows on short side 336, `dense="sclip"`, scale 65, threshold 0.1, 26 phrases for background, and the
removal of small classes, which jseg does not have.

Paper: none with background
Measured: not yet
"""

_base_ = ["../_base_/models/dense_clip.py", "../_base_/schedule.py"]

model = dict(
    background="background",
    threshold=0.5,
    phrases=dict(boat=("ship",), diningtable=("table",)),
)

# Short side 448, with the mean and standard deviation of CLIP.
_pipeline = dict(
    short_side=448,
    mean=(122.7709383, 116.7460125, 104.09373615),
    std=(68.5005327, 66.6321579, 70.3231630),
)
_val = dict(
    type="VOCDataset",
    split="val",
    classes="voc21",
    reduce_zero_label=False,
    unseen=(),
    test_mode=True,
    pipeline=_pipeline,
)
dataset = dict(val=_val, test=_val)
