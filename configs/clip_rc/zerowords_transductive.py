"""CLIP-RC on ZeroWords, transductive: the unseen words are known, but not their masks.

Starts from the inductive run at half of its iterations, which must be trained first:

    jseg train --config configs/clip_rc/zerowords_transductive.py

Measured: docs/zerowords.md
"""

_base_ = "zerowords_inductive.py"

model = dict(setting="transductive")
init_from = "work_dirs/zerowords_inductive/checkpoints/iter_1500.safetensors"
max_iters = 1500
