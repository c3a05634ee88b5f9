"""The report's page: self-contained, inert to hostile names, and its numbers right.

Distances are by hand: on the equator 1° of longitude is 6378137·π/180 = 111319.49 m, so 0.0001° is 11.13195 m.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from smdt.app.report import (
    ReportMap,
    ReportPhoto,
    azimuth_text,
    compass_scale,
    grade_of,
    metres_text,
    render_report,
    summarize,
    wind_of,
    write_report,
)
from smdt.errors import GeometryError, SmdtError
from smdt.locate import Candidate, Located, Truth

HOSTILE = '"><img src=x onerror=alert(1)>.jpg'
CLOSING = "</script><script>alert(2)</script>"


@dataclass
class Page(HTMLParser):
    """What a browser would take from the page: its elements, and the text of each kind of element."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    data: str = ""
    open_raw: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag == "style":
            self.open_raw = "style"
        elif tag == "script":
            self.open_raw = "data" if values.get("type") == "application/json" else "script"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.open_raw = ""

    def handle_data(self, data: str) -> None:
        if self.open_raw == "data":
            self.data += data
        elif self.open_raw:
            (self.scripts if self.open_raw == "script" else self.styles).append(data)


def picture(height: int = 6, width: int = 8, level: int = 90) -> torch.Tensor:
    return torch.full((3, height, width), level, dtype=torch.uint8)


def aerial_map() -> ReportMap:
    return ReportMap(picture(20, 30), 6.99, -0.01, 7.01, 0.01, f"Town {CLOSING}")


def located(name: str, longitude_deg: float, heading_deg: float, confidence: float) -> Located:
    """A photo with seven candidates along the equator, each 0.001° (111.319 m) east of the one before."""
    places = (
        Candidate(rank, 0.0, longitude_deg + 0.001 * (rank - 1), heading_deg, 0.9 - 0.1 * rank, rank)
        for rank in range(1, 8)
    )
    return Located(Path(name), tuple(places), confidence)


def photos() -> list[ReportPhoto]:
    tiles = [picture(4, 4)] * 5
    return [
        ReportPhoto(
            located(HOSTILE, 7.0001, 350.0, 0.5), picture(), tiles, Truth(0.0, 7.0, 10.0), 360.0
        ),  # 11.13 m
        ReportPhoto(located("b.jpg", 7.0005, 94.0, 0.25), picture(), tiles, Truth(0.0, 7.0, 90.0)),  # 55.66 m
        ReportPhoto(located("c.jpg", 7.00005, 0.0, 0.75), picture(), tiles, Truth(0.0, 7.0)),  # 5.57 m
    ]


def page_of(shown: list[ReportPhoto], **changes: Any) -> tuple[str, Page]:
    options: dict[str, Any] = {"title": "Test", "facts": {"Model": CLOSING}, "notes": [CLOSING], **changes}
    text = render_report(aerial_map(), shown, **options)
    page = Page()
    page.feed(text)
    return text, page


def rows_of(text: str) -> list[list[str]]:
    """The photo table's body as text: one list of cells a row."""
    body = re.search(r'<table id="photos">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr .*?</tr>", body.group(1), re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in cells]


def figure_of(text: str, name: str) -> str:
    found = re.search(rf'<div class="figure" id="{name}">.*?<dd>(.*?)</dd>', text, re.DOTALL)
    assert found is not None
    return re.sub(r"<[^>]*>", "", found.group(1)).strip()


def test_page_loads_nothing_from_outside() -> None:
    _, page = page_of(photos())
    for tag, values in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "video", "audio")
        for name in ("src", "srcset", "href", "xlink:href", "poster", "action", "data", "background"):
            value = values.get(name)
            assert value is None or value.startswith(("data:image/webp;base64,", "#photo=")), (
                tag,
                name,
                value,
            )
        assert "url(" not in (values.get("style") or "")
        assert not [name for name in values if name.startswith("on")]
    styles = "".join(page.styles)
    assert ".leaflet-container" in styles
    assert "url(" not in styles
    assert "@import" not in styles
    scripts = "".join(page.scripts)
    assert "Leaflet 1.9.4" in scripts
    for call in ("fetch(", "XMLHttpRequest", "import(", "sourceMappingURL", "WebSocket", "sendBeacon"):
        assert call not in scripts


