"""The report: one HTML file that shows where photos were located, and opens without a network.

Everything is inside the file: the aerial image as the map, the photos and tiles (as WebP), Leaflet, style and script.
Its content security policy forbids the page to load anything else, and to run any script but its own. Text from
outside (file names, captions) is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

import smdt
from smdt.app.geojson import heading_error_deg, metres_off, photo_name
from smdt.errors import GeometryError, SmdtError
from smdt.files import write_text_whole
from smdt.geometry.angles import wrap_360
from smdt.locate import Candidate, Located, Truth

TILES_SHOWN = 5
"""How many of a photo's candidates the report shows with their tile."""
GRADES = ((10.0, "precise"), (25.0, "good"), (50.0, "fair"))
"""Metres off, at most, and the word for it; beyond the last it is ``missed``."""
BEYOND_GRADES = "missed"

_MAP_PX, _PHOTO_PX, _TILE_PX = 2048, 1024, 192
_MAP_QUALITY, _PHOTO_QUALITY, _TILE_QUALITY = 80, 78, 76
_WINDS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")


@dataclass(frozen=True, eq=False)
class ReportMap:
    """The aerial image under the pins.

    Attributes:
        image: (3, H, W) uint8 RGB, north up, in Web Mercator (EPSG:3857); outer edges at the four bounds.
        west_deg: longitude of the left edge, WGS84.
        south_deg: latitude of the lower edge.
        east_deg: longitude of the right edge.
        north_deg: latitude of the upper edge.
        caption: what the image is and whose.
    """

    image: Tensor
    west_deg: float
    south_deg: float
    east_deg: float
    north_deg: float
    caption: str


@dataclass(frozen=True, eq=False)
class ReportPhoto:
    """One photo and what was found for it.

    Attributes:
        result: the ranked places; at least one.
        picture: (3, h, w) uint8 RGB, the photo.
        tiles: (3, s, s) uint8 RGB aerial pictures, north up, centred on the best five candidates, best first; the
            page draws each candidate's heading from their centre.
        truth: where the photo was really taken, if known.
        field_of_view_deg: width in azimuth, 360 for a panorama; if given, the photo gets a compass scale.
    """

    result: Located
    picture: Tensor
    tiles: Sequence[Tensor]
    truth: Truth | None = None
    field_of_view_deg: float | None = None


def write_report(
    path: Path,
    aerial_map: ReportMap,
    photos: Sequence[ReportPhoto],
    *,
    title: str,
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
) -> None:
    """Write the report, whole or not at all.

    Args:
        path: the HTML file.
        aerial_map: the map.
        photos: in the order they are numbered in, from 1.
        title: heading of the page.
        facts: name to value, shown under the heading (model, imagery, tiles, command, date).
        notes: sentences shown under the facts, such as what is simulated.

    Raises:
        GeometryError: if a picture is not (3, h, w) uint8, or the map's bounds are not west < east, south < north.
        SmdtError: if there is no photo, a photo has no candidate, or the file cannot be written.
    """
    write_text_whole(path, render_report(aerial_map, photos, title=title, facts=facts, notes=notes))


def render_report(
    aerial_map: ReportMap,
    photos: Sequence[ReportPhoto],
    *,
    title: str,
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
) -> str:
    """The text of the page that :func:`write_report` writes; same arguments and errors."""
    _check(aerial_map, photos)
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        metres=metres_text, grade=grade_of, azimuth=azimuth_text, wind=wind_of, position=position_text
    )
    records = [_photo_record(number, photo) for number, photo in enumerate(photos, start=1)]
    scripts = [_leaflet_script(), _resource("symbols.js"), _resource("report.js")]
    return environment.from_string(_resource("report.html.j2")).render(
        title=title,
        facts=dict(facts),
        notes=list(notes),
        photos=[record | _pictures(photo) for record, photo in zip(records, photos, strict=True)],
        summary=summarize(photos),
        data={"bounds": _bounds(aerial_map), "photos": records},
        map_uri=data_uri(aerial_map.image, _MAP_PX, _MAP_QUALITY)["uri"],
        caption=aerial_map.caption,
        grades=GRADES,
        beyond=BEYOND_GRADES,
        version=smdt.__version__,
        style=Markup(_leaflet_style() + _resource("report.css")),
        scripts=[Markup(script) for script in scripts],
        script_hashes=[_csp_hash(script) for script in scripts],
    )


