"""CLIP-RC with 1024 frozen region tokens on PASCAL VOC 2012, inductive.

    python tools/run_net.py --config configs/clip_rc/ablations/table6_1024.py --task train

Reproduces: Table 6, 1024 frozen tokens
Paper: out of memory
Measured: not yet
"""

_base_ = "../voc2012_inductive.py"

model = dict(backbone=dict(num_regions=1024))
