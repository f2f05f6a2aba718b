"""What every label map has in common."""

IGNORE_INDEX = 255
"""The label of pixels that count neither in training nor in evaluation; masks hold it as it is."""
