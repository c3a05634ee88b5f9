"""A procedural town: streets, houses, gardens, trees and car parks as raster layers.

Streets are the edges of a relaxed Voronoi diagram, bent a little, so blocks are never a plain grid. Houses
stand along them, lot by lot, with flat or gabled roofs; each block has a use (homes, apartments, park, field,
car park) that sets its ground, its buildings and its trees. One seed gives one town, to the byte.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates
from scipy.spatial import Voronoi

from smdt.errors import ConfigError
from smdt.world.layers import BuildingTable, Place, Street, Surface

Floats = npt.NDArray[np.float64]
Rasters = npt.NDArray[np.float32]

DEFAULT_ANCHOR = (45.0, -30.0)
"""South-west corner of towns unless told otherwise: open Atlantic, so that nobody takes one for a real place."""


@dataclass(frozen=True)
class TownConfig:
    """Settings of a procedural town.

    Attributes:
        seed: one seed, one town.
        side_m: side of the square town.
        pixel_m: metres per pixel of its layers.
        block_m: typical distance between neighbouring block centres.
        latitude_deg: WGS84, of the south-west corner.
        longitude_deg: WGS84, of the south-west corner.
    """

    seed: int = 0
    side_m: float = 1000.0
    pixel_m: float = 0.25
    block_m: float = 85.0
    latitude_deg: float = DEFAULT_ANCHOR[0]
    longitude_deg: float = DEFAULT_ANCHOR[1]

    def __post_init__(self) -> None:
        """Refuse towns that cannot be built."""
        if not 100.0 <= self.side_m <= 20_000.0:
            raise ConfigError(f"a town of {self.side_m} m is not between 100 m and 20 km", where="side_m")
        if not 0.05 <= self.pixel_m <= 2.0:
            raise ConfigError(f"{self.pixel_m} m per pixel is not between 0.05 and 2", where="pixel_m")
        if self.block_m < 30.0:
            raise ConfigError(f"blocks of {self.block_m} m leave no room for houses", where="block_m")


_USES = ("homes", "homes", "homes", "apartments", "apartments", "park", "field", "parking")


@dataclass
class _Canvas:
    """Layers under construction. Row 0 is the northern edge; drawing works on windows around each thing."""

    side_m: float
    pixel_m: float
    colour: Rasters
    height_m: Rasters
    surface: npt.NDArray[np.uint8]
    object_id: npt.NDArray[np.int32]
    noise: Rasters
    buildings: list[tuple[Floats, Floats, float, Floats, float]] = field(default_factory=list)

    @property
    def size_px(self) -> int:
        return int(self.surface.shape[0])

    def window(
        self, east_m: Floats, north_m: Floats, margin_m: float
    ) -> tuple[tuple[slice, slice], Floats, Floats] | None:
        """The pixels around some points: their slices, and the east and north of their centres (broadcastable)."""
        size, step = self.size_px, self.pixel_m
        left = max(0, int((east_m.min() - margin_m) / step))
        right = min(size, int((east_m.max() + margin_m) / step) + 2)
        top = max(0, size - int((north_m.max() + margin_m) / step) - 2)
        bottom = min(size, size - int((north_m.min() - margin_m) / step))
        if left >= right or top >= bottom:
            return None
        east = (np.arange(left, right, dtype=np.float64) + 0.5) * step
        north = (size - np.arange(top, bottom, dtype=np.float64) - 0.5) * step
        return (slice(top, bottom), slice(left, right)), east[None, :], north[:, None]


def build_town(config: TownConfig) -> Place:
    """Build a town: 1 km² at 0.25 m takes some seconds on one core.

    Args:
        config: seed, size, resolution and anchor.

    Returns:
        The layers; the same config gives the same bytes.
    """
    rng = np.random.default_rng([config.seed, 20220718])
    size = round(config.side_m / config.pixel_m)
    canvas = _Canvas(
        side_m=config.side_m,
        pixel_m=config.pixel_m,
        colour=np.zeros((size, size, 3), np.float32),
        height_m=np.zeros((size, size), np.float32),
        surface=np.zeros((size, size), np.uint8),
        object_id=np.zeros((size, size), np.int32),
        noise=_noise(rng, size),
    )
    seeds, streets = _street_network(rng, config)
    uses = _draw_blocks(rng, canvas, seeds)
    _draw_streets(rng, canvas, streets)
    for index, use in enumerate(uses):
        if use == "parking":
            _draw_parking(rng, canvas, seeds[index])
    _place_buildings(rng, canvas, streets, seeds, uses)
    _plant_trees(rng, canvas, streets, seeds, uses)
    _light(rng, canvas)
    rows = canvas.buildings
    table = BuildingTable(
        centre_m=np.array([row[0] for row in rows], np.float32).reshape(-1, 2),
        half_size_m=np.array([row[1] for row in rows], np.float32).reshape(-1, 2),
        angle_rad=np.array([row[2] for row in rows], np.float32),
        facade=np.array([row[3] for row in rows], np.float32).reshape(-1, 3),
        storey_m=np.array([row[4] for row in rows], np.float32),
    )
    return Place(
        name=f"simulated town, seed {config.seed}",
        colour=np.clip(canvas.colour, 0, 255).astype(np.uint8),
        height_m=canvas.height_m,
        surface=canvas.surface,
        object_id=canvas.object_id,
        buildings=table,
        streets=streets,
        pixel_m=config.pixel_m,
        latitude_deg=config.latitude_deg,
        longitude_deg=config.longitude_deg,
    )


def _noise(rng: np.random.Generator, size: int) -> Rasters:
    """Mottled noise in about -1..1, (size, size): several octaves of smoothly enlarged random grids."""
    total = np.zeros((size, size), np.float32)
    for cells, weight in ((12, 0.35), (60, 0.3), (400, 0.35)):
        grid = rng.uniform(-1, 1, (cells + 2, cells + 2)).astype(np.float32)
        at = np.linspace(0, cells, size, dtype=np.float32)
        low = np.floor(at).astype(int)
        part = at - low
        rows = grid[low] * (1 - part[:, None]) + grid[low + 1] * part[:, None]
        total += weight * (rows[:, low] * (1 - part) + rows[:, low + 1] * part)
    return total + 0.25 * rng.standard_normal((size, size), dtype=np.float32)


def _street_network(rng: np.random.Generator, config: TownConfig) -> tuple[Floats, tuple[Street, ...]]:
    """Block centres (N, 2) and the streets between them, in metres east and north."""
    side, margin = config.side_m, 2.0 * config.block_m
    count = max(8, round(((side + 2 * margin) / config.block_m) ** 2))
    seeds = rng.uniform(-margin, side + margin, (count, 2))
    for _ in range(2):  # Lloyd's relaxation: evener blocks, still irregular
        diagram = Voronoi(seeds)
        moved = seeds.copy()
        for index, region in enumerate(diagram.point_region):
            corners = diagram.regions[region]
            if corners and -1 not in corners:
                moved[index] = seeds[index] + 0.8 * (diagram.vertices[corners].mean(0) - seeds[index])
        seeds = np.clip(moved, -margin, side + margin)
    diagram = Voronoi(seeds)
    streets = []
    for start, end in diagram.ridge_vertices:
        if start < 0 or rng.random() < 0.08:  # some edges are no street: larger blocks, dead ends
            continue
        ends = diagram.vertices[[start, end]]
        length = float(np.linalg.norm(ends[1] - ends[0]))
        if length < 8.0 or not np.any((ends > -40.0).all(1) & (ends < side + 40.0).all(1)):
            continue
        normal = np.array([ends[0, 1] - ends[1, 1], ends[1, 0] - ends[0, 0]]) / length
        bend = ends.mean(0) + normal * rng.normal(0.0, 0.07) * length
        t = np.linspace(0, 1, max(2, round(length / 12.0)) + 1)[:, None]
        points = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * bend + t**2 * ends[1]
        streets.append(Street(points, float(rng.choice([5.0, 6.0, 7.0, 9.0], p=[0.25, 0.35, 0.25, 0.15]))))
    return seeds, tuple(streets)


def _draw_blocks(rng: np.random.Generator, canvas: _Canvas, seeds: Floats) -> list[str]:
    """Paint each block's ground by its use; returns the use of every block."""
    from scipy.spatial import cKDTree

    uses = [str(rng.choice(_USES)) for _ in seeds]
    lawn = np.array([98.0, 108.0, 72.0]) * rng.normal(1, 0.1) + rng.normal(0, 5, 3)
    bare = np.array([150.0, 128.0, 95.0]) + rng.normal(0, 12, 3)
    size, coarse = canvas.size_px, 4
    at = (np.arange(0, size, coarse) + coarse / 2) * canvas.pixel_m
    grid = np.stack(np.meshgrid(at, canvas.side_m - at), -1).reshape(-1, 2)
    _, owner = cKDTree(seeds).query(grid)
    owner = owner.reshape(len(at), len(at)).repeat(coarse, 0).repeat(coarse, 1)[:size, :size]
    ground = np.empty((len(seeds), 3), np.float32)
    kind = np.empty(len(seeds), np.uint8)
    for index, use in enumerate(uses):
        tint = rng.normal(0, 8) + rng.normal(0, 4, 3)
        dry = rng.uniform(0, 1) ** 2
        ground[index] = {
            "park": lawn + 6,
            "field": lawn * (1 - dry) + bare * dry + rng.normal(0, 12),
            "parking": lawn * 0.9,
        }.get(use, lawn * (1 - 0.3 * dry) + bare * 0.3 * dry) + tint
        kind[index] = Surface.FIELD if use == "field" else Surface.GRASS
    canvas.colour[:] = ground[owner] * (1 + 0.16 * canvas.noise[..., None])
    canvas.surface[:] = kind[owner]
    angles = rng.uniform(0, math.pi, len(seeds)).astype(np.float32)
    furrows = np.isin(owner, [index for index, use in enumerate(uses) if use == "field"])
    rows, columns = np.nonzero(furrows)
    along = columns * np.cos(angles[owner[rows, columns]]) + rows * np.sin(angles[owner[rows, columns]])
    canvas.colour[rows, columns] *= (1 + 0.10 * np.sin(along * (canvas.pixel_m * 2 * math.pi / 2.5)))[:, None]
    return uses


