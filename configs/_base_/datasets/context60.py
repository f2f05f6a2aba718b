"""PASCAL Context with background as a class: 60 classes, 50 seen and 10 unseen.

    python tools/prepare_dataset.py context --help
    --set data_root=... or JSEG_DATA_ROOT: the folder that holds VOCdevkit/VOC2010 (or VOC2010 itself);
    default: data

The pipelines are those of the releases for VOC and COCO-Stuff. 4,996 training and 5,104 test images (4,998
and 5,105 with the full lists).
"""

dataset = dict(
    train=dict(type="PascalContextDataset", split="train"),
    val=dict(type="PascalContextDataset", split="val", test_mode=True),
    test=dict(type="PascalContextDataset", split="val", test_mode=True),
)
