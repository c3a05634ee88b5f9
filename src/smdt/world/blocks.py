"""Ground: lawns and meadows, fields with rows, floors of woods, deserts, paved yards, water and shores."""

from __future__ import annotations

import math

import numpy as np

from smdt.world.canvas import CODE, USE_STEP_M, Canvas, Floats, Rasters, Window, convex_distance
from smdt.world.layers import Surface
from smdt.world.palette import Palette
from smdt.world.plan import Patch, Plan, Shore
from smdt.world.strips import strips

_ROWS = ("crop", "ploughed", "orchard", "pivot")
_CITY = ("plaza", "parking", "perimeter", "towers", "slabs", "hall")
_LAWNS = ("homes", "town", "flats", "shops", "park")
_WOODS = ("wood", "thin wood")


def draw_ground(rng: np.random.Generator, canvas: Canvas, palette: Palette, plan: Plan) -> None:
    """Paint the base, every patch, rivers and the shore."""
    tint, bias = _draw_tint(rng)
    for top in range(0, canvas.size_px, 512):  # by bands, for the sake of memory
        band = (slice(top, top + 512), slice(0, canvas.size_px))
        canvas.colour[band] = _ground(canvas, palette, band, plan.base, tint, bias)
    canvas.surface[:] = _surface(plan.base)
    canvas.use[:] = CODE[plan.base]
    for patch in plan.patches:
        _draw_patch(rng, canvas, palette, patch)
    for points, width_m in plan.rivers:
        _draw_river(canvas, palette, points, width_m)
    if plan.shore is not None:
        _draw_shore(canvas, palette, plan.shore)


def _surface(use: str) -> Surface:
    if use in _ROWS:
        return Surface.FIELD
    if use in _CITY:
        return Surface.PAVEMENT
    return Surface.BARE if use in ("scrub", "yard", "clearcut") else Surface.GRASS


def _mix(canvas: Canvas, where: Window, pair: Floats, *, bias: float = 0.0, mottle: float = 0.10) -> Rasters:
    """Between two colours by broad noise, with fine noise on top: (h, w, 3)."""
    share = np.clip(0.42 + bias + 0.6 * canvas.drift[where] + 0.14 * canvas.mottle[where], 0, 1)
    step = np.asarray(pair[1] - pair[0], np.float32)
    paint = np.asarray(pair[0], np.float32) + share[..., None] * step
    paint *= (1.0 + mottle * canvas.mottle[where])[..., None]
    return np.asarray(paint, np.float32)


def _draw_tint(rng: np.random.Generator) -> tuple[Floats, float]:
    """How one piece of ground differs from another of the same use: a factor, and a lean towards dry."""
    return 1.0 + rng.normal(0, 0.05) + rng.normal(0, 0.015, 3), float(rng.normal(0, 0.22))


def _ground(canvas: Canvas, palette: Palette, where: Window, use: str, tint: Floats, bias: float) -> Rasters:
    """Colour of a use's ground, without rows."""
    if use in _CITY:
        return canvas.textured(where, palette.paving * (0.94 if use == "plaza" else 0.86) * tint, 0.05, 0.07)
    kind = "lawn" if use in _LAWNS else ("wood" if use in _WOODS else use)
    grass = (palette.meadow, bias, 0.14)
    pair, lean, mottle = {
        "lawn": (palette.lawn, bias, 0.10),
        "wood": (np.stack([palette.undergrowth * 0.85, palette.undergrowth * 1.12]), 0.0, 0.2),
        "scrub": (np.stack([palette.sand, palette.meadow[1]]), bias, 0.08),
        "yard": (np.stack([palette.sand * 0.9, palette.asphalt * 0.6 + 54.0]), 0.0, 0.12),
        "clearcut": (np.stack([palette.soil, palette.meadow[1]]), 0.0, 0.25),
    }.get(kind, grass)
    paint = _mix(canvas, where, pair * tint, bias=lean, mottle=mottle)
    if use == "scrub":
        dots = np.clip((canvas.mottle[where] - 0.28) * 3.5, 0, 1)[..., None]
        dots *= np.clip(0.75 + 0.5 * canvas.drift[where], 0.1, 1)[..., None]
        paint = paint + dots * (palette.leaves.mean(0).astype(np.float32) - paint) * np.float32(0.85)
    return paint


