"""GeoJSON of located photos. Distances are by hand: on the equator 1° of longitude is 6378137·π/180 = 111319.49 m."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smdt.app.geojson import heading_error_deg, metres_off, to_geojson, write_geojson, write_text_whole
from smdt.errors import SmdtError
from smdt.locate import Candidate, Located, Truth

PHOTO = Path("folder") / "first.jpg"
OTHER = Path("folder") / "second.jpg"


def results() -> list[Located]:
    first = Located(
        PHOTO, (Candidate(1, 0.0, 7.0, 350.0, 0.8, 3), Candidate(2, 0.01, 7.02, -90.0, 0.5, 9)), 0.75
    )
    return [first, Located(OTHER, (Candidate(1, -33.5, -70.25, 359.999, 0.25, 4),), 0.5)]


def test_metres_off_is_the_geodesic_on_wgs84() -> None:
    east = metres_off(Candidate(1, 0.0, 7.0, 0.0, 0.0, 0), Truth(0.0, 7.0001))
    assert east == pytest.approx(11.131949, abs=1e-5)
    # A meridian's radius of curvature at the equator is a·(1 - e²) = 6335439.33 m.
    north = metres_off(Candidate(1, 0.0, 7.0, 0.0, 0.0, 0), Truth(0.0001, 7.0))
    assert north == pytest.approx(11.057427, abs=1e-5)


def test_heading_error_goes_the_short_way_round() -> None:
    candidate = Candidate(1, 0.0, 0.0, 350.0, 0.0, 0)
    assert heading_error_deg(candidate, Truth(0.0, 0.0, 10.0)) == pytest.approx(20.0)
    assert heading_error_deg(candidate, Truth(0.0, 0.0)) is None


def test_convention_coordinates_are_longitude_then_latitude() -> None:
    features = to_geojson(results())["features"]
    assert [feature["geometry"] for feature in features] == [
        {"type": "Point", "coordinates": [7.0, 0.0]},
        {"type": "Point", "coordinates": [7.02, 0.01]},
        {"type": "Point", "coordinates": [-70.25, -33.5]},
    ]


def test_every_object_has_the_members_rfc_7946_asks_for() -> None:
    collection = to_geojson(results(), {PHOTO: Truth(0.0, 7.0001)})
    assert set(collection) == {"type", "features"}
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        assert set(feature) == {"type", "geometry", "properties"}
        assert feature["type"] == "Feature"
        longitude, latitude = feature["geometry"]["coordinates"]
        assert -180 <= longitude <= 180
        assert -90 <= latitude <= 90


def test_candidates_carry_their_properties_and_the_error_where_the_truth_is_known() -> None:
    features = to_geojson(results(), {PHOTO: Truth(0.0, 7.0001, 10.0)})["features"]
    assert features[0]["properties"] == {
        "kind": "candidate",
        "number": 1,
        "photo": "first.jpg",
        "rank": 1,
        "score": 0.8,
        "heading_deg": 350.0,
        "confidence": 0.75,
        "metres_off": 11.13,
        "heading_error_deg": 20.0,
    }
    assert features[1]["properties"]["heading_deg"] == 270.0
    assert features[2]["properties"] == {
        "kind": "truth",
        "number": 1,
        "photo": "first.jpg",
        "heading_deg": 10.0,
    }
    assert features[2]["geometry"]["coordinates"] == [7.0001, 0.0]
    assert features[3]["properties"] == {
        "kind": "candidate",
        "number": 2,
        "photo": "second.jpg",
        "rank": 1,
        "score": 0.25,
        "heading_deg": 0.0,  # 359.999° to hundredths is north, not 360°
        "confidence": 0.5,
    }


def test_written_file_reads_back_as_the_same_collection(tmp_path: Path) -> None:
    truths = {OTHER: Truth(-33.5, -70.25, None)}
    path = tmp_path / "located.geojson"
    write_geojson(path, results(), truths)
    assert json.loads(path.read_text(encoding="utf-8")) == to_geojson(results(), truths)
    assert list(tmp_path.iterdir()) == [path]  # nothing is left beside it


def test_file_name_that_is_not_utf8_does_not_stop_the_writing(tmp_path: Path) -> None:
    path = tmp_path / "located.geojson"
    write_geojson(path, [Located(Path("caf\udce9.jpg"), results()[1].candidates, 0.5)])
    assert json.loads(path.read_text(encoding="utf-8"))["features"][0]["properties"]["photo"] == "caf?.jpg"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "located.geojson"
    with pytest.raises(SmdtError, match=r"located\.geojson: cannot be written .*name a file in a folder"):
        write_geojson(path, results())


def test_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(SmdtError, match="No space left on device"):
        write_text_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
