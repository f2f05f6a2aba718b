"""A line chart drawn with Pillow, with round tick values, a grid, a legend, and raw and smoothed lines."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from jseg.visualization.fonts import INK, MUTED, PAPER, Colour, draw_text, line_height, text_width

OVERSAMPLING = 3  # lines are drawn this many times larger and reduced, which smooths their edges
TITLE_SIZE = 18
TEXT_SIZE = 13
GRID = (230, 233, 236)
FRAME = (173, 181, 189)
MARKED_POINTS = 60  # a line with at most this many points gets a dot on each of them
LOG_RATIO = 40.0  # a value axis that spans more than this ratio is logarithmic

Values = np.ndarray | Sequence[float]


class Series(NamedTuple):
    """One line of a chart, with x, y and optionally `smooth`, each float (n,).

    If `smooth` is given, it is drawn in full colour over a lighter line of y.
    """

    name: str
    colour: Colour
    x: np.ndarray
    y: np.ndarray
    smooth: np.ndarray | None = None
    strong: bool = False


def nice_ticks(low: float, high: float, count: int = 6, whole: bool = False) -> list[float]:
    """Returns about `count` multiples of 1, 2 or 5 times a power of ten within [low, high].

    With `whole`, all ticks are integers.
    """
    rough = max(high - low, 1e-12) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Returns powers of ten within [low, high], and 2 and 5 times them below a range of four decades."""
    factors = (1, 2, 5) if high / low < 1e4 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**decade for decade in decades for factor in factors]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def format_tick(value: float) -> str:
    """Formats the value of a tick, for example 20000 as 20k and 0.5 as 0.5."""
    if abs(value) >= 10000:
        return f"{value / 1000:g}k"
    return f"{value:.6g}"


