"""The aerial mappings: polar, perspective and mixed, as row → radius profiles on one sampling grid.

All three unroll a north-up aerial image about its centre into the panorama frame: output column j looks along
azimuth 180° + 360°·j/W (column 0 south, W/4 west, W/2 north, 3W/4 east), and output row i shows the ring of
ground at the radius its profile gives. They differ in that profile alone:

- ``polar`` (SAFA, NeurIPS 2019, eq. 1): radius falls evenly from S/2 at the top to 0 at the bottom row.
- ``perspective``: a row at depression θ below the horizon shows the ground plane at h·cot θ, so roads keep
  the shape they have in a photo; rows above the horizon, and rings beyond the image, stay empty.
- ``mixed``: perspective below a join, then the radius grows evenly up to S/2 at the top row. Our reading of
  SMDT's "mixed perspective-polar mapping", whose text leaves it open; continuous in radius: nothing is torn.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from smdt.errors import GeometryError
from smdt.geometry.panorama import CVUSA_ELEVATION_DEG, PanoramaFrame
from smdt.geometry.sampling import SamplingGrid

Mapping = Literal["polar", "perspective", "mixed"]
MAPPINGS: tuple[str, ...] = get_args(Mapping)

DEFAULT_HALF_SIDE_M = 85.0
"""Half the side of a CVUSA tile at zoom 19 in the middle of the United States (750 px of about 0.23 m)."""
DEFAULT_CAMERA_HEIGHT_M = 2.5
DEFAULT_JOIN_M = 12.0


def polar_profile(height_px: int) -> Tensor:
    """Radius of each row as a fraction of half the side, (H,) float64: (H-1-i)/H. Source: SAFA eq. 1."""
    rows = torch.arange(height_px, dtype=torch.float64)
    return (height_px - 1 - rows) / height_px


def perspective_profile(
    frame: PanoramaFrame, half_side_m: float, camera_height_m: float = DEFAULT_CAMERA_HEIGHT_M
) -> Tensor:
    """Radius of each row as a fraction of half the side, h·cot θ / half side; infinite from the horizon up.

    Args:
        frame: the panorama frame to fill; its rows give the depression θ.
        half_side_m: half the side of the aerial image in metres.
        camera_height_m: height of the camera above the ground plane.

    Raises:
        GeometryError: if a length is not positive.
    """
    if half_side_m <= 0 or camera_height_m <= 0:
        raise GeometryError(
            f"half a side of {half_side_m} m or a camera height of {camera_height_m} m is not positive"
        )
    depression = torch.deg2rad(-frame.row_elevation_deg())
    distance = camera_height_m / torch.tan(depression.clamp_min(1e-9))
    return torch.where(depression > 0, distance / half_side_m, torch.full_like(distance, math.inf))


def mixed_profile(
    frame: PanoramaFrame,
    half_side_m: float,
    camera_height_m: float = DEFAULT_CAMERA_HEIGHT_M,
    join_m: float = DEFAULT_JOIN_M,
) -> Tensor:
    """Perspective up to the join radius, then evenly on to the polar radius of the top row.

    Args:
        frame: the panorama frame to fill.
        half_side_m: half the side of the aerial image in metres.
        camera_height_m: height of the camera above the ground plane.
        join_m: radius at which the ground plane gives way to upright things.

    Returns:
        (H,) float64, fractions of half the side, falling strictly from the top row to the bottom.

    Raises:
        GeometryError: if the join leaves no row to one of the two mappings, or a length is not positive.
    """
    perspective = perspective_profile(frame, half_side_m, camera_height_m)
    below = perspective <= join_m / half_side_m
    top = float(polar_profile(frame.height_px)[0])
    first = int(below.int().argmax())  # the uppermost row that is perspective; 0 also where there is none
    if first == 0 or float(perspective[first]) >= top:
        raise GeometryError(
            f"a join at {join_m} m leaves no row to one of the two mappings",
            remedy=f"choose it between {float(perspective.min()) * half_side_m:.1f} and {half_side_m:.0f} m",
        )
    ramp = torch.linspace(top, float(perspective[first]), first + 1, dtype=torch.float64)
    return torch.cat([ramp[:-1], perspective[first:]])


def mapping_grid(
    profile: Tensor, side_px: int, width_px: int, centre: tuple[float, float] = (0.0, 0.0)
) -> SamplingGrid:
    """The sampling grid of a profile: row = S/2 + r·cos(2πj/W), column = S/2 - r·sin(2πj/W), r = profile·S/2.

    Args:
        profile: (H,) fractions of half the side; infinite or NaN rows stay empty.
        side_px: side S of the square aerial image.
        width_px: columns W of the output, 360°.
        centre: what the image is unrolled about, east and north of its middle in fractions of half the side. About
            another point than the middle, rings reach beyond the image on one side: its edge is repeated there.
    """
    half_px = side_px / 2.0
    angle = 2.0 * math.pi * torch.arange(width_px, dtype=torch.float64) / width_px
    radius = torch.where(torch.isfinite(profile), profile, torch.nan)[:, None] * half_px
    row_px, column_px = half_px + radius * torch.cos(angle), half_px - radius * torch.sin(angle)
    if centre != (0.0, 0.0):
        row_px = (row_px - centre[1] * half_px).clamp(0.0, side_px - 1.0)
        column_px = (column_px + centre[0] * half_px).clamp(0.0, side_px - 1.0)
    return SamplingGrid(row_px, column_px, side_px, side_px)


@lru_cache(maxsize=32)
def aerial_grid(
    mapping: str,
    side_px: int,
    height_px: int,
    width_px: int,
    half_side_m: float = DEFAULT_HALF_SIDE_M,
    camera_height_m: float = DEFAULT_CAMERA_HEIGHT_M,
    join_m: float = DEFAULT_JOIN_M,
    elevation_deg: float = CVUSA_ELEVATION_DEG,
    centre: tuple[float, float] = (0.0, 0.0),
) -> SamplingGrid:
    """The grid of a named mapping for square aerial images, kept for the next call.

    Args:
        mapping: ``polar``, ``perspective`` or ``mixed``.
        side_px: side of the aerial image.
        height_px: rows of the output.
        width_px: columns of the output.
        half_side_m: half the side in metres (perspective and mixed).
        camera_height_m: camera height (perspective and mixed).
        join_m: where mixed turns from perspective to polar.
        elevation_deg: the output frame reaches this far above and below the horizon (perspective and mixed).
        centre: what the image is unrolled about, see :func:`mapping_grid`.

    Raises:
        GeometryError: if the mapping's name is unknown, the join leaves no row to one mapping, or a length is
            not positive.
    """
    frame = PanoramaFrame(height_px, width_px, elevation_deg, -elevation_deg)
    if mapping == "polar":
        profile = polar_profile(height_px)
    elif mapping == "perspective":
        profile = perspective_profile(frame, half_side_m, camera_height_m)
    elif mapping == "mixed":
        profile = mixed_profile(frame, half_side_m, camera_height_m, join_m)
    else:
        raise GeometryError(f"mapping '{mapping}' is unknown", remedy=f"choose from {', '.join(MAPPINGS)}")
    return mapping_grid(profile, side_px, width_px, centre)


def map_aerial(images: Tensor, grid: SamplingGrid) -> Tensor:
    """Map square aerial images (B, C, S, S), north up, to the panorama frame with an :func:`aerial_grid`.

    Returns (B, C, H, W) float32 in the units of the input.

    Raises:
        GeometryError: if the images are not square or not of the grid's size.
    """
    if images.shape[-1] != images.shape[-2]:
        raise GeometryError(
            f"an aerial image of {images.shape[-1]}×{images.shape[-2]} pixels is not square",
            remedy="crop it to a square centred on the camera",
        )
    return grid.apply(images)
