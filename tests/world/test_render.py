import math

import numpy as np
import pytest
import torch

from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.world.aerial import aerial_square
from smdt.world.layers import BuildingTable, Place, Street, Surface
from smdt.world.moment import Moment
from smdt.world.render import RenderConfig, Renderer, street_positions

CONFIG = RenderConfig(height_px=128, width_px=512, steps=400)
DEGREES_PER_ROW = 360.0 * 224 / 1232 / 128


def plain(size_m: float = 200.0, pixel_m: float = 0.25) -> Place:
    size = round(size_m / pixel_m)
    nothing = np.zeros((0, 2), np.float32)
    return Place(
        name="test",
        colour=np.full((size, size, 3), 90, np.uint8),
        height_m=np.zeros((size, size), np.float32),
        surface=np.zeros((size, size), np.uint8),
        object_id=np.zeros((size, size), np.int32),
        buildings=BuildingTable(nothing, nothing, nothing[:, 0], np.zeros((0, 3), np.float32), nothing[:, 0]),
        streets=(Street(np.array([[20.0, 100.0], [180.0, 100.0]]), 8.0),),
        pixel_m=pixel_m,
        latitude_deg=45.0,
        longitude_deg=-30.0,
    )


def with_pillar(east_m: float, north_m: float, height_m: float, half_m: float = 0.5) -> Place:
    place = plain()
    rows = place.surface.shape[0]
    left, right = (round((east_m + side) / place.pixel_m) for side in (-half_m, half_m))
    top, bottom = (rows - round((north_m + side) / place.pixel_m) for side in (half_m, -half_m))
    place.height_m[top:bottom, left:right] = height_m
    place.surface[top:bottom, left:right] = Surface.TREE
    return place


@pytest.mark.parametrize(
    ("east", "north", "column"),
    [(100.0, 120.0, 256.0), (80.0, 100.0, 128.0), (120.0, 100.0, 384.0), (120.0, 120.0, 320.0)],
    ids=["north at W/2", "west at W/4", "east at 3W/4", "north-east at 5W/8"],
)
def test_convention_a_pillar_stands_at_its_azimuth(east: float, north: float, column: float) -> None:
    view = Renderer(with_pillar(east, north, 9.0), CONFIG).panorama(100.0, 100.0)
    columns = torch.nonzero((view.surface == Surface.TREE).any(0))[:, 0].float()
    assert abs(float(columns.mean()) - column) <= 0.5


def test_convention_column_zero_looks_south() -> None:
    view = Renderer(with_pillar(100.0, 80.0, 9.0), CONFIG).panorama(100.0, 100.0)
    seen = (view.surface == Surface.TREE).any(0)
    assert bool(seen[0])
    assert bool(seen[-1])
    assert not bool(seen[100:400].any())


def test_a_pillar_reaches_its_elevation_within_half_a_row() -> None:
    height, distance, camera = 9.0, 20.0, 2.5
    view = Renderer(with_pillar(100.0, 100.0 + distance, height), CONFIG).panorama(
        100.0, 100.0, camera_height_m=camera
    )
    rows = torch.nonzero(view.surface[:, 256] == Surface.TREE)[:, 0]
    top_deg = math.degrees(math.atan((height - camera) / (distance - 0.5)))
    foot_deg = math.degrees(math.atan(-camera / (distance - 0.5)))
    middle = 64.0
    assert abs(float(rows.min()) - (middle - top_deg / DEGREES_PER_ROW)) <= 1.0
    assert abs(float(rows.max()) + 1 - (middle - foot_deg / DEGREES_PER_ROW)) <= 1.0


def test_turning_the_camera_turns_the_panorama() -> None:
    renderer = Renderer(with_pillar(110.0, 130.0, 9.0), CONFIG)
    north, turned = renderer.panorama(100.0, 100.0), renderer.panorama(100.0, 100.0, heading_deg=90.0)
    assert torch.equal(torch.roll(north.surface, -128, dims=1), turned.surface)


def test_a_wall_hides_what_is_behind_it() -> None:
    place = with_pillar(100.0, 130.0, 30.0)
    rows = place.surface.shape[0]
    place.height_m[rows - 450 : rows - 440, 340:460] = 20.0  # 10 m north of the camera, 30 m wide
    place.surface[rows - 450 : rows - 440, 340:460] = Surface.BUILDING
    view = Renderer(place, CONFIG).panorama(100.0, 100.0)
    assert not bool((view.surface == Surface.TREE).any())
    assert bool((view.surface[:, 256] == Surface.BUILDING).any())


def test_ground_depth_is_camera_height_over_slope() -> None:
    view = Renderer(plain(), CONFIG).panorama(100.0, 100.0, camera_height_m=2.0)
    elevation = math.radians((64 - (120 + 0.5)) * DEGREES_PER_ROW)
    assert view.depth_m[120].numpy() == pytest.approx(2.0 / math.tan(-elevation), rel=1e-3)
    assert bool(torch.isinf(view.depth_m[:60]).all())
    assert bool((view.surface[:60] == Surface.SKY).all())


def test_the_ground_of_panorama_and_mapped_aerial_agree_in_azimuth() -> None:
    place = plain()
    rows = place.surface.shape[0]
    for azimuth in (30.0, 135.0, 250.0):  # three bright spokes
        for radius in np.arange(3.0, 45.0, 0.05):
            east = 100.0 + radius * math.sin(math.radians(azimuth))
            north = 100.0 + radius * math.cos(math.radians(azimuth))
            place.colour[rows - 1 - int(north / 0.25), int(east / 0.25)] = 255
    view = Renderer(place, CONFIG).panorama(100.0, 100.0)
    tile = aerial_square(torch.from_numpy(place.colour).permute(2, 0, 1), 0.25, 100.0, 100.0, 100.0, 400)[
        None
    ]
    mapped = map_aerial(tile, aerial_grid("polar", 400, 128, 512))[0, 0]
    ground = view.image[0, 80:100].float().amax(0)
    above = mapped[16:64].amax(0)  # 25 m and more: SAFA's centre is half a pixel off the image's middle
    for azimuth in (30.0, 135.0, 250.0):
        column = round((azimuth - 180.0) % 360.0 / 360.0 * 512)
        for row in (ground, above):
            window = row[column - 12 : column + 13] - 90.0
            centre = float((window.clamp_min(0) * torch.arange(-12, 13)).sum() / window.clamp_min(0).sum())
            assert abs(centre) <= 1.0


def test_same_camera_same_bytes_and_weather_changes_the_picture_only() -> None:
    renderer = Renderer(with_pillar(110.0, 130.0, 9.0), CONFIG)
    first, again = renderer.panorama(100.0, 100.0), renderer.panorama(100.0, 100.0)
    assert torch.equal(first.image, again.image)
    other = renderer.panorama(100.0, 100.0, moment=Moment.draw(np.random.default_rng(1)))
    assert not torch.equal(first.image, other.image)
    assert torch.equal(first.surface, other.surface)
    assert torch.equal(first.depth_m, other.depth_m)


def test_street_positions_lie_on_roads_and_repeat() -> None:
    place = plain()
    rows = place.surface.shape[0]
    place.surface[rows - 420 : rows - 380] = Surface.ROAD
    spots = street_positions(place, 20, np.random.default_rng(3))
    assert spots.shape == (20, 2)
    assert (np.abs(spots[:, 1] - 100.0) <= 4.0).all()
    assert ((spots >= 60.0) & (spots <= 140.0)).all()
    np.testing.assert_array_equal(spots, street_positions(place, 20, np.random.default_rng(3)))
