"""A contact sheet: small images with their labels drawn over them, and one legend for all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from jseg.labels import IGNORE_INDEX
from jseg.visualization.checks import check_palette
from jseg.visualization.fonts import MUTED, PAPER, draw_text, line_height, shorten
from jseg.visualization.legend import class_entries, draw_legend
from jseg.visualization.overlay import CONTOUR_WIDTH, contours, overlay

COLUMNS = 4
TILE = 260  # pixels
GAP = 12
CAPTION_SIZE = 13
_ALPHA = 0.6  # lighter than in panels: the borders are to be judged against the image below


def draw_contact_sheet(
    samples: Sequence[Mapping[str, Any]], class_names: Sequence[str], palette: np.ndarray
) -> Image.Image:
    """Draws labels over their images, four in a row. Where nothing is labelled, the image stays as it is.

    Args:
        samples: mappings with `image` uint8 (H, W, 3), `label` integer (H, W) and `name`.
        class_names: C names. palette: uint8 (C, 3) colours.

    Raises:
        ValueError: if there is no sample, shapes differ, or a label is out of range.
    """
    if not samples:
        raise ValueError("there is no sample to draw; give at least one")
    palette = check_palette(palette, len(class_names))
    columns = min(COLUMNS, len(samples))
    tiles = [_tile(sample, palette) for sample in samples]
    rows = [range(first, min(first + columns, len(tiles))) for first in range(0, len(tiles), columns)]
    heights = [max(tiles[number].height for number in row) for row in rows]
    below = line_height(CAPTION_SIZE) + GAP
    present = {int(value) for sample in samples for value in np.unique(sample["label"])} - {IGNORE_INDEX}
    width = max(columns * (TILE + GAP), 2 * TILE) + GAP
    legend = draw_legend(class_entries(present, class_names, palette, ()), width - 2 * GAP)
    page = Image.new("RGB", (width, sum(heights) + len(rows) * below + legend.height + 2 * GAP), PAPER)
    draw, top = ImageDraw.Draw(page), GAP
    for row, height in zip(rows, heights):
        for column, number in enumerate(row):
            left, tile = GAP + column * (TILE + GAP), tiles[number]
            page.paste(tile, (left + (TILE - tile.width) // 2, top + (height - tile.height) // 2))
            caption = shorten(str(samples[number]["name"]), CAPTION_SIZE, TILE)
            draw_text(draw, (left + TILE / 2, top + height + 2), caption, CAPTION_SIZE, MUTED, "ma")
        top += height + below
    page.paste(legend, (GAP, top))
    return page


def _tile(sample: Mapping[str, Any], palette: np.ndarray) -> Image.Image:
    """One image with its label, its longer side `TILE` pixels."""
    image, label = np.asarray(sample["image"]), np.asarray(sample["label"])
    scale = TILE / max(label.shape)
    size = max(1, round(label.shape[1] * scale)), max(1, round(label.shape[0] * scale))
    pixels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    small = np.asarray(Image.fromarray(label.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
    drawn = overlay(pixels, small, palette, _ALPHA)
    bare = (small == IGNORE_INDEX) & ~contours(small, CONTOUR_WIDTH + 2)
    return Image.fromarray(np.where(bare[..., None], pixels, drawn))
