"""Optimizer and schedule of the CLIP-RC releases (VOC, inductive: 40,000 iterations of 16 images).

The releases also set the decay of 'norm' and 'ln' to zero, but by their longest-matching-key rule,
'backbone' and 'decode_head' take precedence, so every trained tensor uses 10 x 2e-5 = 2e-4 and weight
decay 0.01.
"""

max_iters = 40000
batch_size = 16  # over all processes
seed = 0

optimizer = dict(
    type="AdamW",
    lr=2e-5,
    weight_decay=0.01,
    betas=(0.9, 0.999),
    lr_mult={"backbone": 10.0, "decode_head": 10.0},
    decay_mult={},
)
scheduler = dict(type="WarmupPoly", power=0.9, min_lr=1e-6, warmup_iters=1500, warmup_ratio=1e-6)

log_interval = 50
eval_interval = 4000  # a tenth of the run, as in the releases
checkpoint_interval = 4000
keep_checkpoints = 3  # the newest ones; the best one is kept too
max_bad_images = 0  # unreadable training images that are skipped with a warning; one more stops the run