def _draw_streets(rng: np.random.Generator, canvas: _Canvas, streets: tuple[Street, ...]) -> None:
    """Paint pavements, carriageways and markings, in that order so that junctions join."""
    asphalt = rng.uniform(78, 120) + np.array([0.0, 1.0, 3.0])
    paving = np.array([158.0, 154.0, 146.0]) + rng.normal(0, 8, 3)
    marking = np.array([222.0, 220.0, 210.0])
    tones = [asphalt * rng.uniform(0.9, 1.1) for _ in streets]
    centre_line = [street.width_m >= 6.0 and rng.random() < 0.8 for street in streets]
    for layer in ("pavement", "road", "marking"):
        for street, tone, lined in zip(streets, tones, centre_line, strict=True):
            if layer == "marking" and not lined:
                continue
            found = _distance_to_line(canvas, street.points_m, street.width_m / 2 + 3.0)
            if found is None:
                continue
            where, distance, along = found
            noise = canvas.noise[where][..., None]
            if layer == "pavement":
                mask = distance <= street.width_m / 2 + 1.8
                canvas.surface[where][mask] = Surface.PAVEMENT
                canvas.colour[where][mask] = (paving * (1 + 0.05 * noise))[mask]
            elif layer == "road":
                mask = distance <= street.width_m / 2
                canvas.surface[where][mask] = Surface.ROAD
                canvas.colour[where][mask] = (tone * (1 + 0.07 * noise))[mask]
            else:
                away = (along > 6.0) & (along < along.max() - 6.0)
                mask = (distance <= 0.15) & (np.mod(along, 7.0) < 3.5) & away
                canvas.colour[where][mask] = marking


