"""Figures as PNG files: segmentation panels, training curves and the region-classification figure.

This package needs only NumPy and Pillow, and for curves matplotlib. It never imports Jittor. Images are uint8
(H, W, 3) RGB, label maps are integer (H, W) with 255 for ignored pixels, and palettes are uint8 (C, 3).
"""

from jseg.visualization.contact_sheet import draw_contact_sheet
from jseg.visualization.curves import MATPLOTLIB_MISSING, can_draw, read_records, save_curves
from jseg.visualization.legend import LegendEntry, draw_legend
from jseg.visualization.overlay import contours, overlay
from jseg.visualization.panels import draw_panels, save_panels
from jseg.visualization.regions import draw_region_figure, save_region_figure

__all__ = [
    "MATPLOTLIB_MISSING",
    "LegendEntry",
    "can_draw",
    "contours",
    "draw_contact_sheet",
    "draw_legend",
    "draw_panels",
    "draw_region_figure",
    "overlay",
    "read_records",
    "save_curves",
    "save_panels",
    "save_region_figure",
]
