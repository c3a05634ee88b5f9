"""The located photos as GeoJSON (RFC 7946), for a GIS: one point a candidate, one a known true position."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smdt.files import write_text_whole
from smdt.geometry.angles import angular_error, wrap_360
from smdt.geometry.geodesy import distance_m
from smdt.locate import Candidate, Located, Truth

_COORDINATE_DIGITS = 7
"""Decimals of a degree: about a centimetre."""


def photo_name(result: Located) -> str:
    """The photo's file name, as text that UTF-8 can write whatever bytes the file system gave it."""
    return result.photo.name.encode("utf-8", "replace").decode("utf-8")


def metres_off(candidate: Candidate, truth: Truth) -> float:
    """Geodesic distance in metres on WGS84 from a candidate to where the photo was really taken."""
    return float(
        distance_m(
            candidate.latitude_deg, candidate.longitude_deg, truth.latitude_deg, truth.longitude_deg
        ).item()
    )


def heading_error_deg(candidate: Candidate, truth: Truth) -> float | None:
    """Absolute heading error of a candidate in [0, 180] degrees; None where the true heading is not known."""
    if truth.heading_deg is None:
        return None
    return float(angular_error(candidate.heading_deg, truth.heading_deg).item())


def to_geojson(results: Sequence[Located], truths: Mapping[Path, Truth] | None = None) -> dict[str, Any]:
    """The candidates of all photos, and their true positions where known, as a FeatureCollection.

    Coordinates are (longitude, latitude) in degrees on WGS84, as RFC 7946 orders them, to 7 decimals. A candidate's
    properties are ``kind`` (``candidate``), ``number`` (the photo's, from 1), ``photo`` (its file name), ``rank``,
    ``score``, ``heading_deg``, ``confidence`` (of the photo) and, where the truth is known, ``metres_off`` and
    ``heading_error_deg``. A true position has ``kind`` ``truth``, ``number``, ``photo`` and, if known, ``heading_deg``.

    Args:
        results: located photos.
        truths: true positions by the photo's path, as far as known.
    """
    features: list[dict[str, Any]] = []
    for number, result in enumerate(results, start=1):
        truth = None if truths is None else truths.get(result.photo)
        photo = {"number": number, "photo": photo_name(result)}
        features.extend(_candidate_feature(each, result, photo, truth) for each in result.candidates)
        if truth is not None:
            properties = {"kind": "truth", **photo}
            if truth.heading_deg is not None:
                properties["heading_deg"] = _rounded_heading(truth.heading_deg)
            features.append(_point(truth.latitude_deg, truth.longitude_deg, properties))
    return {"type": "FeatureCollection", "features": features}


def write_geojson(path: Path, results: Sequence[Located], truths: Mapping[Path, Truth] | None = None) -> None:
    """Write :func:`to_geojson` to a file (UTF-8), whole or not at all.

    Raises:
        SmdtError: if the file cannot be written.
    """
    text = json.dumps(to_geojson(results, truths), ensure_ascii=False, allow_nan=False, indent=1)
    write_text_whole(path, text + "\n")


def _candidate_feature(
    candidate: Candidate, result: Located, photo: Mapping[str, object], truth: Truth | None
) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "kind": "candidate",
        **photo,
        "rank": candidate.rank,
        "score": round(candidate.score, 6),
        "heading_deg": _rounded_heading(candidate.heading_deg),
        "confidence": round(result.confidence, 6),
    }
    if truth is not None:
        properties["metres_off"] = round(metres_off(candidate, truth), 2)
        error = heading_error_deg(candidate, truth)
        if error is not None:
            properties["heading_error_deg"] = round(error, 2)
    return _point(candidate.latitude_deg, candidate.longitude_deg, properties)


def _point(latitude_deg: float, longitude_deg: float, properties: dict[str, Any]) -> dict[str, Any]:
    position = [round(longitude_deg, _COORDINATE_DIGITS), round(latitude_deg, _COORDINATE_DIGITS)]
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": position},
        "properties": properties,
    }


def _rounded_heading(heading_deg: float) -> float:
    """Wrapped to [0, 360) and rounded to hundredths, never 360 itself."""
    return round(float(wrap_360(heading_deg).item()), 2) % 360.0
