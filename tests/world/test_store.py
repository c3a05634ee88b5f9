"""A place on disk comes back equal."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from smdt.errors import ImageryError
from smdt.imagery.raster_writing import write_raster
from smdt.world.layers import BuildingTable, Place, Street, TreeTable
from smdt.world.store import open_place, write_place


def small_place(attribution: str = "© somebody, 2026") -> Place:
    """12 × 9 pixels of noise with two of everything."""
    rng = np.random.default_rng(5)
    floats = lambda *shape: rng.normal(0, 50, shape).astype(np.float32)  # noqa: E731
    objects = np.zeros((9, 12), np.int32)
    objects[2:4, 3:6], objects[6, 6] = 1, 2
    return Place(
        name="a place with ümlauts",
        colour=rng.integers(0, 256, (9, 12, 3), dtype=np.uint8),
        height_m=floats(9, 12),
        surface=rng.integers(0, 14, (9, 12), dtype=np.uint8),
        object_id=objects,
        buildings=BuildingTable(floats(2, 2), floats(2, 2), floats(2), floats(2, 3), floats(2)),
        streets=(Street(rng.normal(0, 9, (4, 2)), 7.123456789), Street(rng.normal(0, 9, (2, 2)), 3.0)),
        pixel_m=0.3,
        latitude_deg=60.17,
        longitude_deg=24.94123456789,
        trees=TreeTable(floats(2, 2), floats(2), floats(2), floats(2), floats(2, 3), np.array([True, False])),
        car_spots=floats(3, 3),
        poles=floats(1, 3),
        attribution=attribution,
    )


def assert_equal(a: object, b: object, name: str) -> None:
    assert type(a) is type(b), name
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        assert a.dtype == b.dtype, name
        assert a.shape == b.shape, name
        assert a.tobytes() == b.tobytes(), name
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_equal(getattr(a, field.name), getattr(b, field.name), f"{name}.{field.name}")
    elif isinstance(a, tuple) and isinstance(b, tuple):
        assert len(a) == len(b), name
        for number, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_equal(one, other, f"{name}[{number}]")
    else:
        assert a == b, name


def test_a_place_comes_back_equal_in_every_field(tmp_path: Path) -> None:
    place = small_place()
    write_place(place, tmp_path / "place")
    assert_equal(open_place(tmp_path / "place"), place, "place")


def test_a_place_without_tables_comes_back_equal(tmp_path: Path) -> None:
    none = np.zeros((0, 2), np.float32)
    buildings = BuildingTable(none, none, none[:, 0], np.zeros((0, 3), np.float32), none[:, 0])
    place = small_place("")
    place = Place(
        place.name, place.colour, place.height_m, place.surface, np.zeros((9, 12), np.int32), buildings, (),
        1.0, -33.9, 151.2,
    )  # fmt: skip
    write_place(place, tmp_path)
    assert_equal(open_place(tmp_path), place, "place")
    assert not (tmp_path / "ATTRIBUTION.txt").exists()


def test_a_hilly_place_comes_back_equal(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    ground, skyline = rng.normal(400, 9, (9, 12)).astype(np.float32), np.ones((2, 7), np.float32)
    place = dataclasses.replace(small_place(), ground_m=ground, skyline_m=skyline)
    write_place(place, tmp_path)
    assert_equal(open_place(tmp_path), place, "place")
    write_place(small_place(), tmp_path)  # overwriting leaves no stale hills
    assert not (tmp_path / "ground.tif").exists()
    assert_equal(open_place(tmp_path), small_place(), "place")


def test_a_folder_from_before_there_was_terrain_opens_flat(tmp_path: Path) -> None:
    write_place(small_place(), tmp_path)
    facts = json.loads((tmp_path / "place.json").read_text())
    # What such a folder held, file for file and word for word.
    assert set(facts) == {"format", "name", "attribution", "pixel_m", "latitude_deg", "longitude_deg"}
    files = {"colour.tif", "height.tif", "class.tif", "objects.tif", "tables.safetensors", "place.json"}
    assert {path.name for path in tmp_path.iterdir()} == files | {"ATTRIBUTION.txt"}
    place = open_place(tmp_path)
    assert place.is_flat
    assert place.ground_m.shape == place.height_m.shape
    assert not place.ground_m.any()


def test_lost_terrain_is_named_rather_than_taken_for_flat(tmp_path: Path) -> None:
    ground = np.arange(108, dtype=np.float32).reshape(9, 12)
    write_place(dataclasses.replace(small_place(), ground_m=ground), tmp_path)
    (tmp_path / "ground.tif").unlink()
    with pytest.raises(ImageryError, match=r"ground\.tif: the place's layer is missing"):
        open_place(tmp_path)


def test_attribution_stands_in_every_layer_and_beside_them(tmp_path: Path) -> None:
    write_place(small_place(), tmp_path)
    assert (tmp_path / "ATTRIBUTION.txt").read_text(encoding="utf-8") == "© somebody, 2026\n"
    for name in ("colour.tif", "height.tif", "class.tif", "objects.tif"):
        with rasterio.open(tmp_path / name) as raster:
            assert raster.tags()["TIFFTAG_COPYRIGHT"] == "© somebody, 2026"
            assert raster.crs.to_epsg() == 3857
    write_place(small_place(""), tmp_path)  # overwriting leaves no stale attribution
    assert not (tmp_path / "ATTRIBUTION.txt").exists()


def test_the_south_west_corner_of_the_layers_is_the_anchor(tmp_path: Path) -> None:
    place = small_place()
    write_place(place, tmp_path)
    with rasterio.open(tmp_path / "height.tif") as raster:
        west, south = raster.bounds.left, raster.bounds.bottom
    # Web Mercator of 60.17° N, 24.94123456789° E: x = R λ, y = R asinh(tan φ)
    assert west == pytest.approx(6378137.0 * np.deg2rad(24.94123456789), abs=1e-6)
    assert south == pytest.approx(6378137.0 * np.arcsinh(np.tan(np.deg2rad(60.17))), abs=1e-6)


@pytest.mark.parametrize(
    "name", ["colour.tif", "height.tif", "class.tif", "objects.tif", "tables.safetensors"]
)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_place(small_place(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ImageryError, match=f"{name}: the place's .* missing"):
        open_place(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_place(small_place(), tmp_path)
    (tmp_path / "tables.safetensors").write_bytes(b"no")
    with pytest.raises(ImageryError, match=r"tables\.safetensors: cannot be read"):
        open_place(tmp_path)
    write_place(small_place(), tmp_path)
    (tmp_path / "height.tif").write_bytes(b"no")
    with pytest.raises(ImageryError, match=r"height\.tif: the place's layer cannot be read"):
        open_place(tmp_path)


def test_layers_of_unlike_size_are_refused(tmp_path: Path) -> None:
    write_place(small_place(), tmp_path)
    with rasterio.open(tmp_path / "height.tif") as raster:
        transform = raster.transform
    write_raster(tmp_path / "height.tif", np.zeros((1, 9, 11), np.float32), transform, "EPSG:3857")
    with pytest.raises(ImageryError, match=r"height\.tif: is 11×9 pixels where colour\.tif is 12×9"):
        open_place(tmp_path)


def test_a_layer_of_another_type_is_refused(tmp_path: Path) -> None:
    write_place(small_place(), tmp_path)
    with rasterio.open(tmp_path / "height.tif") as raster:
        transform = raster.transform
    write_raster(tmp_path / "height.tif", np.zeros((1, 9, 12), np.uint8), transform, "EPSG:3857")
    with pytest.raises(ImageryError, match="1 bands of uint8, not 1 of float32"):
        open_place(tmp_path)


def test_a_building_number_without_a_row_is_refused(tmp_path: Path) -> None:
    place = small_place()
    objects = place.object_id.copy()
    objects[0, 0] = 3
    write_place(dataclasses.replace(place, object_id=objects), tmp_path)
    with pytest.raises(ImageryError, match="names building 3 of 2"):
        open_place(tmp_path)


def test_what_is_not_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"is not a place: there is no place\.json"):
        open_place(tmp_path)
    with pytest.raises(ImageryError, match="there is no such folder"):
        open_place(tmp_path / "nowhere")
    write_place(small_place(), tmp_path)
    facts = json.loads((tmp_path / "place.json").read_text())
    (tmp_path / "place.json").write_text(json.dumps({**facts, "format": "smdt place 9"}))
    with pytest.raises(ImageryError, match=r"place\.json: is of format 'smdt place 9'"):
        open_place(tmp_path)
    (tmp_path / "place.json").write_text("{")
    with pytest.raises(ImageryError, match=r"place\.json: is damaged"):
        open_place(tmp_path)
