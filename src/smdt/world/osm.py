"""A place from an OpenStreetMap extract: real streets, buildings, trees, land and water as raster layers.

What is mapped is drawn where it is; what is not mapped (roof forms, façade colours, most trees of gardens and
woods, lamps) is filled in from a seed, so that it is plausible, not true. The ground is flat: bridges, cuttings and
hills are not raised. One extract and one seed give one place, to the byte.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smdt.errors import ImageryError
from smdt.world.grid import Bounds, grid_over
from smdt.world.layers import Place
from smdt.world.osm_buildings import place_buildings
from smdt.world.osm_canvas import Canvas
from smdt.world.osm_ground import paint_barriers, paint_ground
from smdt.world.osm_plants import plant_trees
from smdt.world.osm_reading import read_bounds, read_features
from smdt.world.osm_roads import paint_ways
from smdt.world.osm_tags import ATTRIBUTION
from smdt.world.osm_traffic import draw_bays, find_poles, road_spots, to_streets


def build_osm_place(
    path: Path, *, pixel_m: float = 0.25, bounds: Bounds | None = None, seed: int = 0
) -> Place:
    """Build a place from an OpenStreetMap extract.

    Args:
        path: the extract (``.osm.pbf``, ``.osm``; whatever osmium reads).
        pixel_m: metres on the ground per pixel.
        bounds: west, south, east, north in degrees; the extract's own unless given.
        seed: of everything that the extract does not say.

    Returns:
        The layers, with the attribution that ODbL asks for.

    Raises:
        ConfigError: if osmium is not installed, or the bounds are none or too large.
        ImageryError: if the extract cannot be read, or nothing of it lies in the bounds.

    Source: https://wiki.openstreetmap.org/wiki/Map_features for what tags mean.
    """
    if not path.is_file():
        raise ImageryError("there is no such extract", where=path, remedy="check the path")
    grid = grid_over(bounds or read_bounds(path), pixel_m)
    features = read_features(path, grid)
    rng = np.random.default_rng([seed, 20040809])
    noise, ground, ways, houses, trees, traffic = rng.spawn(6)
    canvas = Canvas(grid, noise)
    plan = paint_ground(canvas, features, ground)
    roads = paint_ways(canvas, features, plan.dense, ways)
    bays = draw_bays(canvas, features)
    paint_barriers(canvas, features)
    buildings = place_buildings(canvas, features, houses)
    spots = np.concatenate([bays, road_spots(canvas, roads, traffic)])
    streets = to_streets(grid, roads.roads)
    if not streets and not len(buildings.angle_rad):
        raise ImageryError(
            "no road and no building of the extract lies in the bounds",
            where=path,
            remedy="check --bounds: west,south,east,north in degrees",
        )
    poles = find_poles(canvas, features, roads, traffic)
    return Place(
        name=f"OpenStreetMap, {path.name}, seed {seed}",
        colour=canvas.colour,
        height_m=canvas.height_m,
        surface=canvas.surface,
        object_id=canvas.object_id,
        buildings=buildings,
        streets=streets,
        pixel_m=pixel_m,
        latitude_deg=grid.latitude_deg,
        longitude_deg=grid.longitude_deg,
        trees=plant_trees(canvas, features, plan, trees),
        car_spots=spots,
        poles=poles,
        attribution=ATTRIBUTION,
    )
