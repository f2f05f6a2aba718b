"""Saving of images so that a reader sees either the old file or the complete new one."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from jseg.files import PathLike, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_png(image: Image.Image, path: PathLike) -> Path:
    """Saves `image` as PNG, and keeps an existing file until the new one is complete.

    Missing parent folders are created.

    Raises:
        ValueError: if the name does not end in .png.
        OSError: if the folder cannot be created or written.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ValueError(
            f"image file '{target}': images are saved as PNG, so choose a name that ends in .png"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        image.save(temporary, format="PNG")
    return target


def save_figure(figure: "Figure", path: PathLike) -> Path:
    """Saves a matplotlib figure as `save_png` saves an image, with the same errors."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with Image.open(buffer) as image:
        return save_png(image, path)
