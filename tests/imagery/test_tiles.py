"""Grids of overlapping tiles: counts by hand, places by geodesic, and pixels equal to single reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smdt.errors import ImageryError
from smdt.geometry.geodesy import distance_m
from smdt.imagery.aerial import AerialSource, CellWindow, Rgba, open_aerial
from smdt.imagery.geotiff import GeoTiff
from smdt.imagery.tiles import Tile, iter_tiles, tile_grid


@pytest.fixture
def field(tmp_path: Path, world: Any) -> Path:
    """100 m wide and 60 m high, 0.5 m per pixel, of noise."""
    array = np.random.default_rng(2).integers(0, 256, (3, 120, 200), dtype=np.uint8)
    world.write(tmp_path / "field.tif", array, "EPSG:3857", world.mercator_transform(200, 120))
    return tmp_path / "field.tif"


def test_grid_by_hand(field: Path, world: Any) -> None:
    with open_aerial(field) as source:
        tiles = tile_grid(source, side_m=30.0, stride_m=20.0)
    assert len(tiles) == 15  # 5 columns at 10, 30, 50, 70, 90 m and 3 rows at 10, 30, 50 m
    assert [tile.number for tile in tiles] == list(range(15))
    assert {tile.side_m for tile in tiles} == {30.0}
    first, second, middle, last = tiles[0], tiles[1], tiles[7], tiles[14]
    assert middle.latitude_deg == pytest.approx(world.latitude_deg, abs=1e-8)
    assert middle.longitude_deg == pytest.approx(world.longitude_deg, abs=1e-8)
    assert first.latitude_deg > last.latitude_deg  # north first
    assert first.latitude_deg == second.latitude_deg
    assert first.longitude_deg < second.longitude_deg  # then west first

    def apart(one: Tile, other: Tile) -> float:
        places = (one.latitude_deg, one.longitude_deg, other.latitude_deg, other.longitude_deg)
        return float(distance_m(*places))

    assert apart(first, second) == pytest.approx(
        20.0, rel=0.005
    )  # the sphere of Web Mercator against the ellipsoid
    assert apart(tiles[0], tiles[5]) == pytest.approx(20.0, rel=0.005)
    assert apart(first, last) == pytest.approx((80.0**2 + 40.0**2) ** 0.5, rel=0.005)


@pytest.mark.parametrize(
    ("stride_m", "columns", "rows"),
    [(30.0, 4, 2), (100.0, 1, 1), (99.5, 1, 1), (90.0, 2, 1), (7.0, 15, 9), (2.5, 40, 24)],
)
def test_grid_counts(field: Path, stride_m: float, columns: int, rows: int) -> None:
    with open_aerial(field) as source:
        tiles = tile_grid(source, side_m=30.0, stride_m=stride_m)
    assert len({tile.longitude_deg for tile in tiles}) == columns
    assert len({tile.latitude_deg for tile in tiles}) == rows
    assert len(tiles) == columns * rows


def test_only_centres_that_the_imagery_covers(tmp_path: Path, world: Any) -> None:
    turned = world.mercator_transform(200, 200)
    turned = (
        turned
        @ type(turned).translation(100, 100)
        @ type(turned).rotation(45)
        @ type(turned).translation(-100, -100)
    )
    world.write(tmp_path / "a.tif", np.ones((3, 200, 200), np.uint8), "EPSG:3857", turned)
    with open_aerial(tmp_path / "a.tif") as source:
        tiles = tile_grid(source, side_m=20.0, stride_m=10.0)
    # A square of 100 m stood on its corner fills half of its bounds, 141.4 m wide: 15 × 15 centres, |x| + |y| <= 70.7 m
    expected = sum(abs(column) + abs(row) <= 7 for column in range(-7, 8) for row in range(-7, 8))
    assert expected == 113
    assert len(tiles) == expected


def test_imagery_smaller_than_a_tile(field: Path) -> None:
    with open_aerial(field) as source:
        assert len(tile_grid(source, side_m=60.0, stride_m=60.0)) == 2
        with pytest.raises(ImageryError, match="covers 100 × 60 m, less than one tile of 61 m") as caught:
            tile_grid(source, side_m=61.0, stride_m=20.0)
    assert str(field) in str(caught.value)


@pytest.mark.parametrize(
    ("side_m", "stride_m"), [(0.0, 10.0), (30.0, 0.0), (30.0, -5.0), (float("nan"), 5.0)]
)
def test_sizes_that_cannot_be(field: Path, side_m: float, stride_m: float) -> None:
    with open_aerial(field) as source, pytest.raises(ImageryError, match="cannot be"):
        tile_grid(source, side_m, stride_m)


@pytest.mark.parametrize("side_px", [16, 64, 100])
def test_tiles_equal_squares_read_alone(field: Path, side_px: int) -> None:
    with open_aerial(field) as source:
        tiles = tile_grid(source, side_m=30.0, stride_m=20.0)
        batches = list(iter_tiles(source, tiles, side_px, batch=4, min_valid_fraction=0.0))
        assert [len(kept) for kept, _ in batches] == [4, 4, 4, 3]
        assert [tile for kept, _ in batches for tile in kept] == tiles
        for kept, pixels in batches:
            assert pixels.dtype == torch.uint8
            assert pixels.shape == (len(kept), 3, side_px, side_px)
            for tile, one in zip(kept, pixels, strict=True):
                alone, _ = source.read_square(tile.latitude_deg, tile.longitude_deg, tile.side_m, side_px)
                assert torch.equal(one, alone)


def test_tiles_of_several_sizes_equal_squares_read_alone(field: Path, world: Any) -> None:
    tiles = [
        Tile(n, world.latitude_deg, world.longitude_deg, side)
        for n, side in enumerate((10.0, 50.0, 30.0, 50.0))
    ]
    with open_aerial(field) as source:
        ((kept, pixels),) = iter_tiles(source, tiles, 20)
        assert kept == tiles
        for tile, one in zip(kept, pixels, strict=True):
            alone, _ = source.read_square(tile.latitude_deg, tile.longitude_deg, tile.side_m, 20)
            assert torch.equal(one, alone)


def test_tiles_mostly_empty_are_dropped(field: Path) -> None:
    with open_aerial(field) as source:
        tiles = tile_grid(source, side_m=30.0, stride_m=20.0)
        # Centres 10 m from an edge: 25 of 30 m are inside, 0.83; in a corner 0.69; in the middle 1
        kept = [
            tile.number
            for batch, _ in iter_tiles(source, tiles, 60, min_valid_fraction=0.75)
            for tile in batch
        ]
        assert kept == [1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13]
        kept = [
            tile.number
            for batch, _ in iter_tiles(source, tiles, 60, min_valid_fraction=0.9)
            for tile in batch
        ]
        assert kept == [6, 7, 8]


def test_no_tile_valid_enough(tmp_path: Path, world: Any) -> None:
    array = np.zeros((3, 200, 200), np.uint8)
    array[:, 100, 100] = 200
    world.write(tmp_path / "a.tif", array, "EPSG:3857", world.mercator_transform(200, 200), nodata=0)
    with open_aerial(tmp_path / "a.tif") as source:
        tiles = tile_grid(source, 30.0, 20.0)
        with pytest.raises(ImageryError, match="none of 25 tiles has at least 50% valid pixels"):
            list(iter_tiles(source, tiles, 16))


def test_no_tiles_give_no_batches(field: Path) -> None:
    with open_aerial(field) as source:
        assert list(iter_tiles(source, [], 16)) == []


class CountingGeoTiff(GeoTiff):
    reads: list[int]

    def read_cells(self, window: CellWindow) -> Rgba:
        self.reads.append(window.width * window.height)
        return super().read_cells(window)


def test_overlapping_tiles_are_read_once(field: Path) -> None:
    with CountingGeoTiff(field) as source:
        source.reads = []
        assert isinstance(source, AerialSource)
        tiles = tile_grid(source, side_m=30.0, stride_m=2.5)
        number = sum(len(kept) for kept, _ in iter_tiles(source, tiles, 32, min_valid_fraction=0.0))
    assert number == 40 * 24
    assert len(source.reads) == 1
    assert sum(source.reads) < 2.5 * 200 * 120  # the file and its rim, not 960 times 60 × 60


def test_far_apart_tiles_are_read_one_by_one(field: Path) -> None:
    with CountingGeoTiff(field) as source:
        source.reads = []
        grid = tile_grid(source, side_m=5.0, stride_m=5.0)
        corners = [grid[0], grid[-1], grid[0]]
        list(iter_tiles(source, corners, 10))
    assert len(source.reads) == 3
