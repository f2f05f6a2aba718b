"""CLIP-RC on ZeroWords, fully supervised: the upper bound, with the masks of all 24 words.

    jseg train --config configs/clip_rc/zerowords_full.py

Measured: docs/zerowords.md
"""

_base_ = "zerowords_inductive.py"

# As in the releases, there is no recovery decoder and no seen bias, since no class is unseen.
model = dict(setting="full", seen_bias=0.0, decode_head=dict(recovery=dict(weight=0.0)))
