"""Pixel ↔ ray, crops and turns, and a flat photo's place in the panorama."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from smdt.errors import GeometryError
from smdt.geometry.angles import azimuth_of_column, column_of_azimuth
from smdt.geometry.panorama import (
    CVUSA_ELEVATION_DEG,
    PanoramaFrame,
    crop_elevation,
    crop_field_of_view,
    field_of_view_from_focal_length,
    mirror_above_and_below,
    mirror_beyond,
    place_flat_photo,
    turn_panorama,
)

SPHERE = PanoramaFrame(180, 360, 90.0, -90.0)


def pixel(row: float, column: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(row, dtype=torch.float64), torch.tensor(column, dtype=torch.float64)


# Frames


def test_cvusa_rows_are_as_high_as_columns_are_wide() -> None:
    # 360/1232 = 0.2922078 degrees a pixel, the horizon between rows 111 and 112, about 65.5 degrees in all.
    elevation = PanoramaFrame(224, 1232).row_elevation_deg()
    assert elevation[111].item() == pytest.approx(0.1461039, abs=1e-6)
    assert elevation[112].item() == pytest.approx(-0.1461039, abs=1e-6)
    assert elevation[0].item() == pytest.approx(32.7272727 - 0.1461039, abs=1e-6)
    assert pytest.approx(65.45, abs=0.01) == 2 * CVUSA_ELEVATION_DEG


def test_columns_of_a_full_frame_agree_with_azimuth_of_column() -> None:
    relative = PanoramaFrame(4, 8).column_azimuth_deg()
    assert relative.tolist() == [-180.0, -135.0, -90.0, -45.0, 0.0, 45.0, 90.0, 135.0]
    assert (relative % 360.0).tolist() == azimuth_of_column(list(range(8)), 8).tolist()


def test_columns_of_a_narrow_frame() -> None:
    frame = PanoramaFrame(4, 8, field_of_view_deg=80.0)
    assert frame.column_azimuth_deg().tolist() == pytest.approx([-40, -30, -20, -10, 0, 10, 20, 30])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"height_px": 0}, "no area"),
        ({"width_px": 0}, "no area"),
        ({"top_deg": 91.0}, "not within"),
        ({"bottom_deg": 40.0}, "bottom first"),
        ({"field_of_view_deg": 0.0}, "field of view"),
        ({"field_of_view_deg": 361.0}, "field of view"),
    ],
)
def test_a_frame_that_cannot_be_is_refused(changed: dict[str, float], message: str) -> None:
    sizes: dict[str, float] = {"height_px": 4, "width_px": 8, "top_deg": 30.0, "bottom_deg": -30.0}
    with pytest.raises(GeometryError, match=message):
        PanoramaFrame(**(sizes | changed))  # type: ignore[arg-type]


# Rays


@pytest.mark.parametrize(
    ("row", "column", "ray"),
    [
        (89.5, 180.0, (0.0, 1.0, 0.0)),  # the centre looks forward
        (89.5, 270.0, (1.0, 0.0, 0.0)),  # three quarters look right
        (89.5, 90.0, (-1.0, 0.0, 0.0)),
        (89.5, 0.0, (0.0, -1.0, 0.0)),
        (-0.5, 180.0, (0.0, 0.0, 1.0)),  # the upper edge is the zenith
        (44.5, 180.0, (0.0, math.sqrt(0.5), math.sqrt(0.5))),  # 45 degrees up
        (119.5, 270.0, (math.sqrt(0.75), 0.0, -0.5)),  # 30 degrees down on the right
    ],
)
def test_rays_by_hand(row: float, column: float, ray: tuple[float, float, float]) -> None:
    assert SPHERE.pixel_to_ray(*pixel(row, column)).tolist() == pytest.approx(ray, abs=1e-12)


@hypothesis_settings(deadline=None, derandomize=True)
@given(
    row=st.floats(0.01, 0.99),
    column=st.floats(0.0, 1.0, exclude_max=True),
    top=st.floats(1, 90),
    bottom=st.floats(-90, 0),
    field_of_view=st.floats(1, 360),
)
def test_pixel_and_ray_are_inverse(
    row: float, column: float, top: float, bottom: float, field_of_view: float
) -> None:
    frame = PanoramaFrame(112, 616, top, bottom, field_of_view)
    there = frame.pixel_to_ray(*pixel(row * 112 - 0.5, column * 616))
    assert there.norm().item() == pytest.approx(1.0, abs=1e-12)
    row_back, column_back = frame.ray_to_pixel(3.0 * there)  # of any length
    assert row_back.item() == pytest.approx(row * 112 - 0.5, abs=1e-6)
    # Straight behind, the two ends of the circle are one; the narrowest frame has 0.0016 degrees a column.
    apart = abs(column_back.item() - column * 616)
    assert min(apart, abs(apart - 616 * 360 / field_of_view)) < 1e-6


# Crops and turns


def azimuth_panorama(width: int = 512) -> Tensor:
    """A panorama (1, 2, W) that shows at each column the azimuth it looks along."""
    return torch.from_numpy(azimuth_of_column(list(range(width)), width)).expand(1, 2, width)


def test_crop_field_of_view_keeps_the_middle() -> None:
    cropped = crop_field_of_view(azimuth_panorama(), 90.0)
    # 512 · 90/360 = 128 columns from azimuth -45° on, and north in their middle.
    assert cropped.shape == (1, 2, 128)
    assert cropped[0, 0, [0, 64, 127]].tolist() == pytest.approx([315.0, 0.0, 45.0 - 360 / 512])
    first = int(column_of_azimuth(315.0, 512))
    assert torch.equal(cropped, azimuth_panorama()[..., first : first + 128])


@pytest.mark.parametrize(("field_of_view_deg", "width"), [(360.0, 512), (180.0, 256), (70.0, 100), (0.1, 1)])
def test_crop_field_of_view_centre_stays_north(field_of_view_deg: float, width: int) -> None:
    cropped = crop_field_of_view(azimuth_panorama(), field_of_view_deg)
    assert cropped.shape[-1] == width
    assert cropped[0, 0, width // 2].item() == 0.0


@pytest.mark.parametrize("degrees", [0.0, 90.0, -45.0, 270.0, 360.0])
def test_turn_panorama_looks_further_clockwise(degrees: float) -> None:
    turned = turn_panorama(azimuth_panorama(), degrees)
    assert turned[0, 0, 256].item() == degrees % 360.0
    # Of a panorama with that heading, each azimuth is where column_of_azimuth says.
    for azimuth_deg in (0.0, 45.0, 225.0):
        column = int(column_of_azimuth(azimuth_deg, 512, heading_deg=degrees))
        assert turned[0, 0, column].item() == azimuth_deg


@pytest.mark.parametrize("field_of_view_deg", [0.0, -10.0, 360.1])
def test_an_impossible_crop_is_refused(field_of_view_deg: float) -> None:
    with pytest.raises(GeometryError, match="field of view"):
        crop_field_of_view(azimuth_panorama(), field_of_view_deg)


def test_cvact_is_cut_to_rows_208_to_623() -> None:
    rows = torch.arange(832.0)[None, :, None].expand(3, 832, 4)
    cut = crop_elevation(rows, PanoramaFrame(832, 1664, 90.0, -90.0), PanoramaFrame(416, 1664, 45.0, -45.0))
    assert cut.shape == (3, 416, 4)
    assert cut[0, [0, -1], 0].tolist() == [208.0, 623.0]


def test_a_crop_beyond_the_panorama_is_refused() -> None:
    source, target = PanoramaFrame(224, 1232), PanoramaFrame(416, 1664, 45.0, -45.0)
    with pytest.raises(GeometryError, match=r"from -32\.7° to 32\.7° does not cover -45\.0° to 45\.0°"):
        crop_elevation(torch.zeros(3, 224, 1232), source, target)


# Flat photos


def test_field_of_view_from_focal_length() -> None:
    assert field_of_view_from_focal_length(18.0) == pytest.approx(90.0)
    assert field_of_view_from_focal_length(26.0) == pytest.approx(69.3903, abs=1e-4)  # a phone's main camera
    with pytest.raises(GeometryError, match="not positive"):
        field_of_view_from_focal_length(0.0)


def spot(height: int, width: int, row: float, column: float) -> Tensor:
    """A photo (1, h, w), black but for a round spot about a fractional pixel."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8.0)[None]


