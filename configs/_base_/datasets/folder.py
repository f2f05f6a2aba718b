"""Your own data in data_root: images/, masks/, classes.txt and, if some classes have no masks, unseen.txt.

docs/custom_dataset.md describes the steps. `--task test` segments the images in data_root/test.
"""

dataset = dict(
    train=dict(type="FolderDataset", classes="classes.txt", split="train"),
    val=dict(type="FolderDataset", classes="classes.txt", split="val", test_mode=True),
    test=dict(type="FolderDataset", classes="classes.txt", image_dir="test", mask_dir=None, test_mode=True),
)
