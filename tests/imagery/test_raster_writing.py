"""Rasters written and read back, with the same bytes for the same content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from smdt.errors import ImageryError
from smdt.geometry.geodesy import to_web_mercator
from smdt.imagery.aerial import open_aerial
from smdt.imagery.raster_writing import write_geotiff, write_raster


def test_a_colour_image_comes_back_in_its_place(tmp_path: Path, world: Any) -> None:
    image = torch.randint(0, 256, (3, 90, 130), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x, y = (float(one) for one in to_web_mercator(world.latitude_deg, world.longitude_deg))
    write_geotiff(tmp_path / "a.tif", image, x, y, 0.75)
    with open_aerial(tmp_path / "a.tif") as source:
        assert source.area.west_m == pytest.approx(x, abs=1e-6)
        assert source.area.north_m == pytest.approx(y, abs=1e-6)
        assert source.area.east_m == pytest.approx(x + 130 * 0.75, abs=1e-6)
        assert source.area.south_m == pytest.approx(y - 90 * 0.75, abs=1e-6)
        back, valid = source.read_area(source.area, 130, 90)
    assert valid == 1.0
    assert torch.equal(back, image)
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.crs.to_epsg() == 3857
        assert raster.profile["compress"] == "deflate"
        assert raster.profile["tiled"]
        assert [one.name for one in raster.colorinterp] == ["red", "green", "blue"]
        assert raster.overviews(1) == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_same_content_same_bytes(tmp_path: Path, world: Any) -> None:
    image = torch.randint(
        0, 256, (3, 1100, 300), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    write_geotiff(tmp_path / "a.tif", image, 5.0, 5.0, 0.5)
    write_geotiff(tmp_path / "b.tif", image, 5.0, 5.0, 0.5)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    write_geotiff(tmp_path / "b.tif", 255 - image, 5.0, 5.0, 0.5)  # replaces the file
    assert (tmp_path / "a.tif").read_bytes() != (tmp_path / "b.tif").read_bytes()
    tags = [{"seed": "3", "made_by": "test"}, {"made_by": "test", "seed": "3"}]
    for name, one in zip("cd", tags, strict=True):
        layers = image[:2].numpy()
        write_raster(tmp_path / name, layers, world.mercator_transform(300, 1100), "EPSG:3857", tags=one)
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()


def test_large_files_have_overviews_averaged_for_colour_nearest_for_classes(
    tmp_path: Path, world: Any
) -> None:
    rows, columns = np.indices((1200, 1200))
    board = np.where((rows + columns) % 2 == 0, 200, 0).astype(np.uint8)
    transform = world.mercator_transform(1200, 1200)
    write_raster(tmp_path / "colour.tif", np.stack([board] * 3), transform, "EPSG:3857")
    write_raster(tmp_path / "class.tif", board[None], transform, "EPSG:3857")
    for name, values in (("colour.tif", [100]), ("class.tif", [200])):
        with rasterio.open(tmp_path / name) as raster:
            assert raster.overviews(1) == [2]
            assert np.unique(raster.read(1, out_shape=(600, 600))).tolist() == values


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_layers_of_numbers_with_names_and_tags(tmp_path: Path, world: Any, dtype: str) -> None:
    array = (np.random.default_rng(0).random((2, 40, 50)) * 100).astype(dtype)
    transform = world.mercator_transform(50, 40)
    write_raster(
        tmp_path / "a.tif",
        array,
        transform,
        "EPSG:3857",
        descriptions=("height_m", "class"),
        tags={"seed": "7"},
        nodata=99.0,
    )
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert np.array_equal(raster.read(), array)
        assert raster.dtypes == (dtype, dtype)
        assert raster.descriptions == ("height_m", "class")
        assert raster.tags()["seed"] == "7"
        assert raster.nodata == 99.0
        assert raster.transform.almost_equals(transform)


# Mistakes


def test_an_image_of_another_type(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match="no RGB image"):
        write_geotiff(tmp_path / "a.tif", torch.zeros(3, 8, 8), 0.0, 0.0, 1.0)
    with pytest.raises(ImageryError, match="no RGB image"):
        write_geotiff(tmp_path / "a.tif", torch.zeros(8, 8, 3, dtype=torch.uint8), 0.0, 0.0, 1.0)


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((1, 0, 4)), np.zeros((1, 4, 4), bool)])
def test_arrays_that_cannot_be_stored(tmp_path: Path, world: Any, array: np.ndarray) -> None:
    with pytest.raises(ImageryError, match="cannot be stored"):
        write_raster(tmp_path / "a.tif", array, world.mercator_transform(4, 4), "EPSG:3857")


def test_descriptions_that_do_not_fit(tmp_path: Path, world: Any) -> None:
    with pytest.raises(ImageryError, match="1 descriptions for 2 bands"):
        write_raster(
            tmp_path / "a.tif",
            np.zeros((2, 4, 4)),
            world.mercator_transform(4, 4),
            "EPSG:3857",
            descriptions=("a",),
        )


def test_an_unknown_coordinate_system(tmp_path: Path, world: Any) -> None:
    with pytest.raises(ImageryError, match="unknown coordinate system 'EPSG:99'"):
        write_raster(tmp_path / "a.tif", np.zeros((1, 4, 4)), world.mercator_transform(4, 4), "EPSG:99")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.tif"
    with pytest.raises(ImageryError, match="cannot be written") as caught:
        write_geotiff(path, torch.zeros(3, 8, 8, dtype=torch.uint8), 0.0, 0.0, 1.0)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