def centroid(image: Tensor) -> tuple[float, float]:
    rows = torch.arange(image.shape[-2], dtype=image.dtype)
    columns = torch.arange(image.shape[-1], dtype=image.dtype)
    total = float(image.sum())
    assert total > 0.0
    return float(image[0].sum(1) @ rows) / total, float(image[0].sum(0) @ columns) / total


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "pitch_deg"),
    [
        (0, 0, 0),
        (20, 0, 0),
        (-30, 0, 0),
        (0, 15, 0),
        (0, -15, 0),
        (25, 10, 0),
        (-25, -10, 0),
        (0, 15, 10),
        (0, -5, -12),
    ],
)
def test_a_point_of_a_flat_photo_lands_at_its_azimuth_and_elevation(
    azimuth_deg: float, elevation_deg: float, pitch_deg: float
) -> None:
    # 401×601 pixels, 80 degrees wide: f = 300.5 / tan 40°. From its middle, a level pinhole camera shows azimuth a,
    # elevation e at row -f·tan e / cos a, column f·tan a; pitched by p, straight ahead, at row -f·tan(e - p).
    focal_px = 300.5 / math.tan(math.radians(40.0))
    across = focal_px * math.tan(math.radians(azimuth_deg))
    up = focal_px * math.tan(math.radians(elevation_deg - pitch_deg)) / math.cos(math.radians(azimuth_deg))
    frame = PanoramaFrame(240, 720, 60.0, -60.0)  # half a degree a pixel
    photo = spot(401, 601, 200.0 - up, 300.0 + across)
    image, mask = place_flat_photo(photo, 80.0, frame, pitch_deg=pitch_deg)
    row, column = centroid(image)
    assert image.shape == (1, 240, 720)
    assert row == pytest.approx((60.0 - elevation_deg) / 0.5 - 0.5, abs=0.5)
    assert column == pytest.approx(360.0 + azimuth_deg / 0.5, abs=0.5)
    assert bool(mask[round(row), round(column)])


