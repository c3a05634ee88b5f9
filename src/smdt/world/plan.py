"""The plan of a place: roads, the use of the ground between them, rivers and the shore."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from smdt.world.canvas import Floats, Rasters
from smdt.world.roads import Road


@dataclass(frozen=True)
class Patch:
    """Ground of one use.

    Attributes:
        polygon_m: (N, 2) corners, convex.
        use: one of ``canvas.USES``.
        block: a city block that is built up as one.
    """

    polygon_m: Floats
    use: str
    block: bool = False


@dataclass(frozen=True)
class Shore:
    """A coast: water lies where the distance inland is negative.

    Attributes:
        origin: (2,) a place on the mean shore line.
        inland: (2,) unit vector away from the sea.
        waves: (K, 3) amplitude (m), wavelength (m) and phase of its bends.
        quay: the shore is a wall, not a beach.
    """

    origin: Floats
    inland: Floats
    waves: Floats
    quay: bool

    def inland_m(self, east: Rasters, north: Rasters) -> Rasters:
        """About how far a place lies from the water (broadcast)."""
        de, dn = east - float(self.origin[0]), north - float(self.origin[1])
        away = de * float(self.inland[0]) + dn * float(self.inland[1])
        along = dn * float(self.inland[0]) - de * float(self.inland[1])
        for amplitude, wavelength, phase in self.waves:
            away = away - float(amplitude) * np.sin(along * float(2 * math.pi / wavelength) + float(phase))
        return away

    def line(self, inland_m: float, reach_m: float) -> Floats:
        """The polyline at a distance from the water."""
        along = np.arange(-reach_m, reach_m + 1, 12.0)
        away = np.full_like(along, inland_m)
        for amplitude, wavelength, phase in self.waves:
            away = away + amplitude * np.sin(along * 2 * math.pi / wavelength + phase)
        across = np.array([-self.inland[1], self.inland[0]])
        result: Floats = self.origin + along[:, None] * across + away[:, None] * self.inland
        return result


@dataclass
class Plan:
    """What a place is to be.

    Attributes:
        base: use of all ground that no patch covers.
        roads: all of them.
        patches: drawn in this order.
        rivers: (centre line, width) of each.
        shore: if it lies at the sea.
        islands: (east, north, radius) of roundabouts' islands.
    """

    base: str
    roads: list[Road] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    rivers: list[tuple[Floats, float]] = field(default_factory=list)
    shore: Shore | None = None
    islands: list[tuple[float, float, float]] = field(default_factory=list)
