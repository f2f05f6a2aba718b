"""ZeroWords, the drawn benchmark whose unseen words never had a mask: 24 words, 18 seen and 6 unseen, 96 px
images drawn by `jseg zerowords`. Background is ignored, as on PASCAL VOC."""

data_root = "data/zerowords"

# Mean and std of CLIP, because the tiny CLIP was pretrained with them.
_normalise = dict(mean=(122.7709383, 116.7460125, 104.09373615), std=(68.5005327, 66.6321579, 70.3231630))

dataset = dict(
    # No scaling, since the tiny CLIP was trained on one range of object sizes, and an image is exactly one
    # crop.
    train=dict(
        type="VOCDataset",
        split="train",
        classes="zerowords",
        pipeline=dict(crop_size=96, scale=(384, 96), ratio_range=(1.0, 1.0), photometric=False, **_normalise),
    ),
    val=dict(
        type="VOCDataset",
        split="val",
        classes="zerowords",
        test_mode=True,
        pipeline=dict(short_side=96, **_normalise),
    ),
    test=dict(
        type="VOCDataset",
        split="test",
        classes="zerowords",
        test_mode=True,
        pipeline=dict(short_side=96, **_normalise),
    ),
)

inference = dict(mode="whole", crop_size=96)
