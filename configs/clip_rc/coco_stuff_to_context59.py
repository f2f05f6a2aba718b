r"""The inductive COCO-Stuff model tested on the 59 classes of PASCAL Context, given only by their names.

    python tools/run_net.py --config configs/clip_rc/coco_stuff_to_context59.py --task val \
        --checkpoint work_dirs/coco_stuff_inductive/checkpoints/latest

Reproduces: Table 4
Paper: pAcc 70.9, mIoU 49.2, mAcc 69.9
Measured: not yet
"""

_base_ = "coco_stuff_inductive.py"

# Nothing is trained here. All classes are treated as seen, as in the paper.
_val = dict(type="PascalContextDataset", split="val", background=False, unseen=(), test_mode=True)
dataset = dict(_delete_=True, val=_val, test=_val)
