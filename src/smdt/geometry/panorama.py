"""Panorama pixel ↔ ray, crops, and the place of a flat photo in the panorama frame.

A frame is a window of the sphere in equirectangular projection: columns are azimuth relative to the frame's
centre, rows are elevation. Rows run from the top edge (row 0's upper border) to the bottom edge and are
counted at pixel centres (row i looks at i + ½). Columns follow SAFA eq. 1: column j looks exactly along
azimuth 180° + 360°·j/W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smdt.errors import GeometryError

CVUSA_ELEVATION_DEG = 360.0 * 224 / 1232 / 2
"""Half the elevation range of a CVUSA panorama: 1232×224 pixels of equal angle, horizon amid (±32.73°)."""


@dataclass(frozen=True)
class PanoramaFrame:
    """A window of the sphere: its size in pixels and the angles at its edges.

    Attributes:
        height_px: rows.
        width_px: columns.
        top_deg: elevation of the upper edge.
        bottom_deg: elevation of the lower edge (negative below the horizon).
        field_of_view_deg: width in azimuth; 360 for a full panorama.
    """

    height_px: int
    width_px: int
    top_deg: float = CVUSA_ELEVATION_DEG
    bottom_deg: float = -CVUSA_ELEVATION_DEG
    field_of_view_deg: float = 360.0

    def __post_init__(self) -> None:
        """Refuse frames that cannot be."""
        if self.height_px < 1 or self.width_px < 1:
            raise GeometryError(f"a panorama of {self.height_px}×{self.width_px} pixels has no area")
        if not -90.0 <= self.bottom_deg < self.top_deg <= 90.0:
            raise GeometryError(
                f"elevations {self.bottom_deg}° to {self.top_deg}° are not within -90°..90°, bottom first"
            )
        if not 0.0 < self.field_of_view_deg <= 360.0:
            raise GeometryError(f"a field of view of {self.field_of_view_deg}° is not within 0°..360°")

    def row_elevation_deg(self) -> Tensor:
        """Elevation at the centre of each row, (H,) float64, top first."""
        rows = torch.arange(self.height_px, dtype=torch.float64) + 0.5
        return self.top_deg - rows / self.height_px * (self.top_deg - self.bottom_deg)

    def column_azimuth_deg(self) -> Tensor:
        """Azimuth relative to the frame's centre of each column, (W,) float64, from -fov/2."""
        columns = torch.arange(self.width_px, dtype=torch.float64)
        return (columns / self.width_px - 0.5) * self.field_of_view_deg

    def pixel_to_ray(self, row_px: Tensor, column_px: Tensor) -> Tensor:
        """Unit vectors (…, 3), (right, forward, up), of fractional pixels; forward is the centre column."""
        elevation = torch.deg2rad(
            self.top_deg - (row_px + 0.5) / self.height_px * (self.top_deg - self.bottom_deg)
        )
        azimuth = torch.deg2rad((column_px / self.width_px - 0.5) * self.field_of_view_deg)
        horizontal = torch.cos(elevation)
        return torch.stack(
            [horizontal * torch.sin(azimuth), horizontal * torch.cos(azimuth), torch.sin(elevation)], dim=-1
        )

    def ray_to_pixel(self, ray: Tensor) -> tuple[Tensor, Tensor]:
        """Fractional (row, column) of rays (…, 3), (right, forward, up): inverse of :meth:`pixel_to_ray`."""
        right, forward, up = ray.unbind(-1)
        elevation = torch.rad2deg(torch.atan2(up, torch.hypot(right, forward)))
        azimuth = torch.rad2deg(torch.atan2(right, forward))
        row = (self.top_deg - elevation) / (self.top_deg - self.bottom_deg) * self.height_px - 0.5
        column = (azimuth / self.field_of_view_deg + 0.5) * self.width_px
        return row, column


def crop_field_of_view(panorama: Tensor, field_of_view_deg: float) -> Tensor:
    """The central columns of a 360° panorama (…, H, W) that a camera of that field of view would see.

    Returns (…, H, round(W·fov/360)); the centre column W/2 stays at the crop's W'/2.

    Raises:
        GeometryError: if the field of view is not within (0, 360].
    """
    if not 0.0 < field_of_view_deg <= 360.0:
        raise GeometryError(f"a field of view of {field_of_view_deg}° is not within 0°..360°")
    width = panorama.shape[-1]
    kept = max(1, round(width * field_of_view_deg / 360.0))
    start = width // 2 - kept // 2
    return panorama[..., start : start + kept]


