"""jseg: zero-shot semantic segmentation with CLIP-RC (CVPR 2024), in Jittor.

Importing this package is cheap: Jittor is only loaded by the modules that compute with it
(`jseg.ops`, `jseg.models`, `jseg.runner`).
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
