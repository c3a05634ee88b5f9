"""The three mappings: against the published formula, by hand, and each direction in its column."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from smdt.errors import GeometryError
from smdt.geometry.mapping import (
    MAPPINGS,
    aerial_grid,
    map_aerial,
    mapping_grid,
    mixed_profile,
    perspective_profile,
    polar_profile,
)
from smdt.geometry.panorama import PanoramaFrame
from smdt.geometry.sampling import bilinear

LEVEL_TOLERANCE = 1e-4  # of an 8-bit level


@pytest.fixture(autouse=True)
def _fresh_grids() -> Iterator[None]:
    yield
    aerial_grid.cache_clear()


def published_polar(aerial: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.float64]:
    """SAFA eq. 1 on (S, S, 3), in float64, bilinear, zero outside. Written from the formula; uses none of our code."""
    side = aerial.shape[0]
    i, j = np.mgrid[0:height, 0:width]
    y = side / 2 + side / 2 * (height - 1 - i) / height * np.cos(2 * np.pi * j / width)  # row
    x = side / 2 - side / 2 * (height - 1 - i) / height * np.sin(2 * np.pi * j / width)  # column
    framed = np.zeros((side + 2, side + 2, 3))
    framed[1:-1, 1:-1] = aerial
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    dy, dx = (y - y0)[..., None], (x - x0)[..., None]
    above = (1 - dx) * framed[y0 + 1, x0 + 1] + dx * framed[y0 + 1, x0 + 2]
    below = (1 - dx) * framed[y0 + 2, x0 + 1] + dx * framed[y0 + 2, x0 + 2]
    return (1 - dy) * above + dy * below


@pytest.mark.parametrize("side", [750, 1200])
def test_polar_equals_the_published_formula(side: int) -> None:
    aerial = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    expected = torch.from_numpy(published_polar(aerial, 112, 616)).permute(2, 0, 1)
    assert expected.std() > 30.0  # noise: a coordinate off by 1e-5 pixel would show
    images = torch.from_numpy(aerial).permute(2, 0, 1)[None]  # channels last, as decoded
    grid = aerial_grid("polar", side, 112, 616)
    mapped = map_aerial(images, grid)
    assert mapped.shape == (1, 3, 112, 616)
    assert mapped.dtype == torch.float32
    assert (mapped[0].double() - expected).abs().max().item() < LEVEL_TOLERANCE
    for image in (images.float().contiguous(), images.double().contiguous()):
        assert (map_aerial(image, grid)[0].double() - expected).abs().max().item() < LEVEL_TOLERANCE
        sampled = bilinear(image, grid.row_px, grid.column_px)
        assert sampled.dtype == image.dtype
        assert (sampled[0].double() - expected).abs().max().item() < LEVEL_TOLERANCE


def test_polar_at_the_edge_takes_zero_for_what_is_outside() -> None:
    # 4 pixels to 8×4: row 0 reaches r = 2·7/8 = 1.75. South: row 3.75, a quarter of the last row of ones; west:
    # column 0.25, inside; north: row 0.25, inside; east: column 3.75, a quarter.
    mapped = map_aerial(torch.ones(1, 1, 4, 4), aerial_grid("polar", 4, 8, 4))
    assert mapped[0, 0, 0].tolist() == pytest.approx([0.25, 1.0, 1.0, 0.25], abs=1e-6)
    assert mapped[0, 0, 7].tolist() == pytest.approx([1.0] * 4)  # the bottom row is the centre


# Directions


def patches(side: int) -> Tensor:
    """An aerial image (1, 4, S, S): a patch half way out in the north, east, south and west, one a channel."""
    image = torch.zeros(1, 4, side, side)
    middle, out = side // 2, side // 4
    for channel, (north, east) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        row, column = middle - north * out, middle + east * out
        image[0, channel, row - 2 : row + 3, column - 2 : column + 3] = 1.0
    return image


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_convention_each_direction_appears_in_its_column(mapping: str) -> None:
    # North in the middle, east at three quarters, south at column 0, west at one quarter.
    grid = aerial_grid(mapping, 200, 112, 616, half_side_m=20.0)
    mapped = map_aerial(patches(200), grid)[0]
    turn = torch.exp(2j * math.pi * torch.arange(616) / 616)
    for channel, column in enumerate([308.0, 462.0, 0.0, 154.0]):
        seen = mapped[channel].sum(dim=0)
        assert float(seen.sum()) > 0.0
        centre = float(torch.angle((seen * turn).sum())) / (2 * math.pi) * 616  # circular centroid
        apart = abs(centre - column) % 616
        assert min(apart, 616 - apart) < 0.5
        # Nothing of it is a quarter of the circle away.
        assert float(seen.roll(-int(column))[154:462].sum()) == 0.0


def test_convention_near_is_low_and_far_is_high() -> None:
    # Polar, half way out: radius (H-1-i)/H = 1/2 at row 55 of 112.
    mapped = map_aerial(patches(200), aerial_grid("polar", 200, 112, 616))[0]
    for channel in range(4):
        seen = mapped[channel].sum(dim=1)
        assert float(seen @ torch.arange(112.0) / seen.sum()) == pytest.approx(55.0, abs=0.6)


# Profiles


def test_polar_profile_by_hand() -> None:
    assert polar_profile(4).tolist() == [0.75, 0.5, 0.25, 0.0]


def test_perspective_radius_is_height_times_cotangent() -> None:
    # Four rows from 45° to -45°: depressions 11.25° and 33.75° below the horizon, cotangents 5.0273395 and 1.4966058;
    # 2 m high, of 10 m: 1.0054679 and 0.2993212.
    profile = perspective_profile(PanoramaFrame(4, 8, 45.0, -45.0), half_side_m=10.0, camera_height_m=2.0)
    assert profile.tolist() == pytest.approx([math.inf, math.inf, 1.0054679, 0.2993212], abs=1e-7)


def test_perspective_has_no_ground_on_the_horizon() -> None:
    # With five rows the third looks along the horizon itself.
    profile = perspective_profile(PanoramaFrame(5, 8, 45.0, -45.0), half_side_m=10.0)
    assert torch.isfinite(profile).tolist() == [False, False, False, True, True]


def test_perspective_shows_the_ring_of_its_radius() -> None:
    # An image that holds each pixel's distance from the centre in pixels shows each row's radius.
    side = 400
    offset = torch.arange(side) - side / 2
    distances = torch.hypot(offset[:, None], offset[None]).expand(1, 1, side, side)
    grid = aerial_grid("perspective", side, 64, 32, half_side_m=40.0, camera_height_m=1.5, elevation_deg=45.0)
    mapped = map_aerial(distances, grid)[0, 0]
    assert bool((mapped[:32] == 0.0).all())  # above the horizon: empty
    for row in range(32, 64):
        depression = math.radians((row + 0.5) * 90.0 / 64 - 45.0)
        radius_px = 1.5 / math.tan(depression) / 40.0 * (side / 2)
        if radius_px < side / 2 - 1:
            assert mapped[row].tolist() == pytest.approx([radius_px] * 32, abs=0.1)
        elif radius_px > side:  # beyond even the corners
            assert bool((mapped[row] == 0.0).all())
    assert radius_px < 10.0  # the bottom row looks at the ground before one's feet


def test_mixed_is_perspective_below_the_join_and_polar_on_top() -> None:
    frame = PanoramaFrame(112, 616)
    mixed = mixed_profile(frame, half_side_m=85.0, camera_height_m=2.5, join_m=12.0)
    perspective = perspective_profile(frame, half_side_m=85.0, camera_height_m=2.5)
    below = perspective * 85.0 <= 12.0
    # 12 m from 2.5 m high: 11.77° below the horizon, 44.50° or 76.1 rows below the top: row 76's centre lies lower.
    assert torch.nonzero(below).flatten().tolist() == list(range(76, 112))
    assert torch.equal(mixed[below], perspective[below])
    assert mixed[0].item() == pytest.approx(111 / 112)  # the polar radius of the top row


@pytest.mark.parametrize("join_m", [5.0, 12.0, 40.0])
def test_mixed_falls_strictly_and_is_continuous(join_m: float) -> None:
    frame = PanoramaFrame(112, 616)
    mixed = mixed_profile(frame, half_side_m=85.0, join_m=join_m)
    steps = mixed[:-1] - mixed[1:]
    assert bool((steps > 0.0).all())
    first = int((perspective_profile(frame, 85.0) * 85.0 <= join_m).int().argmax())
    # Above the join all steps are one even step, so the last of them leads into the perspective without a jump.
    assert steps[:first].tolist() == pytest.approx([(111 / 112 - mixed[first].item()) / first] * first)


@pytest.mark.parametrize("join_m", [0.1, 100.0, 1000.0])
def test_a_join_that_leaves_nothing_to_one_mapping_is_refused(join_m: float) -> None:
    # Nearer than the lowest row sees, 3.9 m; or beyond the image, where the radius would have to turn back.
    with pytest.raises(GeometryError, match=r"join at .* choose it between 3\.9 and 85 m"):
        mixed_profile(PanoramaFrame(112, 8), half_side_m=85.0, join_m=join_m)


def test_a_frame_below_the_horizon_has_no_row_for_polar() -> None:
    with pytest.raises(GeometryError, match="leaves no row to one of the two mappings"):
        mixed_profile(PanoramaFrame(8, 8, -20.0, -60.0), half_side_m=85.0, join_m=40.0)


@pytest.mark.parametrize(
    ("half_side_m", "camera_height_m"), [(0.0, 2.5), (-1.0, 2.5), (85.0, 0.0), (85.0, -2.0)]
)
def test_lengths_must_be_positive(half_side_m: float, camera_height_m: float) -> None:
    # A camera below the ground would show the world turned half round.
    for mapping in ("perspective", "mixed"):
        with pytest.raises(GeometryError, match="not positive"):
            aerial_grid(mapping, 64, 16, 32, half_side_m, camera_height_m)


# Grids


def test_rows_without_radius_are_empty() -> None:
    profile = torch.tensor([math.inf, math.nan, 0.5], dtype=torch.float64)
    mapped = map_aerial(torch.ones(1, 1, 8, 8), mapping_grid(profile, 8, 4))
    assert mapped[0, 0].sum(dim=1).tolist() == pytest.approx([0.0, 0.0, 4.0])


def test_a_grid_is_made_once() -> None:
    assert aerial_grid("polar", 64, 16, 32) is aerial_grid("polar", 64, 16, 32)
    assert aerial_grid("polar", 64, 16, 32) is not aerial_grid("mixed", 64, 16, 32)


def test_an_unknown_mapping_names_the_known_ones() -> None:
    with pytest.raises(GeometryError, match="'polor' is unknown; choose from polar, perspective, mixed"):
        aerial_grid("polor", 64, 16, 32)


def test_an_aerial_image_that_is_not_square_is_refused() -> None:
    with pytest.raises(GeometryError, match="of 64×60 pixels is not square; crop it"):
        map_aerial(torch.zeros(1, 3, 60, 64), aerial_grid("polar", 64, 16, 32))


def test_an_aerial_image_of_another_size_is_refused() -> None:
    with pytest.raises(GeometryError, match="do not fit a mapping made for"):
        map_aerial(torch.zeros(1, 3, 60, 60), aerial_grid("polar", 64, 16, 32))
