"""XYZ folders and MBTiles files: the same picture as a GeoTIFF gives the same squares."""

from __future__ import annotations

import io
import json
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from smdt.errors import ImageryError
from smdt.imagery.aerial import MercatorArea, open_aerial
from smdt.imagery.xyz import XyzFolder, join_cells

ZOOM = 19
HALF_M = 20037508.342789244
# The tile of latitude 47.37, longitude 8.54 by the slippy-map formula of the OpenStreetMap wiki:
# x = 2^19·(8.54 + 180)/360 = 274581.28; y = 2^19·(1 - asinh(tan 47.37°)/π)/2 = 183612.98
MIDDLE_X, MIDDLE_Y = 274581, 183612

Tiles = dict[tuple[int, int], np.ndarray]
Write = Callable[[Path, Tiles, int], Path]


def picture(tile_px: int) -> tuple[np.ndarray, Tiles]:
    """A picture of 3 × 3 tiles around the middle one, as a whole (H, W, 3) and by (x, y)."""
    coarse = np.random.default_rng(5).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    whole = np.asarray(Image.fromarray(coarse).resize((3 * tile_px, 3 * tile_px), Image.Resampling.BICUBIC))
    tiles = {
        (MIDDLE_X - 1 + column, MIDDLE_Y - 1 + row): whole[
            row * tile_px : (row + 1) * tile_px, column * tile_px : (column + 1) * tile_px
        ]
        for row in range(3)
        for column in range(3)
    }
    return whole, tiles


