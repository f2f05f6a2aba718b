"""CLIP-RC on ZeroShapes, fully supervised: the upper bound, with the masks of all 20 classes.

    python tools/run_net.py --config configs/clip_rc/zeroshapes_full.py --task train

Measured: docs/zeroshapes.md
"""

_base_ = "zeroshapes_inductive.py"

# As in the releases, there is no recovery decoder and no seen bias, since no class is unseen.
model = dict(setting="full", seen_bias=0.0, decode_head=dict(recovery=dict(weight=0.0)))
