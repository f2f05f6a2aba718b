"""Proves on a machine with an NVIDIA GPU that jseg computes there what it computes elsewhere, and how fast.

`rounds` runs the `checks` within a time limit, each in processes of its own (`processes`): stages of `stages`
and `speed`, trainings, tests, and the layers in PyTorch (`pytorch`, which imports nothing of jseg).
"""
