"""Procedural places: streets, buildings, gardens, fields, woods and shores as raster layers, in several styles.

A style lays out roads and the use of the ground between them; hills are shaped and roads graded into them; ground,
roads, buildings and plants are drawn in this order, in the colours and habits of one region. One configuration gives
one place, to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from smdt.errors import ConfigError
from smdt.world.banks import paint_slopes, rocky_share, vary_country_roads
from smdt.world.blocks import draw_ground
from smdt.world.canvas import Canvas
from smdt.world.earthworks import Ground, draw_bank
from smdt.world.layers import Place, Street, Surface
from smdt.world.palette import Palette
from smdt.world.paving import draw_roads
from smdt.world.plan import Plan
from smdt.world.sites import build_along_roads
from smdt.world.streets import PLANS
from smdt.world.terrain import Terrain, Waves, relief_of
from smdt.world.vegetation import plant

DEFAULT_ANCHOR = (45.0, -30.0)
"""South-west corner of towns unless told otherwise: open Atlantic, so that nobody takes one for a real place."""

STYLES = (*PLANS, "mixed")
"""What a place may look like; ``mixed`` picks one of the others by the seed."""

_SHARES = {
    "organic": 0.10, "grid": 0.09, "radial": 0.05, "rural": 0.20, "suburb": 0.20, "highrise": 0.07, "farmland": 0.11,
    "forest": 0.12, "coast": 0.06,
}  # fmt: skip


_NO_POLES = (Surface.BUILDING, Surface.ROAD, Surface.WATER, Surface.PARKING)
_NO_CARS = (Surface.BUILDING, Surface.WATER, Surface.TREE, Surface.FENCE)


@dataclass(frozen=True)
class TownConfig:
    """Settings of a procedural place.

    Attributes:
        seed: one seed, one place.
        side_m: side of the square place.
        pixel_m: metres per pixel of its layers.
        block_m: typical distance between neighbouring block centres.
        latitude_deg: WGS84, of the south-west corner.
        longitude_deg: WGS84, of the south-west corner.
        style: one of ``STYLES``.
        relief: how hilly, from 0, flat, to 1, the steep sides of valleys; by style and seed unless given.
    """

    seed: int = 0
    side_m: float = 1000.0
    pixel_m: float = 0.25
    block_m: float = 85.0
    latitude_deg: float = DEFAULT_ANCHOR[0]
    longitude_deg: float = DEFAULT_ANCHOR[1]
    style: str = "mixed"
    relief: float | None = None

    def __post_init__(self) -> None:
        """Refuse places that cannot be built."""
        if not 100.0 <= self.side_m <= 20_000.0:
            raise ConfigError(f"a town of {self.side_m} m is not between 100 m and 20 km", where="side_m")
        if not 0.05 <= self.pixel_m <= 2.0:
            raise ConfigError(f"{self.pixel_m} m per pixel is not between 0.05 and 2", where="pixel_m")
        if self.block_m < 30.0:
            raise ConfigError(f"blocks of {self.block_m} m leave no room for houses", where="block_m")
        if self.relief is not None and not 0.0 <= self.relief <= 1.0:
            raise ConfigError(
                f"a relief of {self.relief:g} is not between 0 (flat) and 1 (steep)", where="relief"
            )
        if self.style not in STYLES:
            raise ConfigError(
                f"there is no style '{self.style}'", where="style", remedy=f"use one of {', '.join(STYLES)}"
            )


def style_of(config: TownConfig) -> str:
    """The style a place is built in: its own, or for ``mixed`` the one its seed picks."""
    if config.style != "mixed":
        return config.style
    rng = np.random.default_rng([config.seed, 19])
    return str(rng.choice(list(_SHARES), p=list(_SHARES.values())))


def build_town(config: TownConfig) -> Place:
    """Build a place: 1 km² at 0.25 m takes some seconds on one core.

    Args:
        config: seed, style, size, resolution and anchor.

    Returns:
        The layers; the same config gives the same bytes.
    """
    rng = np.random.default_rng([config.seed, 20220718])
    style = style_of(config)
    palette = Palette.draw(rng)
    plan = PLANS[style](rng, palette, config.side_m, config.block_m)
    relief = relief_of(style, config.seed) if config.relief is None else config.relief
    hills = np.random.default_rng(
        [config.seed, 29]
    )  # of their own, so that a flat place is what it was without hills
    if relief:
        vary_country_roads(hills, plan, palette, style, relief)
    canvas = Canvas.blank(rng, config.side_m, config.pixel_m)
    draw_ground(rng, canvas, palette, plan)
    _draw_islands_and_roads(rng, canvas, palette, plan)
    terrain = Terrain.draw(hills, relief, plan, config.side_m) if relief else None
    ground = _shape_ground(hills, canvas, palette, terrain) if terrain else None
    build_along_roads(rng, canvas, palette, plan)
    plant(rng, canvas, palette, plan)
    place = _finished(config, style, canvas, plan)
    if terrain is None or ground is None:
        return place
    ground.lay_pads(canvas)
    plain = float(np.median([ground.level[0], ground.level[-1], ground.level[:, 0], ground.level[:, -1]]))
    return replace(
        place,
        ground_m=ground.on_canvas(canvas.size_px),
        skyline_m=terrain.skyline(hills, plain),
    )


def _shape_ground(rng: np.random.Generator, canvas: Canvas, palette: Palette, terrain: Terrain) -> Ground:
    """The ground with all roads graded into it; what is steep is painted bare."""
    ground = Ground.of(terrain, canvas.side_m)
    roads = terrain.plan.roads
    if roads:
        banks = [draw_bank(rng, road, rocky_share(palette)) for road in roads]
        ground.lay_roads(roads, banks, terrain, Waves.draw(rng, 7.0, 26.0, 12, 0.12))
    paint_slopes(rng, canvas, palette, ground, tended=any(road.urban for road in roads))
    return ground


def _finished(config: TownConfig, style: str, canvas: Canvas, plan: Plan) -> Place:
    """The place that a canvas shows, flat."""
    return Place(
        name=f"simulated {style} place, seed {config.seed}",
        colour=np.clip(canvas.colour, 0, 255).astype(np.uint8),
        height_m=canvas.height_m,
        surface=canvas.surface,
        object_id=canvas.object_id,
        buildings=canvas.building_table(),
        streets=tuple(Street(road.points_m, road.width_m) for road in plan.roads),
        pixel_m=config.pixel_m,
        latitude_deg=config.latitude_deg,
        longitude_deg=config.longitude_deg,
        trees=canvas.tree_table(),
        car_spots=_standing(canvas, canvas.car_spots, _NO_CARS),
        poles=_standing(canvas, canvas.poles, _NO_POLES),
    )


def _draw_islands_and_roads(rng: np.random.Generator, canvas: Canvas, palette: Palette, plan: Plan) -> None:
    """Roads, under them the lawns inside roundabouts."""
    draw_roads(rng, canvas, palette, plan.roads)
    for east, north, radius_m in plan.islands:
        found = canvas.window(np.array([east]), np.array([north]), radius_m + 1)
        if found is not None:
            where, x, y = found
            cover = canvas.inside(np.hypot(x - east, y - north) - radius_m)
            canvas.blend(where, cover, canvas.textured(where, palette.lawn[0], 0.12, 0.1), Surface.GRASS)


def _standing(
    canvas: Canvas, rows: list[tuple[float, float, float]], blocked: tuple[Surface, ...]
) -> npt.NDArray[np.float32]:
    """Those of the rows (east, north, …) where nothing else has come to stand."""
    kept = [row for row in rows if canvas.surface_at(row[0], row[1]) not in blocked]
    return np.array(kept, np.float32).reshape(-1, 3)
