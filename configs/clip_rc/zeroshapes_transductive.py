"""CLIP-RC on ZeroShapes, transductive: the names of the unseen classes are known, but not their masks.

Starts from the inductive run at half of its iterations, which must be trained first:

    python tools/run_net.py --config configs/clip_rc/zeroshapes_transductive.py --task train

Measured: docs/zeroshapes.md
"""

_base_ = "zeroshapes_inductive.py"

model = dict(setting="transductive")
init_from = "work_dirs/zeroshapes_inductive/checkpoints/iter_3000.safetensors"
max_iters = 3000
