"""COCO-Stuff 164K: 171 classes, 156 seen and 15 unseen.

    python tools/prepare_dataset.py coco_stuff --help
    --set data_root=... or JSEG_DATA_ROOT: the folder that holds coco_stuff164k, or that one; default: data

The pipelines are the released ones, which are the default. 118,287 training and 5,000 test images.
"""

dataset = dict(
    train=dict(type="COCOStuffDataset", split="train2017"),
    val=dict(type="COCOStuffDataset", split="val2017", test_mode=True),
    test=dict(type="COCOStuffDataset", split="val2017", test_mode=True),
)