def test_the_optical_axis_is_the_middle_of_the_photo() -> None:
    # Four columns of 0, 1, 2, 3 and three rows of 0, 10, 20: between columns 1 and 2, on row 1.
    photo = (torch.arange(4.0)[None] + 10.0 * torch.arange(3.0)[:, None])[None]
    image, _ = place_flat_photo(photo, 70.0, PanoramaFrame(91, 360, 45.0, -45.0))
    assert image[0, 45, 180].item() == pytest.approx(11.5, abs=1e-5)


@pytest.mark.parametrize("field_of_view_deg", [30.0, 60.0, 90.0, 150.0])
def test_the_mask_is_as_wide_as_the_field_of_view(field_of_view_deg: float) -> None:
    frame = PanoramaFrame(112, 616)
    image, mask = place_flat_photo(torch.ones(3, 50, 80), field_of_view_deg, frame)
    horizon = mask[56]
    assert int(horizon.sum()) == pytest.approx(616 * field_of_view_deg / 360, abs=1.0)
    columns = torch.nonzero(horizon).flatten()
    assert (columns[0] + columns[-1]).item() / 2 == pytest.approx(308, abs=0.5)
    # All of the photo inside, nothing outside.
    assert torch.allclose(image, mask.float().expand(3, -1, -1), atol=1e-6)


def test_the_mask_is_as_high_as_the_photo_reaches() -> None:
    # As high as wide, 60 degrees: straight ahead it reaches 30 degrees up and down, of 0.5 degrees a row.
    _, mask = place_flat_photo(torch.ones(1, 64, 64), 60.0, PanoramaFrame(180, 720, 45.0, -45.0))
    rows = torch.nonzero(mask[:, 360]).flatten()
    assert [rows[0].item(), rows[-1].item()] == [30, 149]


def test_nothing_behind_the_camera_is_shown() -> None:
    frame = PanoramaFrame(91, 360, 45.0, -45.0)  # row 45, column 0 looks straight behind
    _, mask = place_flat_photo(torch.ones(1, 64, 64), 170.0, frame)
    azimuth_deg = frame.column_azimuth_deg()
    assert not bool(mask[:, azimuth_deg.abs() > 86.0].any())
    assert bool(mask[45, azimuth_deg.abs() < 84.0].all())


@pytest.mark.parametrize("field_of_view_deg", [0.0, 180.0, -5.0])
def test_a_flat_photo_of_half_a_circle_is_refused(field_of_view_deg: float) -> None:
    with pytest.raises(GeometryError, match="--fov-deg between 1 and 179"):
        place_flat_photo(torch.ones(1, 4, 4), field_of_view_deg, SPHERE)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([4, 5, 6], [6, 6, 5, 4, 4, 5, 6, 6, 5, 4, 4, 5]),
        ([11, 0, 1], [0, 1, 1, 0, 11, 11, 0, 1, 1, 0, 11, 11]),
        ([3], [3] * 12),
        ([2, 3, 4, 5, 7, 8], [3, 2, 2, 3, 4, 5, 6, 7, 8, 8, 7, 4]),
        ([*range(11)], [*range(11), 0]),
        ([*range(12)], [*range(12)]),
        ([], [*range(12)]),
    ],
)
def test_what_a_photo_does_not_show_mirrors_what_it_does(seen: list[int], expected: list[int]) -> None:
    mask = torch.zeros(12, dtype=torch.bool)
    mask[seen] = True
    panorama = torch.arange(12.0).expand(2, 3, 1, 12)
    filled = mirror_beyond(panorama, mask)
    assert filled.shape == panorama.shape
    assert filled[1, 2, 0].tolist() == expected


def test_rows_are_mirrored_above_and_below_in_each_column_by_itself() -> None:
    rows = torch.arange(7.0)[:, None].expand(7, 4)
    shown = torch.zeros(7, 4, dtype=torch.bool)
    shown[2:5, 0] = True
    shown[:, 1] = True
    shown[3, 2] = True
    filled = mirror_above_and_below(10 * torch.arange(3.0)[:, None, None] + rows, shown)
    assert filled.shape == (3, 7, 4)
    assert filled[0, :, 0].tolist() == [3, 2, 2, 3, 4, 4, 3]
    assert filled[0, :, 1].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert filled[0, :, 2].tolist() == [3] * 7
    assert filled[0, :, 3].tolist() == [0, 1, 2, 3, 4, 5, 6]  # nothing is shown there
    assert torch.equal(filled[2], filled[0] + 20)


@pytest.mark.parametrize("turn", [0, 5, 11])
def test_mirroring_turns_with_the_panorama(turn: int) -> None:
    mask, panorama = torch.arange(16) // 5 == 1, torch.rand(3, 2, 16)
    turned = mirror_beyond(panorama.roll(turn, -1), mask.roll(turn))
    assert torch.equal(turned, mirror_beyond(panorama, mask).roll(turn, -1))
