"""ZegCLIP as on PASCAL VOC; the other datasets change num_prompts and templates.

`clip` (the file of CLIP weights) comes from the leaf config; class names and unseen classes come from the
dataset, and image_size, if not set, is inference.crop_size.
"""

model = dict(
    type="ZegCLIP",
    setting="inductive",
    templates="single",
    seen_bias=0.1,
    # Whether the rows of a file text_embeddings="FILE.npy" are normalised. None: yes, except when a released
    # checkpoint is evaluated, because the releases train with the rows as they are.
    normalize_text=None,
    pseudo_labels="probabilities",  # of the transductive setting: the arg-max of "probabilities" or "logits"
    # init: the initial values that the release trains from.
    backbone=dict(type="RegionBridgeEncoder", num_prompts=10, num_regions=0, dropout=0.1, init="released"),
    decode_head=dict(type="ZegCLIPHead", num_layers=3, num_heads=8, dropout=0.1, init="released"),
    loss=dict(type="NELLoss", focal_weight=100.0, dice_weight=1.0),
)

visualize = dict(num_images=8)
