"""ZegCLIP on OpenAI's CLIP ViT-B/16, as in the paper. The weights, converted once:

jseg convert-clip ViT-B-16.pt weights/ViT-B-16.safetensors
"""

_base_ = "zegclip.py"

model = dict(clip="weights/ViT-B-16.safetensors")
inference = dict(mode="slide", crop_size=512, stride=426)  # windows as large as the crops of training
num_workers = 4  # of each process
