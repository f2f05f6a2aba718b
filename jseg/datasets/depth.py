"""Images with more than 8 bits a sample, turned into 8 bits: Pillow's own conversion clips them.

Pillow has such samples in grey images only. Of colour images with 16 bits it keeps the upper 8 by itself.
"""

import numpy as np
from PIL import Image

_GREY16 = ("I;16", "I;16B", "I;16L", "I;16N")
# Decoders that fill 16 of the 32 bits of mode I.
_SIXTEEN_BITS = ("PNG", "PPM", "JPEG2000")
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
_SIGNED = 2
_SAVE_AS = "save it with 8 or 16 bits a sample"


class Unsuitable(Exception):
    """A sound file whose values have no one meaning as an image; the message ends with what to do."""


def refuse_animation(image: Image.Image) -> None:
    """Refuses a file of several images, of which a reader would take the first without a word.

    The preview that cameras add to a JPEG (MPO) does not count.

    Raises:
        Unsuitable: there are several.
    """
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":
        raise Unsuitable(f"holds {count} images (an animation or several pages); save the one you need")


def eight_bits(image: Image.Image) -> Image.Image:
    """The image with 8 bits a sample.

    Integers are scaled by their full range, 65535 or that of the bits its file has, and floating-point values
    0..1 by 255; both are rounded to the nearest value.

    Args:
        image: an opened file, with the tags of its format.

    Returns:
        Mode L for grey of more bits, and the image itself for everything else.

    Raises:
        Unsuitable: floating-point values outside 0..1 or not finite, negative integers, 32-bit integers too
            small for their range, or integers of an unknown range.
    """
    if image.mode == "F":
        values = _unit_floats(np.asarray(image, np.float64))
    elif image.mode == "I" or image.mode in _GREY16:
        values = _unit_integers(image)
    else:
        return image
    if _tag(image, _PHOTOMETRIC) == 0:  # white is zero; Pillow inverts that for 8 bits alone
        values = 1 - values
    result = Image.fromarray(np.floor(values * 255 + 0.5).astype(np.uint8))
    # The orientation stays; a transparent value of 16 bits would mean another one in 8.
    result.info = {name: entry for name, entry in image.info.items() if name != "transparency"}
    return result


def _unit_floats(values: np.ndarray) -> np.ndarray:
    if values.size and not (values.min() >= 0 and values.max() <= 1):  # NaN fails both
        raise Unsuitable(
            f"holds floating-point values from {values.min():.6g} to {values.max():.6g}, of which only 0 "
            f"(black) to 1 (white) have a meaning; scale them to 0..1, or {_SAVE_AS}"
        )
    return values


def _unit_integers(image: Image.Image) -> np.ndarray:
    largest, values = _largest(image), np.asarray(image)
    if largest == 0xFFFFFFFF:
        values = values.view(np.uint32)  # Pillow has signed integers alone
    lowest, highest = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if lowest < 0:
        raise Unsuitable(f"holds negative values (down to {lowest}); {_SAVE_AS}")
    if largest > 0xFFFF and 0 < highest * 255 < largest // 2:
        raise Unsuitable(
            f"has values of 0..{highest} in integers of 0..{largest}, all of which would become black; "
            f"{_SAVE_AS}"
        )
    return values / largest


def _largest(image: Image.Image) -> int:
    """What white is in the integers of a file."""
    bits = _tag(image, _BITS)
    if bits is not None:
        return 2 ** (bits - 1) - 1 if _tag(image, _SAMPLE_FORMAT) == _SIGNED else 2**bits - 1
    if image.mode in _GREY16 or image.format in _SIXTEEN_BITS:
        return 0xFFFF
    raise Unsuitable(f"holds integers of more than 16 bits in a {image.format} file; {_SAVE_AS}")


def _tag(image: Image.Image, number: int) -> int | None:
    """The first value of a tag of a TIFF file, None without it and for other formats."""
    value = getattr(image, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) else value
