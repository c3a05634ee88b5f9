"""Gather pictures for a report of located photos: the map, the photos, and the tiles they were matched with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from smdt.app.report import ReportMap, ReportPhoto, write_report
from smdt.imagery.aerial import MercatorArea, open_aerial
from smdt.imagery.photo import load_photo
from smdt.index.store import DescriptorIndex
from smdt.locate import LocateConfig, Located, Truth

_MAP_PX, _TILE_PX, _TILES = 2048, 192, 5


@dataclass(frozen=True)
class ReportSettings:
    """What a report says beside the results.

    Attributes:
        title: heading of the page.
        imagery: the aerial imagery, for the map and the tiles.
        config: how the photos were located.
        notes: sentences under the facts.
        facts: further names and values.
    """

    title: str
    imagery: Path
    config: LocateConfig
    notes: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)


def write_located_report(
    path: Path,
    index: DescriptorIndex,
    results: Sequence[Located],
    truths: Sequence[Truth | None],
    settings: ReportSettings,
) -> None:
    """Write the report of some located photos as one HTML file.

    Raises:
        ImageryError: if the imagery the index was made from cannot be read any more.
    """
    info = index.info
    with open_aerial(settings.imagery) as source:
        width, height = source.area.size_px(_MAP_PX)
        image, _ = source.read_area(MercatorArea.from_bounds(source.bounds), width, height)
        west, south, east, north = source.bounds
        caption = f"{settings.imagery.name}, {source.ground_sampling_distance_m:.2f} m per pixel"
        aerial_map = ReportMap(image, west, south, east, north, caption)
        photos = []
        for result, truth in zip(results, truths, strict=True):
            tiles = [
                source.read_square(c.latitude_deg, c.longitude_deg, info.tile_side_m, _TILE_PX)[0]
                for c in result.candidates[:_TILES]
            ]
            picture = load_photo(result.photo).image
            photos.append(ReportPhoto(result, picture, tiles, truth, result.field_of_view_deg))
    facts = {
        "Model": info.model,
        "Aerial mapping": info.mapping,
        "Imagery": settings.imagery.name,
        "Tiles": f"{len(index)} of {info.tile_side_m:g} m, every {info.stride_m:g} m",
        "Heading": _heading_text(settings.config),
        "Written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **settings.facts,
    }
    write_report(path, aerial_map, photos, title=settings.title, facts=facts, notes=settings.notes)


def _heading_text(config: LocateConfig) -> str:
    """Where headings come from, in words."""
    heading, within = config.heading_deg, config.heading_within_deg
    if within is None:
        return "found by matching" if heading is None else f"given, {heading:g}°"
    return f"found within {within:g}° of " + (
        "the azimuth each photo notes" if heading is None else f"{heading:g}°"
    )
