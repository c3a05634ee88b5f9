"""Cut and fill: roads graded into the natural ground, level pads under buildings, level water.

A road keeps a smooth elevation along its length and is level across. Beside it the ground may rise no steeper than
the road's cutting allows and fall no steeper than its embankment does; where the natural ground lies within those
bounds it stays. So a bank ends where it meets the land, as engineers draw it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, mean, minimum
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import spsolve

from smdt.world.canvas import Canvas, Floats, Masks, Rasters, member
from smdt.world.layers import Surface
from smdt.world.roads import Road, resample
from smdt.world.terrain import Terrain, Waves

CELL_M = 1.0
_REACH_M = 32.0
_SMOOTH_M, _EASY_M = 24.0, 34.0
_STEP_M = 7.0
_PAD_BANK, _SHORE_BANK = 0.65, 0.4


@dataclass(frozen=True)
class Bank:
    """How the ground beside a road may stand.

    Attributes:
        cut: steepest rise away from the road, metres a metre.
        fill: steepest fall.
        ditch_m: depth of the ditch beside it.
    """

    cut: float
    fill: float
    ditch_m: float


def draw_bank(rng: np.random.Generator, road: Road, rocky: float) -> Bank:
    """Banks of a road, at random: rock stands steeper than earth.

    Args:
        rng: where the randomness comes from.
        road: whose banks.
        rocky: share of cuttings in rock.
    """
    rock = rng.random() < rocky
    cut = float(rng.uniform(1.4, 3.2) if rock and not road.urban else rng.uniform(0.5, 1.1))
    ditch = 0.0 if road.urban or rng.random() < 0.35 else float(rng.uniform(0.2, 0.5))
    return Bank(cut, float(rng.uniform(0.42, 0.75)), ditch)


@dataclass
class Ground:
    """The ground of a place under construction, (n, n) on cells of a metre; rows run north.

    Attributes:
        axis_m: (n,) centres of the cells.
        level: elevation as it is now.
        low: what roads let it fall to.
        high: what roads let it rise to.
        ditch: how deep ditches are.
    """

    axis_m: Floats
    level: Rasters
    low: Rasters
    high: Rasters
    ditch: Rasters

    @staticmethod
    def of(terrain: Terrain, side_m: float) -> Ground:
        """The natural ground."""
        axis: Floats = (np.arange(int(np.ceil(side_m / CELL_M)), dtype=np.float64) + 0.5) * CELL_M
        level = terrain.grid(axis)
        low, high = np.full_like(level, -1e6), np.full_like(level, 1e6)
        return Ground(axis, level, low, high, np.zeros_like(level))

    def lay_roads(self, roads: list[Road], banks: list[Bank], terrain: Terrain, rough: Waves) -> None:
        """Grade all roads together, so that they meet at one elevation, and cut and fill the ground beside them."""
        wobble = rough.grid(self.axis_m)
        for road, bank, (points, heights) in zip(roads, banks, grade(roads, terrain), strict=True):
            self._lay(road, bank, points, heights, wobble)
        self._settle()

    def _settle(self) -> None:
        """Bring the ground within the bounds of the roads; where they contradict each other, half way."""
        clash = self.low > self.high
        middle = 0.5 * (self.low + self.high)
        self.level = np.where(clash, middle, np.clip(self.level, self.low, self.high))

    def _lay(self, road: Road, bank: Bank, points: Floats, heights: Floats, wobble: Rasters) -> None:
        """Narrow the bounds around one road."""
        flat = road.half_m + 0.6 + min(0.3 * road.mown_m, 1.5)
        reach = flat + _REACH_M
        window = self._window(points, reach)
        if window is None:
            return
        rows, columns = window
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        away, level = np.full(shape, reach, np.float32), np.zeros(shape, np.float32)
        for start, end, first, last in zip(points[:-1], points[1:], heights[:-1], heights[1:], strict=True):
            found = self._window(np.stack([start, end]), reach)
            if found is None:
                continue
            part = tuple(
                slice(a.start - b.start, a.stop - b.start) for a, b in zip(found, window, strict=True)
            )
            east = self.axis_m[found[1]][None, :] - start[0]
            north = self.axis_m[found[0]][:, None] - start[1]
            step = end - start
            share = np.clip((east * step[0] + north * step[1]) / max(float(step @ step), 1e-9), 0, 1)
            distance = np.hypot(east - share * step[0], north - share * step[1])
            nearer = distance < away[part]
            away[part] = np.where(nearer, distance, away[part])
            level[part] = np.where(nearer, first + share * (last - first), level[part])
        if road.bulb_m:
            end = points[-1]
            disc = np.hypot(self.axis_m[columns][None, :] - end[0], self.axis_m[rows][:, None] - end[1])
            away = np.minimum(away, np.maximum(disc - road.bulb_m, 0.0))
        inside = away < reach
        beyond = np.maximum(away - flat, 0.0) * (1 + np.clip(wobble[window], -0.45, 0.45))
        low, high = self.low[window], self.high[window]
        np.maximum(low, level - bank.fill * beyond, out=low, where=inside)
        np.minimum(high, level + bank.cut * beyond, out=high, where=inside)
        if bank.ditch_m:
            line = bank.ditch_m * np.exp(-(((away - flat - 0.4) / 0.75) ** 2))
            np.maximum(self.ditch[window], line, out=self.ditch[window], where=inside)
        on_road = away < road.half_m + 0.3
        self.ditch[window][on_road] = -1.0  # where another road comes in, its ditch ends

    def _window(self, points: Floats, margin_m: float) -> tuple[slice, slice] | None:
        """Rows and columns of the cells around some points."""
        count = len(self.axis_m)
        low = np.clip(np.floor((points.min(0) - margin_m) / CELL_M).astype(int), 0, count)
        high = np.clip(np.ceil((points.max(0) + margin_m) / CELL_M).astype(int) + 1, 0, count)
        if (low >= high).any():
            return None
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))

    def steepness(self) -> Rasters:
        """Slope of the ground, metres a metre."""
        north, east = np.gradient(self.level, CELL_M)
        return np.asarray(np.hypot(east, north), np.float32)

    def lay_pads(self, canvas: Canvas) -> None:
        """Level the ground under buildings and of water, and slope it away from them as far as roads let it."""
        surface = canvas.surface[::-1]
        built = self._covered(member(surface, (Surface.BUILDING,)))
        road = self.high - self.low < 0.05
        wet = self._covered(member(surface, (Surface.WATER,))) & ~road
        dry = np.where(wet, 0.0, np.maximum(self.ditch, 0.0))
        self.level -= dry
        self.low -= dry
        if wet.any():
            self._level(wet, bank=_SHORE_BANK, water=True)
            shore = distance_transform_edt(~wet) + distance_transform_edt(wet) < 3.0
            self.level = np.where(shore & ~road, gaussian_filter(self.level, 1.0), self.level)
        if built.any():
            self._level(built & ~wet, bank=_PAD_BANK, keep=wet)

    def _level(self, mask: Masks, *, bank: float, water: bool = False, keep: Masks | None = None) -> None:
        """Give each connected part of a mask one elevation, and bound the ground around it."""
        numbers, count = label(mask, np.ones((3, 3)))
        of_part = (minimum if water else mean)(self.level, numbers, np.arange(1, count + 1))
        pad = np.asarray(of_part, np.float32) - np.float32(0.2 if water else 0.0)
        away, nearest = distance_transform_edt(~mask, return_indices=True)
        near = (away < 26.0) & ~mask
        if keep is not None:
            near &= ~keep
        numbers = numbers[tuple(nearest)]
        target = pad[np.maximum(numbers - 1, 0)]
        slack = bank * np.maximum(away * CELL_M - (0.5 if water else 1.6), 0.0)
        least = target if water else target - slack
        bound = np.clip(np.clip(self.level, least, target + slack), self.low, np.maximum(self.high, self.low))
        self.level = np.where(mask, target, np.where(near, bound, self.level)).astype(np.float32)

    def _covered(self, mask: Masks) -> Masks:
        """The cells that a mask of the canvas' pixels, its rows running north, has a share in."""
        count = len(self.axis_m)
        share = Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).resize(
            (count, count), Image.Resampling.BOX
        )
        found: Masks = np.asarray(share) > 40
        return found

    def on_canvas(self, size_px: int, layer: Rasters | None = None) -> Rasters:
        """The elevation, or another layer of these cells, on a canvas' pixels, row 0 in the north."""
        values = self.level if layer is None else layer
        image = Image.fromarray(np.ascontiguousarray(values[::-1], np.float32))
        return np.array(image.resize((size_px, size_px), Image.Resampling.BICUBIC))