def _distance_to_line(
    canvas: _Canvas, points_m: Floats, margin_m: float
) -> tuple[tuple[slice, slice], Rasters, Rasters] | None:
    """Distance to a polyline and position along it, in metres, over the window around it."""
    found = canvas.window(points_m[:, 0], points_m[:, 1], margin_m)
    if found is None:
        return None
    where, east, north = found
    distance = np.full((north.shape[0], east.shape[1]), np.inf, np.float32)
    along = np.zeros_like(distance)
    travelled = 0.0
    for start, end in itertools.pairwise(points_m):
        step = end - start
        length = float(np.hypot(*step))
        u = np.clip(((east - start[0]) * step[0] + (north - start[1]) * step[1]) / length**2, 0.0, 1.0)
        here = np.hypot(east - start[0] - u * step[0], north - start[1] - u * step[1])
        nearer = here < distance
        distance = np.where(nearer, here, distance).astype(np.float32)
        along = np.where(nearer, travelled + u * length, along).astype(np.float32)
        travelled += length
    return where, distance, along


def _draw_parking(rng: np.random.Generator, canvas: _Canvas, centre_m: Floats) -> None:
    """A car park with marked bays and cars seen from above, where the block is still grass."""
    half, angle = rng.uniform(12, 24, 2), rng.uniform(0, math.pi)
    found = canvas.window(centre_m[:1], centre_m[1:], 36.0)
    if found is None:
        return
    where, east, north = found
    a, b = _rotate(east - centre_m[0], north - centre_m[1], angle)
    free = (np.abs(a) < half[0]) & (np.abs(b) < half[1]) & (canvas.surface[where] == Surface.GRASS)
    canvas.surface[where][free] = Surface.PARKING
    canvas.colour[where][free] = (rng.uniform(85, 125) * (1 + 0.06 * canvas.noise[where][..., None]))[free]
    canvas.colour[where][free & (np.mod(a, 2.6) < 0.2) & (np.mod(b, 16.0) < 10.0)] = 215.0
    bay, row = np.floor(a / 2.6).astype(int), np.floor(b / 5.0).astype(int)
    cars = rng.random((40, 40)) < 0.55
    paint = rng.choice([30.0, 70.0, 120.0, 180.0, 235.0], (40, 40, 1)) + rng.normal(0, 9, (40, 40, 3))
    body = (np.abs(np.mod(a, 2.6) - 1.4) < 0.9) & (np.abs(np.mod(b, 5.0) - 2.5) < 2.1) & free
    body &= cars[bay % 40, row % 40] & (np.mod(row, 3) != 2)
    canvas.colour[where][body] = paint[bay % 40, row % 40][body]
    canvas.height_m[where][body] = 1.5


