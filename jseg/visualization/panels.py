"""Panels of image, ground truth and prediction for a few samples, with a legend of the classes that occur."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from jseg.files import PathLike
from jseg.labels import IGNORE_INDEX
from jseg.visualization.checks import check_image, check_label, check_palette, check_unseen
from jseg.visualization.files import save_png
from jseg.visualization.fonts import INK, MUTED, PAPER, draw_text, line_height, shorten
from jseg.visualization.legend import LegendEntry, class_entries, draw_legend
from jseg.visualization.overlay import ALPHA, CONTOUR_WIDTH, contours, overlay

PAGE_WIDTH = 1120  # target in pixels; enlargement by whole numbers makes the page a little narrower or wider
MARGIN = 24
GAP = 8  # between two images of a row
BLOCK_GAP = 26  # between two blocks of rows set side by side
ROW_GAP = 12
TITLE_SIZE = 22
HEADING_SIZE = 17
CAPTION_SIZE = 13
MIN_COLUMN = 150  # pixels, so that headings and captions have room
SMALL_SIDE = 160  # pixels; many images up to this size are set in two blocks
ROWS_IN_ONE_BLOCK = 4
FADE_GREY, FADE = 236, 0.86  # colour and share of the veil over predictions that are not evaluated


class _Row(NamedTuple):
    """The drawn images of one sample, all of one size, and the captions below them (one each)."""

    images: list[Image.Image]
    captions: list[str]


def _checked_sample(sample: Mapping[str, Any], index: int, num_classes: int) -> dict[str, Any]:
    for key in ("image", "prediction"):
        if key not in sample:
            raise ValueError(f"sample {index} has no '{key}'; give image, label, prediction and name")
    name = str(sample.get("name", index))
    image = check_image(sample["image"], f"image of sample '{name}'")
    checked = {"name": name, "image": image, "label": None}
    checked["prediction"] = check_label(
        sample["prediction"], image, num_classes, f"prediction of sample '{name}'"
    )
    if sample.get("label") is not None:
        checked["label"] = check_label(
            sample["label"], image, num_classes, f"ground truth of sample '{name}'"
        )
    return checked


def _scaled_size(image: np.ndarray, tile: int) -> tuple[int, int]:
    """Returns the (width, height) at which an image is drawn into a tile.

    Unless the enlargement is far below 2, it is a whole number, so that every label pixel has the same size.
    """
    height, width = image.shape[:2]
    scale = tile / max(height, width)
    if scale >= 1.7:
        scale = int(scale + 0.3)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resized = Image.fromarray(label.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(resized)


def _accuracy(label: np.ndarray, prediction: np.ndarray) -> str:
    counted = label != IGNORE_INDEX
    if not counted.any():
        return "no labelled pixel"
    return f"{100.0 * np.mean(label[counted] == prediction[counted]):.1f} % correct"


def _faded_overlay(
    pixels: np.ndarray, prediction: np.ndarray, ignored: np.ndarray, palette: np.ndarray, alpha: float
) -> np.ndarray:
    """Draws the prediction, but faded and without contours where `ignored`, bool (H, W), is set."""
    counted = np.where(ignored, IGNORE_INDEX, prediction)
    strong = overlay(pixels, counted, palette, alpha)
    veiled = (1.0 - FADE) * overlay(pixels, prediction, palette, alpha, contour_width=0) + FADE * FADE_GREY
    inside = ignored & ~contours(counted, CONTOUR_WIDTH + 2)
    return np.where(inside[..., None], np.rint(veiled), strong).astype(np.uint8)


def _draw_row(
    sample: dict[str, Any], palette: np.ndarray, tile: int, alpha: float, mask_ignore: bool
) -> _Row:
    size = _scaled_size(sample["image"], tile)
    image = Image.fromarray(sample["image"]).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    prediction = _resize_label(sample["prediction"], size)
    predicted = overlay(pixels, prediction, palette, alpha)
    row = _Row([image], [sample["name"]])
    if sample["label"] is not None:
        label = _resize_label(sample["label"], size)
        row.images.append(Image.fromarray(overlay(pixels, label, palette, alpha)))
        row.captions.append("")
        if mask_ignore:
            predicted = _faded_overlay(pixels, prediction, label == IGNORE_INDEX, palette, alpha)
        row.captions.append(_accuracy(sample["label"], sample["prediction"]))
    else:
        row.captions.append("")
    row.images.append(Image.fromarray(predicted))
    return row


def _present_classes(samples: Sequence[dict[str, Any]], mask_ignore: bool) -> tuple[set[int], bool]:
    """Returns the classes visible in ground truth or prediction, and whether some ground truth is ignored."""
    present: set[int] = set()
    ignored = False
    for sample in samples:
        shown = sample["prediction"]
        if sample["label"] is not None:
            present.update(np.unique(sample["label"]).tolist())
            ignored = ignored or bool((sample["label"] == IGNORE_INDEX).any())
            if mask_ignore:
                shown = shown[sample["label"] != IGNORE_INDEX]
        present.update(np.unique(shown).tolist())
    present.discard(IGNORE_INDEX)
    return present, ignored


def _paste_block(
    page: Image.Image, rows: Sequence[_Row], headings: Sequence[str], left: int, top: int, column: int
) -> None:
    """Draws the headings and the rows of one block with its upper left corner at (left, top)."""
    draw = ImageDraw.Draw(page)
    for index, heading in enumerate(headings):
        centre = left + index * (column + GAP) + column / 2
        draw_text(draw, (centre, top), heading, HEADING_SIZE, INK, "ma", bold=True)
    top += line_height(HEADING_SIZE) + 8
    for row in rows:
        height = row.images[0].height
        for index, (image, caption) in enumerate(zip(row.images, row.captions)):
            x = left + index * (column + GAP)
            page.paste(image, (x + (column - image.width) // 2, top))
            text = shorten(caption, CAPTION_SIZE, column)
            draw_text(draw, (x + column / 2, top + height + 4), text, CAPTION_SIZE, MUTED, "ma")
        top += height + _caption_height() + ROW_GAP


def _caption_height() -> int:
    return line_height(CAPTION_SIZE) + 6


def _block_height(rows: Sequence[_Row]) -> int:
    heights = sum(row.images[0].height + _caption_height() + ROW_GAP for row in rows)
    return line_height(HEADING_SIZE) + 8 + heights


def _compose(
    rows: Sequence[_Row],
    headings: Sequence[str],
    blocks: int,
    entries: Sequence[LegendEntry],
    title: str | None,
) -> Image.Image:
    """Composes title, blocks of rows and legend on one white page."""
    column = max(max(row.images[0].width for row in rows), MIN_COLUMN)
    block_width = len(headings) * column + (len(headings) - 1) * GAP
    width = 2 * MARGIN + blocks * block_width + (blocks - 1) * BLOCK_GAP
    per_block = -(-len(rows) // blocks)
    parts = [rows[start : start + per_block] for start in range(0, len(rows), per_block)]
    legend = draw_legend(entries, width - 2 * MARGIN)
    top = MARGIN + (line_height(TITLE_SIZE) + 10 if title else 0)
    rule = top + max(_block_height(part) for part in parts)
    page = Image.new("RGB", (width, rule + 14 + legend.height + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        text = shorten(title, TITLE_SIZE, width - 2 * MARGIN)
        draw_text(draw, (MARGIN, MARGIN - 4), text, TITLE_SIZE, bold=True)
    for index, part in enumerate(parts):
        _paste_block(page, part, headings, MARGIN + index * (block_width + BLOCK_GAP), top, column)
    draw.line((MARGIN, rule, width - MARGIN, rule), fill=(222, 226, 230))
    page.paste(legend, (MARGIN, rule + 14))
    return page


def draw_panels(
    samples: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    palette: np.ndarray,
    unseen: Iterable[int],
    mask_ignore: bool = False,
    alpha: float = ALPHA,
    title: str | None = None,
) -> Image.Image:
    """Draws samples as rows of image, ground truth and prediction above a legend of the classes that occur.

    Small images are enlarged (labels by nearest neighbour). More than four small ones are set in two blocks.
    The page is about 900 to 1260 pixels wide.

    Args:
        samples: mappings with `image` uint8 (H, W, 3), `label` and `prediction` integer (H, W), and `name`.
            If `label` is missing or None in every sample, there is no ground-truth column.
        class_names: C names.
        palette: uint8 (C, 3) colours.
        unseen: indices of the unseen classes.
        mask_ignore: whether to fade the prediction where the ground truth is ignored, since the metric
            ignores those pixels. The legend then lists only the classes of the other pixels.
        alpha: weight of the class colours over the image.
        title: title of the page.

    Raises:
        ValueError: if there is no sample, shapes differ, a label is out of range, or the palette is too
            short.
    """
    if len(samples) == 0:
        raise ValueError("there is no sample to draw; give at least one")
    palette = check_palette(palette, len(class_names))
    hidden = check_unseen(unseen, class_names)
    checked = [_checked_sample(sample, index, len(class_names)) for index, sample in enumerate(samples)]
    labelled = [sample["label"] is not None for sample in checked]
    if any(labelled) and not all(labelled):
        name = checked[labelled.index(False)]["name"]
        raise ValueError(
            f"sample '{name}' has no label but others have one; give a label with all samples or with none"
        )
    headings = ["image", "ground truth", "prediction"] if labelled[0] else ["image", "prediction"]
    small = max(max(sample["image"].shape[:2]) for sample in checked) <= SMALL_SIDE
    blocks = 2 if small and len(checked) > ROWS_IN_ONE_BLOCK else 1
    count = len(headings) * blocks
    free = PAGE_WIDTH - 2 * MARGIN - (blocks - 1) * BLOCK_GAP - (len(headings) - 1) * blocks * GAP
    rows = [_draw_row(sample, palette, free // count, alpha, mask_ignore) for sample in checked]
    present, ignored = _present_classes(checked, mask_ignore)
    entries = class_entries(present, class_names, palette, hidden, ignored)
    return _compose(rows, headings, blocks, entries, title)


def save_panels(
    path: PathLike,
    samples: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    palette: np.ndarray,
    unseen: Iterable[int],
    mask_ignore: bool = False,
    title: str | None = None,
) -> None:
    """Writes `draw_panels(...)` to the PNG file `path`; arguments and errors as there and in `save_png`."""
    save_png(draw_panels(samples, class_names, palette, unseen, mask_ignore, title=title), path)
