"""A place as a stack of aligned rasters: colour, ground, height above it, class and objects, with coordinates.

Positions inside a place are (east, north) in metres on the ground from its south-west corner. Rasters are
north up; row 0 is the northern edge. The stack is anchored in Web Mercator, so it can be written as a GeoTIFF
and read like any other aerial image.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from smdt.geometry.geodesy import from_web_mercator, to_web_mercator

SKYLINE_AT_M = (900.0, 3000.0)
"""How far away the ridges of a place's skyline stand."""


class Surface(IntEnum):
    """What a pixel of a place shows; also the classes of rendered label maps (with SKY)."""

    GRASS = 0
    ROAD = 1
    PAVEMENT = 2
    FIELD = 3
    WATER = 4
    TREE = 5
    BUILDING = 6
    PARKING = 7
    SKY = 8
    VEHICLE = 9
    BARE = 10
    FENCE = 11
    POLE = 12
    PERSON = 13


@dataclass(frozen=True)
class Street:
    """A street's centre line.

    Attributes:
        points_m: (N, 2) east, north of its vertices.
        width_m: width of the carriageway.
    """

    points_m: npt.NDArray[np.float64]
    width_m: float


@dataclass(frozen=True)
class BuildingTable:
    """What rasters cannot say of buildings; row i describes the object whose raster number is i + 1.

    Attributes:
        centre_m: (N, 2) east, north.
        half_size_m: (N, 2) half length and half depth.
        angle_rad: (N,) direction of the length axis, anticlockwise from east.
        facade: (N, 3) wall colour, RGB in 0..255.
        storey_m: (N,) height of a storey.
    """

    centre_m: npt.NDArray[np.float32]
    half_size_m: npt.NDArray[np.float32]
    angle_rad: npt.NDArray[np.float32]
    facade: npt.NDArray[np.float32]
    storey_m: npt.NDArray[np.float32]


@dataclass(frozen=True)
class TreeTable:
    """Single trees, which a height raster can only show as solid from crown to ground.

    The renderer draws near ones with trunk and gaps; the rasters carry their crowns for the aerial view and for
    distant trees.

    Attributes:
        centre_m: (N, 2) east, north.
        radius_m: (N,) of the crown.
        top_m: (N,) height of the crown's top.
        crown_base_m: (N,) height of the crown's underside; 0 for hedges and bushes.
        colour: (N, 3) leaf colour in summer, RGB in 0..255.
        conifer: (N,) bool, pointed and evergreen.
    """

    centre_m: npt.NDArray[np.float32]
    radius_m: npt.NDArray[np.float32]
    top_m: npt.NDArray[np.float32]
    crown_base_m: npt.NDArray[np.float32]
    colour: npt.NDArray[np.float32]
    conifer: npt.NDArray[np.bool_]

    @staticmethod
    def empty() -> TreeTable:
        """No trees."""
        none = np.zeros(0, np.float32)
        pairs = none.reshape(0, 2)
        return TreeTable(pairs, none, none, none, none.reshape(0, 3), np.zeros(0, np.bool_))


