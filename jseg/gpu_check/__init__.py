"""Checks on an NVIDIA GPU that jseg computes the same results as elsewhere, and measures its speed.

`rounds` runs the `checks` within a time limit, each in its own processes (`processes`). They run the stages
of `stages` and `speed`, training runs, tests, and the layers in PyTorch (`pytorch`, which does not import
jseg).
"""
