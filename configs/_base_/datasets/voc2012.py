"""PASCAL VOC 2012 with the extra masks of SBD: 20 classes, 15 seen and 5 unseen, background ignored.

    python tools/prepare_dataset.py voc2012 --help
    --set data_root=... or JSEG_DATA_ROOT: the folder that holds VOCdevkit/VOC2012 (or VOC2012 itself);
    default: data

The pipelines are the released ones, which are the default. 10,582 training and 1,449 test images.
"""

dataset = dict(
    # 1,464 masks of VOC itself and the 9,118 that only SBD has, as in the releases.
    train=dict(
        type="VOCDataset", split=("train", "aug"), mask_dir=("SegmentationClass", "SegmentationClassAug")
    ),
    val=dict(type="VOCDataset", split="val", test_mode=True),
    test=dict(type="VOCDataset", split="val", test_mode=True),
)
