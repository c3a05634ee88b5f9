"""Plant the trees of an OpenStreetMap extract: mapped ones, rows, and what grows in woods, parks and gardens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smdt.world.layers import Surface, TreeTable
from smdt.world.osm_canvas import Canvas
from smdt.world.osm_ground import GroundPlan
from smdt.world.osm_reading import OsmFeatures, Tags, number_in
from smdt.world.osm_roads import along_line

Floats = npt.NDArray[np.float64]

_CELL_M = 4.0
_GREEN = (Surface.GRASS, Surface.FIELD, Surface.TREE)
_UNDER_CROWNS = (*_GREEN, Surface.PAVEMENT, Surface.BARE, Surface.FENCE)
_LEAF = np.array([74.0, 92.0, 50.0])
_NEEDLE = np.array([60.0, 76.0, 52.0])
_NORTHERN_DEG = 57.0


@dataclass(frozen=True)
class _Tree:
    at_m: Floats
    radius_m: float
    top_m: float
    conifer: bool


def plant_trees(
    canvas: Canvas, features: OsmFeatures, plan: GroundPlan, rng: np.random.Generator
) -> TreeTable:
    """Draw crowns onto the canvas and give their table.

    Mapped trees stand wherever they are mapped; scattered ones only on green ground. North of 57° (and south of
    -57°) six scattered trees of ten are conifers, elsewhere two of ten.

    Args:
        canvas: painted on, with its buildings.
        features: of the extract.
        plan: how many trees to scatter where.
        rng: sizes, colours, and the scatter.
    """
    share = 0.6 if abs(canvas.grid.latitude_deg) > _NORTHERN_DEG else 0.2
    trees = _mapped(features, share, rng)
    trees += _scattered(canvas, plan, np.array([tree.at_m for tree in trees]).reshape(-1, 2), share, rng)
    trees.sort(key=lambda tree: tree.top_m)  # higher crowns cover lower ones
    season = rng.normal(1.0, 0.05) + rng.normal(0, 0.02, 3)
    kept: list[tuple[_Tree, Floats]] = []
    for tree in trees:
        tone = (_NEEDLE if tree.conifer else _LEAF) * season * rng.uniform(0.82, 1.2) + rng.normal(0, 4, 3)
        tone = np.clip(tone, 20, 200)
        if _draw_crown(canvas, tree, tone, rng):
            kept.append((tree, tone))
    if not kept:
        return TreeTable.empty()
    top = np.array([tree.top_m for tree, _ in kept], np.float32)
    conifer = np.array([tree.conifer for tree, _ in kept], np.bool_)
    return TreeTable(
        centre_m=np.array([tree.at_m for tree, _ in kept], np.float32),
        radius_m=np.array([tree.radius_m for tree, _ in kept], np.float32),
        top_m=top,
        crown_base_m=np.where(conifer, 0.12, 0.28).astype(np.float32) * top,
        colour=np.array([tone for _, tone in kept], np.float32),
        conifer=conifer,
    )


def _tagged(tags: Tags, at_m: Floats, share: float, rng: np.random.Generator) -> _Tree:
    kind = tags.get("leaf_type", "")
    conifer = kind == "needleleaved" or (not kind and rng.random() < share * 0.2)
    radius = number_in(tags, "diameter_crown", 0.0) / 2.0
    if not 0.5 <= radius <= 20.0:
        radius = float(rng.uniform(1.6, 2.6) if conifer else rng.uniform(2.2, 4.6))
    top = number_in(tags, "height", 0.0)
    if not 1.0 <= top <= 90.0:
        top = radius * float(rng.uniform(3.6, 5.2) if conifer else rng.uniform(1.9, 2.7)) + 1.5
    return _Tree(at_m, radius, top, conifer)


def _mapped(features: OsmFeatures, share: float, rng: np.random.Generator) -> list[_Tree]:
    trees = [
        _tagged(point.tags, point.at_m, share, rng)
        for point in features.points
        if point.tags.get("natural") == "tree"
    ]
    for line in features.lines:
        if line.tags.get("natural") == "tree_row":
            spacing = float(rng.uniform(6.0, 9.0))
            trees += [_tagged(line.tags, at, share, rng) for at, _ in along_line(line.points_m, spacing)]
    return trees


def _scattered(
    canvas: Canvas, plan: GroundPlan, mapped_m: Floats, share: float, rng: np.random.Generator
) -> list[_Tree]:
    """Trees on a jittered grid, as dense as the use of land has them, in clumps; none where trees are mapped."""
    from scipy.spatial import cKDTree

    width, height = canvas.grid.size_m
    east, north = np.meshgrid(np.arange(_CELL_M / 2, width, _CELL_M), np.arange(_CELL_M / 2, height, _CELL_M))
    spots = np.stack([east.ravel(), north.ravel()], axis=-1)
    spots = spots + rng.uniform(-0.48 * _CELL_M, 0.48 * _CELL_M, spots.shape)
    density = plan.trees_per_ha.at(spots[:, 0], spots[:, 1]).astype(np.float64)
    rows, columns = canvas.at(spots)
    clump = np.clip(1.0 + 1.2 * _clumps(spots, rng), 0.0, 2.2)
    chance = density * (_CELL_M**2 / 1e4) * np.where(density > 100.0, 1.0, clump)
    chance = np.where(density > 100.0, np.minimum(chance * 1.25, 0.95), chance)
    keep = rng.random(len(spots)) < chance
    keep &= np.isin(canvas.surface[rows, columns], _GREEN) & (canvas.height_m[rows, columns] < 2.0)
    if len(mapped_m):
        keep &= cKDTree(mapped_m).query(spots)[0] > 14.0
    trees = []
    for spot, thick in zip(spots[keep], density[keep], strict=True):
        conifer = bool(rng.random() < share)
        if thick > 100.0:
            radius = float(rng.uniform(1.5, 2.6) if conifer else rng.uniform(2.0, 3.6))
            top = float(rng.uniform(9.0, 19.0) if conifer else rng.uniform(8.0, 16.0))
        else:
            radius = float(rng.uniform(1.0, 2.2) if conifer else rng.uniform(1.2, 3.8))
            top = radius * float(rng.uniform(3.5, 5.5) if conifer else rng.uniform(1.8, 2.6)) + 1.0
        trees.append(_Tree(spot, radius, top, conifer))
    return trees


def _clumps(spots_m: Floats, rng: np.random.Generator) -> Floats:
    """Smooth noise of about 40 m in -1..1 at points (N, 2)."""
    total = np.zeros(len(spots_m))
    for wave in (31.0, 47.0, 73.0):
        angle, phase = rng.uniform(0, 2 * math.pi, 2)
        along = spots_m @ np.array([math.cos(angle), math.sin(angle)])
        across = spots_m @ np.array([-math.sin(angle), math.cos(angle)])
        total += np.sin(along * 2 * math.pi / wave + phase) * np.sin(across * 2 * math.pi / (1.3 * wave))
    return total / 1.7


def _draw_crown(canvas: Canvas, tree: _Tree, tone: Floats, rng: np.random.Generator) -> bool:
    """Draw one crown where it is higher than what stands there; False if nothing of it shows."""
    reach = tree.radius_m * 1.25
    east, north = tree.at_m
    where = canvas.window(east - reach, north - reach, east + reach, north + reach)
    if where is None:
        return False
    x, y = canvas.centres(where)
    x, y = (x - east) / tree.radius_m, (y - north) / tree.radius_m
    noise = canvas.noise(where)
    lobes, phase = int(rng.integers(4, 8)), rng.uniform(0, 2 * math.pi)
    ragged = 0.09 * np.cos(lobes * np.arctan2(y, x) + phase) + 0.22 * noise
    away = np.hypot(x, y) * (1 + ragged)
    profile = 1 - away if tree.conifer else np.sqrt(np.clip(1 - away**2, 0, 1))
    base = 0.25 if tree.conifer else 0.5
    height = tree.top_m * (base + (1 - base) * np.clip(profile, 0, 1)) * (1 + 0.06 * noise)
    free = np.isin(canvas.surface[where], _UNDER_CROWNS) & (height > canvas.height_m[where])
    soft = canvas.grid.pixel_m / tree.radius_m
    cover = np.clip((1 - away) / soft + 0.5, 0, 1) * free
    crown = cover >= 0.5
    if not crown.any():
        return False
    shade = 0.76 + 0.38 * np.clip(profile, 0, 1) + 0.34 * noise
    rows, columns = np.nonzero(cover)
    canvas.blend(where, (rows, columns), (tone * shade[..., None])[rows, columns], cover[rows, columns])
    canvas.height_m[where][crown] = height[crown]
    canvas.surface[where][crown] = Surface.TREE
    return True