def _rotate(east: Floats, north: Floats, angle_rad: float) -> tuple[Floats, Floats]:
    """Coordinates along and across a direction given anticlockwise from east."""
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    return east * cosine + north * sine, north * cosine - east * sine


def _place_buildings(
    rng: np.random.Generator, canvas: _Canvas, streets: tuple[Street, ...], seeds: Floats, uses: list[str]
) -> None:
    """Set houses along both sides of every street, wherever the ground is free."""
    from scipy.spatial import cKDTree

    tree = cKDTree(seeds)
    walls = np.array([[214, 205, 190], [178, 120, 96], [226, 222, 214], [160, 150, 140], [196, 170, 120]])
    for street in streets:
        steps = np.diff(street.points_m, axis=0)
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        stations = np.concatenate([[0.0], np.cumsum(lengths)])
        for side in (-1.0, 1.0):
            at = rng.uniform(4, 12)
            while at < stations[-1] - 4:
                piece = min(int(np.searchsorted(stations, at, side="right")) - 1, len(steps) - 1)
                tangent = steps[piece] / lengths[piece]
                normal = side * np.array([-tangent[1], tangent[0]])
                foot = street.points_m[piece] + tangent * (at - stations[piece])
                use = uses[int(tree.query(foot + normal * 20.0)[1])]
                if use in ("park", "field") or (use == "parking" and rng.random() < 0.7):
                    at += 20.0
                    continue
                flats = use == "apartments"
                half = rng.uniform([6, 5], [17, 8]) if flats else rng.uniform([4, 3.5], [8, 6])
                setback = street.width_m / 2 + 2.0 + (rng.uniform(0, 4) if flats else rng.uniform(2, 9))
                centre = foot + normal * (setback + half[1])
                angle = math.atan2(tangent[1], tangent[0]) + rng.normal(0, 0.03)
                storeys = int(rng.integers(2, 7)) if flats else int(rng.integers(1, 3))
                facade = walls[rng.integers(len(walls))] + rng.normal(0, 14) + rng.normal(0, 6, 3)
                _draw_building(rng, canvas, centre, half, angle, storeys, facade)
                at += 2 * half[0] + rng.uniform(1, 14)


