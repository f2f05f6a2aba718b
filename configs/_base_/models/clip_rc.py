"""CLIP-RC as on PASCAL VOC; the other datasets change num_prompts, templates and the loss weights.

`clip` (the file of CLIP weights) comes from the leaf config; class names and unseen classes come from the
dataset, and image_size, if not set, is inference.crop_size.
"""

model = dict(
    type="CLIPRC",
    setting="inductive",
    templates="single",
    seen_bias=0.1,
    # Whether the rows of a file text_embeddings="FILE.npy" are normalised. None: yes, except when a released
    # checkpoint is evaluated, because the releases train with the rows as they are.
    normalize_text=None,
    pseudo_labels="probabilities",  # of the transductive setting: the arg-max of "probabilities" or "logits"
    backbone=dict(
        type="RegionBridgeEncoder",
        num_prompts=10,
        num_regions=16,
        train_regions=False,
        dropout=0.1,
        init="released",  # the initial values that the releases train from
    ),
    decode_head=dict(
        type="CLIPRCHead",
        ram_inputs=("global", "region"),
        num_layers=3,
        num_heads=8,
        recovery=dict(num_layers=1, loss="l1", weight=2.0),
        dropout=0.1,  # also between the matrices of the feed-forward parts, as in the releases
        init="released",
    ),
    loss=dict(type="NELLoss", focal_weight=100.0, dice_weight=1.0),
)

visualize = dict(num_images=8)