def summarize(photos: Sequence[ReportPhoto]) -> dict[str, Any]:
    """The numbers at the top of the page.

    Returns:
        ``photos`` (count) and ``median_confidence``; ``known`` (photos whose truth is known) and, if any is,
        ``median_m`` and ``within`` (metres, count, share of the known in [0, 1]) for 10, 25 and 50 m, limits included;
        ``median_heading_error_deg`` over the photos whose true heading is known, else None.
    """
    known = [(photo.result.candidates[0], photo.truth) for photo in photos if photo.truth is not None]
    errors_m = [metres_off(best, truth) for best, truth in known]
    headings = [error for best, truth in known if (error := heading_error_deg(best, truth)) is not None]
    within = []
    for limit_m, _ in GRADES:
        count = sum(error <= limit_m for error in errors_m)
        within.append({"limit_m": limit_m, "count": count, "share": count / max(len(known), 1)})
    return {
        "photos": len(photos),
        "known": len(known),
        "median_confidence": median(photo.result.confidence for photo in photos),
        "median_m": median(errors_m) if errors_m else None,
        "within": within if errors_m else [],
        "median_heading_error_deg": median(headings) if headings else None,
    }


def metres_text(metres: float) -> str:
    """A distance as the page writes it: ``3.2 m``, ``412 m``, ``12.3 km``."""
    if metres < 99.95:
        return f"{metres:.1f} m"
    return f"{metres:.0f} m" if metres < 9999.5 else f"{metres / 1000.0:.1f} km"


def grade_of(metres: float) -> str:
    """The word for a distance: ``precise``, ``good``, ``fair`` or ``missed``."""
    return next((word for limit_m, word in GRADES if metres <= limit_m), BEYOND_GRADES)


def azimuth_text(heading_deg: float) -> str:
    """An azimuth as surveyors write it, three digits: ``007°``."""
    return f"{round(_heading(heading_deg)) % 360:03d}°"


def wind_of(heading_deg: float) -> str:
    """The nearest of the eight winds: ``N`` for 350°, ``NE`` for 30°."""
    return _WINDS[round(float(wrap_360(heading_deg).item()) / 45.0) % 8]


def position_text(place: Mapping[str, float]) -> str:
    """``latitude, longitude`` in degrees to 6 decimals (0.1 m), as map programs take it from the clipboard."""
    return f"{place['latitude_deg']:.6f}, {place['longitude_deg']:.6f}"


