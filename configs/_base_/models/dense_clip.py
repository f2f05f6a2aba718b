"""Training-free segmentation with CLIP's patch features and class words (ClearCLIP: Lan et al., ECCV 2024).

Other last blocks: dense="sclip", "maskclip", "vanilla". `clip` may be any CLIP that jseg reads, by default
OpenAI's ViT-B/16, converted once with

    jseg convert-clip ViT-B-16.pt weights/ViT-B-16.safetensors
"""

model = dict(
    type="DenseCLIP",
    clip="weights/ViT-B-16.safetensors",
    dense="clearclip",
    positions="bicubic",
    templates="imagenet80",
    logit_scale=50.0,
)
inference = dict(mode="slide", crop_size=448, stride=224)
visualize = dict(num_images=8)
