"""CLIP-RC as on PASCAL VOC; the other datasets change num_prompts, templates and the loss weights.

`clip` (the file of CLIP weights) comes from the leaf config; class names and unseen classes come from the
dataset, and image_size, if not set, is inference.crop_size.
"""

model = dict(
    type="CLIPRC",
    setting="inductive",
    templates="single",
    num_prompts=10,
    num_regions=16,
    train_regions=False,
    region_bridge=True,
    ram_inputs=("global", "region"),
    decoder_layers=3,
    decoder_heads=8,
    recovery_layers=1,
    recovery_loss="l1",
    focal_weight=100.0,
    dice_weight=1.0,
    recovery_weight=2.0,
    seen_bias=0.1,
    dropout=0.1,
)

visualize = dict(num_images=8)
