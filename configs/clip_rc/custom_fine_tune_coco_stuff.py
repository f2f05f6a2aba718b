"""Fine-tuning of a model trained on COCO-Stuff, on own words and a few images. docs/fine_tuning.md

    jseg train --config configs/clip_rc/custom_fine_tune_coco_stuff.py \\
        --set data_root=FOLDER init_from=CHECKPOINT

Measured: not yet. The small model of custom_fine_tune_tiny.py is measured.
"""

_base_ = "custom_fine_tune.py"

# As in coco_stuff_inductive.py.
model = dict(
    templates="ensemble15",
    backbone=dict(num_prompts=100),
    decode_head=dict(recovery=dict(weight=50.0)),
    loss=dict(focal_weight=200.0, dice_weight=3.0),
)
