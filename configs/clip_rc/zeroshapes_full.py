"""CLIP-RC on ZeroShapes, fully supervised: the upper bound, with the masks of all 20 classes.

    python tools/run_net.py --config configs/clip_rc/zeroshapes_full.py --task train
"""

_base_ = 'zeroshapes_inductive.py'

# As in the releases, nothing is recovered when there is no unseen class to keep in mind.
model = dict(setting='full', recovery_weight=0.0)
