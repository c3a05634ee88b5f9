"""What `smdt world osm` and `smdt world rasters` do, behind their options."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from smdt.app.tables import print_facts
from smdt.errors import ConfigError
from smdt.world.layers import Place


def write_osm_place(extract: Path, out: Path, bounds: str | None, **options: Any) -> None:
    """Build a place from an OpenStreetMap extract and write it."""
    from smdt.world.osm import build_osm_place
    from smdt.world.store import write_place

    started = time.monotonic()
    place = build_osm_place(extract, bounds=parse_bounds(bounds), **options)
    write_place(place, out)
    print_place(place, out, time.monotonic() - started)


def write_raster_place(out: Path, bounds: str | None, **options: Any) -> None:
    """Make a place of an orthophoto and a surface model and write it."""
    from smdt.world.rasters import place_from_rasters
    from smdt.world.store import write_place

    started = time.monotonic()
    place = place_from_rasters(bounds=parse_bounds(bounds), **options)
    write_place(place, out)
    print_place(place, out, time.monotonic() - started)


def print_place(place: Place, out: Path, seconds: float) -> None:
    """Say what a place holds."""
    facts = {
        "place": place.name,
        "size": f"{place.size_m[0]:.0f} × {place.size_m[1]:.0f} m at {place.pixel_m:g} m per pixel",
        "south-west corner": f"{place.latitude_deg:.6f}, {place.longitude_deg:.6f}",
        "buildings": str(len(place.buildings.angle_rad)),
        "streets": str(len(place.streets)),
        "trees": str(len(place.trees.radius_m)),
        "car spots": str(len(place.car_spots)),
        "poles": str(len(place.poles)),
        "time": f"{seconds:.0f} s",
    }
    if place.attribution:
        facts["attribution"] = place.attribution
    print_facts(str(out), facts)


def parse_bounds(text: str | None) -> tuple[float, float, float, float] | None:
    """West, south, east, north from ``W,S,E,N``; None for None.

    Raises:
        ConfigError: if the text is anything else.
    """
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"'{text}' is no area", where="--bounds", remedy="write west,south,east,north in degrees"
        ) from None
    return west, south, east, north
