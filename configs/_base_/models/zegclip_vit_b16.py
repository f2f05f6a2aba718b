"""ZegCLIP on OpenAI's CLIP ViT-B/16, as in the paper. The weights are converted once with

jseg convert-clip ViT-B-16.pt weights/ViT-B-16.safetensors
"""

_base_ = "zegclip.py"

model = dict(clip="weights/ViT-B-16.safetensors")
inference = dict(mode="slide", crop_size=512, stride=426)  # windows of the size of the training crops
num_workers = 4  # per process
