"""Write a picture so that a reader sees either the old file or the complete new one."""

import os
from pathlib import Path
from typing import Union

from PIL import Image

PathLike = Union[str, "os.PathLike[str]"]


def save_png(picture: Image.Image, path: PathLike) -> Path:
    """Write `picture` as PNG under a temporary name, flush it to disk and rename it to `path`.

    Missing parent folders are made. An existing file stays untouched until the new one is complete.

    Raises:
        ValueError: if the name does not end in .png.
        OSError: if the folder cannot be made or written.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ValueError(
            f"picture file '{target}': pictures are written as PNG, choose a name that ends in .png"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            picture.save(stream, format="PNG")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        if temporary.exists():
            temporary.unlink()
    return target
