"""The baseline of Table 5 (first row) on ZeroShapes: no region-level
bridge, no region alignment, no recovery decoder.

    python tools/run_net.py --config configs/clip_rc/zeroshapes_baseline.py --task train

Measured: docs/zeroshapes.md
"""

_base_ = "zeroshapes_inductive.py"

model = dict(backbone=dict(num_regions=0), decode_head=dict(ram_inputs=(), recovery=None))
