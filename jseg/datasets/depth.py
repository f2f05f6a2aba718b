"""Converts images with more than 8 bits per sample to 8 bits. Pillow's own conversion clips them.

Pillow has such samples only in greyscale images. For colour images with 16 bits, it keeps the upper 8 bits.
"""

import numpy as np
from PIL import Image

_GREY16 = ("I;16", "I;16B", "I;16L", "I;16N")
# Decoders that use 16 of the 32 bits of mode I.
_SIXTEEN_BITS = ("PNG", "PPM", "JPEG2000")
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
_SIGNED = 2
_SAVE_AS = "save it with 8 or 16 bits per sample"


class Unsuitable(Exception):
    """Raised for an undamaged file whose values have no defined meaning. The message ends with advice."""


def refuse_animation(image: Image.Image) -> None:
    """Refuses a file with several images, of which a reader would silently take the first.

    The preview that cameras add to a JPEG (MPO) is not counted.

    Raises:
        Unsuitable: if there are several.
    """
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":
        raise Unsuitable(f"contains {count} images (an animation or several pages); save the one you need")


def eight_bits(image: Image.Image) -> Image.Image:
    """Returns the image with 8 bits per sample.

    Integers are scaled by their full range (65535, or that of the bits in the file), and floating-point
    values 0..1 by 255. Both are rounded to the nearest value.

    Args:
        image: an opened file, with the tags of its format.

    Returns:
        Mode L for greyscale of more bits. Other images are returned unchanged.

    Raises:
        Unsuitable: if there are floating-point values outside 0..1 or not finite, negative integers, 32-bit
            integers too small for their range, or integers of an unknown range.
    """
    if image.mode == "F":
        values = _unit_floats(np.asarray(image, np.float64))
    elif image.mode == "I" or image.mode in _GREY16:
        values = _unit_integers(image)
    else:
        return image
    if _tag(image, _PHOTOMETRIC) == 0:  # white is zero, which Pillow inverts only for 8 bits
        values = 1 - values
    result = Image.fromarray(np.floor(values * 255 + 0.5).astype(np.uint8))
    # Keep the orientation, but not a 16-bit transparent value, which would have another meaning in 8 bits.
    result.info = {name: entry for name, entry in image.info.items() if name != "transparency"}
    return result


def _unit_floats(values: np.ndarray) -> np.ndarray:
    if values.size and not (values.min() >= 0 and values.max() <= 1):  # NaN fails both
        raise Unsuitable(
            f"contains floating-point values from {values.min():.6g} to {values.max():.6g}, but only "
            f"0 (black) to 1 (white) is defined; scale them to 0..1, or {_SAVE_AS}"
        )
    return values


def _unit_integers(image: Image.Image) -> np.ndarray:
    largest, values = _largest(image), np.asarray(image)
    if largest == 0xFFFFFFFF:
        values = values.view(np.uint32)  # Pillow has only signed integers
    lowest, highest = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if lowest < 0:
        raise Unsuitable(f"contains negative values (down to {lowest}); {_SAVE_AS}")
    if largest > 0xFFFF and 0 < highest * 255 < largest // 2:
        raise Unsuitable(
            f"has values of 0..{highest} in integers of 0..{largest}, all of which would become black; "
            f"{_SAVE_AS}"
        )
    return values / largest


def _largest(image: Image.Image) -> int:
    """Returns the value of white in the integers of a file."""
    bits = _tag(image, _BITS)
    if bits is not None:
        return 2 ** (bits - 1) - 1 if _tag(image, _SAMPLE_FORMAT) == _SIGNED else 2**bits - 1
    if image.mode in _GREY16 or image.format in _SIXTEEN_BITS:
        return 0xFFFF
    raise Unsuitable(f"contains integers of more than 16 bits in a {image.format} file; {_SAVE_AS}")


def _tag(image: Image.Image, number: int) -> int | None:
    """Returns the first value of a TIFF tag, or None if it is missing or the file is not TIFF."""
    value = getattr(image, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) else value