def _draw_patch(rng: np.random.Generator, canvas: Canvas, palette: Palette, patch: Patch) -> None:
    """Paint a patch with soft edges, and note its use."""
    _note_use(canvas, patch.polygon_m, CODE[patch.use])
    found = canvas.window(patch.polygon_m[:, 0], patch.polygon_m[:, 1], 1.0)
    if found is None:
        return
    where, east, north = found
    distance = convex_distance(patch.polygon_m, east, north)
    ragged = 0.0 if patch.use in _ROWS else 2.5 * canvas.drift[where] + 0.8 * canvas.mottle[where]
    cover = np.clip(0.5 - (distance + ragged) / (0.8 if patch.use in _ROWS else 2.5), 0, 1)
    if patch.use in _CITY:
        cover = canvas.inside(distance)
    if patch.use in _ROWS:
        paint = _rows(rng, canvas, palette, patch, where, east, north, distance)
    else:
        paint = _ground(canvas, palette, where, patch.use, *_draw_tint(rng))
        if patch.use == "pasture":
            worn = np.clip(2.2 * canvas.drift[where] - 0.9, 0, 0.6)[..., None]
            paint = paint + worn * (palette.soil.astype(np.float32) - paint)
    canvas.blend(where, cover.astype(np.float32), paint, _surface(patch.use))


def _note_use(canvas: Canvas, polygon: Floats, code: int) -> None:
    cells = canvas.use.shape[0]
    low = np.maximum(0, np.floor(polygon.min(0) / USE_STEP_M)).astype(int)
    high = np.minimum(cells, np.ceil(polygon.max(0) / USE_STEP_M)).astype(int)
    if (low >= high).any():
        return
    east = ((np.arange(low[0], high[0]) + 0.5) * USE_STEP_M).astype(np.float32)[None, :]
    north = ((np.arange(low[1], high[1]) + 0.5) * USE_STEP_M).astype(np.float32)[:, None]
    inside = convex_distance(polygon, east, north) <= 0
    canvas.use[low[1] : high[1], low[0] : high[0]][inside] = code


def _rows(
    rng: np.random.Generator,
    canvas: Canvas,
    palette: Palette,
    patch: Patch,
    where: Window,
    east: Rasters,
    north: Rasters,
    distance: Rasters,
) -> Rasters:
    """A field: rows along its longest side, tramlines, a headland, patchy growth; or a pivot's circle."""
    steps = np.roll(patch.polygon_m, -1, 0) - patch.polygon_m
    longest = steps[int(np.argmax(np.hypot(steps[:, 0], steps[:, 1])))]
    angle = math.atan2(longest[1], longest[0])
    crop = palette.crops[rng.integers(len(palette.crops))] * (1 + rng.normal(0, 0.04))
    soil = palette.soil * (1 + rng.normal(0, 0.05))
    if patch.use == "ploughed":
        crop = soil * rng.uniform(1.04, 1.16)
    if patch.use == "orchard":
        crop, soil = palette.meadow[0], palette.meadow[1]
    x = east * math.cos(angle) + north * math.sin(angle)
    y = north * math.cos(angle) - east * math.sin(angle)
    spacing = float(rng.choice([0.9, 1.5, 3.0, 6.0], p=[0.2, 0.3, 0.3, 0.2]))
    depth = float(rng.uniform(0.06, 0.36) * np.clip(spacing / (3.0 * canvas.pixel_m), 0.15, 1.0))
    tram = float(rng.choice([18.0, 24.0, 36.0]))
    across = y + 0.5 * canvas.drift[where]
    if patch.use == "pivot":
        middle, radius = patch.polygon_m.mean(0), float(-distance.min())
        de, dn = east - float(middle[0]), north - float(middle[1])
        away = np.hypot(de, dn)
        across = np.where(away < radius, away, across)
        turned = np.mod(np.arctan2(dn, de) + rng.uniform(0, 6), 2 * math.pi) > rng.uniform(1, 6)
    head = np.clip((-distance - float(rng.uniform(6, 10))) / 0.7, 0, 1)
    if patch.use != "pivot":  # along the edges the rows follow them
        across = np.where(head > 0.5, across, distance)
    share = 0.5 + 0.5 * np.sin(across * float(2 * math.pi / spacing))
    growth = np.clip(0.3 * canvas.drift[where] + 0.12 * canvas.mottle[where], -0.35, 0.4)
    share = np.clip(depth * share + growth * float(rng.uniform(0.2, 1.0)), 0, 1)
    paint = np.asarray(crop, np.float32) + share[..., None] * np.asarray(soil - crop, np.float32)
    tracks = canvas.stripe(np.abs(np.mod(across, tram) - 0.5 * tram) - 0.9, 0.45)
    factor = 1.0 + 0.10 * canvas.mottle[where] + 0.02 * np.sin(x * 0.21 + 3 * canvas.drift[where])
    factor -= 0.13 * tracks * head
    paint *= factor[..., None].astype(np.float32)
    if patch.use == "pivot":
        ground = _mix(canvas, where, palette.meadow, bias=0.4)
        keep = canvas.inside(away - radius) * np.where(turned, 1.0, 0.25)
        paint = ground + keep[..., None].astype(np.float32) * (paint - ground)
    result: Rasters = paint
    return result