def grade(roads: list[Road], terrain: Terrain) -> list[tuple[Floats, Floats]]:
    """Points along each road, and their elevation: near the ground's, smooth along roads, one where roads meet.

    The elevations minimise the integral, over all roads, of (z - ground)² + a²·z'² + b⁴·z''².
    """
    lines = [resample(road.points_m, _STEP_M) for road in roads]
    keys: dict[tuple[int, int], int] = {}
    index = [
        np.array([keys.setdefault((round(p[0] * 5), round(p[1] * 5)), len(keys)) for p in line])
        for line in lines
    ]
    count = len(keys)
    place = np.zeros((count, 2))
    for line, nodes in zip(lines, index, strict=True):
        place[nodes] = line
    rows, columns, values, row = [], [], [], 0
    weight = np.zeros(count)
    for line, nodes in zip(lines, index, strict=True):
        length = np.maximum(np.hypot(*np.diff(line, axis=0).T), 0.2)
        np.add.at(weight, nodes[:-1], 0.5 * length)
        np.add.at(weight, nodes[1:], 0.5 * length)
        rise = _EASY_M / np.sqrt(length)
        at = row + np.arange(len(length))
        rows += [at, at]
        columns += [nodes[:-1], nodes[1:]]
        values += [-rise, rise]
        row += len(length)
        if len(length) < 2:
            continue
        bend = _SMOOTH_M**2 / np.sqrt(0.5 * (length[1:] + length[:-1]))
        at = row + np.arange(len(length) - 1)
        rows += [at, at, at]
        columns += [nodes[:-2], nodes[1:-1], nodes[2:]]
        values += [bend / length[:-1], -bend / length[:-1] - bend / length[1:], bend / length[1:]]
        row += len(length) - 1
    smooth = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (row, count)
    ).tocsr()
    system = (smooth.T @ smooth + diags(weight)).tocsc()
    heights = np.asarray(spsolve(system, weight * terrain.at(place)))
    return [(line, heights[nodes]) for line, nodes in zip(lines, index, strict=True)]
