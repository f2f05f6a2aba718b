"""The region-classification figure (CLIP-RC paper, Fig. 2), with the best class name in each grid cell."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from jseg.files import PathLike
from jseg.visualization.checks import check_image, check_unseen
from jseg.visualization.files import save_png
from jseg.visualization.fonts import (
    INK,
    MUTED,
    PAPER,
    UNSEEN,
    draw_text,
    font,
    line_height,
    shorten,
    text_width,
    wrap,
)

PICTURE_SIDE = 540  # pixels of the longer side, more if the cells would be too small
MIN_CELL = 62  # pixels
MIN_COLUMN = 270  # pixels, so that heading and notes have room with a very narrow image
MARGIN = 24
GAP = 24
TITLE_SIZE = 20
NOTE_SIZE = 14
WORD_SIZES = tuple(range(18, 9, -1))
LEAST_COMMON_SIZE = 12  # all cells share one text size, unless a long word needs a smaller one than this
CELL_MARGIN = 14  # pixels that the words leave free in a cell, in total
BOX_COVER = 200  # opacity 0..255 of the white box behind the words
HEADINGS = ("original CLIP", "CLIP-RC encoder (trained)")


def _checked_probabilities(probabilities: np.ndarray, num_classes: int, what: str) -> np.ndarray:
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 3 or 0 in probabilities.shape:
        raise ValueError(f"{what} have shape {probabilities.shape}; give (classes, rows, columns)")
    if len(probabilities) != num_classes:
        raise ValueError(
            f"{what} have shape {probabilities.shape} but there are {num_classes} class names; "
            "the first axis must be the classes"
        )
    low, high = probabilities.min(), probabilities.max()
    if not (low >= -1e-6 and high <= 1.0 + 1e-4):
        raise ValueError(f"{what} range from {low:.4g} to {high:.4g}; give probabilities, not logits")
    return probabilities


def _fit_words(name: str, percent: str, width: float, height: float, largest: int) -> tuple[int, list[str]]:
    """Returns the largest text size at which name and percentage fit into a box, and the lines of text.

    Long names are cut off.
    """
    for size in [size for size in WORD_SIZES if size <= largest]:
        lines = [*wrap(name, size, int(width)), percent]
        widest = max(text_width(line, size) for line in lines)
        if widest <= width and len(lines) * line_height(size) <= height:
            return size, lines
    size = WORD_SIZES[-1]
    room = max(1, int(height) // line_height(size) - 1)
    lines = wrap(name, size, int(width))
    if len(lines) > room:
        lines = [*lines[: room - 1], " ".join(lines[room - 1 :])]
    return size, [shorten(line, size, int(width)) for line in lines] + [percent]


def _draw_cell(
    image: Image.Image, centre: tuple[float, float], lines: Sequence[str], size: int, unseen: bool
) -> None:
    """Writes the class name and, as the last line, its probability on a translucent box at `centre`."""
    step = line_height(size)
    half_width = max(text_width(line, size) for line in lines) / 2 + 5
    half_height = len(lines) * step / 2 + 1
    x, y = centre
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rounded_rectangle(
        (x - half_width, y - half_height, x + half_width, y + half_height),
        radius=5,
        fill=(*PAPER, BOX_COVER),
        outline=(*UNSEEN, 255) if unseen else None,
        width=2,
    )
    for index, line in enumerate(lines):
        at = (x, y - half_height + 1 + (index + 0.5) * step)
        draw.text(at, line, fill=UNSEEN if unseen else INK, font=font(size), anchor="mm")


def _draw_lines(image: Image.Image, xs: np.ndarray, ys: np.ndarray) -> None:
    """Draws white grid lines with a dark rim at the pixel positions `xs` and `ys`."""
    draw = ImageDraw.Draw(image, "RGBA")
    for rim, colour in ((1, (0, 0, 0, 110)), (0, (255, 255, 255, 255))):
        for x in np.rint(xs):
            draw.rectangle((x - 1 - rim, 0, x + rim, image.height), fill=colour)
        for y in np.rint(ys):
            draw.rectangle((0, y - 1 - rim, image.width, y + rim), fill=colour)


def _draw_grid(
    image: Image.Image, probabilities: np.ndarray, class_names: Sequence[str], unseen: frozenset[int]
) -> Image.Image:
    """Returns a copy of `image` with grid lines and the best class of each cell."""
    image = image.copy()
    rows, columns = probabilities.shape[1:]
    xs = np.linspace(0, image.width, columns + 1)
    ys = np.linspace(0, image.height, rows + 1)
    _draw_lines(image, xs[1:-1], ys[1:-1])
    room = (xs[1] - CELL_MARGIN, ys[1] - CELL_MARGIN)
    best = probabilities.argmax(axis=0)
    texts = [
        (class_names[index], f"{100 * value:.0f}%")
        for index, value in zip(best.ravel(), probabilities.max(axis=0).ravel())
    ]
    common = min(_fit_words(*text, *room, WORD_SIZES[0])[0] for text in texts)
    common = max(common, LEAST_COMMON_SIZE)
    for cell, text in enumerate(texts):
        row, column = divmod(cell, columns)
        size, lines = _fit_words(*text, *room, common)
        centre = ((xs[column] + xs[column + 1]) / 2, (ys[row] + ys[row + 1]) / 2)
        _draw_cell(image, centre, lines, size, int(best[row, column]) in unseen)
    return image


def draw_region_figure(
    image: np.ndarray,
    clip_probabilities: np.ndarray,
    model_probabilities: np.ndarray,
    class_names: Sequence[str],
    unseen: Iterable[int],
    headings: tuple[str, str] = HEADINGS,
) -> Image.Image:
    """Draws region classification by CLIP (left) and by the trained encoder (right) over the image.

    Each cell shows its most probable class and the probability in percent. Unseen classes are red with a red
    frame (CLIP-RC, CVPR 2024, Fig. 2).

    Args:
        image: uint8 (H, W, 3), RGB.
        clip_probabilities, model_probabilities: (C, m, m), a softmax over the C classes. Row 0 is the top.
        class_names: C names.
        unseen: indices of the unseen classes.
        headings: headings above the left and the right image.

    Raises:
        ValueError: if the two shapes differ, C is not the number of names, or values are not probabilities.
    """
    image = check_image(image, "image")
    hidden = check_unseen(unseen, class_names)
    left = _checked_probabilities(clip_probabilities, len(class_names), "region probabilities of CLIP")
    right = _checked_probabilities(model_probabilities, len(class_names), "region probabilities of the model")
    if left.shape != right.shape:
        raise ValueError(
            f"region probabilities have shapes {left.shape} (CLIP) and {right.shape} (model); "
            "give both for the same grid"
        )
    height, image_width = image.shape[:2]
    rows, columns = left.shape[1:]
    scale = max(
        PICTURE_SIDE / max(height, image_width), MIN_CELL * rows / height, MIN_CELL * columns / image_width
    )
    size = (max(1, round(image_width * scale)), max(1, round(height * scale)))
    enlarged = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    top = MARGIN + line_height(TITLE_SIZE) + 8
    bottom = top + size[1] + 10
    width = max(size[0], MIN_COLUMN)
    page_size = (2 * MARGIN + GAP + 2 * width, bottom + line_height(NOTE_SIZE) + MARGIN - 6)
    page = Image.new("RGB", page_size, PAPER)
    draw = ImageDraw.Draw(page)
    for index, (heading, probabilities) in enumerate(zip(headings, (left, right))):
        x = MARGIN + index * (width + GAP)
        text = shorten(heading, TITLE_SIZE, width)
        draw_text(draw, (x + width / 2, MARGIN), text, TITLE_SIZE, anchor="ma", bold=True)
        left_top = (x + (width - size[0]) // 2, top)
        page.paste(_draw_grid(enlarged, probabilities, class_names, hidden), left_top)
    note = f"best class of each of the {rows} x {columns} regions and its probability"
    draw_text(draw, (MARGIN, bottom), note, NOTE_SIZE, MUTED)
    draw_text(draw, (page.width - MARGIN, bottom), "red = unseen class", NOTE_SIZE, UNSEEN, "ra")
    return page


def save_region_figure(
    path: PathLike,
    image: np.ndarray,
    clip_probabilities: np.ndarray,
    model_probabilities: np.ndarray,
    class_names: Sequence[str],
    unseen: Iterable[int],
    headings: tuple[str, str] = HEADINGS,
) -> None:
    """Writes `draw_region_figure(...)` to the PNG file `path`, with arguments and errors as there."""
    save_png(
        draw_region_figure(image, clip_probabilities, model_probabilities, class_names, unseen, headings),
        path,
    )