class Axis:
    """An axis with ticks that maps values to positions 0..1, linearly or logarithmically."""

    def __init__(self, low: float, high: float, ticks: Sequence[float], logarithmic: bool = False) -> None:
        self.low, self.high, self.ticks, self.logarithmic = low, high, list(ticks), logarithmic

    def position(self, values: Values) -> np.ndarray:
        """Returns the positions of `values`, which are outside 0..1 where values lie outside the axis."""
        numbers = np.asarray(values, float)
        if self.logarithmic:
            logarithms = np.log(np.maximum(numbers, self.low * 1e-3))
            return (logarithms - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (numbers - self.low) / (self.high - self.low)


def iteration_axis(last: float) -> Axis:
    """Returns an axis from 0 to a little beyond the iteration `last`."""
    high = max(last, 1.0) * 1.02
    return Axis(0.0, high, nice_ticks(0.0, high, 6, whole=True))


def value_axis(series: Sequence[Series], limit: float | None = None) -> Axis:
    """Returns an axis from 0 to above the largest value, or a logarithmic one if the lines differ greatly.

    The axis does not extend beyond `limit` unless a value does. Where a line is smoothed, only its smoothed
    values decide on the kind and range of the axis, so that a single outlier does not.
    """
    drawn = [line.y if line.smooth is None else line.smooth for line in series if line.y.size]
    if not drawn:
        top = limit or 1.0
        return Axis(0.0, top, nice_ticks(0.0, top, 5))
    values = np.concatenate(drawn)
    low, high = float(values.min()), float(values.max())
    if limit is None and low > 0 and high / low > LOG_RATIO:
        low, high = low / 1.5, high * 1.5
        return Axis(low, high, log_ticks(low, high), logarithmic=True)
    top = high * 1.08 if high > 0 else 1.0
    ticks = nice_ticks(min(low, 0.0), top, 5)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else top
    top = math.ceil(top / step - 1e-9) * step
    if limit is not None and high <= limit:
        top = min(top, limit)
    bottom = math.floor(min(low, 0.0) / step) * step
    return Axis(bottom, top, nice_ticks(bottom, top, 5))


def _lighter(colour: Colour) -> Colour:
    red, green, blue = (int(value + (255 - value) * 0.68) for value in colour)
    return red, green, blue


class _Plot:
    """The area inside the axes of a chart, with `box` as (left, top, right, bottom) in pixels of the page."""

    def __init__(self, box: tuple[int, int, int, int], across: Axis, up: Axis) -> None:
        self.box, self.across, self.up = box, across, up

    def x(self, values: Values) -> np.ndarray:
        left, _, right, _ = self.box
        return left + self.across.position(values) * (right - left)

    def y(self, values: Values) -> np.ndarray:
        _, top, _, bottom = self.box
        return bottom - self.up.position(values) * (bottom - top)

    def draw_lines(self, figure: Image.Image, series: Sequence[Series]) -> None:
        """Draws grid, frame and lines into the box of `figure`, and cuts off everything beyond the box."""
        left, top, right, bottom = self.box
        size = (right - left + 1, bottom - top + 1)
        large = Image.new("RGB", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), PAPER)
        draw = ImageDraw.Draw(large)
        for x in self.x(self.across.ticks):
            at = (x - left) * OVERSAMPLING
            draw.line((at, 0, at, large.height), fill=GRID, width=OVERSAMPLING)
        for y in self.y(self.up.ticks):
            at = (y - top) * OVERSAMPLING
            draw.line((0, at, large.width, at), fill=GRID, width=OVERSAMPLING)
        for line in series:
            if line.smooth is not None:
                self._stroke(draw, line.x, line.y, _lighter(line.colour), OVERSAMPLING)
        for line in series:
            width = int(OVERSAMPLING * (2.6 if line.strong else 1.8))
            self._stroke(draw, line.x, line.y if line.smooth is None else line.smooth, line.colour, width)
        figure.paste(large.resize(size, Image.Resampling.BOX), (left, top))
        frame = ImageDraw.Draw(figure)
        frame.line((left, top, left, bottom, right, bottom), fill=FRAME)

    def draw_dots(self, figure: Image.Image, series: Sequence[Series]) -> None:
        """Draws dots on lines with few points, over the frame, so that a dot at the edge is not cut off."""
        radius, scale = 4, OVERSAMPLING
        side = (2 * radius + 1) * scale
        mask = Image.new("L", (side, side), 0)
        ImageDraw.Draw(mask).ellipse((scale // 2, scale // 2, side - scale, side - scale), fill=255)
        mask = mask.resize((2 * radius + 1, 2 * radius + 1), Image.Resampling.BOX)
        for line in series:
            if line.smooth is None and line.x.size <= MARKED_POINTS:
                for x, y in zip(self.x(line.x), self.y(line.y)):
                    figure.paste(line.colour, (round(x) - radius, round(y) - radius), mask)

    def _stroke(
        self, draw: ImageDraw.ImageDraw, x: np.ndarray, y: np.ndarray, colour: Colour, width: int
    ) -> None:
        left, top = self.box[:2]
        points = np.stack([self.x(x) - left, self.y(y) - top], axis=1) * OVERSAMPLING
        points = [tuple(point) for point in points.tolist()]
        if len(points) > 1:
            draw.line(points, fill=colour, width=width, joint="curve")
        elif points:
            (px, py), radius = points[0], 4 * OVERSAMPLING
            draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=colour)


def _legend_rows(series: Sequence[Series], width: int) -> list[list[tuple[int, Series]]]:
    """Arranges legend entries in rows of (left, series), each at most `width` pixels wide."""
    rows: list[list[tuple[int, Series]]] = []
    x = width
    for line in series:
        needed = 24 + text_width(line.name, TEXT_SIZE)
        if not rows or x + needed > width:
            rows.append([])
            x = 0
        rows[-1].append((x, line))
        x += needed + 16
    return rows


def draw_chart(
    series: Sequence[Series],
    title: str,
    size: tuple[int, int],
    last: float,
    limit: float | None = None,
    empty_text: str = "nothing to draw yet",
) -> Image.Image:
    """Draws lines over the iterations, with a title and a legend above the plot, and round ticks.

    Args:
        series: lines with finite points. Lines without points are left out.
        title: title of the chart.
        size: (width, height) of the image in pixels.
        last: iteration at which the x axis ends.
        limit: upper bound of the y axis unless a value exceeds it (100 for percent). It keeps the axis
            linear.
        empty_text: text that is written in the plot if there is no line.
    """
    series = [line for line in series if line.x.size]
    figure = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(figure)
    across, up = iteration_axis(last), value_axis(series, limit)
    labels = [format_tick(tick) for tick in up.ticks]
    left = 14 + max(text_width(label, TEXT_SIZE) for label in labels) + 8
    right, bottom = size[0] - 26, size[1] - 2 * line_height(TEXT_SIZE) - 18
    heading = title + (" (logarithmic axis)" if up.logarithmic else "")
    draw_text(draw, (left, 6), heading, TITLE_SIZE, bold=True)
    top = 6 + line_height(TITLE_SIZE) + 8
    for row in _legend_rows(series, right - left):
        for offset, line in row:
            middle = top + line_height(TEXT_SIZE) / 2
            draw.rounded_rectangle(
                (left + offset, middle - 2, left + offset + 16, middle + 1), radius=2, fill=line.colour
            )
            draw_text(draw, (left + offset + 22, middle), line.name, TEXT_SIZE, INK, "lm")
        top += line_height(TEXT_SIZE) + 5
    plot = _Plot((left, top + 8, right, bottom), across, up)
    plot.draw_lines(figure, series)
    plot.draw_dots(figure, series)
    for tick, x in zip(across.ticks, plot.x(across.ticks)):
        draw_text(draw, (x, bottom + 6), format_tick(tick), TEXT_SIZE, MUTED, "ma")
    for label, y in zip(labels, plot.y(up.ticks)):
        draw_text(draw, (left - 8, y), label, TEXT_SIZE, MUTED, "rm")
    draw_text(draw, ((left + right) / 2, size[1] - 6), "iteration", TEXT_SIZE, MUTED, "md")
    if not series:
        draw_text(draw, ((left + right) / 2, (top + bottom) / 2), empty_text, TITLE_SIZE, MUTED, "mm")
    return figure
