"""What the commands do, behind their options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smdt.app.geojson import write_geojson
from smdt.app.tables import console, print_facts, print_located, progress_bar
from smdt.errors import ConfigError, ImageryError
from smdt.files import write_text_whole
from smdt.index.store import DescriptorIndex, open_index, read_info, save_index
from smdt.locate import LocateConfig, Located, Truth
from smdt.retrieval.models import load_model


def build_index_at(
    imagery: Path, out: Path, model: str, side_m: float | None, stride_m: float | None, overwrite: bool
) -> DescriptorIndex:
    """Build an index and write it, with a bar."""
    from smdt.errors import DescriptorIndexError
    from smdt.index.build import build_index

    if out.exists() and not overwrite:  # said before an hour of embedding, not after it
        raise DescriptorIndexError(
            "exists already", where=out, remedy="choose another --out, or give --overwrite"
        )
    loaded = load_model(model)
    with progress_bar("indexing tiles") as advance:
        index = build_index(imagery, loaded, side_m=side_m, stride_m=stride_m, progress=advance)
    save_index(index, out, overwrite=overwrite)
    info = index.info
    console().print(
        f"{out}: {len(index)} tiles of {info.tile_side_m:g} m every {info.stride_m:g} m, model '{info.model}'"
    )
    return index


def locate_photos(
    photos: Sequence[Path],
    index_folder: Path,
    model: str | None,
    heading_deg: float | None,
    heading_within_deg: float | None,
    fov_deg: float | None,
    panorama: bool | None,
    pitch_deg: float,
    top: int,
    shortlist: int,
    geojson: Path | None,
    json_file: Path | None,
    report: Path | None,
    imagery: Path | None,
) -> None:
    """Locate photos, print a table, write what was asked for."""
    from smdt.app.located_report import ReportSettings, write_located_report
    from smdt.imagery.photo import load_photo
    from smdt.locate import locate

    shown = max(top, 5) if report else top
    config = LocateConfig(
        heading_deg, heading_within_deg, fov_deg, panorama, pitch_deg, shown, shortlist=shortlist
    )
    for photo in photos:
        if not photo.is_file():
            raise ImageryError("there is no such photo", where=photo, remedy="check the path")
    info = read_info(index_folder)
    loaded = load_model(model or info.model)
    index = open_index(index_folder)
    index.check_model(loaded, index_folder)
    with progress_bar("locating photos") as advance:
        results = locate(photos, index, loaded, config, advance)
    truths = [exif_truth(load_photo(photo)) for photo in photos]
    if heading_deg is None and heading_within_deg is not None:
        # the azimuths noted were used, so they judge nothing
        truths = [truth and Truth(truth.latitude_deg, truth.longitude_deg) for truth in truths]
    print_located(results, truths)
    if any(truths):
        console().print(
            "metres off: against the position in the photo's EXIF, which is not used to locate it"
        )
    known = {result.photo: truth for result, truth in zip(results, truths, strict=True) if truth}
    if geojson:
        write_geojson(geojson, results, known)
    if json_file:
        write_text_whole(json_file, json.dumps([as_record(result) for result in results], indent=2) + "\n")
    if report:
        settings = ReportSettings("Where the photos were taken", imagery or Path(info.imagery), config)
        write_located_report(report, index, results, truths, settings)
        console().print(f"report: {report}")


def exif_truth(photo: Any) -> Truth | None:
    """The position in a photo's EXIF, if it has one."""
    if photo.latitude_deg is None or photo.longitude_deg is None:
        return None
    return Truth(photo.latitude_deg, photo.longitude_deg, photo.heading_deg)


def as_record(result: Located) -> dict[str, Any]:
    """A result as plain JSON."""
    return {
        "photo": str(result.photo),
        "confidence": result.confidence,
        "candidates": [asdict(candidate) for candidate in result.candidates],
    }


def write_town(out: Path, **options: Any) -> None:
    """Build a town and write its layers."""
    from smdt.world.store import write_place
    from smdt.world.town import TownConfig, build_town

    place = build_town(TownConfig(**options))
    write_place(place, out)
    print_facts(
        str(out),
        {
            "place": place.name,
            "size": f"{place.size_m[0]:.0f} × {place.size_m[1]:.0f} m at {place.pixel_m:g} m per pixel",
            "south-west corner": f"{place.latitude_deg:.6f}, {place.longitude_deg:.6f}",
            "buildings": str(len(place.buildings.angle_rad)),
            "streets": str(len(place.streets)),
        },
    )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Numbers from ``1,2,5-9``.

    Raises:
        ConfigError: if the text is anything else.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds.extend(range(int(first), int(last or first) + 1))
    except ValueError as error:
        raise ConfigError(
            f"'{text}' is no list of seeds", where="--town-seeds", remedy="write it like 1,2,5-9"
        ) from error
    if not seeds:
        raise ConfigError(f"'{text}' names no seed", where="--town-seeds", remedy="write it like 1,2,5-9")
    return tuple(seeds)
