"""Constants shared by all label maps."""

IGNORE_INDEX = 255
"""Label of pixels that are ignored in training and in evaluation. Mask files contain this value."""