def test_content_security_policy_allows_the_page_s_own_scripts_and_no_other() -> None:
    _, page = page_of(photos())
    policy = next(values["content"] for tag, values in page.elements if values.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    allowed = re.search(r"script-src ([^;]*);", policy)
    assert allowed is not None
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in page.scripts]
    assert allowed.group(1).split() == [f"'sha256-{each}'" for each in hashes]
    assert len(hashes) == 3


def test_hostile_names_and_captions_are_inert() -> None:
    text, page = page_of(photos(), title=CLOSING)
    assert "alert(" not in "".join(page.scripts)
    assert "<script>alert" not in text
    assert not [values for tag, values in page.elements if tag == "img" and values.get("src") == "x"]
    assert json.loads(page.data)["photos"][0]["name"] == HOSTILE
    links = [values.get("title") for tag, values in page.elements if tag == "a"]
    assert links == [HOSTILE, "b.jpg", "c.jpg"]


def test_data_of_the_page_carries_the_map_and_every_candidate() -> None:
    shown = photos()
    data = json.loads(page_of(shown)[1].data)
    assert data["bounds"] == [[-0.01, 6.99], [0.01, 7.01]]  # south-west, north-east, latitude first
    assert [photo["number"] for photo in data["photos"]] == [1, 2, 3]
    for photo, given in zip(data["photos"], shown, strict=True):
        assert len(photo["candidates"]) == 7
        for candidate, place in zip(photo["candidates"], given.result.candidates, strict=True):
            assert candidate["rank"] == place.rank
            assert candidate["latitude_deg"] == place.latitude_deg
            assert candidate["longitude_deg"] == place.longitude_deg
            assert candidate["score"] == place.score
    second = data["photos"][0]["candidates"][1]
    assert second["metres_off"] == pytest.approx(0.0011 * 111319.490793, abs=1e-4)
    assert second["metres_off_text"] == "122 m"
    assert second["grade"] == "missed"
    assert data["photos"][2]["truth"] == {"latitude_deg": 0.0, "longitude_deg": 7.0, "heading_deg": None}


def test_table_shows_the_geodesic_metres_in_numbers_and_in_words() -> None:
    rows = rows_of(page_of(photos())[0])
    assert [re.sub(r"\s+", " ", row[2]) for row in rows] == ["11.1 m good", "55.7 m missed", "5.6 m precise"]
    assert [row[3] for row in rows] == ["20°", "4°", "–"]
    assert [row[4] for row in rows] == ["0.800", "0.800", "0.800"]
    assert [row[5] for row in rows] == ["0.50", "0.25", "0.75"]


def test_summary_is_the_median_and_the_shares_by_hand() -> None:
    summary = summarize(photos())
    assert summary["median_m"] == pytest.approx(11.131949, abs=1e-5)
    assert [(row["limit_m"], row["count"]) for row in summary["within"]] == [(10.0, 1), (25.0, 2), (50.0, 2)]
    assert summary["median_heading_error_deg"] == pytest.approx(12.0)  # of 20° and 4°; the third is not known
    text = page_of(photos())[0]
    assert figure_of(text, "median-metres") == "11.1 m"
    assert figure_of(text, "within-10") == "33 % 1 of 3"
    assert figure_of(text, "within-25") == "67 % 2 of 3"
    assert figure_of(text, "median-heading") == "12.0°"


def test_without_truth_nothing_is_said_of_errors() -> None:
    text, page = page_of([replace(photo, truth=None) for photo in photos()])
    assert "true positions are not known" in text
    assert "Median error" not in text
    assert "precise" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert [row[2] for row in rows_of(text)] == ["350° N", "094° E", "000° N"]
    assert all(photo["candidates"][0]["metres_off"] is None for photo in json.loads(page.data)["photos"])


def test_where_some_truths_are_known_only_those_are_counted() -> None:
    first, second, third = photos()
    shown = [first, replace(second, truth=None), third]
    text = page_of(shown)[0]
    assert "2 compared with their true positions" in text
    assert figure_of(text, "within-10") == "50 % 1 of 2"
    assert [row[2] for row in rows_of(text)][1] == "not known"


def test_detail_shows_five_places_with_copyable_positions() -> None:
    _, page = page_of(photos()[:1])
    assert len([tag for tag, values in page.elements if values.get("class") == "tile"]) == 5
    copied = [values["data-copy"] for tag, values in page.elements if values.get("class") == "copy"]
    assert copied[:2] == ["0.000000, 7.000100", "0.000000, 7.000000"]  # located, true
    assert copied[2:] == [f"0.000000, 7.00{rank}100" for rank in range(5)]


