"""What hills change in a place: more kinds of country road, woods on one side, and steep slopes that are bare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smdt.world.canvas import CODE, Canvas, Floats, Rasters, member
from smdt.world.earthworks import Ground
from smdt.world.layers import Surface
from smdt.world.palette import Palette
from smdt.world.plan import Patch, Plan
from smdt.world.roads import Road, offset, resample

_ROCKS = np.array(
    [(186, 178, 164), (132, 128, 122), (166, 116, 88), (104, 97, 90), (158, 146, 128)], np.float64
)
_ROCKY = {"arid": 0.75, "dry": 0.5, "boreal": 0.5, "bare": 0.4}
_BARE_FROM = {"arid": 0.46, "dry": 0.55, "bare": 0.55}
_SOFT = (Surface.GRASS, Surface.FIELD, Surface.BARE)


def rocky_share(palette: Palette) -> float:
    """Share of a region's cuttings that are in rock."""
    return _ROCKY.get(palette.climate, 0.3)


def vary_country_roads(
    rng: np.random.Generator, plan: Plan, palette: Palette, style: str, relief: float
) -> None:
    """Give country roads more kinds, and some of them woods or open land on one side only, in place."""
    plan.roads = [_varied(rng, road, relief) if _is_country(road) else road for road in plan.roads]
    share = {"rural": 0.4, "forest": 0.3, "farmland": 0.15}.get(style, 0.0)
    for road in plan.roads:
        if _is_country(road) and rng.random() < share:
            side = float(rng.choice([-1.0, 1.0]))
            wooded = style != "forest" and rng.random() < 0.6
            _line_one_side(rng, plan, palette, road, side, wooded=wooded)
            if wooded and rng.random() < 0.5:
                _line_one_side(rng, plan, palette, road, -side, wooded=False)


def _is_country(road: Road) -> bool:
    return road.frontage in ("farm", "cabin") and not road.urban


def _varied(rng: np.random.Generator, road: Road, relief: float) -> Road:
    """One road as a narrow lane, a wide road, or as it is, with other verges."""
    kind = rng.random()
    verge = float(
        rng.choice([0.4, 1.0, 2.0, 4.0, 8.0], p=[0.15, 0.25, 0.25, 0.2, 0.15]) * rng.uniform(0.8, 1.2)
    )
    rail = bool(rng.random() < 0.1 + 0.35 * relief) and road.cover in ("asphalt", "concrete")
    road = replace(road, mown_m=verge, rail=rail and road.width_m > 5.5)
    if road.cover in ("gravel", "dirt"):
        narrow = float(rng.uniform(2.9, 3.8))
        return replace(road, width_m=narrow, shoulder_m=0.3) if kind < 0.5 else road
    if kind < 0.25:  # a lane without lines
        return replace(
            road, width_m=float(rng.uniform(3.2, 4.6)), lanes=2, centre="none", edge_lines=False, rail=False,
            shoulder_m=float(rng.uniform(0.2, 0.6)), mown_m=min(verge, 2.0),
        )  # fmt: skip
    if kind < 0.5 and road.lanes == 2:  # wide, with gravel beside it
        return replace(
            road, width_m=float(rng.uniform(7.8, 9.6)), centre=str(rng.choice(["double", "dashed"])),
            edge_lines=True, shoulder_m=float(rng.uniform(1.4, 3.2)), rank=3,
        )  # fmt: skip
    return road


def _line_one_side(
    rng: np.random.Generator, plan: Plan, palette: Palette, road: Road, side: float, *, wooded: bool
) -> None:
    """Cover a strip along one side of a road with woods, or with open land."""
    open_land = (
        "scrub" if palette.climate == "arid" else str(rng.choice(["meadow", "pasture", "meadow", "crop"]))
    )
    use = str(rng.choice(["wood", "wood", "thin wood"])) if wooded else open_land
    line = resample(road.points_m, 20.0)
    if len(line) < 4:
        return
    start = road.half_m + 0.5 * road.mown_m + 0.5
    deep = float(rng.uniform(20, 60) if wooded else rng.uniform(12, 45))
    near, far = offset(line, side * start), offset(line, side * (start + deep))
    for k in range(0, len(line) - 2, 2):
        corners = np.stack([near[k], near[k + 2], far[k + 2], far[k]])
        plan.patches.append(Patch(corners, use))


def paint_slopes(
    rng: np.random.Generator, canvas: Canvas, palette: Palette, ground: Ground, *, tended: bool
) -> None:
    """Bare earth and rock where the ground is too steep for grass, ragged by the canvas' noise.

    Args:
        rng: where the randomness comes from.
        canvas: painted on.
        palette: colours, and how soon grass gives up.
        ground: with its roads.
        tended: grass is kept on steeper banks, as in towns.
    """
    rock = _ROCKS[rng.integers(len(_ROCKS))] * rng.normal(1, 0.05) + 0.25 * (palette.soil - 120.0)
    earth = 0.55 * palette.soil + 0.45 * palette.sand
    bare_from = (
        _BARE_FROM.get(palette.climate, 0.66) + float(rng.uniform(-0.06, 0.1)) + (0.3 if tended else 0.0)
    )
    rocky = rng.random() < rocky_share(palette) + 0.2
    rock_from = max(0.6 if rocky else 1.15, bare_from)
    steep_cells = ground.steepness()
    if float(steep_cells.max()) < bare_from - 0.3:
        return
    steep = ground.on_canvas(canvas.size_px, steep_cells)
    for top in range(0, canvas.size_px, 512):  # by bands, for the sake of memory
        where = (slice(top, top + 512), slice(0, canvas.size_px))
        slope, drift, mottle = steep[where], canvas.drift[where], canvas.mottle[where]
        soft = member(canvas.surface[where], _SOFT)
        bare = np.clip((slope + 0.22 * drift + 0.10 * mottle - bare_from) / 0.14, 0, 1) * soft
        if not bare.any():
            continue
        stone = np.clip((slope + 0.2 * drift + 0.12 * mottle - rock_from) / 0.3, 0, 1)[..., None]
        paint = _toned(earth, 0.12, mottle, drift)
        paint = paint + stone * (_toned(rock, 0.2, mottle, drift) - paint)
        canvas.blend(where, (0.92 * bare).astype(np.float32), paint, Surface.BARE)
    cells = canvas.use.shape[0]
    canvas.use[(steep_cells[:cells, :cells] > 1.05) & (canvas.use != CODE["water"])] = CODE["verge"]


def _toned(tone: Floats, grain: float, mottle: Rasters, drift: Rasters) -> Rasters:
    result: Rasters = (1.0 + grain * mottle + 0.08 * drift)[..., None] * np.asarray(tone, np.float32)
    return result
