"""Read an OpenStreetMap extract into areas, lines and points in metres on the ground."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smdt.errors import ConfigError, ImageryError
from smdt.world.grid import Bounds, PlaceGrid

Floats = npt.NDArray[np.float64]
Tags = dict[str, str]
_LINE_KEYS = ("highway", "railway", "waterway", "barrier", "natural", "man_made", "aeroway", "power")
_BELOW_GROUND = {"underground", "underwater", "indoor"}


@dataclass(frozen=True)
class OsmArea:
    """A closed way or a multipolygon.

    Attributes:
        tags: its tags.
        polygons: each an outer ring and its holes, (N, 2) east and north in metres, first point repeated last.
    """

    tags: Tags
    polygons: tuple[tuple[Floats, ...], ...]

    def area_m2(self) -> float:
        """Its surface without the holes."""
        return sum(ring_area_m2(p[0]) - sum(ring_area_m2(hole) for hole in p[1:]) for p in self.polygons)


@dataclass(frozen=True)
class OsmLine:
    """A way, or the part of it inside the extract: (N, 2) east and north in metres."""

    tags: Tags
    points_m: Floats


@dataclass(frozen=True)
class OsmPoint:
    """A tagged node: (2,) east and north in metres."""

    tags: Tags
    at_m: Floats


@dataclass
class OsmFeatures:
    """Everything of an extract that can be drawn, in the file's order."""

    areas: list[OsmArea] = field(default_factory=list)
    lines: list[OsmLine] = field(default_factory=list)
    points: list[OsmPoint] = field(default_factory=list)


def read_bounds(path: Path) -> Bounds:
    """The bounds an extract states, or those of its nodes.

    Raises:
        ImageryError: if it cannot be read, or holds no node.
    """
    osmium = import_osmium()
    try:
        with osmium.io.Reader(str(path)) as reader:
            box = reader.header().box()
            if box.valid():
                low, high = box.bottom_left, box.top_right
                return low.lon, low.lat, high.lon, high.lat
        nodes = [(n.lon, n.lat) for n in osmium.FileProcessor(str(path), osmium.osm.NODE)]
    except RuntimeError as error:
        raise _unreadable(path, error) from None
    if not nodes:
        raise ImageryError("the extract holds no node", where=path, remedy="check how it was cut")
    low_corner, high_corner = np.min(nodes, axis=0), np.max(nodes, axis=0)
    return float(low_corner[0]), float(low_corner[1]), float(high_corner[0]), float(high_corner[1])


def read_features(path: Path, grid: PlaceGrid) -> OsmFeatures:
    """Read what lies on the ground of an extract; tunnels and what is below ground are left out.

    Ways whose nodes are partly beyond the extract are kept as far as they go.

    Raises:
        ImageryError: if it cannot be read.
    """
    osmium = import_osmium()
    found = OsmFeatures()
    assembled: set[int] = set()
    cut: list[tuple[int, OsmArea]] = []
    try:
        tagged = osmium.filter.EmptyTagFilter()
        for thing in osmium.FileProcessor(str(path)).with_areas().with_filter(tagged):
            tags = {tag.k: tag.v for tag in thing.tags}
            if thing.is_node():
                if thing.location.valid():
                    at = grid.to_local_m([thing.location.lon], [thing.location.lat])[0]
                    found.points.append(OsmPoint(tags, at))
            elif is_hidden(tags):
                continue
            elif thing.is_area():
                if thing.from_way():
                    assembled.add(thing.orig_id())
                polygons = tuple(_polygons(thing, grid))
                if polygons:
                    found.areas.append(OsmArea(tags, polygons))
            elif thing.is_way():
                runs = list(_runs(thing, grid))
                closed = len(thing.nodes) > 3 and thing.nodes[0].ref == thing.nodes[-1].ref
                if closed and runs:
                    ring = np.concatenate([*runs, runs[0][:1]])
                    if len(ring) >= 4 and not ("building" in tags and crosses_itself(ring)):
                        cut.append((thing.id, OsmArea(tags, ((ring,),))))
                if any(key in tags for key in _LINE_KEYS):
                    found.lines += [OsmLine(tags, run) for run in runs if len(run) > 1]
    except RuntimeError as error:
        raise _unreadable(path, error) from None
    found.areas += [area for number, area in cut if number not in assembled and area.tags.get("area") != "no"]
    return found