def test_pictures_are_shrunk_and_keep_their_way_up() -> None:
    picture_px = picture(1500, 3000, 0)
    picture_px[0, :750] = 255  # red above, black below
    shown = [replace(photos()[0], picture=picture_px, tiles=[picture(400, 400)] * 5)]
    aerial = replace(aerial_map(), image=picture(2500, 5000))
    page = Page()
    page.feed(render_report(aerial, shown, title="Test", facts={}))
    sources = [values["src"] or "" for tag, values in page.elements if tag == "img"]
    images = [Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2]))) for each in sources]
    assert [image.size for image in images] == [(2048, 1024), (1024, 512)] + [(192, 192)] * 5
    upper, lower = images[1].getpixel((512, 100)), images[1].getpixel((512, 400))
    assert isinstance(upper, tuple)
    assert isinstance(lower, tuple)
    assert upper[0] > 240
    assert upper[1] < 15
    assert lower[0] < 15


def test_compass_scale_of_a_panorama_is_even_with_its_heading_in_the_middle() -> None:
    north = [(tick["label"], tick["share"]) for tick in compass_scale(0.0, 360.0)]
    assert north == [
        ("S", 0.0), ("SW", 0.125), ("W", 0.25), ("NW", 0.375), ("N", 0.5), ("NE", 0.625), ("E", 0.75), ("SE", 0.875)
    ]  # fmt: skip
    east = {tick["label"]: tick["share"] for tick in compass_scale(90.0, 360.0)}
    assert (east["N"], east["E"], east["S"]) == (0.25, 0.5, 0.75)


def test_compass_scale_of_a_flat_photo_is_even_in_the_tangent() -> None:
    ticks = {tick["label"]: tick["share"] for tick in compass_scale(90.0, 90.0)}
    assert list(ticks) == ["50°", "60°", "70°", "80°", "E", "100°", "110°", "120°", "130°"]
    assert ticks["E"] == 0.5
    assert ticks["60°"] == pytest.approx(0.5 - 0.5 * math.sqrt(1 / 3))  # tan 30° / tan 45°
    assert ticks["120°"] == pytest.approx(0.5 + 0.5 * math.sqrt(1 / 3))


def test_words_for_distances_and_directions() -> None:
    assert [grade_of(metres) for metres in (0.0, 10.0, 10.01, 25.0, 50.0, 50.01)] == [
        "precise", "precise", "good", "good", "fair", "missed"
    ]  # fmt: skip
    assert [metres_text(metres) for metres in (3.25001, 99.94, 99.96, 9999.0, 12345.0)] == [
        "3.3 m", "99.9 m", "100 m", "9999 m", "12.3 km"
    ]  # fmt: skip
    assert [wind_of(heading) for heading in (350.0, 30.0, 180.0, -90.0)] == ["N", "NE", "S", "W"]
    assert [azimuth_text(heading) for heading in (7.2, 359.7, -90.0)] == ["007°", "000°", "270°"]


def test_written_file_is_the_page_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    write_report(path, aerial_map(), photos(), title="Übersicht", facts={"Model": "town"})
    assert path.read_text(encoding="utf-8") == render_report(
        aerial_map(), photos(), title="Übersicht", facts={"Model": "town"}
    )
    assert list(tmp_path.iterdir()) == [path]


def test_mistakes_are_named() -> None:
    with pytest.raises(SmdtError, match="at least one photo"):
        page_of([])
    with pytest.raises(SmdtError, match=r"empty\.jpg: no place was found"):
        page_of([replace(photos()[0], result=Located(Path("empty.jpg"), (), 0.0))])
    with pytest.raises(GeometryError, match=r"shape \(6, 8, 3\).*\(3, height, width\), uint8"):
        page_of([replace(photos()[0], picture=picture().permute(1, 2, 0))])
    with pytest.raises(GeometryError, match="float32"):
        page_of([replace(photos()[0], picture=picture().float())])
    swapped = replace(aerial_map(), west_deg=7.01, east_deg=6.99)
    with pytest.raises(GeometryError, match="west < east"):
        render_report(swapped, photos(), title="Test", facts={})
