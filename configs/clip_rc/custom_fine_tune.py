"""Fine-tuning of a model trained on PASCAL VOC, on own words and a few images. docs/fine_tuning.md

    jseg train --config configs/clip_rc/custom_fine_tune.py --set data_root=FOLDER init_from=CHECKPOINT

CHECKPOINT is of a run of voc2012_*.py, or a released VOC checkpoint as it is. For one of COCO-Stuff use
custom_fine_tune_coco_stuff.py.

Measured: not yet. The small model of custom_fine_tune_tiny.py is measured.
"""

_base_ = "custom_inductive.py"

fine_tune = True
# A twentieth of the rate of training from CLIP alone, and short.
optimizer = dict(lr=1e-6)
scheduler = dict(warmup_iters=100, min_lr=5e-8)
max_iters = 1000
eval_interval = 250
checkpoint_interval = 250
