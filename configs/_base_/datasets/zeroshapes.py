"""ZeroShapes, the embedded benchmark: 20 classes, 15 seen and 5 unseen, 64 px images drawn by
`python tools/make_zeroshapes.py`. Background is ignored, as on PASCAL VOC."""

data_root = "data/zeroshapes"

# Mean and std of CLIP, because the tiny CLIP was pretrained with them.
_normalise = dict(mean=(122.7709383, 116.7460125, 104.09373615), std=(68.5005327, 66.6321579, 70.3231630))

dataset = dict(
    # No photometric distortion, since classes differ in hue. No scaling, since the tiny CLIP was trained on
    # one range of object sizes, and an image is exactly one crop.
    train=dict(
        type="VOCDataset",
        split="train",
        classes="zeroshapes",
        pipeline=dict(crop_size=64, scale=(256, 64), ratio_range=(1.0, 1.0), photometric=False, **_normalise),
    ),
    val=dict(
        type="VOCDataset",
        split="val",
        classes="zeroshapes",
        test_mode=True,
        pipeline=dict(short_side=64, **_normalise),
    ),
    test=dict(
        type="VOCDataset",
        split="test",
        classes="zeroshapes",
        test_mode=True,
        pipeline=dict(short_side=64, **_normalise),
    ),
)

inference = dict(mode="whole", crop_size=64)
