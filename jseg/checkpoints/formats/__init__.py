"""Readers and writers of the bytes of weight files, without PyTorch.

Formats: safetensors, `torch.save` (zip and the older one), TorchScript archives, Jittor and NumPy pickles,
`.npz`. `reader.read_tensors` recognises a file by its first bytes and returns a lazy `tensor_map.TensorMap`.
The pickle readers know the few classes that weights need and never run code of a file.

Nothing here knows what the names in a file mean, and nothing here imports the rest of `jseg.checkpoints`.
"""
