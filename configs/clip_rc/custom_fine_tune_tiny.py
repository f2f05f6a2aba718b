"""Fine-tuning of the trained ZeroShapes model on own words and a few images: tries every step on a CPU.

    jseg train --config configs/clip_rc/custom_fine_tune_tiny.py --set data_root=FOLDER

For photos use custom_fine_tune.py in the same way. docs/fine_tuning.md
"""

_base_ = "custom_tiny.py"

init_from = "weights/zeroshapes_clip_rc.safetensors"
fine_tune = True
max_iters = 200
optimizer = dict(lr=5e-6)
scheduler = dict(warmup_iters=20)
eval_interval = 100
checkpoint_interval = 100
