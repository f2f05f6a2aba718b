"""Readers and writers for the bytes of weight files, without PyTorch.

Formats: safetensors, `torch.save` (zip and the older format), TorchScript archives, Jittor and NumPy pickles,
and `.npz`. `reader.read_tensors` recognises a file by its first bytes and returns a lazy
`tensor_map.TensorMap`. The pickle readers accept only the few classes that weights need, and never run code
from a file.

This package does not interpret tensor names, and does not import the rest of `jseg.checkpoints`.
"""
