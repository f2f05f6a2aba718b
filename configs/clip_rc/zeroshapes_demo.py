"""The schedule of `make demo`: inductive CLIP-RC on ZeroShapes, shortened to a few minutes on two cores.

python tools/run_net.py --config configs/clip_rc/zeroshapes_demo.py --task train
"""

_base_ = "zeroshapes_inductive.py"

max_iters = 1000
eval_interval = 250
checkpoint_interval = 500
