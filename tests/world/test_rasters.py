"""Places from an orthophoto and a surface model in unlike coordinate systems and pixel grids."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from click.testing import CliRunner
from rasterio import Affine

from smdt.app.cli import cli
from smdt.errors import ConfigError, ImageryError
from smdt.geometry.geodesy import from_web_mercator, to_utm, to_web_mercator
from smdt.imagery.raster_writing import write_raster
from smdt.world.layers import Place, Surface
from smdt.world.raster_objects import Layers, derive_classes, find_buildings, find_trees
from smdt.world.rasters import open_ground_positions, place_from_rasters
from smdt.world.store import open_place

LATITUDE, LONGITUDE = 47.37, 8.54  # Zürich: UTM zone 32, whose meridian is 9°
UTM = 32632
GREEN, RED, GREY = (90, 130, 70), (170, 70, 60), (125, 125, 125)
SCALE = 1.0 / math.cos(math.radians(LATITUDE))


def ground(columns: int, rows: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pixel indices (rows, columns) of a grid, as floats at their centres."""
    column, row = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    return column, row


def mercator_raster(
    path: Path, values: npt.NDArray[np.generic], pixel_m: float, nodata: float | None = None
) -> Path:
    """Write a raster in Web Mercator whose centre is the position; pixels of some metres on the ground."""
    x, y = to_web_mercator(LATITUDE, LONGITUDE)
    step = pixel_m * SCALE
    rows, columns = values.shape[-2:]
    transform = Affine(step, 0.0, float(x) - columns / 2 * step, 0.0, -step, float(y) + rows / 2 * step)
    layers = values if values.ndim == 3 else values[None]
    write_raster(path, np.ascontiguousarray(layers), transform, "EPSG:3857", nodata=nodata)
    return path


def utm_photo(path: Path, size: int, pixel_m: float, red_at_m: tuple[float, float]) -> Path:
    """A green UTM orthophoto centred on the position, with a red square of 8 m, turned like the map's grid."""
    east, north = (float(value) for value in to_utm(LATITUDE, LONGITUDE, UTM))
    transform = Affine(pixel_m, 0.0, east - size / 2 * pixel_m, 0.0, -pixel_m, north + size / 2 * pixel_m)
    column, row = ground(size, size)
    x, y = to_web_mercator(LATITUDE, LONGITUDE)
    latitude, longitude = from_web_mercator(float(x) + red_at_m[0] * SCALE, float(y) + red_at_m[1] * SCALE)
    red_east, red_north = to_utm(latitude, longitude, UTM)
    a = transform.c + column * pixel_m - red_east
    b = transform.f - row * pixel_m - red_north
    covered = np.clip((4.0 - np.abs(a)) / pixel_m + 0.5, 0, 1) * np.clip(
        (4.0 - np.abs(b)) / pixel_m + 0.5, 0, 1
    )
    picture = np.rint(GREEN + covered[..., None] * np.subtract(RED, GREEN)).astype(np.uint8)
    write_raster(path, np.moveaxis(picture, 2, 0), transform, f"EPSG:{UTM}")
    return path


def pillar(
    size: int, pixel_m: float, at_m: tuple[float, float], height_m: float, half_m: float = 4.0
) -> npt.NDArray[np.float32]:
    column, row = ground(size, size)
    east, north = (column - size / 2) * pixel_m, (size / 2 - row) * pixel_m
    inside = (np.abs(east - at_m[0]) < half_m) & (np.abs(north - at_m[1]) < half_m)
    return np.where(inside, height_m, 0.0).astype(np.float32)


