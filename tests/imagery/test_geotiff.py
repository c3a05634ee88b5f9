"""GeoTIFFs of several coordinate systems and pixel types, read as north-up squares."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.enums import ColorInterp

from smdt.errors import ConfigError, ImageryError
from smdt.geometry.geodesy import distance_m, from_web_mercator, to_web_mercator
from smdt.imagery.aerial import CellWindow, MercatorArea, open_aerial


def one_line(error: ImageryError, path: Path) -> None:
    assert "\n" not in str(error)
    assert str(path) in str(error)
    assert error.remedy


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32632", "EPSG:4326"])
@pytest.mark.parametrize(("east_m", "north_m"), [(0.0, 0.0), (7.3, -5.1)])
@pytest.mark.parametrize("side_px", [25, 48, 150])  # reduced 1.67 times, 0.87, enlarged 3.6 times
def test_square_shows_the_ground_at_its_position(
    tmp_path: Path, world: Any, crs: str, east_m: float, north_m: float, side_px: int
) -> None:
    array, transform = world.raster(crs, 120)
    world.write(tmp_path / "a.tif", array, crs, transform)
    expected = world.square(20.85, side_px, east_m, north_m)
    x, y = to_web_mercator(world.latitude_deg, world.longitude_deg)
    latitude, longitude = (float(one) for one in from_web_mercator(x + east_m, y + north_m))
    with open_aerial(tmp_path / "a.tif") as source:
        square, valid = source.read_square(latitude, longitude, 20.85, side_px)
    assert valid == 1.0
    assert square.shape == (3, side_px, side_px)
    off = square.numpy().astype(float) - expected
    assert abs(off[0].mean()) < 0.22  # a shift by half a pixel of the file would be 0.93 levels,
    assert abs(off[1].mean()) < 0.22  # by half a pixel of the smallest square pixels 0.26
    assert np.abs(off).max() < 1.6  # three roundings to whole levels


def test_convention_north_is_up_and_west_is_left(tmp_path: Path, world: Any) -> None:
    array = np.full((3, 200, 200), 90, np.uint8)
    array[:, 40:60, 20:50] = np.array([255, 0, 0])[
        :, None, None
    ]  # 20..30 m north, 25..40 m west of the centre
    world.write(tmp_path / "a.tif", array, "EPSG:3857", world.mercator_transform(200, 200))
    with open_aerial(tmp_path / "a.tif") as source:
        square, _ = source.read_square(world.latitude_deg, world.longitude_deg, 100.0, 100)
    red = (square[0].int() - square[1].int() > 128).nonzero()
    assert red.min(0).values.tolist() == [20, 10]
    assert red.max(0).values.tolist() == [29, 24]


def test_a_square_on_the_files_own_grid_is_its_pixels(tmp_path: Path, world: Any) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 100, 100), dtype=np.uint8)
    world.write(tmp_path / "a.tif", array, "EPSG:3857", world.mercator_transform(100, 100))
    with open_aerial(tmp_path / "a.tif") as source:
        square, valid = source.read_square(world.latitude_deg, world.longitude_deg, 30.0, 60)
    assert valid == 1.0
    assert np.array_equal(square.numpy(), array[:, 20:80, 20:80])


@pytest.mark.parametrize("reduction", [4, 10])
def test_shrinking_is_antialiased(tmp_path: Path, world: Any, reduction: int) -> None:
    rows, columns = np.indices((200, 200))
    array = np.where((rows + columns) % 2 == 0, 255, 0).astype(np.uint8)[None].repeat(3, 0)
    world.write(tmp_path / "a.tif", array, "EPSG:3857", world.mercator_transform(200, 200))
    with open_aerial(tmp_path / "a.tif") as source:
        square, _ = source.read_square(world.latitude_deg, world.longitude_deg, 80.0, 160 // reduction)
    assert np.abs(square.numpy().astype(float) - 127.5).max() < 8  # every second pixel would be 0 or 255


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32632"])
def test_a_large_area_is_read_reduced_and_in_place(tmp_path: Path, world: Any, crs: str) -> None:
    array, transform = world.raster(crs, 120)
    big = array.repeat(8, 1).repeat(8, 2)
    world.write(
        tmp_path / "a.tif", big, crs, Affine(transform.a / 8, 0, transform.c, 0, transform.e / 8, transform.f)
    )
    with open_aerial(tmp_path / "a.tif") as source:
        area = MercatorArea.around(world.latitude_deg, world.longitude_deg, 40.0)
        assert source.plan_square(world.latitude_deg, world.longitude_deg, 40.0, 64).window.shrink == 4
        picture, valid = source.read_area(area, 64, 64)
    off = picture.numpy().astype(float) - world.square(40.0, 64)
    assert valid == 1.0
    assert np.abs(off.mean((1, 2))).max() < 0.1
    assert np.abs(off).max() < 2.0


def test_bounds_and_ground_sampling_distance(tmp_path: Path, world: Any) -> None:
    for crs in ("EPSG:3857", "EPSG:32632", "EPSG:4326"):
        array, transform = world.raster(crs, 120)
        world.write(tmp_path / "a.tif", array, crs, transform)
        with open_aerial(tmp_path / "a.tif") as source:
            west, south, east, north = source.bounds
            assert west < world.longitude_deg < east
            assert south < world.latitude_deg < north
            assert distance_m(south, west, south, east) == pytest.approx(60.0, rel=0.02)
            assert distance_m(south, west, north, west) == pytest.approx(60.0, rel=0.02)
            assert source.ground_sampling_distance_m == pytest.approx(0.5, rel=0.005)


def test_position_to_pixel_of_an_area(world: Any) -> None:
    area = MercatorArea.around(world.latitude_deg, world.longitude_deg, 100.0)
    assert area.size_px(300) == (300, 300)
    x, y = area.position_to_pixel(world.latitude_deg, world.longitude_deg, 300, 300)
    assert (float(x), float(y)) == (pytest.approx(150.0), pytest.approx(150.0))
    x, y = area.position_to_pixel(area.bounds.north_deg, area.bounds.west_deg, 300, 300)
    assert (float(x), float(y)) == (pytest.approx(0.0, abs=1e-4), pytest.approx(0.0, abs=1e-4))
    back = MercatorArea.from_bounds(area.bounds)
    assert back.west_m == pytest.approx(area.west_m)
    assert back.north_m == pytest.approx(area.north_m)


@pytest.mark.parametrize("side_px", [33, 40, 100])
def test_beyond_the_edge_is_black_and_invalid(world_tif: Path, side_px: int) -> None:
    with open_aerial(world_tif) as source:
        west, _, _, north = source.bounds
        square, valid = source.read_square(north - 1e-9, west + 1e-9, 20.0, side_px)
    assert valid == pytest.approx(0.25, abs=0.6 / side_px)
    half = side_px // 2
    assert int(square[:, : half - 1].max()) == 0
    assert int(square[:, half + 1 :, : half - 1].max()) == 0
    assert int(square[2, half + 1 :, half + 1 :].min()) == 77
    assert set(square[2].unique().tolist()) <= {0, 76, 77, 78}  # no dark fringe


@pytest.mark.parametrize("reduction", [0.4, 1.4, 2.6, 5.3])
def test_pictures_side_by_side_are_the_picture_of_both(tmp_path: Path, world: Any, reduction: float) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 300, 300), dtype=np.uint8)
    world.write(tmp_path / "a.tif", array, "EPSG:3857", world.mercator_transform(300, 300))
    with open_aerial(tmp_path / "a.tif") as source:
        pixel = source.grid.pixel_x_m * reduction
        west, north = source.area.west_m + 37.1, source.area.north_m - 41.7
        both, left, right = (
            source.read_area(
                MercatorArea(west + first * pixel, north - 16 * pixel, west + last * pixel, north),
                last - first,
                16,
            )[0].int()
            for first, last in ((0, 32), (0, 16), (16, 32))
        )
    assert (both[..., :16] - left).abs().max() <= 1
    assert (both[..., 16:] - right).abs().max() <= 1


def grey(world: Any, path: Path, array: np.ndarray, **more: object) -> tuple[np.ndarray, float]:
    world.write(path, array, "EPSG:3857", world.mercator_transform(array.shape[2], array.shape[1]), **more)
    with open_aerial(path) as source:
        square, valid = source.read_square(world.latitude_deg, world.longitude_deg, 20.0, 40)
    return square.numpy(), valid


def test_one_band_is_grey(tmp_path: Path, world: Any) -> None:
    square, valid = grey(world, tmp_path / "a.tif", np.full((1, 40, 40), 93, np.uint8))
    assert valid == 1.0
    assert np.unique(square).tolist() == [93]


def test_four_bands_are_rgb_and_infrared_unless_the_fourth_is_alpha(tmp_path: Path, world: Any) -> None:
    array = np.stack([np.full((40, 40), value, np.uint8) for value in (10, 20, 30, 0)])
    square, valid = grey(world, tmp_path / "nir.tif", array, photometric="rgb", alpha="no")
    assert valid == 1.0
    assert square[:, 5, 5].tolist() == [10, 20, 30]
    array[3, :, 10:] = 255  # the western quarter is transparent
    square, valid = grey(world, tmp_path / "alpha.tif", array, photometric="rgb", alpha="yes")
    assert valid == pytest.approx(0.75)
    assert square[:, 5, 9].tolist() == [0, 0, 0]
    assert square[:, 5, 10].tolist() == [10, 20, 30]


def test_grey_with_alpha(tmp_path: Path, world: Any) -> None:
    array = np.stack([np.full((40, 40), 60, np.uint8), np.full((40, 40), 255, np.uint8)])
    array[1, 30:] = 0
    square, valid = grey(world, tmp_path / "a.tif", array, alpha="yes")
    assert valid == pytest.approx(0.75)
    assert square[:, 5, 5].tolist() == [60, 60, 60]


def test_bands_marked_blue_green_red_are_put_in_order(tmp_path: Path, world: Any) -> None:
    array = np.stack([np.full((40, 40), value, np.uint8) for value in (30, 20, 10)])
    world.write(
        tmp_path / "a.tif", array, "EPSG:3857", world.mercator_transform(40, 40), photometric="minisblack"
    )
    with rasterio.open(tmp_path / "a.tif", "r+") as raster:
        raster.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    with open_aerial(tmp_path / "a.tif") as source:
        square, _ = source.read_square(world.latitude_deg, world.longitude_deg, 10.0, 20)
    assert square[:, 3, 3].tolist() == [10, 20, 30]


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32632"])
def test_no_data_is_invalid(tmp_path: Path, world: Any, crs: str) -> None:
    array, transform = world.raster(crs, 120)
    array[:, :60] = 0  # the northern half
    world.write(tmp_path / "a.tif", array, crs, transform, nodata=0)
    with open_aerial(tmp_path / "a.tif") as source:
        square, valid = source.read_square(world.latitude_deg, world.longitude_deg, 20.0, 40)
    assert valid == pytest.approx(0.5, abs=0.02)
    assert int(square[:, :18].max()) == 0
    assert square[2, 22:].unique().tolist() == [77]


def test_a_mask_inside_the_file_is_obeyed(tmp_path: Path, world: Any) -> None:
    array, transform = world.raster("EPSG:3857", 120)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        world.write(tmp_path / "a.tif", array, "EPSG:3857", transform)
        with rasterio.open(tmp_path / "a.tif", "r+") as raster:
            mask = np.full((120, 120), 255, np.uint8)
            mask[:, :60] = 0  # the western half
            raster.write_mask(mask)
    with open_aerial(tmp_path / "a.tif") as source:
        _, valid = source.read_square(world.latitude_deg, world.longitude_deg, 20.0, 40)
    assert valid == pytest.approx(0.5)


def test_palette_becomes_colour(tmp_path: Path, world: Any) -> None:
    array = np.full((1, 40, 40), 7, np.uint8)
    world.write(
        tmp_path / "a.tif", array, "EPSG:3857", world.mercator_transform(40, 40), photometric="palette"
    )
    with rasterio.open(tmp_path / "a.tif", "r+") as raster:
        raster.write_colormap(1, {7: (200, 100, 50, 255)})
    with open_aerial(tmp_path / "a.tif") as source:
        square, _ = source.read_square(world.latitude_deg, world.longitude_deg, 10.0, 20)
    assert square[:, 3, 3].tolist() == [200, 100, 50]


def test_sixteen_bits_are_scaled_by_the_2_and_98_percent_percentiles(tmp_path: Path, world: Any) -> None:
    values = 1000 + 10 * np.arange(101)  # 1000 … 2000, each as often: percentiles 1020 and 1980
    array = np.tile(values.astype(np.uint16), (1, 101, 1))
    world.write(tmp_path / "a.tif", array, "EPSG:3857", world.mercator_transform(101, 101))
    with open_aerial(tmp_path / "a.tif") as source:
        square, _ = source.read_square(world.latitude_deg, world.longitude_deg, 50.5, 101)
    row = square[0, 50].tolist()
    assert row[:3] == [0, 0, 0]
    assert row[-3:] == [255, 255, 255]
    assert row[50] == 128  # 1500 lies halfway: 127.5
    assert row[26] == 64  # 1260: a quarter, 63.75


def test_rotated_rasters_are_turned_upright(tmp_path: Path, world: Any) -> None:
    upright = world.mercator_transform(200, 200)
    turned = upright @ Affine.translation(100, 100) @ Affine.rotation(30) @ Affine.translation(-100, -100)
    array = np.full((3, 200, 200), 90, np.uint8)
    array[0, 95:105, 150:160] = 255  # 27.5 m along the raster's own rows, which point 30° south of east
    world.write(tmp_path / "a.tif", array, "EPSG:3857", turned)
    with open_aerial(tmp_path / "a.tif") as source:
        square, valid = source.read_square(world.latitude_deg, world.longitude_deg, 60.0, 120)
        assert source.ground_sampling_distance_m == pytest.approx(0.5, rel=1e-3)
        assert not source.covers(source.bounds.north_deg, source.bounds.west_deg)
    assert valid == 1.0
    rows, columns = np.nonzero(square[0].numpy() > 172)
    assert columns.mean() + 0.5 == pytest.approx(60 + 55 * math.cos(math.radians(30)), abs=0.2)
    assert rows.mean() + 0.5 == pytest.approx(60 + 55 * math.sin(math.radians(30)), abs=0.2)


def test_turning_does_not_blur_more_than_bilinear_does(tmp_path: Path, world: Any) -> None:
    upright = world.mercator_transform(200, 200)
    turned = upright @ Affine.translation(100, 100) @ Affine.rotation(45) @ Affine.translation(-100, -100)
    array = np.random.default_rng(0).integers(0, 256, (3, 200, 200), dtype=np.uint8)
    world.write(tmp_path / "a.tif", array, "EPSG:3857", turned)
    with open_aerial(tmp_path / "a.tif") as source:
        cells = source.read_cells(CellWindow(100, 100, 80, 80))
    assert cells[..., 3].min() == 255
    assert cells[..., :3].std() == pytest.approx(
        array.std() * 2 / 3, rel=0.03
    )  # bilinear, all phases: variance 4/9


def test_cells_read_together_equal_cells_read_alone(tmp_path: Path, world: Any) -> None:
    rng = np.random.default_rng(1)
    for crs in ("EPSG:3857", "EPSG:32632"):
        _, transform = world.raster(crs, 700)
        world.write(tmp_path / "a.tif", rng.integers(0, 256, (3, 700, 700), dtype=np.uint8), crs, transform)
        with open_aerial(tmp_path / "a.tif") as source:
            whole = source.read_cells(CellWindow(-5, -5, 710, 600)).astype(int)
            part = source.read_cells(CellWindow(480, 333, 90, 70)).astype(int)
        assert np.abs(whole[338:408, 485:575] - part).max() <= (0 if crs == "EPSG:3857" else 2)


# Mistakes


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match="no such file") as caught:
        open_aerial(tmp_path / "none.tif")
    one_line(caught.value, tmp_path / "none.tif")


def test_a_file_that_is_no_raster(tmp_path: Path) -> None:
    path = tmp_path / "letter.tif"
    path.write_text("Dear reader")
    with pytest.raises(ImageryError, match="not a raster") as caught:
        open_aerial(path)
    one_line(caught.value, path)


def test_a_picture_without_coordinates_is_an_error_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "plain.jpg"
    Image.new("RGB", (64, 64)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageryError, match="no coordinates") as caught:
            open_aerial(path)
    one_line(caught.value, path)


def test_a_geotransform_without_a_coordinate_system(tmp_path: Path, world: Any) -> None:
    path = tmp_path / "a.tif"
    world.write(path, np.zeros((3, 20, 20), np.uint8), None, world.mercator_transform(20, 20))
    with pytest.raises(ImageryError, match="no coordinates"):
        open_aerial(path)


def test_a_truncated_file_is_named_when_its_lost_part_is_read(tmp_path: Path, world: Any) -> None:
    path = tmp_path / "a.tif"
    array = np.random.default_rng(0).integers(0, 256, (3, 400, 400), dtype=np.uint8)
    world.write(path, array, "EPSG:3857", world.mercator_transform(400, 400))
    path.write_bytes(path.read_bytes()[: 400 * 400 * 3 // 2])
    with (
        open_aerial(path) as source,
        pytest.raises(ImageryError, match="cannot be read to its end") as caught,
    ):
        source.read_area(source.area, 100, 100)
    one_line(caught.value, path)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32632"])
def test_a_raster_without_a_valid_pixel(tmp_path: Path, world: Any, crs: str) -> None:
    array, transform = world.raster(crs, 20)
    world.write(tmp_path / "a.tif", array * 0, crs, transform, nodata=0)
    with pytest.raises(ImageryError, match="no valid pixel") as caught:
        open_aerial(tmp_path / "a.tif")
    one_line(caught.value, tmp_path / "a.tif")


def test_a_position_outside_is_told_where_the_imagery_lies(world_tif: Path) -> None:
    with open_aerial(world_tif) as source, pytest.raises(ImageryError, match="outside the imagery") as caught:
        source.read_square(48.0, 8.54, 20.0, 16)
    one_line(caught.value, world_tif)
    assert "47.3697" in str(caught.value)  # the southern edge


def test_an_area_outside(world_tif: Path) -> None:
    with open_aerial(world_tif) as source, pytest.raises(ImageryError, match="outside the imagery"):
        source.read_area(MercatorArea.around(10.0, 10.0, 50.0), 16, 16)


@pytest.mark.parametrize("latitude_deg", [89.0, -86.0, math.nan])
def test_a_latitude_beyond_web_mercator(world_tif: Path, latitude_deg: float) -> None:
    with open_aerial(world_tif) as source, pytest.raises(ImageryError, match="beyond Web Mercator") as caught:
        source.read_square(latitude_deg, 8.54, 20.0, 16)
    one_line(caught.value, world_tif)


def test_a_polar_raster(tmp_path: Path, world: Any) -> None:
    transform = Affine(10, 0, -1000, 0, -10, 1000)
    world.write(tmp_path / "a.tif", np.ones((3, 200, 200), np.uint8), "EPSG:3413", transform)
    with pytest.raises(ImageryError, match="beyond Web Mercator"):
        open_aerial(tmp_path / "a.tif")


def test_a_raster_across_the_date_line(tmp_path: Path, world: Any) -> None:
    transform = Affine(
        10, 0, 829_000, 0, -10, 2_000
    )  # UTM zone 60 at the equator: 180° lies at 833,978 m east
    world.write(tmp_path / "a.tif", np.ones((3, 100, 1000), np.uint8), "EPSG:32660", transform)
    with pytest.raises(ImageryError, match="180° meridian"):
        open_aerial(tmp_path / "a.tif")


def test_a_zoom_is_refused_for_a_raster(world_tif: Path) -> None:
    with pytest.raises(ConfigError, match="zoom"):
        open_aerial(world_tif, zoom=19)