@dataclass(frozen=True)
class Place:
    """Aligned layers of a place, and where on Earth it lies.

    Attributes:
        name: what made it, for people.
        colour: (H, W, 3) uint8, seen from above in even light, without shadows.
        height_m: (H, W) float32, height of the surface above the ground.
        surface: (H, W) uint8 of :class:`Surface`.
        object_id: (H, W) int32, 1 + row in ``buildings``, 0 where there is none.
        buildings: attributes of the objects.
        streets: centre lines.
        pixel_m: metres on the ground per pixel.
        latitude_deg: WGS84, of the south-west corner.
        longitude_deg: WGS84, of the south-west corner.
        trees: single trees; their crowns are in the rasters too.
        car_spots: (N, 3) east, north and direction (radians, anticlockwise from east) where a car may stand or drive.
            The rasters show no cars: what moves is drawn for each moment.
        poles: (N, 3) east, north and height of lamp posts, power poles and signs; not in the rasters.
        attribution: whose data the place was made from, to be named wherever it is shown.
        ground_m: (H, W) float32, elevation of the bare ground (a terrain model), in metres from any level; zeros where
            the place is flat, and unless given.
        skyline_m: (K, N) float32, elevation of the land beyond the place: of K ridges, ``SKYLINE_AT_M`` away, at N
            azimuths evenly from north, clockwise. N is 0 where nothing is known of it.
    """

    name: str
    colour: npt.NDArray[np.uint8]
    height_m: npt.NDArray[np.float32]
    surface: npt.NDArray[np.uint8]
    object_id: npt.NDArray[np.int32]
    buildings: BuildingTable
    streets: tuple[Street, ...]
    pixel_m: float
    latitude_deg: float
    longitude_deg: float
    trees: TreeTable = field(default_factory=TreeTable.empty)
    car_spots: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    poles: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    attribution: str = ""
    ground_m: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    skyline_m: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((len(SKYLINE_AT_M), 0), np.float32)
    )

    def __post_init__(self) -> None:
        """A place without terrain is level."""
        if not self.ground_m.size:
            object.__setattr__(self, "ground_m", np.zeros(self.surface.shape, np.float32))

    @property
    def is_flat(self) -> bool:
        """Whether the ground has one elevation all over."""
        return not bool((self.ground_m != self.ground_m.flat[0]).any())

    def ground_at(self, east_m: npt.ArrayLike, north_m: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Elevation of the ground at positions, bilinear between pixel centres; at the edge's beyond it."""
        rows, columns = self.ground_m.shape
        x = np.clip(np.asarray(east_m, np.float64) / self.pixel_m - 0.5, 0, columns - 1)
        y = np.clip(rows - np.asarray(north_m, np.float64) / self.pixel_m - 0.5, 0, rows - 1)
        left, top = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
        across, down = x - left, y - top
        ground = self.ground_m
        upper = ground[top, left] * (1 - across) + ground[top, left + 1] * across
        lower = ground[top + 1, left] * (1 - across) + ground[top + 1, left + 1] * across
        return np.asarray(upper * (1 - down) + lower * down, np.float64)

    def seed_of_name(self) -> int:
        """A number that is the same for the same place: for what varies between places but not between runs."""
        return zlib.crc32(self.name.encode())

    @property
    def size_m(self) -> tuple[float, float]:
        """Extent east and north in metres on the ground."""
        height, width = self.surface.shape
        return width * self.pixel_m, height * self.pixel_m

    @property
    def mercator_scale(self) -> float:
        """Web-Mercator metres per metre on the ground, at the place's middle."""
        middle = self.latitude_deg + math.degrees(self.size_m[1] / 2.0 / 6378137.0)
        return 1.0 / math.cos(math.radians(middle))

    def mercator_corner_m(self) -> tuple[float, float]:
        """Web-Mercator x of the western edge and y of the northern edge."""
        x, y = to_web_mercator(self.latitude_deg, self.longitude_deg)
        return float(x), float(y) + self.size_m[1] * self.mercator_scale

    def to_position(
        self, east_m: npt.ArrayLike, north_m: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Latitude and longitude in degrees of places given in metres from the south-west corner."""
        x, y = to_web_mercator(self.latitude_deg, self.longitude_deg)
        scale = self.mercator_scale
        return from_web_mercator(
            x + np.asarray(east_m, dtype=np.float64) * scale,
            y + np.asarray(north_m, dtype=np.float64) * scale,
        )

    def to_local_m(
        self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Metres east and north of the south-west corner: inverse of :meth:`to_position`."""
        x, y = to_web_mercator(latitude_deg, longitude_deg)
        x0, y0 = to_web_mercator(self.latitude_deg, self.longitude_deg)
        return (x - x0) / self.mercator_scale, (y - y0) / self.mercator_scale
