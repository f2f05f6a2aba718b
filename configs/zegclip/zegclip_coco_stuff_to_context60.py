r"""The inductive COCO-Stuff model of ZegCLIP tested on the 60 classes of PASCAL Context, by names alone.

    jseg val --config configs/zegclip/zegclip_coco_stuff_to_context60.py \
        --checkpoint work_dirs/zegclip_coco_stuff_inductive/checkpoints/latest

Reproduces: ZegCLIP in Table 4
Paper: pAcc 60.9, mIoU 41.2, mAcc 68.4
Measured: not yet
"""

_base_ = "zegclip_coco_stuff_inductive.py"

# Nothing is trained here. All classes are treated as seen, as in the paper.
_val = dict(type="PascalContextDataset", split="val", unseen=(), test_mode=True)
dataset = dict(_delete_=True, val=_val, test=_val)
