"""CLIP's own patches beside the class words, without training (ClearCLIP: Lan et al., ECCV 2024).

Other last blocks: dense="sclip", "maskclip", "vanilla". `clip` may be any CLIP that jseg reads; the one that
is named here is OpenAI's ViT-B/16, converted once:

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
