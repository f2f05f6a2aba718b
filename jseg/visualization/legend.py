"""Legends of colour swatches and class names in as many columns as fit, with unseen classes marked in red."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from jseg.visualization.fonts import INK, PAPER, UNSEEN, Colour, draw_text, line_height, shorten, text_width
from jseg.visualization.overlay import hatch

TEXT_SIZE = 15
TAG_SIZE = 11
TAG = "unseen"
SWATCH = 18  # pixels
GAP = 8  # between swatch, name and tag
COLUMN_GAP = 22
ROW_HEIGHT = 27
MAX_ENTRY = 380  # pixels, about 45 letters, so that one very long name does not reduce the number of columns


class LegendEntry(NamedTuple):
    """One line of a legend, where no colour means the hatched grey of ignored pixels."""

    name: str
    colour: Colour | None
    unseen: bool = False


def class_entries(
    present: Iterable[int],
    class_names: Sequence[str],
    palette: np.ndarray,
    unseen: Iterable[int],
    ignored: bool = False,
) -> list[LegendEntry]:
    """Returns entries of the classes in `present`, seen classes first, and ignored pixels last."""
    hidden = set(unseen)
    order = sorted({int(index) for index in present}, key=lambda index: (index in hidden, index))
    entries = []
    for index in order:
        red, green, blue = (int(value) for value in palette[index])
        entries.append(LegendEntry(class_names[index], (red, green, blue), index in hidden))
    if ignored:
        entries.append(LegendEntry("not labelled (ignored)", None))
    return entries


def _tag_width() -> int:
    return text_width(TAG, TAG_SIZE) + 12


def _entry_width(entry: LegendEntry) -> int:
    name = SWATCH + GAP + text_width(entry.name, TEXT_SIZE)
    return name + (GAP + _tag_width() if entry.unseen else 0)


def _draw_entry(legend: Image.Image, left: int, top: int, entry: LegendEntry, width: int) -> None:
    draw = ImageDraw.Draw(legend)
    middle = top + ROW_HEIGHT / 2
    y = top + (ROW_HEIGHT - SWATCH) // 2
    if entry.colour is None:
        stripes = hatch(SWATCH, SWATCH).astype(np.uint8)
        legend.paste(Image.fromarray(np.repeat(stripes[..., None], 3, axis=2)), (left, y))
    draw.rectangle((left, y, left + SWATCH - 1, y + SWATCH - 1), fill=entry.colour, outline=(70, 70, 70))
    room = width - SWATCH - GAP - (GAP + _tag_width() if entry.unseen else 0)
    name = shorten(entry.name, TEXT_SIZE, room)
    x = left + SWATCH + GAP
    draw_text(draw, (x, middle), name, TEXT_SIZE, UNSEEN if entry.unseen else INK, "lm")
    if entry.unseen:
        x += text_width(name, TEXT_SIZE) + GAP
        half = line_height(TAG_SIZE) / 2 + 1
        draw.rounded_rectangle((x, middle - half, x + _tag_width(), middle + half), radius=4, fill=UNSEEN)
        draw_text(draw, (x + _tag_width() / 2, middle), TAG, TAG_SIZE, PAPER, "mm")


def draw_legend(entries: Sequence[LegendEntry], width: int) -> Image.Image:
    """Draws a white image, `width` pixels wide and as high as needed, that lists `entries` in columns.

    A name longer than about 45 letters is cut off and ends in three dots.

    Raises:
        ValueError: if `width` is too narrow for a swatch and a few letters.
    """
    if width < 160:
        raise ValueError(f"the legend width is {width} pixels; give at least 160")
    widest = min(width, MAX_ENTRY, max((_entry_width(entry) for entry in entries), default=0))
    columns = max(1, min(len(entries), (width + COLUMN_GAP) // (widest + COLUMN_GAP)))
    rows = -(-len(entries) // columns)
    legend = Image.new("RGB", (width, max(1, rows * ROW_HEIGHT)), PAPER)
    for index, entry in enumerate(entries):
        column, row = divmod(index, rows)
        _draw_entry(legend, column * (widest + COLUMN_GAP), row * ROW_HEIGHT, entry, widest)
    return legend
