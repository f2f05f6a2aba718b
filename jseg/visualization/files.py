"""Saving of pictures so that a reader sees either the old file or the complete new one."""

from pathlib import Path

from PIL import Image

from jseg.files import PathLike, replacing


def save_png(picture: Image.Image, path: PathLike) -> Path:
    """Saves `picture` as PNG, and keeps an existing file until the new one is complete.

    Missing parent folders are created.

    Raises:
        ValueError: if the name does not end in .png.
        OSError: if the folder cannot be created or written.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ValueError(
            f"picture file '{target}': pictures are saved as PNG, so choose a name that ends in .png"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        picture.save(temporary, format="PNG")
    return target