def encoded(tile: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_xyz(folder: Path, tiles: Tiles, zoom: int = ZOOM) -> Path:
    path = folder / "tiles"
    for (x, y), tile in tiles.items():
        (path / str(zoom) / str(x)).mkdir(parents=True, exist_ok=True)
        (path / str(zoom) / str(x) / f"{y}.png").write_bytes(encoded(tile))
    return path


def write_mbtiles(folder: Path, tiles: Tiles, zoom: int = ZOOM, form: str = "png") -> Path:
    path = folder / "city.mbtiles"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS metadata (name text, value text)")
    database.execute(
        "CREATE TABLE IF NOT EXISTS tiles (zoom_level integer, tile_column integer, tile_row integer, tile_data blob)"
    )
    about = [("name", "City 2026"), ("attribution", "© Surveyor"), ("format", form)]
    database.executemany("INSERT INTO metadata VALUES (?, ?)", about)
    database.executemany(
        "INSERT INTO tiles VALUES (?, ?, ?, ?)",
        [(zoom, x, 2**zoom - 1 - y, encoded(tile)) for (x, y), tile in tiles.items()],  # rows from the south
    )
    database.commit()
    database.close()
    return path


both = pytest.mark.parametrize("write", [write_xyz, write_mbtiles])


def geotiff(folder: Path, world: Any, whole: np.ndarray, tile_px: int) -> Path:
    pixel = 2 * HALF_M / 2**ZOOM / tile_px
    west = (MIDDLE_X - 1) * tile_px * pixel - HALF_M
    north = HALF_M - (MIDDLE_Y - 1) * tile_px * pixel
    path = folder / "same.tif"
    world.write(path, np.moveaxis(whole, 2, 0), "EPSG:3857", Affine(pixel, 0, west, 0, -pixel, north))
    return path


@both
@pytest.mark.parametrize(("tile_px", "side_px"), [(256, 64), (256, 256), (256, 400), (512, 150)])
def test_squares_equal_those_of_the_same_geotiff(
    tmp_path: Path, world: Any, write: Write, tile_px: int, side_px: int
) -> None:
    whole, tiles = picture(tile_px)
    with (
        open_aerial(write(tmp_path, tiles, ZOOM)) as tiled,
        open_aerial(geotiff(tmp_path, world, whole, tile_px)) as tif,
    ):
        assert tiled.bounds == pytest.approx(tif.bounds, abs=1e-9)
        assert tiled.ground_sampling_distance_m == pytest.approx(tif.ground_sampling_distance_m, rel=1e-6)
        mine, valid = tiled.read_square(47.37001, 8.54002, 60.0, side_px)
        theirs, _ = tif.read_square(47.37001, 8.54002, 60.0, side_px)
    assert valid == 1.0
    assert theirs.float().std() > 20  # it is a picture
    assert (mine.int() - theirs.int()).abs().max() <= 1


def test_ground_sampling_distance_is_that_of_the_zoom(tmp_path: Path) -> None:
    _, tiles = picture(256)
    with open_aerial(write_xyz(tmp_path, tiles)) as source:
        expected = 156543.034 * math.cos(math.radians(47.37)) / 2**19
        assert source.ground_sampling_distance_m == pytest.approx(expected, rel=1e-4)


@both
def test_missing_tiles_are_invalid(tmp_path: Path, write: Write) -> None:
    _, tiles = picture(256)
    for row in (-1, 0, 1):
        del tiles[MIDDLE_X + 1, MIDDLE_Y + row]  # the eastern column
    del tiles[MIDDLE_X - 1, MIDDLE_Y - 1]  # and the north-western corner
    with open_aerial(write(tmp_path, tiles, ZOOM)) as source:
        west, south, east, north = source.bounds
        assert east - west == pytest.approx(2 * 360 / 2**19)
        picture_read, valid = source.read_area(source.area, 512, 768)
        assert valid == pytest.approx(5 / 6)
        assert int(picture_read[:, :256, :256].max()) == 0
        assert np.array_equal(
            picture_read[:, 256:512, 256:].numpy(), np.moveaxis(tiles[MIDDLE_X, MIDDLE_Y], 2, 0)
        )
        covered = source.covers([north - 1e-6, south + 1e-6, 47.37], [west + 1e-6, west + 1e-6, east + 1e-6])
        assert covered.tolist() == [False, True, False]
        with pytest.raises(ImageryError, match="outside the imagery"):
            source.read_square(north - 1e-6, west + 1e-6, 10.0, 16)


@both
def test_the_deepest_zoom_is_the_default_and_another_can_be_chosen(tmp_path: Path, write: Write) -> None:
    _, tiles = picture(256)
    write(tmp_path, tiles, ZOOM)
    path = write(tmp_path, {(MIDDLE_X // 2, MIDDLE_Y // 2): np.full((256, 256, 3), 9, np.uint8)}, ZOOM - 1)
    with open_aerial(path) as deep, open_aerial(path, zoom=ZOOM - 1) as coarse:
        ratio = coarse.ground_sampling_distance_m / deep.ground_sampling_distance_m
        assert ratio == pytest.approx(2.0, rel=1e-3)
        square, _ = coarse.read_square(47.37, 8.54, 20.0, 16)
        assert square.unique().tolist() == [9]
    with pytest.raises(ImageryError, match="no zoom level 7"):
        open_aerial(path, zoom=7)


def test_reduced_pictures_come_from_coarser_tiles_where_there_are_any(tmp_path: Path) -> None:
    _, tiles = picture(256)
    path = write_xyz(tmp_path, tiles)
    area = MercatorArea.around(47.37, 8.54, 45.0)
    with open_aerial(path) as source:
        assert source.plan_square(47.37, 8.54, 45.0, 32).window.shrink == 4
        from_deep, valid = source.read_area(area, 32, 32)
        fine, _ = source.read_area(area, 128, 128)
    assert valid == 1.0
    by_hand = fine.float().unflatten(1, (32, 4)).unflatten(3, (32, 4)).mean((2, 4))
    apart = (from_deep.float() - by_hand).abs().mean()
    assert apart < 10  # a box filter against a triangle
    for shift in (-1, 1):
        assert (from_deep.float() - by_hand.roll(shift, 1)).abs().mean() > 2.5 * apart
        assert (from_deep.float() - by_hand.roll(shift, 2)).abs().mean() > 2.5 * apart
    write_xyz(tmp_path, {(MIDDLE_X // 4, MIDDLE_Y // 4): np.full((256, 256, 3), 9, np.uint8)}, ZOOM - 2)
    with open_aerial(path) as source:
        coarse, _ = source.read_area(area, 32, 32)
    assert coarse[:, 16, 16].tolist() == [9, 9, 9]


def test_join_cells_by_hand() -> None:
    cells = np.zeros((2, 6, 4), np.uint8)
    cells[:, :2] = [[[10, 20, 30, 255], [20, 20, 30, 255]], [[30, 20, 30, 255], [43, 20, 30, 255]]]
    cells[0, 2:4] = [100, 50, 0, 255]  # two of four known
    cells[0, 4] = [100, 50, 0, 255]  # one of four
    assert join_cells(cells)[0].tolist() == [[26, 20, 30, 255], [100, 50, 0, 255], [0, 0, 0, 0]]


def test_name_and_attribution(tmp_path: Path) -> None:
    _, tiles = picture(256)
    with open_aerial(write_mbtiles(tmp_path, tiles)) as source:
        assert (source.name, source.attribution) == ("City 2026", "© Surveyor")
    path = write_xyz(tmp_path, tiles)
    with open_aerial(path) as source:
        assert (source.name, source.attribution) == ("tiles", "")
    (path / "metadata.json").write_text(json.dumps({"name": "Town", "attribution": "© Them", "minzoom": 3}))
    with open_aerial(path) as source:
        assert (source.name, source.attribution) == ("Town", "© Them")


# Mistakes


def refused(path: Path, match: str) -> None:
    with pytest.raises(ImageryError, match=match) as caught:
        open_aerial(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", "without tiles")


def test_a_folder_of_plain_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    refused(tmp_path, "without tiles")


def test_tiles_in_another_layout(tmp_path: Path) -> None:
    (tmp_path / "19").mkdir()
    Image.new("RGB", (256, 256)).save(tmp_path / "19" / "274581_183612.png")
    refused(tmp_path, "no tiles at zoom 19")


def test_tile_numbers_that_the_zoom_does_not_have(tmp_path: Path) -> None:
    refused(write_xyz(tmp_path, {(70, 3): np.zeros((256, 256, 3), np.uint8)}, 5), "beyond those of zoom 5")


def test_a_tile_that_is_not_square(tmp_path: Path) -> None:
    path = write_xyz(tmp_path, {(1, 1): np.zeros((256, 128, 3), np.uint8)})
    with pytest.raises(ImageryError, match="128×256 pixels is not square") as caught:
        open_aerial(path)
    assert str(path / "19" / "1" / "1.png") in str(caught.value)


def test_a_damaged_tile_is_named(tmp_path: Path) -> None:
    _, tiles = picture(256)
    path = write_xyz(tmp_path, tiles)
    broken = path / str(ZOOM) / str(MIDDLE_X) / f"{MIDDLE_Y}.png"
    broken.write_bytes(broken.read_bytes()[:5000])
    with open_aerial(path) as source, pytest.raises(ImageryError, match="cannot be read") as caught:
        source.read_square(47.37, 8.54, 20.0, 16)
    assert str(broken) in str(caught.value)


def test_tiles_of_two_sizes(tmp_path: Path) -> None:
    _, tiles = picture(256)
    tiles[MIDDLE_X, MIDDLE_Y] = np.zeros((512, 512, 3), np.uint8)
    with (
        open_aerial(write_xyz(tmp_path, tiles)) as source,
        pytest.raises(ImageryError, match="512×512 pixels among"),
    ):
        source.read_square(47.37, 8.54, 20.0, 16)


def test_a_file_that_is_no_mbtiles(tmp_path: Path) -> None:
    (tmp_path / "a.mbtiles").write_bytes(b"no database at all, whatever its name says" * 30)
    refused(tmp_path / "a.mbtiles", "not an MBTiles file")
    sqlite3.connect(tmp_path / "b.mbtiles").execute("CREATE TABLE other (x)").connection.close()
    refused(tmp_path / "b.mbtiles", "not an MBTiles file")


def test_mbtiles_of_vector_tiles(tmp_path: Path) -> None:
    _, tiles = picture(256)
    refused(write_mbtiles(tmp_path, tiles, form="pbf"), "vector tiles")
    path = tmp_path / "unmarked.mbtiles"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE metadata (name text, value text)")
    database.execute("CREATE TABLE tiles (zoom_level int, tile_column int, tile_row int, tile_data blob)")
    database.execute("INSERT INTO tiles VALUES (3, 1, 1, ?)", (b"\x1f\x8b\x08 gzip",))
    database.commit()
    database.close()
    refused(path, "vector tiles")


def test_mbtiles_without_tiles(tmp_path: Path) -> None:
    refused(write_mbtiles(tmp_path, {}), "holds no tiles")


def test_a_folder_can_be_opened_by_its_class(tmp_path: Path) -> None:
    _, tiles = picture(256)
    with XyzFolder(write_xyz(tmp_path, tiles), zoom=ZOOM) as source:
        assert (source.zoom, source.tile_px, len(source.tiles)) == (19, 256, 9)
