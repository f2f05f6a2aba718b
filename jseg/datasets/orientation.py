"""Which way up an image file is shown: the Orientation tag that cameras write (Exif 2.3, tag 274)."""

from PIL import Image

_TAG = 274
# What undoes each value; 1 is upright already. Those from 5 on swap width and height.
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_SWAPPED = 5


def upright(image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
    """The image as viewers and labelling tools show it, or as stored where only that has `size`.

    Args:
        image: as opened, with the metadata of its file.
        size: (H, W) of the mask that belongs to it, None without one.
    """
    value = _orientation(image)
    if value not in _UNDO:
        return image
    stored = (image.height, image.width)
    if size is not None and value >= _FIRST_SWAPPED and tuple(size) == stored != stored[::-1]:
        return image  # a mask of the pixels as they are stored
    return image.transpose(_UNDO[value])


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(_TAG)
    except Exception:  # Pillow raises almost anything for damaged metadata; the image itself is sound
        return None
