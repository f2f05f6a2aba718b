"""Training-free segmentation of COCO objects: the 80 things of COCO-Stuff 164K, and background.

    jseg val --config configs/dense_clip/dense_coco_object.py

The masks are those of COCO-Stuff. Phrases are those of the release of SCLIP, threshold and windows those of
ClearCLIP's. SCLIP publishes mIoU 33.5 with `dense="sclip"`, 224 px windows on short side 336 and threshold
0.1.

Paper: none with background
Measured: not yet
"""

_base_ = ["../_base_/models/dense_clip.py", "../_base_/schedule.py"]

_background = (
    "sky, wall, tree, wood, grass, road, sea, river, mountain, sands, desk, bed, building, cloud, lamp, "
    "door, window, wardrobe, ceiling, shelf, curtain, stair, floor, hill, rail, fence"
)
_person = (
    "person, person in shirt, person in jeans, person in dress, person in sweater, person in skirt, "
    "person in jacket, body"
)
model = dict(
    background="background",
    threshold=0.4,
    phrases=dict(background=_background.split(", "), person=_person.split(", ")),
)

# Short side 448, with the mean and standard deviation of CLIP.
_pipeline = dict(
    short_side=448,
    mean=(122.7709383, 116.7460125, 104.09373615),
    std=(68.5005327, 66.6321579, 70.3231630),
)
_val = dict(type="COCOObjectDataset", split="val2017", unseen=(), test_mode=True, pipeline=_pipeline)
dataset = dict(val=_val, test=_val)
