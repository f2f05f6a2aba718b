"""ZegCLIP on ZeroShapes, inductive.

    jseg train --config configs/zegclip/zegclip_zeroshapes_inductive.py

Measured: docs/zeroshapes.md
"""

_base_ = ["../_base_/datasets/zeroshapes.py", "../_base_/models/zegclip.py", "../_base_/schedule.py"]

# Length, batch, rates and bias are those of CLIP-RC on ZeroShapes.
model = dict(
    clip="weights/zeroshapes_clip.npz",
    seen_bias=0.05,
    # Initial values and dropout as for CLIP-RC on ZeroShapes.
    backbone=dict(init="designed"),
    decode_head=dict(
        num_heads=1,  # 64 channels per head, as with ViT-B/16 (8 heads of 512)
        init="designed",
        feed_forward_dropout=0.0,
    ),
)
max_iters = 6000
batch_size = 8
optimizer = dict(lr=1e-4, weight_decay=1.0)
scheduler = dict(warmup_iters=100)
eval_interval = 1500
checkpoint_interval = 3000