def _draw_river(canvas: Canvas, palette: Palette, points: Floats, width_m: float) -> None:
    """Water between muddy banks."""
    for strip in strips(canvas, points, 0.5 * width_m + 6.0):
        where = strip.where
        away = strip.away - 0.5 * width_m + 1.2 * canvas.drift[where]
        bank = np.clip(0.5 - (away - 1.5) / 3.0, 0, 1) * strip.own * 0.7
        canvas.blend(where, bank.astype(np.float32), canvas.textured(where, palette.soil, 0.2))
        cover = np.clip(0.5 - away / 0.6, 0, 1) * strip.own
        canvas.blend(where, cover.astype(np.float32), _water(canvas, palette, where), Surface.WATER)
    margin = 0.5 * width_m + 1.0
    for point in np.concatenate([points, 0.5 * (points[1:] + points[:-1])]):
        low = np.clip(((point - margin) / USE_STEP_M).astype(int), 0, canvas.use.shape[0])
        high = np.clip(((point + margin) / USE_STEP_M).astype(int) + 1, 0, canvas.use.shape[0])
        canvas.use[low[1] : high[1], low[0] : high[0]] = CODE["water"]


def _water(canvas: Canvas, palette: Palette, where: Window) -> Rasters:
    return canvas.textured(where, palette.water, 0.06, 0.10)


def _draw_shore(canvas: Canvas, palette: Palette, shore: Shore) -> None:
    """Sea, surf, wet and dry sand; or a quay's wall with piers."""
    tile = 256
    for corner in np.ndindex(*(2 * [math.ceil(canvas.size_px / tile)])):
        where = (
            slice(tile * corner[0], min(tile * (corner[0] + 1), canvas.size_px)),
            slice(tile * corner[1], min(tile * (corner[1] + 1), canvas.size_px)),
        )
        rows, columns = (np.arange(part.start, part.stop) for part in where)
        east = ((columns + 0.5) * canvas.pixel_m)[None, :].astype(np.float32)
        north = ((canvas.size_px - rows - 0.5) * canvas.pixel_m)[:, None].astype(np.float32)
        away = shore.inland_m(east, north).astype(np.float32)
        if away.min() > 60.0:
            continue
        shallow = np.exp(np.minimum(away, 0) / 22.0)[..., None]
        sea = _water(canvas, palette, where)
        if shore.quay:
            canvas.blend(where, canvas.inside(away - 12.0), palette.paving * 0.95, Surface.PAVEMENT)
            canvas.blend(where, canvas.inside(np.abs(away - 0.4) - 0.4), palette.paving * 1.1)
            along = north * float(shore.inland[0]) - east * float(shore.inland[1])
            canvas.blend(where, canvas.inside(away), sea, Surface.WATER)
            pier = np.maximum(np.abs(np.mod(along, 85.0) - 42.0) - 2.0, -(away + 42.0))
            pier = np.maximum(pier, away - 1.0)
            tone = canvas.textured(where, np.array([150.0, 136.0, 114.0]), 0.12)
            canvas.blend(where, canvas.inside(pier), tone, Surface.PAVEMENT)
            continue
        ragged = away + 3.0 * canvas.drift[where]
        sand = palette.sand * 0.4 + np.array([116.0, 104.0, 82.0])
        dune = np.clip(0.5 - (ragged - 27.0 - 4 * canvas.mottle[where]) / 6.0, 0, 1)
        canvas.blend(where, dune, canvas.textured(where, sand, 0.06, 0.04), Surface.BARE)
        canvas.blend(where, np.clip(0.5 - (ragged - 5.0) / 3.0, 0, 1), sand * 0.74, Surface.BARE)
        sea = sea + shallow * 0.55 * (sand.astype(np.float32) * 0.85 - sea)
        canvas.blend(where, np.clip(0.5 - ragged / 1.5, 0, 1), sea, Surface.WATER)
        for crest in (0.0, -9.0, -21.0):
            line = np.exp(-(((ragged - crest + 2.5 * canvas.mottle[where]) / 1.1) ** 2))
            line *= np.clip(0.5 + 1.2 * canvas.drift[where], 0, 1) * (0.7 if crest == 0 else 0.35)
            canvas.blend(where, line.astype(np.float32), np.array([222.0, 226.0, 224.0]))
    cells = (np.arange(canvas.use.shape[0]) + 0.5) * USE_STEP_M
    inland = shore.inland_m(cells[None, :], cells[:, None])
    canvas.use[inland < (14.0 if shore.quay else 30.0)] = CODE["beach"]
    canvas.use[inland < 0] = CODE["water"]