def pixel(place: Place, east_m: float, north_m: float) -> tuple[int, int]:
    """Row and column of a point given in metres from the position."""
    x, y = to_web_mercator(LATITUDE, LONGITUDE)
    latitude, longitude = from_web_mercator(float(x) + east_m * SCALE, float(y) + north_m * SCALE)
    east, north = place.to_local_m(latitude, longitude)
    return place.surface.shape[0] - 1 - int(north / place.pixel_m), int(east / place.pixel_m)


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A UTM photo of 120 m at 0.4 m over a Web-Mercator model of 100 m at 0.5 m, a pillar at 20 m east, 30 m north."""
    folder = tmp_path_factory.mktemp("crossed")
    photo = utm_photo(folder / "ortho.tif", 300, 0.4, (20.0, 30.0))
    heights = 400.0 + pillar(200, 0.5, (20.0, 30.0), 10.0)
    model = mercator_raster(folder / "dsm.tif", heights, 0.5)
    return place_from_rasters(photo, model, pixel_m=0.25)


def test_a_pillar_lands_at_its_offset_in_both_layers(crossed: Place) -> None:
    high, red = crossed.height_m > 5.0, crossed.colour[..., 0] > 130
    for layer in (high, red):
        rows, columns = np.nonzero(layer)
        east, north = (columns.mean() + 0.5) * 0.25, (crossed.surface.shape[0] - rows.mean() - 0.5) * 0.25
        latitude, longitude = crossed.to_position(east, north)
        x, y = to_web_mercator(latitude, longitude)
        x0, y0 = to_web_mercator(LATITUDE, LONGITUDE)
        assert (x - x0) / SCALE == pytest.approx(20.0, abs=0.13)  # half a pixel
        assert (y - y0) / SCALE == pytest.approx(30.0, abs=0.13)
        assert layer.sum() * 0.0625 == pytest.approx(64.0, rel=0.05)
    assert crossed.height_m[pixel(crossed, 20.0, 30.0)] == pytest.approx(10.0, abs=0.01)
    assert crossed.height_m[pixel(crossed, -20.0, 30.0)] == 0.0


def test_the_place_is_what_the_files_share(crossed: Place) -> None:
    assert crossed.size_m == pytest.approx((100.0, 100.0), abs=0.3)
    assert (crossed.colour.sum(axis=2) > 100).all()  # no black wedge of the turned photo


def test_a_pillar_is_a_building_with_its_rectangle(crossed: Place) -> None:
    assert len(crossed.buildings.angle_rad) == 1
    assert crossed.surface[pixel(crossed, 20.0, 30.0)] == Surface.BUILDING
    assert crossed.surface[pixel(crossed, -20.0, -30.0)] == Surface.GRASS
    table = crossed.buildings
    assert table.half_size_m[0] == pytest.approx((4.0, 4.0), abs=0.26)
    row, column = pixel(crossed, 20.0, 30.0)
    assert table.centre_m[0, 0] == pytest.approx((column + 0.5) * 0.25, abs=0.3)
    assert table.centre_m[0, 1] == pytest.approx((crossed.surface.shape[0] - row - 0.5) * 0.25, abs=0.3)
    assert (crossed.object_id == 1).sum() == (crossed.surface == Surface.BUILDING).sum()


def test_positions_on_open_ground_keep_clear_of_what_is_high(crossed: Place) -> None:
    spots = open_ground_positions(crossed, 300, np.random.default_rng(1), margin_m=10.0, clear_m=3.0)
    assert spots.shape == (300, 2)
    assert spots.min() > 10.0
    assert spots.max() < 90.2
    rows, columns = np.nonzero(crossed.height_m > 0.5)
    high = np.stack([columns + 0.5, crossed.surface.shape[0] - rows - 0.5], axis=-1) * 0.25
    away = np.hypot(*(spots[:, None] - high[None]).transpose(2, 0, 1)).min()
    assert away > 3.0
    assert len(np.unique(spots, axis=0)) == 300
    with pytest.raises(ConfigError, match="no open ground 60 m from its edge"):
        open_ground_positions(crossed, 3, np.random.default_rng(1))


def sloping(size: int) -> npt.NDArray[np.float32]:
    column, row = ground(size, size)
    return (200.0 + 0.15 * column * 0.5 - 0.05 * row * 0.5).astype(np.float32)


@pytest.mark.parametrize("with_terrain", [True, False])
def test_height_is_above_sloping_ground(tmp_path: Path, with_terrain: bool) -> None:
    slope = sloping(240)
    photo = utm_photo(tmp_path / "ortho.tif", 300, 0.4, (0.0, 0.0))
    model = mercator_raster(tmp_path / "dsm.tif", slope + pillar(240, 0.5, (0.0, 0.0), 12.0), 0.5)
    terrain = mercator_raster(tmp_path / "dtm.tif", slope, 0.5) if with_terrain else None
    place = place_from_rasters(photo, model, terrain=terrain, pixel_m=0.5, ground_window_m=20.0)
    middle = place.height_m[pixel(place, 0.0, 0.0)]
    assert middle == pytest.approx(12.0, abs=0.05 if with_terrain else 1.5)
    low = place.height_m[place.surface != Surface.BUILDING]
    assert (low == 0.0).mean() > 0.98


def test_a_terrain_model_is_the_ground_of_the_place(tmp_path: Path) -> None:
    slope = sloping(240)
    holed = slope.copy()
    holed[100:104, 60:64] = -9999.0
    photo = utm_photo(tmp_path / "ortho.tif", 300, 0.4, (0.0, 0.0))
    model = mercator_raster(tmp_path / "dsm.tif", slope + pillar(240, 0.5, (0.0, 0.0), 12.0), 0.5)
    terrain = mercator_raster(tmp_path / "dtm.tif", holed, 0.5, nodata=-9999.0)
    arguments = [
        "world",
        "rasters",
        "--colour",
        photo,
        "--height",
        model,
        "--ground",
        terrain,
        "--pixel-m",
        0.5,
    ]
    arguments += ["--out", tmp_path / "place"]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    place = open_place(tmp_path / "place")
    # 200 m + 0.15 m a metre east, from the western edge of 120 m, - 0.05 m a metre south of the northern edge.
    assert place.ground_m[pixel(place, 0.0, 0.0)] == pytest.approx(200.0 + 0.15 * 60 - 0.05 * 60, abs=0.1)
    assert place.ground_m[pixel(place, 20.0, -10.0)] == pytest.approx(200.0 + 0.15 * 80 - 0.05 * 70, abs=0.1)
    assert place.height_m[pixel(place, 0.0, 0.0)] == pytest.approx(12.0, abs=0.05)
    assert np.isfinite(place.ground_m).all()
    assert place.ground_m.min() > 190.0  # the hole is filled from beside it
    assert place_from_rasters(photo, model, pixel_m=0.5).is_flat


def test_holes_are_filled_near_and_empty_far(tmp_path: Path) -> None:
    heights = pillar(200, 0.5, (0.0, 0.0), 10.0) + 50.0
    heights[98:102, 98:102] = -9999.0  # 2 m, in the pillar
    heights[20:60, 20:60] = -9999.0  # 20 m, on the ground
    photo = utm_photo(tmp_path / "ortho.tif", 300, 0.4, (0.0, 0.0))
    model = mercator_raster(tmp_path / "dsm.tif", heights, 0.5, nodata=-9999.0)
    place = place_from_rasters(photo, model, pixel_m=0.5)
    assert np.isfinite(place.height_m).all()
    assert place.height_m[pixel(place, -0.3, 0.3)] == pytest.approx(10.0, abs=0.2)
    assert place.height_m[pixel(place, -30.0, 30.0)] == 0.0
    assert place.surface[pixel(place, -30.0, 30.0)] == Surface.BARE
    assert tuple(place.colour[pixel(place, -30.0, 30.0)]) == (128, 128, 128)


def test_given_classes_are_taken_by_their_scheme(tmp_path: Path) -> None:
    photo = utm_photo(tmp_path / "ortho.tif", 300, 0.4, (0.0, 0.0))
    model = mercator_raster(tmp_path / "dsm.tif", pillar(200, 0.5, (0.0, 0.0), 10.0), 0.5)
    numbers = np.full((200, 200), 2, np.uint8)
    numbers[pillar(200, 0.5, (0.0, 0.0), 1.0) > 0] = 6
    numbers[:40] = 9
    classes = mercator_raster(tmp_path / "class.tif", numbers, 0.5)
    place = place_from_rasters(photo, model, classes=classes, class_scheme="las", pixel_m=0.5)
    assert place.surface[pixel(place, 0.0, 0.0)] == Surface.BUILDING
    assert place.surface[pixel(place, 0.0, 45.0)] == Surface.WATER
    assert place.surface[pixel(place, 0.0, -45.0)] == Surface.GRASS
    numbers[-40:] = 40
    classes = mercator_raster(tmp_path / "class.tif", numbers, 0.5)
    with pytest.raises(ImageryError, match=r"class\.tif: class 40 is not in the class scheme"):
        place_from_rasters(photo, model, classes=classes, class_scheme="las", pixel_m=0.5)
    with pytest.raises(ConfigError, match="'esri' is no class scheme"):
        place_from_rasters(photo, model, classes=classes, class_scheme="esri")


def test_classes_by_colour_height_and_planeness() -> None:
    rng = np.random.default_rng(3)
    size, pixel_m = 160, 0.5
    _, row = ground(size, size)
    colour = np.empty((size, size, 3), np.uint8)
    colour[:] = GREY
    colour[:, 80:] = GREEN
    height = np.zeros((size, size), np.float32)
    height[20:60, 20:60] = (6.0 + 0.4 * np.abs(row - 40.0) * pixel_m)[20:60, 20:60]  # a roof with two slopes
    height[100:140, 20:60] = 8.0 + rng.normal(0, 1.5, (40, 40))  # a leafless wood
    height[100:140, 100:140] = 5.0  # a copper roof: green, but smooth and 20 m wide
    height[30:36, 90:150] = 3.0  # a clipped hedge of 3 m
    found = derive_classes(Layers(colour, height, pixel_m))
    assert (found[21:59, 21:59] == Surface.BUILDING).mean() > 0.99
    assert (found[103:137, 23:57] == Surface.TREE).mean() > 0.95
    assert (found[101:139, 101:139] == Surface.BUILDING).mean() > 0.99
    assert (found[30:36, 92:148] == Surface.TREE).all()
    assert (found[:15, :75] == Surface.PAVEMENT).all()
    assert (found[:15, 85:] == Surface.GRASS).all()


def test_two_buildings_have_two_rows_and_walls_of_their_own() -> None:
    surface = np.full((60, 60), Surface.GRASS, np.uint8)
    surface[10:20, 10:40] = Surface.BUILDING
    surface[40:50, 5:10] = Surface.BUILDING
    layers = Layers(np.zeros((60, 60, 3), np.uint8), np.zeros((60, 60), np.float32), 0.5)
    objects, table = find_buildings(layers, surface)
    assert objects[15, 15] == 1
    assert objects[45, 7] == 2
    assert objects.max() == 2
    assert table.centre_m == pytest.approx(np.array([[12.5, 22.5], [3.75, 7.5]]))
    assert table.half_size_m == pytest.approx(np.array([[7.5, 2.5], [2.5, 1.25]]))
    assert table.angle_rad == pytest.approx([0.0, math.pi / 2])
    again = find_buildings(layers, surface)[1]
    assert table.facade.tobytes() == again.facade.tobytes()


def test_trees_are_found_at_their_tops() -> None:
    column, row = ground(120, 120)
    height = np.zeros((120, 120), np.float32)
    for east, south, top in ((15.0, 15.0, 8.0), (40.0, 30.0, 12.0)):
        away = np.hypot(column * 0.5 - east, row * 0.5 - south)
        height = np.maximum(height, np.where(away < 4.0, top - away, 0.0)).astype(np.float32)
    surface = np.where(height > 0, Surface.TREE, Surface.GRASS).astype(np.uint8)
    colour = np.where((height > 0)[..., None], (40, 80, 30), GREEN).astype(np.uint8)
    trees = find_trees(Layers(colour, height, 0.5), surface)
    order = np.argsort(trees.top_m)
    assert trees.top_m[order] == pytest.approx([8.0, 12.0], abs=0.5)
    assert trees.centre_m[order] == pytest.approx(np.array([[15.0, 45.0], [40.0, 30.0]]), abs=0.4)
    assert trees.radius_m == pytest.approx([4.0, 4.0], rel=0.03)
    assert trees.colour == pytest.approx(np.array([[40, 80, 30]] * 2))


def test_roads_may_come_from_an_extract(tmp_path: Path) -> None:
    pytest.importorskip("osmium")
    x, y = to_web_mercator(LATITUDE, LONGITUDE)
    ends = [from_web_mercator(float(x) + east * SCALE, float(y)) for east in (-70.0, 70.0)]
    nodes = "".join(f'<node id="{i}" lat="{a}" lon="{b}"/>' for i, (a, b) in enumerate(ends, 1))
    way = (
        '<way id="1"><nd ref="1"/><nd ref="2"/><tag k="highway" v="residential"/><tag k="width" v="6"/></way>'
    )
    extract = tmp_path / "roads.osm"
    extract.write_text(f'<osm version="0.6">{nodes}{way}</osm>')
    photo = utm_photo(tmp_path / "ortho.tif", 300, 0.4, (20.0, 0.0))
    model = mercator_raster(tmp_path / "dsm.tif", pillar(200, 0.5, (20.0, 0.0), 10.0), 0.5)
    place = place_from_rasters(photo, model, pixel_m=0.5, osm=extract)
    assert [street.width_m for street in place.streets] == [6.0]
    column = place.surface[:, pixel(place, -20.0, 0.0)[1]]
    assert (column == Surface.ROAD).sum() in (11, 12, 13)
    assert place.surface[pixel(place, 20.0, 0.0)] == Surface.BUILDING  # a road does not run through a house
    assert place.attribution == "© OpenStreetMap contributors, ODbL 1.0"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of writing plain.tif
def test_mistakes_are_named(tmp_path: Path) -> None:
    photo = utm_photo(tmp_path / "ortho.tif", 300, 0.4, (0.0, 0.0))
    model = mercator_raster(tmp_path / "dsm.tif", pillar(200, 0.5, (0.0, 0.0), 10.0), 0.5)
    with pytest.raises(ImageryError, match=r"none\.tif: there is no such raster"):
        place_from_rasters(photo, tmp_path / "none.tif")
    far = tmp_path / "far.tif"
    write_raster(far, np.zeros((1, 9, 9), np.float32), Affine(1, 0, 0, 0, -1, 0), "EPSG:3857")
    with pytest.raises(ImageryError, match=r"far\.tif: shares no area with ortho\.tif"):
        place_from_rasters(photo, far)
    with rasterio.open(
        tmp_path / "plain.tif", "w", driver="GTiff", width=4, height=4, count=1, dtype="float32"
    ) as raster:
        raster.write(np.zeros((1, 4, 4), np.float32))
    with pytest.raises(ImageryError, match=r"plain\.tif: the raster has no coordinates"):
        place_from_rasters(photo, tmp_path / "plain.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(ImageryError, match=r"text\.tif: not a raster"):
        place_from_rasters(photo, tmp_path / "text.tif")
    empty = mercator_raster(tmp_path / "empty.tif", np.full((200, 200), -1.0, np.float32), 0.5, nodata=-1.0)
    with pytest.raises(ImageryError, match=r"empty\.tif: has no known pixel"):
        place_from_rasters(photo, empty)
    with pytest.raises(ImageryError, match=r"--bounds: shares no area"):
        place_from_rasters(photo, model, bounds=(1.0, 1.0, 2.0, 2.0))
    with pytest.raises(ConfigError, match="--ground-window-m"):
        place_from_rasters(photo, model, ground_window_m=1.0)


def test_the_command_writes_a_place(tmp_path: Path) -> None:
    photo = utm_photo(tmp_path / "ortho.tif", 300, 0.4, (0.0, 0.0))
    model = mercator_raster(tmp_path / "dsm.tif", pillar(200, 0.5, (0.0, 0.0), 10.0), 0.5)
    arguments = [
        "world",
        "rasters",
        "--colour",
        photo,
        "--height",
        model,
        "--out",
        tmp_path / "place",
        "--pixel-m",
        0.5,
    ]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "ortho.tif with dsm.tif" in result.output
    assert len(open_place(tmp_path / "place").buildings.angle_rad) == 1
    arguments += ["--bounds", "1,2,3"]
    with pytest.raises(ConfigError, match="'1,2,3' is no area"):
        CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