def _draw_building(
    rng: np.random.Generator,
    canvas: _Canvas,
    centre: Floats,
    half: Floats,
    angle: float,
    storeys: int,
    facade: Floats,
) -> None:
    """Draw one building with a flat or gabled roof, unless it would stand on a street or another building."""
    found = canvas.window(centre[:1], centre[1:], float(np.hypot(*half)) + 1.5)
    if found is None:
        return
    where, east, north = found
    a, b = _rotate(east - centre[0], north - centre[1], angle)
    inside = (np.abs(a) <= half[0]) & (np.abs(b) <= half[1])
    taken = (np.abs(a) <= half[0] + 1.0) & (np.abs(b) <= half[1] + 1.0)
    surface = canvas.surface[where]
    if not inside.any() or np.isin(surface[taken], [Surface.ROAD, Surface.PAVEMENT, Surface.BUILDING]).any():
        return
    storey = float(rng.uniform(2.8, 3.4))
    eaves = storeys * storey + rng.uniform(0.2, 0.8)
    gabled = storeys <= 3 and rng.random() < 0.7
    roof_tones = np.array([[150, 78, 58], [92, 84, 80], [118, 98, 82], [168, 160, 150], [70, 74, 84]])
    tone = roof_tones[rng.integers(len(roof_tones))] + rng.normal(0, 14) + rng.normal(0, 5, 3)
    shade = np.ones_like(a)
    height = np.full_like(a, eaves)
    if gabled:
        pitch = rng.uniform(0.4, 0.9)
        height = eaves + (half[1] - np.abs(b)) * pitch
        faces_light = math.cos(angle + math.pi / 2 - math.radians(135.0))
        shade = 1.0 + 0.22 * np.sign(b) * faces_light - 0.25 * (np.abs(b) < 0.25)
    else:
        shade = shade - 0.2 * ((np.abs(a) > half[0] - 0.5) | (np.abs(b) > half[1] - 0.5))
        if storeys > 2:  # plant on the roof
            box = (np.abs(a - half[0] * 0.3) < 2.0) & (np.abs(b) < 1.5)
            height = height + 2.0 * box
            shade = shade + 0.2 * box
    canvas.buildings.append((centre, half, angle, np.clip(facade, 40, 250), storey))
    canvas.surface[where][inside] = Surface.BUILDING
    canvas.height_m[where][inside] = height[inside]
    canvas.object_id[where][inside] = len(canvas.buildings)
    painted = tone * (shade * (1 + 0.06 * canvas.noise[where]))[..., None]
    canvas.colour[where][inside] = painted[inside]


