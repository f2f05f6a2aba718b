"""CLIP-RC on ZeroShapes, inductive: trained with the masks of 15 seen classes, tested on 20.

    python tools/run_net.py --config configs/clip_rc/zeroshapes_inductive.py --task train
"""

_base_ = ['../_base_/datasets/zeroshapes.py', '../_base_/models/clip_rc.py', '../_base_/schedule.py']

model = dict(clip='weights/zeroshapes_clip.npz', decoder_heads=1)

max_iters = 1500
scheduler = dict(warmup_iters=100)
optimizer = dict(lr=1e-4)
eval_interval = 250
checkpoint_interval = 750