def mirror_beyond(panorama: Tensor, seen: Tensor) -> Tensor:
    """Fill what a photo does not show of the circle with its own columns, mirrored at its edges again and again.

    A network that looks past the photo's edge then meets more of the same picture, and not a black wall.

    Args:
        panorama: (…, H, W), or features in azimuth order.
        seen: (W,) True where the photo shows something: columns in a row, which may go on round the circle.

    Returns:
        A panorama of the same shape; the one given where the photo shows all of the circle or nothing. Where there are
        gaps between columns seen, the widest gap is filled and the others are left.
    """
    width, kept = len(seen), int(seen.sum())
    if kept in (0, width):
        return panorama
    columns = seen.nonzero()[:, 0]
    gaps = torch.remainder(columns - columns.roll(1) - 1, width)  # before each column seen
    first = int(columns[gaps.argmax()])
    length = width - int(gaps.max())
    middle = first + length // 2
    away = torch.remainder(torch.arange(width, device=seen.device) - middle + width // 2, width) - width // 2
    way = torch.remainder(away + length // 2, 2 * length)
    within = torch.where(way < length, way, 2 * length - 1 - way)
    return panorama[..., torch.remainder(within + first, width)]


def mirror_above_and_below(panorama: Tensor, shown: Tensor) -> Tensor:
    """Fill what a photo does not show of the frame's height with its own rows, mirrored at its edges again and again.

    A flat photo shows less of the height than panoramas do, and at its sides less than in its middle.

    Args:
        panorama: (…, H, W).
        shown: (H, W) True where the photo shows something: rows in a row, in each column that shows any.

    Returns:
        A panorama of the same shape; columns that show nothing are left.
    """
    height, width = shown.shape
    row = torch.arange(height, device=shown.device)[:, None].expand(height, width)
    first = torch.where(shown, row, height).amin(0)
    kept = shown.sum(0).clamp_min(1)
    way = torch.remainder(row - first, 2 * kept)
    within = first + torch.where(way < kept, way, 2 * kept - 1 - way)
    chosen = torch.where(shown.any(0), within, row)
    return panorama.gather(-2, chosen.expand(panorama.shape))


def turn_panorama(panorama: Tensor, degrees: float) -> Tensor:
    """Turn a 360° panorama (…, H, W) by whole columns; its centre looks ``degrees`` further clockwise."""
    width = panorama.shape[-1]
    return torch.roll(panorama, -round(degrees / 360.0 * width), dims=-1)


def crop_elevation(panorama: Tensor, source: PanoramaFrame, target: PanoramaFrame) -> Tensor:
    """The rows of a panorama (…, H, W) that fall into another frame's elevations, cut at the nearest pixel.

    CVACT's full sphere of 832 rows cut to ±45° gives rows 208..623.

    Raises:
        GeometryError: if the panorama does not reach as far up or down as the target.
    """
    rows_per_deg = source.height_px / (source.top_deg - source.bottom_deg)
    first = round((source.top_deg - target.top_deg) * rows_per_deg)
    last = round((source.top_deg - target.bottom_deg) * rows_per_deg)
    if first < 0 or last > source.height_px:
        raise GeometryError(
            f"a panorama from {source.bottom_deg:.1f}° to {source.top_deg:.1f}° does not cover "
            f"{target.bottom_deg:.1f}° to {target.top_deg:.1f}°"
        )
    return panorama[..., first:last, :]


def field_of_view_from_focal_length(focal_length_35mm: float) -> float:
    """Horizontal field of view in degrees of a flat photo from its 35-mm equivalent focal length in mm.

    The 35-mm frame is 36 mm wide: fov = 2·atan(18 / f). For an upright photo this is the field of view of the
    long side.
    """
    if focal_length_35mm <= 0:
        raise GeometryError(f"a focal length of {focal_length_35mm} mm is not positive")
    return math.degrees(2.0 * math.atan(18.0 / focal_length_35mm))


def place_flat_photo(
    photo: Tensor, field_of_view_deg: float, frame: PanoramaFrame, *, pitch_deg: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Warp a flat (pinhole) photo into a panorama frame whose centre is the photo's optical axis.

    Args:
        photo: (C, h, w) float.
        field_of_view_deg: the photo's horizontal field of view, below 180.
        frame: the panorama frame to fill.
        pitch_deg: elevation of the optical axis (positive looks up).

    Returns:
        The image (C, H, W), zero where the photo does not reach, and a mask (H, W), True where it does.

    Raises:
        GeometryError: if the field of view is not within (0, 180).
    """
    from smdt.geometry.sampling import bilinear

    if not 0.0 < field_of_view_deg < 180.0:
        raise GeometryError(
            f"a flat photo cannot have a field of view of {field_of_view_deg}°",
            remedy="give --fov-deg between 1 and 179, or --panorama for a 360° picture",
        )
    _, height, width = photo.shape
    focal_px = width / 2.0 / math.tan(math.radians(field_of_view_deg) / 2.0)
    rows = torch.arange(frame.height_px, dtype=torch.float64)[:, None].expand(-1, frame.width_px)
    columns = torch.arange(frame.width_px, dtype=torch.float64)[None, :].expand(frame.height_px, -1)
    right, forward, up = frame.pixel_to_ray(rows, columns).unbind(-1)
    pitch = math.radians(pitch_deg)
    depth = forward * math.cos(pitch) + up * math.sin(pitch)
    lift = up * math.cos(pitch) - forward * math.sin(pitch)
    safe_depth = depth.clamp_min(1e-9)
    photo_column = focal_px * right / safe_depth + width / 2.0 - 0.5
    photo_row = height / 2.0 - 0.5 - focal_px * lift / safe_depth
    inside = (
        (depth > 1e-9)
        & (photo_column >= -0.5)
        & (photo_column <= width - 0.5)
        & (photo_row >= -0.5)
        & (photo_row <= height - 0.5)
    )
    image = bilinear(photo[None], photo_row.clamp(0, height - 1), photo_column.clamp(0, width - 1))[0]
    return image * inside, inside
