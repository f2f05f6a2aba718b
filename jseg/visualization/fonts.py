"""Drawing of text with the outline font that is built into Pillow, so that no font file is needed."""

import math
from functools import cache

from PIL import ImageDraw, ImageFont

ELLIPSIS = "..."

INK = (33, 37, 41)  # headings and class names
MUTED = (108, 117, 125)  # captions and tick labels
UNSEEN = (200, 16, 32)  # everything that marks an unseen class
PAPER = (255, 255, 255)

Colour = tuple[int, int, int]


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Returns Pillow's built-in font at `size` pixels.

    This needs Pillow 10.1 or newer with FreeType, which all its wheels have.

    Raises:
        ImportError: if Pillow was built without FreeType.
    """
    found = ImageFont.load_default(size=size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise ImportError("this Pillow was built without FreeType; install a wheel: pip install pillow")
    return found


def text_width(text: str, size: int) -> int:
    """Returns the width in pixels of one line of `text`, including the pixel that bold drawing adds."""
    return math.ceil(font(size).getlength(text)) + 1


def line_height(size: int) -> int:
    """Returns the distance in pixels between two lines of text."""
    ascent, descent = font(size).getmetrics()
    return ascent + descent


def shorten(text: str, size: int, width: int) -> str:
    """Shortens `text` to as much of its beginning as fits into `width` pixels, followed by three dots."""
    if text_width(text, size) <= width:
        return text
    kept = len(text)
    while kept > 0 and text_width(text[:kept].rstrip() + ELLIPSIS, size) > width:
        kept -= 1
    return text[:kept].rstrip() + ELLIPSIS


def wrap(text: str, size: int, width: int) -> list[str]:
    """Breaks `text` at spaces and after hyphens into lines of at most `width` pixels if words allow it."""
    lines: list[str] = []
    for word in text.replace("-", "-\0").replace(" ", " \0").split("\0"):
        joined = (lines[-1] + word) if lines else word
        if lines and text_width(joined.rstrip(), size) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return [line.rstrip() for line in lines if line.strip()]


def draw_text(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    size: int,
    colour: Colour = INK,
    anchor: str = "la",
    bold: bool = False,
) -> None:
    """Draws one line of text with one of Pillow's anchors.

    Bold text is drawn twice, shifted by 0.6 pixels.
    """
    draw.text(position, text, fill=colour, font=font(size), anchor=anchor)
    if bold:
        draw.text((position[0] + 0.6, position[1]), text, fill=colour, font=font(size), anchor=anchor)