def _plant_trees(
    rng: np.random.Generator, canvas: _Canvas, streets: tuple[Street, ...], seeds: Floats, uses: list[str]
) -> None:
    """Trees in gardens and along streets, woods in parks."""
    from scipy.spatial import cKDTree

    area = canvas.side_m**2
    spots = rng.uniform(0, canvas.side_m, (round(area / 160.0), 2))
    use = np.array(uses)[cKDTree(seeds).query(spots)[1]]
    density = {"park": 0.9, "homes": 0.35, "apartments": 0.22, "field": 0.06, "parking": 0.08}
    wooded = canvas.noise[
        np.clip(((canvas.side_m - spots[:, 1]) / canvas.pixel_m).astype(int), 0, canvas.size_px - 1),
        np.clip((spots[:, 0] / canvas.pixel_m).astype(int), 0, canvas.size_px - 1),
    ]
    keep = rng.random(len(spots)) < np.array([density[name] for name in use]) * np.clip(1 + wooded, 0.1, 2)
    lanes = []
    for street in streets:
        if rng.random() < 0.45:
            spacing = rng.uniform(9, 18)
            for start, end in zip(street.points_m[:-1], street.points_m[1:], strict=True):
                step = (end - start) / max(float(np.hypot(*(end - start))), 1e-6)
                side = np.array([-step[1], step[0]]) * rng.choice([-1, 1]) * (street.width_m / 2 + 2.6)
                if rng.random() < 12.0 / spacing:
                    lanes.append(start + side)
    leaf = np.array([66.0, 82.0, 50.0]) * rng.normal(1, 0.1) + rng.normal(0, 4, 3)
    for spot in [*spots[keep], *lanes]:
        radius = rng.uniform(1.4, 4.2)
        found = canvas.window(spot[:1], spot[1:], radius + 0.5)
        if found is None:
            continue
        where, east, north = found
        away = np.hypot(east - spot[0], north - spot[1]) / radius
        edge = away * (1 + 0.25 * canvas.noise[where])
        crown = (edge <= 1.0) & np.isin(
            canvas.surface[where], [Surface.GRASS, Surface.FIELD, Surface.PAVEMENT, Surface.TREE]
        )
        top = radius * rng.uniform(1.6, 2.6) + 1.0
        height = (top * (0.55 + 0.45 * np.sqrt(np.clip(1 - edge**2, 0, 1)))).astype(np.float32)
        crown &= height > canvas.height_m[where]
        tone = leaf * rng.uniform(0.75, 1.3) + rng.normal(0, 5, 3)
        lit = 1.0 + 0.3 * ((north - spot[1]) - (east - spot[0])) / radius / 1.41 + 0.25 * canvas.noise[where]
        canvas.height_m[where][crown] = height[crown]
        canvas.surface[where][crown] = Surface.TREE
        canvas.colour[where][crown] = (tone * lit[..., None])[crown]


def _light(rng: np.random.Generator, canvas: _Canvas) -> None:
    """Cast the shadows of one sun position into the colour layer."""
    azimuth, elevation = math.radians(rng.uniform(100, 260)), math.radians(rng.uniform(35, 60))
    coarse = 2
    height = canvas.height_m[::coarse, ::coarse]
    step_m = canvas.pixel_m * coarse
    shadow = np.zeros_like(height)
    for step in range(1, int(20.0 / math.tan(elevation) / step_m) + 1):
        rows = -round(step * math.cos(azimuth))
        columns = round(step * math.sin(azimuth))
        shifted = _shift(height, rows, columns) - step * step_m * math.tan(elevation)
        np.maximum(shadow, shifted - height, out=shadow)
    dark = np.clip(shadow / 1.0, 0, 1) * rng.uniform(0.35, 0.55)
    size = canvas.size_px
    at = np.arange(size, dtype=np.float32) / coarse
    full = map_coordinates(dark, np.stack(np.meshgrid(at, at, indexing="ij")), order=1, mode="nearest")
    canvas.colour *= (1 - full)[..., None]


def _shift(image: Rasters, rows: int, columns: int) -> Rasters:
    """The image as seen that many pixels further down and right; zero beyond the edge."""
    height, width = image.shape
    out = np.zeros_like(image)
    out[max(0, -rows) : height - max(0, rows), max(0, -columns) : width - max(0, columns)] = image[
        max(0, rows) : height - max(0, -rows), max(0, columns) : width - max(0, -columns)
    ]
    return out