def compass_scale(heading_deg: float, field_of_view_deg: float) -> list[dict[str, Any]]:
    """Ticks of the azimuth scale under a photo.

    A view of 180° and wider is taken as equirectangular (columns even in azimuth) and ticked every 45°; a narrower
    one as flat (columns even in the tangent), every 10°.

    Args:
        heading_deg: azimuth of the centre column.
        field_of_view_deg: width of the photo in azimuth, in (0, 360].

    Returns:
        ``label`` (a wind, or degrees), ``share`` (place in the picture's width, 0 left edge, 1 right edge) and
        ``wind`` (whether the label is one), left to right.
    """
    half_deg = field_of_view_deg / 2.0
    step_deg = 45 if field_of_view_deg >= 180.0 else 10
    ticks = []
    first = math.ceil((heading_deg - half_deg) / step_deg)
    index = first
    while (offset_deg := index * step_deg - heading_deg) < half_deg:
        if field_of_view_deg >= 180.0:
            share = 0.5 + offset_deg / field_of_view_deg
        else:
            share = 0.5 + 0.5 * math.tan(math.radians(offset_deg)) / math.tan(math.radians(half_deg))
        azimuth = index * step_deg % 360
        label = _WINDS[azimuth // 45] if azimuth % 45 == 0 else f"{azimuth}°"
        ticks.append({"label": label, "share": share, "wind": azimuth % 45 == 0})
        index += 1
    return ticks


def _check(aerial_map: ReportMap, photos: Sequence[ReportPhoto]) -> None:
    if not photos:
        raise SmdtError("a report needs at least one photo", remedy="name the photos to locate")
    west_to_east = aerial_map.west_deg < aerial_map.east_deg
    if not (west_to_east and aerial_map.south_deg < aerial_map.north_deg):
        raise GeometryError(
            f"the map's bounds, west {aerial_map.west_deg}°, south {aerial_map.south_deg}°, east "
            f"{aerial_map.east_deg}°, north {aerial_map.north_deg}°, have no area",
            remedy="give them as west < east and south < north",
        )
    for photo in photos:
        if not photo.result.candidates:
            raise SmdtError(
                "no place was found", where=photo.result.photo, remedy="leave it out of the report"
            )


def _bounds(aerial_map: ReportMap) -> list[list[float]]:
    """South-west and north-east corner as (latitude, longitude), as Leaflet takes them."""
    return [[aerial_map.south_deg, aerial_map.west_deg], [aerial_map.north_deg, aerial_map.east_deg]]


def _photo_record(number: int, photo: ReportPhoto) -> dict[str, Any]:
    """What the page's script and table need of a photo, as JSON types; pictures aside."""
    result, truth = photo.result, photo.truth
    candidates = [_candidate_record(candidate, truth) for candidate in result.candidates]
    return {
        "number": number,
        "name": photo_name(result),
        "confidence": result.confidence,
        "candidates": candidates,
        "truth": None
        if truth is None
        else {
            "latitude_deg": truth.latitude_deg,
            "longitude_deg": truth.longitude_deg,
            "heading_deg": None if truth.heading_deg is None else _heading(truth.heading_deg),
        },
        "field_of_view_deg": photo.field_of_view_deg,
    }


def _candidate_record(candidate: Candidate, truth: Truth | None) -> dict[str, Any]:
    off = None if truth is None else metres_off(candidate, truth)
    return {
        "rank": candidate.rank,
        "latitude_deg": candidate.latitude_deg,
        "longitude_deg": candidate.longitude_deg,
        "heading_deg": _heading(candidate.heading_deg),
        "score": candidate.score,
        "metres_off": off,
        "metres_off_text": None if off is None else metres_text(off),
        "grade": None if off is None else grade_of(off),
        "heading_error_deg": None if truth is None else heading_error_deg(candidate, truth),
    }


def _pictures(photo: ReportPhoto) -> dict[str, Any]:
    """The photo and its tiles as data URIs, and the compass scale."""
    shown = photo.result.candidates[:TILES_SHOWN]
    fov = photo.field_of_view_deg
    return {
        "picture": data_uri(photo.picture, _PHOTO_PX, _PHOTO_QUALITY),
        "tiles": [data_uri(tile, _TILE_PX, _TILE_QUALITY) for tile in photo.tiles[: len(shown)]],
        "scale": [] if fov is None else compass_scale(photo.result.candidates[0].heading_deg, fov),
    }


def _heading(heading_deg: float) -> float:
    return float(wrap_360(heading_deg).item())


def data_uri(picture: Tensor, longest_px: int, quality: int) -> dict[str, Any]:
    """A picture (3, h, w) uint8 as a WebP data URI, its longer side at most ``longest_px``, with width and height."""
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3 or 0 in picture.shape:
        raise GeometryError(
            f"a picture of shape {tuple(picture.shape)} and type {picture.dtype} cannot be shown",
            remedy="give it as (3, height, width), uint8",
        )
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().cpu().numpy())
    factor = longest_px / max(image.size)
    if factor < 1.0:
        width, height = (max(1, round(side * factor)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"uri": f"data:image/webp;base64,{text}", "width": image.width, "height": image.height}


def _resource(name: str) -> str:
    """A text file of the package's ``app/web`` folder."""
    return files("smdt").joinpath("app", "web", *name.split("/")).read_text(encoding="utf-8")


def _leaflet_style() -> str:
    """Leaflet's style without the files it would load (icons this page does not use)."""
    return re.sub(r"url\([^)]*\)", "none", _resource("vendor/leaflet/leaflet.css"))


def _leaflet_script() -> str:
    """Leaflet with its licence, which must go where it goes, and without the source map it would load."""
    script = _resource("vendor/leaflet/leaflet.js").replace("//# sourceMappingURL=leaflet.js.map", "")
    return f"/*\n{_resource('vendor/leaflet/LICENSE')}*/\n{script}"


def _csp_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
