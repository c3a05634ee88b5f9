"""Trees, bushes and hedges: where they grow, and their crowns in the rasters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from smdt.world.canvas import CODE, USE_STEP_M, USES, Canvas, Floats, Rasters, member
from smdt.world.layers import Surface
from smdt.world.palette import Palette
from smdt.world.plan import Plan

_RADII_M = (0.45, 0.6, 0.8, 1.05, 1.4, 1.8, 2.3, 2.9, 3.6, 4.4, 5.4)
_VARIANTS = 6
_OPEN = (
    Surface.GRASS,
    Surface.FIELD,
    Surface.BARE,
    Surface.PAVEMENT,
    Surface.TREE,
    Surface.FENCE,
    Surface.WATER,
)
_SPACING_M = 4.2

# For each use: share of the 4.2 m grid's places that carry a tree, and the least and greatest crown radius.
_GROWTH = {
    "wood": (0.93, 1.8, 4.4), "thin wood": (0.55, 1.4, 3.9), "park": (0.16, 2.0, 5.4), "meadow": (0.022, 0.8, 4.4),
    "pasture": (0.008, 2.0, 5.4), "homes": (0.05, 1.4, 5.4), "flats": (0.05, 1.4, 4.4), "shops": (0.02, 1.4, 2.9),
    "town": (0.05, 1.4, 5.4), "yard": (0.02, 0.8, 2.9), "scrub": (0.30, 0.45, 1.4), "clearcut": (0.05, 0.6, 2.3),
    "perimeter": (0.03, 1.4, 3.6), "towers": (0.05, 1.4, 3.6), "slabs": (0.06, 1.4, 4.4), "plaza": (0.05, 1.4, 3.6),
    "parking": (0.0, 1.4, 2.3), "verge": (0.006, 0.45, 1.4), "beach": (0.004, 0.8, 1.8), "crop": (0.0005, 2.3, 4.4),
}  # fmt: skip


@dataclass(frozen=True)
class _Stamp:
    """A crown seen from above: (n, n) coverage, height as a share of the top, and factor on its colour."""

    cover: Rasters
    rise: Rasters
    tone: Rasters


def plant(rng: np.random.Generator, canvas: Canvas, palette: Palette, plan: Plan) -> None:
    """Scatter trees by use, in rows along streets, fields and orchards, and draw all crowns, low ones first."""
    clear = _clearance(canvas)
    _scatter(rng, canvas, palette, clear)
    _line_streets(rng, canvas, palette, plan, clear)
    _line_fields(rng, canvas, palette, plan, clear)
    for east, north, radius_m in plan.islands:
        for _ in range(5):
            spot = np.array([east, north]) + rng.uniform(-0.6, 0.6, 2) * radius_m
            add_tree(rng, canvas, palette, spot, float(rng.uniform(1.4, 2.6)))
    _draw_crowns(rng, canvas)


def add_tree(
    rng: np.random.Generator,
    canvas: Canvas,
    palette: Palette,
    at: Floats,
    radius_m: float,
    *,
    conifer: bool | None = None,
    tint: Floats | float = 1.0,
) -> None:
    """Note a tree or, below a metre of radius, a bush; it is drawn by :func:`plant`."""
    radius = min(_RADII_M, key=lambda one: abs(one - radius_m))
    pointed = rng.random() < palette.conifer_share if conifer is None else conifer
    colours = palette.needles if pointed else palette.leaves
    tone = colours[rng.integers(len(colours))] * rng.uniform(0.84, 1.18) * tint + rng.normal(0, 1.2, 3)
    if radius < 1.0:
        top, base, pointed = radius * rng.uniform(1.5, 2.4), 0.0, False
    elif pointed:
        top = radius * rng.uniform(3.2, 5.0) + 2.0
        base = top * rng.uniform(0.05, 0.2)
    else:
        top = radius * rng.uniform(1.9, 2.8) + rng.uniform(1.5, 4.0)
        base = top * rng.uniform(0.18, 0.38)
    _note(canvas, at, radius, top, base, tone, pointed)


def add_hedge(
    rng: np.random.Generator, canvas: Canvas, palette: Palette, start: Floats, end: Floats, height_m: float
) -> None:
    """Note a row of bushes that grow into each other."""
    length = float(np.hypot(*(end - start)))
    tone = palette.leaves[0] * rng.uniform(0.8, 1.1)
    for at in np.arange(0.3, length, 0.7):
        spot = start + (end - start) * (at / length)
        if canvas.surface_at(spot[0], spot[1]) in (Surface.GRASS, Surface.FIELD, Surface.BARE):
            _note(
                canvas,
                spot,
                0.6,
                height_m * rng.uniform(0.9, 1.1),
                0.0,
                tone * rng.uniform(0.94, 1.06),
                False,
            )


def _note(
    canvas: Canvas, at: Floats, radius: float, top: float, base: float, tone: Floats, pointed: bool
) -> None:
    """Note a tree at the pixel centre nearest to a place."""
    pixel = canvas.pixel_m
    east, north = (math.floor(float(x) / pixel) * pixel + 0.5 * pixel for x in at)
    if 0 <= east < canvas.side_m and 0 <= north < canvas.side_m:
        red, green, blue = (float(x) for x in np.clip(tone, 20, 235))
        canvas.trees.append((east, north, radius, top, base, red, green, blue, float(pointed)))


def _clearance(canvas: Canvas) -> Rasters:
    """Metres from each cell of the use grid to the next road, building, bay or water."""
    step = max(1, round(USE_STEP_M / canvas.pixel_m))
    size = canvas.use.shape[0]
    rows = np.minimum(canvas.size_px - 1, (np.arange(size) + 0.5) * USE_STEP_M / canvas.pixel_m).astype(int)
    hard = member(canvas.surface, (Surface.ROAD, Surface.BUILDING, Surface.PARKING, Surface.WATER))
    sampled = hard[np.ix_(canvas.size_px - 1 - rows, rows)]
    if step > 1:  # what is thinner than a cell must count as well
        other = np.maximum(rows - step // 2, 0)
        sampled |= hard[np.ix_(canvas.size_px - 1 - other, other)]
    return np.asarray(distance_transform_edt(~sampled), np.float32) * np.float32(USE_STEP_M)


def _scatter(rng: np.random.Generator, canvas: Canvas, palette: Palette, clear: Rasters) -> None:
    """Trees on a shaken grid, by the use of the ground and by noise that makes groves and gaps."""
    count = math.ceil(canvas.side_m / _SPACING_M)
    grid = np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1).reshape(-1, 2).astype(np.float64)
    grid[:, 0] += 0.5 * (grid[:, 1] % 2)
    spots = (grid + rng.uniform(0.05, 0.95, grid.shape)) * _SPACING_M
    cells = np.minimum((spots / USE_STEP_M).astype(int), canvas.use.shape[0] - 1)
    use = canvas.use[cells[:, 1], cells[:, 0]]
    table = np.array([_GROWTH.get(name, (0.0, 1.0, 1.0)) for name in USES])
    rows = np.clip(canvas.size_px - 1 - (spots[:, 1] / canvas.pixel_m).astype(int), 0, canvas.size_px - 1)
    columns = np.clip((spots[:, 0] / canvas.pixel_m).astype(int), 0, canvas.size_px - 1)
    drift = canvas.drift[rows, columns]
    wooded = np.isin(use, [CODE["wood"], CODE["thin wood"]])
    density = table[use, 0] * np.clip(1.0 + np.where(wooded, 0.2, 2.4) * drift, 0.03, 3.5)
    density = np.where(wooded | (use == CODE["scrub"]), density, density * palette.trees)
    chosen = rng.random(len(spots)) < density
    size = rng.beta(1.6, 1.8, len(spots))
    radius = (table[use, 1] + (table[use, 2] - table[use, 1]) * size) * np.clip(1.0 + 0.3 * drift, 0.6, 1.4)
    chosen &= clear[cells[:, 1], cells[:, 0]] > 0.75 * radius
    kinds = (
        np.clip(palette.conifer_share + 0.9 * canvas.drift[canvas.size_px - 1 - rows, columns], 0, 1) ** 1.5
    )
    tints = 1.0 + 0.12 * drift
    for index in np.nonzero(chosen)[0]:
        pointed = bool(rng.random() < (kinds[index] if wooded[index] else palette.conifer_share * 0.6))
        add_tree(rng, canvas, palette, spots[index], float(radius[index]) * (0.72 if pointed else 1.0),
                 conifer=pointed, tint=float(tints[index]))  # fmt: skip


def _free(canvas: Canvas, clear: Rasters, at: Floats, radius_m: float) -> bool:
    column, row = int(at[0] // USE_STEP_M), int(at[1] // USE_STEP_M)
    inside = 0 <= row < clear.shape[0] and 0 <= column < clear.shape[1]
    return inside and bool(clear[row, column] > radius_m)


def _line_streets(
    rng: np.random.Generator, canvas: Canvas, palette: Palette, plan: Plan, clear: Rasters
) -> None:
    """Rows of one kind of tree along some streets of towns."""
    for road in plan.roads:
        if not road.urban or rng.random() > 0.4 * palette.trees:
            continue
        tone, size = (
            palette.leaves[rng.integers(len(palette.leaves))] / palette.leaves[0],
            rng.uniform(1.2, 2.9),
        )
        stations, spacing = road.stations(), rng.uniform(8, 17)
        for side in (-1.0, 1.0):
            away = side * (0.5 * road.width_m + max(1.1, 0.5 * road.verge_m + 0.3))
            for at in np.arange(rng.uniform(7, 14), stations[-1] - 7, spacing):
                piece = min(int(np.searchsorted(stations, at, side="right")) - 1, len(stations) - 2)
                step = road.points_m[piece + 1] - road.points_m[piece]
                unit = step / max(float(np.hypot(*step)), 1e-6)
                spot = (
                    road.points_m[piece]
                    + unit * (at - stations[piece])
                    + away * np.array([-unit[1], unit[0]])
                )
                if rng.random() < 0.8 and _free(canvas, clear, spot, 0.6):
                    add_tree(
                        rng, canvas, palette, spot, size * rng.uniform(0.8, 1.2), conifer=False, tint=tone
                    )


def _line_fields(
    rng: np.random.Generator, canvas: Canvas, palette: Palette, plan: Plan, clear: Rasters
) -> None:
    """Hedgerows and tree lines between fields, and the trees of orchards."""
    for patch in plan.patches:
        if patch.use in ("crop", "ploughed", "pasture") and rng.random() < 0.5:
            corner = int(rng.integers(len(patch.polygon_m)))
            start, end = patch.polygon_m[corner], patch.polygon_m[(corner + 1) % len(patch.polygon_m)]
            length = float(np.hypot(*(end - start)))
            dense = rng.uniform(1.2, 5.0)
            for at in np.arange(0, length, dense):
                spot = start + (end - start) * (at / max(length, 1e-6)) + rng.normal(0, 0.7, 2)
                radius = float(rng.choice([0.6, 1.05, 1.8, 2.9], p=[0.4, 0.3, 0.2, 0.1]))
                if rng.random() < 0.75 and _free(canvas, clear, spot, radius):
                    add_tree(rng, canvas, palette, spot, radius)
        elif patch.use == "orchard":
            _orchard(rng, canvas, palette, patch.polygon_m, clear)


def _orchard(
    rng: np.random.Generator, canvas: Canvas, palette: Palette, polygon: Floats, clear: Rasters
) -> None:
    steps = np.roll(polygon, -1, 0) - polygon
    axis = steps[int(np.argmax(np.hypot(steps[:, 0], steps[:, 1])))]
    axis = axis / np.hypot(*axis)
    across, middle = np.array([-axis[1], axis[0]]), polygon.mean(0)
    reach = float(np.abs(polygon - middle).max()) * 1.5
    gap, row_gap, size = rng.uniform(3.5, 6), rng.uniform(5, 8), rng.uniform(1.2, 2.2)
    tint = rng.uniform(0.85, 1.15)
    for v in np.arange(-reach, reach, row_gap):
        for u in np.arange(-reach, reach, gap):
            spot = middle + u * axis + v * across
            inside = canvas.use_at(spot[0], spot[1]) == CODE["orchard"]
            if inside and rng.random() < 0.95 and _free(canvas, clear, spot, size + 3.0):
                add_tree(rng, canvas, palette, spot + rng.normal(0, 0.15, 2), size, conifer=False, tint=tint)


def _stamps(rng: np.random.Generator, pixel_m: float) -> dict[tuple[float, bool], list[_Stamp]]:
    """A stock of crowns for each radius and kind."""
    return {
        (radius, pointed): [_stamp(rng, radius, pixel_m, pointed) for _ in range(_VARIANTS)]
        for radius in _RADII_M
        for pointed in (False, True)
    }


def _stamp(rng: np.random.Generator, radius_m: float, pixel_m: float, pointed: bool) -> _Stamp:
    reach = math.ceil(1.3 * radius_m / pixel_m)
    at = np.arange(-reach, reach + 1) * pixel_m
    x, y = at[None, :], at[:, None]
    away, angle = np.hypot(x, y), np.arctan2(y, x)
    outline = np.ones_like(away)
    for wave in range(2, 7) if not pointed else (5, 7, 9, 11):
        outline += rng.normal(0, 0.22 / wave if not pointed else 0.05) * np.cos(
            wave * angle + rng.uniform(0, 6.3)
        )
    clumps = sum(_speckle(rng, away.shape, size_m / pixel_m) for size_m in (0.18, 0.45)) * 0.7
    edge = away / (radius_m * outline) + (0.05 if pointed else 0.07) * clumps
    cover = np.clip(0.5 - (edge - 1.0) * radius_m / (1.2 * pixel_m), 0, 1)
    if pointed:
        rise = 0.2 + 0.8 * np.clip(1 - edge, 0, 1) ** 0.9 + 0.02 * clumps
        tone = 1.0 + 0.11 * clumps + 0.06 * np.cos(9 * angle + rng.uniform(0, 6.3)) * np.clip(edge, 0, 1)
    else:
        rise = 0.45 + 0.55 * np.sqrt(np.clip(1 - edge**2, 0, 1)) + min(0.03, 0.1 / radius_m) * clumps
        tone = 0.96 + 0.13 * clumps + 0.10 * (rise - 0.8)
    return _Stamp(
        cover.astype(np.float32),
        np.clip(rise, 0.15, 1).astype(np.float32),
        np.clip(tone, 0.5, 1.5).astype(np.float32),
    )


def _speckle(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> Floats:
    """Leaf clumps of a size, with deviation 1."""
    grain = gaussian_filter(rng.standard_normal(shape), max(0.4, size_px))
    return np.asarray(grain / max(float(grain.std()), 1e-6), np.float64)


def _draw_crowns(rng: np.random.Generator, canvas: Canvas) -> None:
    """Stamp every tree's crown into colour, height and surface; higher crowns cover lower ones."""
    stock = _stamps(rng, canvas.pixel_m)
    canvas.trees.sort(key=lambda row: row[3])
    allowed = member(canvas.surface, _OPEN)
    turns = rng.integers(0, 8 * _VARIANTS, len(canvas.trees))
    size = canvas.size_px
    for row, turn in zip(canvas.trees, turns.tolist(), strict=True):
        stamp = stock[row[2], row[8] > 0.5][turn % _VARIANTS]
        reach = stamp.cover.shape[0] // 2
        column, line = int(row[0] / canvas.pixel_m), size - 1 - int(row[1] / canvas.pixel_m)
        top, left = max(0, line - reach), max(0, column - reach)
        bottom, right = min(size, line + reach + 1), min(size, column + reach + 1)
        part = (
            slice(top - line + reach, bottom - line + reach),
            slice(left - column + reach, right - column + reach),
        )
        flips = turn // _VARIANTS
        cover, rise, tone = (_turned(layer, flips)[part] for layer in (stamp.cover, stamp.rise, stamp.tone))
        where = (slice(top, bottom), slice(left, right))
        height = np.maximum(rise * np.float32(row[3]), np.float32(0.7))
        shown = cover * (allowed[where] & (height > canvas.height_m[where]))
        target = canvas.colour[where]
        target += shown[..., None] * (tone[..., None] * np.array(row[5:8], np.float32) - target)
        solid = shown > 0.5
        np.copyto(canvas.height_m[where], height, where=solid)
        np.copyto(canvas.surface[where], np.uint8(Surface.TREE), where=solid)


def _turned(layer: Rasters, flips: int) -> Rasters:
    """One of the eight turns and mirrorings of a square."""
    if flips & 1:
        layer = layer[::-1]
    if flips & 2:
        layer = layer[:, ::-1]
    return layer.T if flips & 4 else layer
