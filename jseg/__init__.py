"""jseg: zero-shot semantic segmentation with CLIP-RC (CVPR 2024), in Jittor.

Importing this package is cheap. Jittor is loaded only by the modules that compute with it (`jseg.ops`,
`jseg.models`, `jseg.inference.segmenter`, `jseg.runner`), and on the first use of `Segmenter`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jseg.inference.segmenter import Segmenter

__version__ = "0.1.0"
__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> object:
    """Imports `Segmenter` on first use."""
    if name == "Segmenter":
        from jseg.inference.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module 'jseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
