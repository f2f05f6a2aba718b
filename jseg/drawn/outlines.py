"""Outlines of the 24 words of ZeroWords, as sets of points that vary from object to object.

A word is a function from a random generator to the set of points (u, v) inside one object of it: u to the
right, v down, within a circle of radius 1.
"""

import math
from collections.abc import Callable

import numpy as np

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(u, v) that broadcast -> bool of their common shape."""

Point = tuple[float, float]


def polygon(*corners: Point) -> Inside:
    """Points inside a closed polygon, by the even-odd rule."""

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        found = np.zeros(np.broadcast(u, v).shape, bool)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
            if y0 != y1:
                found ^= ((y0 > v) != (y1 > v)) & (u < (x1 - x0) * (v - y0) / (y1 - y0) + x0)
        return found

    return inside


def box(left: float, top: float, right: float, bottom: float) -> Inside:
    return lambda u, v: (u >= left) & (u <= right) & (v >= top) & (v <= bottom)


def ellipse(x: float, y: float, a: float, b: float) -> Inside:
    return lambda u, v: ((u - x) / a) ** 2 + ((v - y) / b) ** 2 <= 1


def disc(x: float, y: float, r: float) -> Inside:
    return ellipse(x, y, r, r)


def ring(x: float, y: float, r: float, half_width: float) -> Inside:
    return lambda u, v: np.abs(np.hypot(u - x, v - y) - r) <= half_width


def line(start: Point, end: Point, half_width: float) -> Inside:
    """A line with round ends."""
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    a, b = (x1 - x0) / length, (y1 - y0) / length

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        along = ((u - x0) * a + (v - y0) * b).clip(0, length)
        return np.hypot(u - x0 - along * a, v - y0 - along * b) <= half_width

    return inside


def union(*parts: Inside) -> Inside:
    return lambda u, v: np.logical_or.reduce([part(u, v) for part in parts])


def common(*parts: Inside) -> Inside:
    return lambda u, v: np.logical_and.reduce([part(u, v) for part in parts])


def without(part: Inside, *holes: Inside) -> Inside:
    return lambda u, v: part(u, v) & ~union(*holes)(u, v)


def on_circle(angle: float, r: float) -> Point:
    return r * math.cos(angle), r * math.sin(angle)


def star(rng: np.random.Generator) -> Inside:
    points, inner = int(rng.integers(5, 7)), rng.uniform(0.36, 0.5)
    return polygon(
        *(on_circle(math.pi * (k / points - 0.5), 1.0 if k % 2 == 0 else inner) for k in range(2 * points))
    )


def heart(rng: np.random.Generator) -> Inside:
    r, tip = rng.uniform(0.46, 0.52), rng.uniform(0.85, 1.0)
    point = polygon((-0.93, -0.2), (0.93, -0.2), (0, tip))
    return union(disc(-0.45, -0.35, r), disc(0.45, -0.35, r), point, box(-0.3, -0.5, 0.3, -0.1))


def arrow(rng: np.random.Generator) -> Inside:
    shaft, head, start = rng.uniform(0.13, 0.22), rng.uniform(0.5, 0.68), rng.uniform(-0.1, 0.15)
    return union(box(-1, -shaft, start + 0.05, shaft), polygon((start, -head), (1, 0), (start, head)))


def moon(rng: np.random.Generator) -> Inside:
    return without(disc(0, 0, 0.97), disc(rng.uniform(0.38, 0.6), 0, rng.uniform(0.75, 0.88)))


def house(rng: np.random.Generator) -> Inside:
    half, top = rng.uniform(0.62, 0.75), rng.uniform(-0.2, 0.0)
    door, width = rng.uniform(-0.35, 0.35), rng.uniform(0.14, 0.2)
    roof = polygon((-half - 0.2, top), (0, -0.95), (half + 0.2, top))
    return without(
        union(box(-half, top - 0.02, half, 0.85), roof), box(door - width, 0.3, door + width, 0.86)
    )


def fish(rng: np.random.Generator) -> Inside:
    body, tail = ellipse(-0.3, 0, rng.uniform(0.6, 0.68), rng.uniform(0.36, 0.48)), rng.uniform(0.38, 0.5)
    fin = polygon((0.1, 0), (0.95, -tail), (0.8, 0), (0.95, tail))
    return without(union(body, fin), disc(-0.58, -0.1, 0.1))


def key(rng: np.random.Generator) -> Inside:
    r, half = rng.uniform(0.36, 0.42), rng.uniform(0.13, 0.17)
    teeth = [box(x, 0, x + 0.17, rng.uniform(0.35, 0.5)) for x in (0.78, 0.45)[: int(rng.integers(1, 3))]]
    return union(ring(-0.6, 0, r - half / 2, half), box(-0.3, -half, 0.97, half), *teeth)


def cup(rng: np.random.Generator) -> Inside:
    half, taper = rng.uniform(0.6, 0.72), rng.uniform(0.0, 0.2)
    body = polygon((-0.8, -half), (0.4, -half), (0.4 - taper, half), (-0.8 + taper, half))
    return union(body, without(ring(0.42, -0.05, 0.36, 0.11), box(-1, -1, 0.2, 1)))


def tree(rng: np.random.Generator) -> Inside:
    half, tiers = rng.uniform(0.6, 0.75), int(rng.integers(2, 4))
    parts = []
    for k in range(tiers):
        width, bottom = half * (0.6 + 0.4 * k / (tiers - 1)), -0.95 + 1.45 * (k + 1) / tiers
        parts.append(polygon((-width, bottom), (0, -0.98 + k / tiers), (width, bottom)))
    return union(*parts, box(-0.15, 0.4, 0.15, 0.97))


def bell(rng: np.random.Generator) -> Inside:
    half = rng.uniform(0.42, 0.5)
    rim = polygon((-half, 0.2), (half, 0.2), (0.85, 0.62), (-0.85, 0.62))
    return union(
        disc(0, -0.4, half), box(-half, -0.4, half, 0.25), rim, disc(0, 0.75, 0.2), disc(0, -0.88, 0.1)
    )


def boat(rng: np.random.Generator) -> Inside:
    mast = rng.uniform(-0.2, 0.1)
    hull = polygon((-0.95, 0.35), (0.95, 0.35), (rng.uniform(0.5, 0.65), 0.85), (-0.6, 0.85))
    right = polygon((mast, -0.9), (mast + rng.uniform(0.75, 0.9), 0.22), (mast, 0.22))
    left = polygon((mast, -0.5), (mast - rng.uniform(0.5, 0.6), 0.22), (mast, 0.22))
    return union(hull, box(mast - 0.08, -0.95, mast + 0.08, 0.4), right, left)


def leaf(rng: np.random.Generator) -> Inside:
    shift = rng.uniform(0.35, 0.5)
    r = math.hypot(0.82, shift)
    stem = line((0, 0.4), (rng.uniform(-0.2, 0.2), 0.97), 0.07)
    return union(common(disc(shift, -0.15, r), disc(-shift, -0.15, r)), stem)


def bolt(rng: np.random.Generator) -> Inside:
    lean = rng.uniform(-0.08, 0.08)
    return polygon(
        (0.25 + lean, -0.98),
        (-0.55, 0.12),
        (-0.08, 0.12),
        (-0.3 + lean, 0.98),
        (0.58, -0.25),
        (0.1, -0.25),
        (0.5 + lean, -0.98),
    )


def anchor(rng: np.random.Generator) -> Inside:
    r = rng.uniform(0.6, 0.7)
    flukes = [
        polygon((side * (r + 0.22), 0.3), (side * (r - 0.02), 0.0), (side * (r - 0.22), 0.34))
        for side in (-1, 1)
    ]
    arms = without(ring(0, 0.2, r, 0.15), box(-1, -1, 1, 0.25))
    stock = box(-0.42, -0.42, 0.42, -0.22)
    return union(box(-0.13, -0.6, 0.13, 0.9), ring(0, -0.75, 0.17, 0.09), stock, arms, *flukes)


def crown(rng: np.random.Generator) -> Inside:
    dip = rng.uniform(0.0, 0.2)
    band = polygon(
        (-0.85, 0.65), (-0.95, -0.5), (-0.42, dip), (0, -0.75), (0.42, dip), (0.95, -0.5), (0.85, 0.65)
    )
    return union(band, disc(0, -0.78, 0.13), disc(-0.93, -0.52, 0.12), disc(0.93, -0.52, 0.12))


def flag(rng: np.random.Generator) -> Inside:
    kind, bottom = rng.integers(3), rng.uniform(0.0, 0.15)
    if kind == 0:
        cloth = polygon((-0.5, -0.9), (0.85, -0.8), (0.85, bottom), (-0.5, bottom))
    elif kind == 1:
        cloth = polygon((-0.5, -0.9), (0.9, -0.3), (-0.5, bottom + 0.1))
    else:
        cloth = polygon((-0.5, -0.9), (0.9, -0.9), (0.5, -0.4), (0.9, bottom), (-0.5, bottom))
    return union(box(-0.68, -0.97, -0.48, 0.97), cloth)


def hammer(rng: np.random.Generator) -> Inside:
    handle, head = rng.uniform(0.14, 0.18), rng.uniform(0.24, 0.3)
    claw = polygon((0.45, -0.9), (0.9, -0.9 + head), (0.45, -0.9 + 2 * head))
    return union(box(-handle, -0.6, handle, 0.97), box(-0.6, -0.9, 0.5, -0.9 + 2 * head), claw)


def bottle(rng: np.random.Generator) -> Inside:
    half, neck, top = rng.uniform(0.36, 0.46), rng.uniform(0.13, 0.17), rng.uniform(-0.35, -0.15)
    shoulders = polygon((-half, top + 0.01), (-neck, top - 0.3), (neck, top - 0.3), (half, top + 0.01))
    return union(box(-half, top, half, 0.95), shoulders, box(-neck, -0.97, neck, top))


def umbrella(rng: np.random.Generator) -> Inside:
    roof = without(
        common(disc(0, 0.05, 0.95), box(-1, -1, 1, 0.08)), *(disc(x, 0.02, 0.24) for x in (-0.64, 0, 0.64))
    )
    hook = without(ring(0.2, 0.72, 0.2, rng.uniform(0.08, 0.11)), box(-1, -1, 1, 0.72))
    return union(roof, box(-0.1, -0.3, 0.1, 0.75), hook)


def mushroom(rng: np.random.Generator) -> Inside:
    stem, height = rng.uniform(0.2, 0.3), rng.uniform(0.75, 0.9)
    cap = common(ellipse(0, 0.05, 0.95, height), box(-1, -1, 1, 0.08))
    return union(cap, polygon((-stem, 0), (stem, 0), (stem + 0.12, 0.92), (-stem - 0.12, 0.92)))


def spoon(rng: np.random.Generator) -> Inside:
    bowl = ellipse(0, -0.52, rng.uniform(0.4, 0.48), rng.uniform(0.4, 0.47))
    return union(bowl, box(-0.14, -0.2, 0.14, 0.85), ellipse(0, 0.85, 0.22, 0.13))


def flower(rng: np.random.Generator) -> Inside:
    petals, turn = int(rng.integers(5, 8)), rng.uniform(0, 1)
    centres = [on_circle(2 * math.pi * (k + turn) / petals, 0.6) for k in range(petals)]
    round_petals = [disc(x, y, 2.05 / petals) for x, y in centres]
    return without(union(*round_petals, disc(0, 0, 0.5)), disc(0, 0, rng.uniform(0.16, 0.22)))


def drop(rng: np.random.Generator) -> Inside:
    r = rng.uniform(0.55, 0.63)
    y = 0.95 - r
    slope = math.asin(r / (0.98 + y))  # of the tangents from the tip
    x, side = r * math.cos(slope), y - r * math.sin(slope)
    return union(disc(0, y, r), polygon((0, -0.98), (x, side), (-x, side)))


def gear(rng: np.random.Generator) -> Inside:
    count = int(rng.integers(6, 9))
    teeth = [line((0, 0), on_circle(2 * math.pi * k / count, 0.85), 0.13) for k in range(count)]
    return without(union(disc(0, 0, 0.7), *teeth), disc(0, 0, rng.uniform(0.22, 0.32)))


OUTLINES: dict[str, Callable[[np.random.Generator], Inside]] = {
    outline.__name__: outline
    for outline in (
        star,
        heart,
        arrow,
        moon,
        house,
        fish,
        key,
        cup,
        tree,
        bell,
        boat,
        leaf,
        bolt,
        anchor,
        crown,
        flag,
        hammer,
        bottle,
        umbrella,
        mushroom,
        spoon,
        flower,
        drop,
        gear,
    )
}
"""Word -> its outline."""
