"""CLIP-RC on ZeroWords, inductive: trained with the masks of 18 words, tested on 24.

    jseg train --config configs/clip_rc/zerowords_inductive.py

Measured: docs/zerowords.md
"""

_base_ = ["../_base_/datasets/zerowords.py", "../_base_/models/clip_rc.py", "../_base_/schedule.py"]

model = dict(
    clip="weights/zerowords_clip.npz",
    seen_bias=0.05,  # as on ZeroShapes
    # 9 regions of 32 px; objects have 34 to 46 px.
    backbone=dict(num_regions=9, init="designed"),
    decode_head=dict(
        num_heads=1,  # 64 channels per head, as with ViT-B/16 (8 heads of 512)
        # Initial values, dropout and weights as on ZeroShapes.
        init="designed",
        feed_forward_dropout=0.0,
        recovery=dict(weight=2.0),
    ),
)

# Batch, rates and weight decay as on ZeroShapes.
max_iters = 3000
batch_size = 8
optimizer = dict(lr=1e-4, weight_decay=1.0)
scheduler = dict(warmup_iters=100)
eval_interval = 1500
checkpoint_interval = 1500
