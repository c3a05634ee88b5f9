"""The lie of the land of procedural places: smooth hills of many sizes by seed, low at water, and the far skyline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from smdt.world.canvas import Floats, Rasters
from smdt.world.layers import SKYLINE_AT_M
from smdt.world.plan import Plan
from smdt.world.roads import resample

_STEEPNESS = 0.30
"""Root mean square slope of the ground where relief is 1."""

# Least and greatest relief of a style, and the power that favours the least.
_RELIEF = {
    "highrise": (0.0, 0.12, 2.0), "grid": (0.0, 0.15, 1.6), "coast": (0.0, 0.3, 1.3), "radial": (0.0, 0.25, 1.3),
    "organic": (0.0, 0.35, 1.2), "suburb": (0.0, 0.45, 1.3), "farmland": (0.0, 0.5, 1.6), "rural": (0.1, 1.0, 1.0),
    "forest": (0.15, 1.0, 0.9),
}  # fmt: skip
_LEAST = 0.02
_SKYLINE_COUNT = 720


def relief_of(style: str, seed: int) -> float:
    """How hilly a place of a style and seed is, 0 to 1; below 0.02 it is flat, and this is 0."""
    low, high, power = _RELIEF[style]
    relief = low + (high - low) * float(np.random.default_rng([seed, 23]).random()) ** power
    return relief if relief >= _LEAST else 0.0


@dataclass(frozen=True)
class Waves:
    """A smooth surface without end: a sum of plane waves.

    Attributes:
        vector: (K, 2) wave vectors east and north, radians a metre.
        phase: (K,).
        amplitude: (K,) metres.
    """

    vector: Floats
    phase: Floats
    amplitude: Floats

    @staticmethod
    def draw(
        rng: np.random.Generator, shortest_m: float, longest_m: float, count: int, steepness: float
    ) -> Waves:
        """Waves of lengths between two, with a root mean square slope; long ones are the highest."""
        length = longest_m * (shortest_m / longest_m) ** ((np.arange(count) + rng.random(count)) / count)
        heading = rng.uniform(0, 2 * math.pi, count)
        number = 2 * math.pi / length
        vector = number[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)
        amplitude = length**1.12 * rng.uniform(0.4, 1.0, count)
        amplitude *= steepness / math.sqrt(0.5 * float((amplitude**2 * number**2).sum()))
        return Waves(vector, rng.uniform(0, 2 * math.pi, count), amplitude)

    def at(self, points_m: Floats) -> Floats:
        """Height (N,) at positions (N, 2)."""
        turn = points_m @ self.vector.T + self.phase
        height: Floats = np.cos(turn) @ self.amplitude
        return height

    def grid(self, axis_m: Floats) -> Rasters:
        """Height (n, n) where both coordinates run over an axis; rows run north."""
        total = np.zeros((len(axis_m), len(axis_m)), np.float32)
        for (east, north), phase, amplitude in zip(self.vector, self.phase, self.amplitude, strict=True):
            across, up = axis_m * east + phase, axis_m * north
            for a, b in ((np.cos(across), np.cos(up)), (-np.sin(across), np.sin(up))):
                total += np.outer(b, amplitude * a).astype(np.float32)
        return total


@dataclass(frozen=True)
class Terrain:
    """The natural ground of a place, before roads are cut into it.

    Attributes:
        relief: 0 to 1.
        hills: the large shapes.
        knolls: small ones, which roads and water do not follow.
        lowest_m: of the hills in the place.
        plan: whose rivers and shore lie low.
    """

    relief: float
    hills: Waves
    knolls: Waves
    lowest_m: float
    plan: Plan

    @staticmethod
    def draw(rng: np.random.Generator, relief: float, plan: Plan, side_m: float) -> Terrain:
        """Hills at random."""
        longest = float(rng.uniform(350, 900))
        hills = Waves.draw(rng, 42.0, longest, 30, _STEEPNESS * relief)
        knolls = Waves.draw(rng, 11.0, 40.0, 14, 0.06 * math.sqrt(relief))
        lowest = float(hills.grid(np.linspace(0, side_m, 40)).min())
        return Terrain(relief, hills, knolls, lowest, plan)

    def at(self, points_m: Floats) -> Floats:
        """Elevation (N,) at positions (N, 2), without the knolls."""
        height = self.hills.at(points_m) - self.lowest_m
        share, floor = self._shaped(points_m)
        result: Floats = height * share + floor
        return result

    def grid(self, axis_m: Floats) -> Rasters:
        """Elevation (n, n), with the knolls; rows run north."""
        height = self.hills.grid(axis_m) - np.float32(self.lowest_m) + self.knolls.grid(axis_m)
        if not self.plan.rivers and self.plan.shore is None:
            return height
        coarse = axis_m[::8]  # water bends the ground smoothly
        east, north = np.meshgrid(coarse, coarse)
        share, floor = (
            _enlarged(part.reshape(east.shape), len(axis_m))
            for part in self._shaped(np.stack([east.ravel(), north.ravel()], 1))
        )
        result: Rasters = height * share + floor
        return result

    def _shaped(self, points_m: Floats) -> tuple[Floats, Floats]:
        """How much of the hills stands at positions, and what is added: both low at water."""
        share, floor = np.ones(len(points_m)), np.zeros(len(points_m))
        for line, width_m in self.plan.rivers:
            away = cKDTree(resample(line, 4.0)).query(points_m)[0] - 0.5 * width_m
            share *= 1 - np.exp(-((np.maximum(away, 0) / 130.0) ** 2))
            floor += 1.6 * (1 - np.exp(-((np.maximum(away, 0) / 14.0) ** 2)))
        if self.plan.shore is not None:
            inland = self.plan.shore.inland_m(points_m[:, 0], points_m[:, 1])
            share *= 1 - np.exp(-((np.maximum(inland - 12, 0) / 140.0) ** 2))
            floor += np.clip(inland, 0, 40) * 0.035
        return share, floor

    def skyline(self, rng: np.random.Generator, plain_m: float) -> Rasters:
        """Elevation of the ridges beyond the place, (2, 720), over a plain of some elevation."""
        turn = 2 * math.pi * np.arange(_SKYLINE_COUNT) / _SKYLINE_COUNT
        rows = []
        for number, away in enumerate(SKYLINE_AT_M):
            line = np.zeros_like(turn)
            for k in range(1, 46):
                line += rng.normal() / (1 + k) ** 1.15 * np.cos(k * turn + rng.uniform(0, 6.3))
            line = line / max(float(line.std()), 1e-6) + rng.uniform(-0.6, 0.8)
            rough = rng.normal(0, 0.0012, _SKYLINE_COUNT) * away  # crowns, and broken ground
            high = away * (0.055 * self.relief if number == 0 else rng.beta(1.2, 2.5) * 0.07)
            rows.append(plain_m + np.maximum(high * line, 0.0) + np.maximum(rough, 0.0))
        return np.asarray(rows, np.float32)


def _enlarged(part: Floats, size: int) -> Rasters:
    """A coarse grid at every eighth cell, bilinear at all of them."""
    at = np.arange(size) / 8.0
    low = np.minimum(at.astype(int), max(part.shape[0] - 2, 0))
    share = np.clip(at - low, 0, 1)
    high = np.minimum(low + 1, part.shape[0] - 1)
    rows = part[low] * (1 - share)[:, None] + part[high] * share[:, None]
    result: Rasters = (rows[:, low] * (1 - share) + rows[:, high] * share).astype(np.float32)
    return result
