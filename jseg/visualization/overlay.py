"""Label maps drawn over their images, with class colours, contours, and hatched ignored pixels."""

import numpy as np
from PIL import Image, ImageFilter

from jseg.labels import IGNORE_INDEX
from jseg.visualization.checks import check_image, check_label, check_palette

ALPHA = 0.72  # weight of the class colours
CONTOUR_WIDTH = 2  # pixels
IGNORE_GREY = 158
HATCH_PERIOD = 10  # pixels between two diagonal stripes
HATCH_WIDTH = 3  # pixels
HATCH_GREY = 184
IGNORE_COVER = 0.75  # share of grey over the image where the label is ignored


def luminance(image: np.ndarray) -> np.ndarray:
    """Computes the brightness of an RGB image, float32 (H, W) in 0..255 (ITU-R BT.601 weights)."""
    return image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def hatch(height: int, width: int) -> np.ndarray:
    """Draws the grey diagonal stripes that stand for ignored pixels, float32 (height, width)."""
    rows, columns = np.ogrid[:height, :width]
    stripe = (rows + columns) % HATCH_PERIOD < HATCH_WIDTH
    return np.where(stripe, HATCH_GREY, IGNORE_GREY).astype(np.float32)


def contours(label: np.ndarray, width: int = CONTOUR_WIDTH) -> np.ndarray:
    """Marks pixels on a border between two labels, bool (H, W).

    Both sides of a border are marked, so the line has an even width, which is `width` or one more if that is
    odd.
    """
    border = np.zeros(label.shape, bool)
    across = label[:, 1:] != label[:, :-1]
    down = label[1:] != label[:-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    growth = (width - 1) // 2
    if growth > 0:
        grown = Image.fromarray(border.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * growth + 1))
        border = np.asarray(grown) > 0
    return border


def overlay(
    image: np.ndarray,
    label: np.ndarray,
    palette: np.ndarray,
    alpha: float = ALPHA,
    ignore_index: int = IGNORE_INDEX,
    contour_width: int = CONTOUR_WIDTH,
) -> np.ndarray:
    """Draws `label` over `image`.

    The image is first reduced to its brightness. The result is alpha * class colour + (1 - alpha) *
    brightness, so that a class has the same hue on any background. Ignored pixels become hatched neutral
    grey. Borders between labels are white lines with a dark rim, which are visible on any background.

    Args:
        image: uint8 (H, W, 3), RGB.
        label: integer (H, W) of class indices or `ignore_index`.
        palette: uint8 (C, 3), one RGB colour per class.
        alpha: weight of the class colour, from 0 (image only) to 1 (colour only).
        ignore_index: label of ignored pixels.
        contour_width: width of the white line in pixels; 0 draws no contours.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: if shapes differ, a label has no colour, or alpha is outside 0..1.
    """
    image = check_image(image, "image")
    palette = check_palette(palette)
    label = check_label(label, image, len(palette), "label", ignore_index)
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is {alpha}; give a number from 0 to 1")
    grey = luminance(image)
    ignored = label == ignore_index
    colours = palette.astype(np.float32)[np.where(ignored, 0, label)]
    blended = alpha * colours + (1.0 - alpha) * grey[..., None]
    neutral = IGNORE_COVER * hatch(*label.shape) + (1.0 - IGNORE_COVER) * grey
    blended = np.where(ignored[..., None], neutral[..., None], blended)
    if contour_width > 0:
        rim = contours(label, contour_width + 2)
        line = contours(label, contour_width)
        blended[rim] *= 0.45
        blended[line] = 255.0
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)