def is_hidden(tags: Tags) -> bool:
    """Whether something cannot be seen from above because it is below the ground or indoors."""
    if tags.get("tunnel", "no") not in ("no", "building_passage", "passage", "covered"):
        return True
    if tags.get("location") in _BELOW_GROUND or tags.get("indoor", "no") != "no":
        return True
    return number_in(tags, "layer", 0.0) < 0 and tags.get("bridge") is None and "highway" not in tags


def number_in(tags: Tags, key: str, default: float) -> float:
    """The first number of a tag's value; metres unless it says feet (``12'`` or ``12 ft``)."""
    text = tags.get(key, "").split(";")[0].strip().replace(",", ".")
    kept = text.removesuffix("m").removesuffix("'").removesuffix("ft").strip()
    try:
        value = float(kept)
    except ValueError:
        return default
    if not math.isfinite(value):
        return default
    return value * 0.3048 if text.endswith(("'", "ft")) else value


def ring_area_m2(ring: Floats) -> float:
    """Surface of a closed ring (N, 2), whichever way round."""
    x, y = (ring - ring[0]).T
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2.0


def crosses_itself(ring: Floats) -> bool:
    """Whether two sides of a closed ring (N, 2) cross: what is left of a polygon cut at the extract's edge may."""
    start, step = ring[:-1], np.diff(ring, axis=0)
    across = start[None, :] - start[:, None]
    turn = step[:, None, 0] * step[None, :, 1] - step[:, None, 1] * step[None, :, 0]
    parallel = np.abs(turn) < 1e-12
    turn = np.where(parallel, 1.0, turn)
    here = (across[..., 0] * step[None, :, 1] - across[..., 1] * step[None, :, 0]) / turn
    there = (across[..., 0] * step[:, None, 1] - across[..., 1] * step[:, None, 0]) / turn
    inside = (here > 1e-9) & (here < 1 - 1e-9) & (there > 1e-9) & (there < 1 - 1e-9) & ~parallel
    return bool(inside.any())


def import_osmium() -> Any:
    """The package `osmium`, or an error that names the extra.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import osmium
        import osmium.filter
    except ImportError:
        raise ConfigError(
            "reading OpenStreetMap extracts needs the package osmium",
            remedy="install it: pip install 'smdt[osm]'",
        ) from None
    return osmium


def _unreadable(path: Path, error: Exception) -> ImageryError:
    reason = " ".join(str(error).split())
    return ImageryError(
        f"not an OpenStreetMap extract that can be read ({reason})",
        where=path,
        remedy="give a whole .osm.pbf file",
    )


def _polygons(area: Any, grid: PlaceGrid) -> Iterator[tuple[Floats, ...]]:
    for outer in area.outer_rings():
        rings = [outer, *area.inner_rings(outer)]
        yield tuple(grid.to_local_m([n.lon for n in ring], [n.lat for n in ring]) for ring in rings)


def _runs(way: Any, grid: PlaceGrid) -> Iterator[Floats]:
    """The parts of a way whose nodes are in the file, (N, 2) each."""
    run: list[tuple[float, float]] = []
    for node in way.nodes:
        if node.location.valid():
            run.append((node.location.lon, node.location.lat))
        elif run:
            yield _to_points(run, grid)
            run = []
    if run:
        yield _to_points(run, grid)


def _to_points(run: list[tuple[float, float]], grid: PlaceGrid) -> Floats:
    longitude, latitude = zip(*run, strict=True)
    return grid.to_local_m(longitude, latitude)
