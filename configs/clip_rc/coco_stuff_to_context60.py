r"""The inductive COCO-Stuff model tested on the 60 classes of PASCAL Context, given only by their names.

    python tools/run_net.py --config configs/clip_rc/coco_stuff_to_context60.py --task val \
        --checkpoint work_dirs/coco_stuff_inductive/checkpoints/latest

Reproduces: Table 4
Paper: pAcc 62.1, mIoU 42.3, mAcc 68.8
Measured: not yet
"""

_base_ = "coco_stuff_inductive.py"

# Nothing is trained here. All classes are treated as seen, as in the paper.
_val = dict(type="PascalContextDataset", split="val", unseen=(), test_mode=True)
dataset = dict(_delete_=True, val=_val, test=_val)
