"""Street photos: what a file says of its camera, and the photo's place in a model's panorama frame.

Sources: Exif 2.32 (tags), Google's Photo Sphere XMP metadata ("GPano") for panoramas.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from smdt.errors import ConfigError, ImageryError
from smdt.geometry.panorama import PanoramaFrame, field_of_view_from_focal_length, place_flat_photo

PANORAMA_RATIO = 1.9
"""Pictures this many times as wide as high, and without a focal length, are taken for 360° panoramas."""

_FILM_LONG_SIDE_MM = 36.0
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # Exif FocalPlaneResolutionUnit


@dataclass(frozen=True)
class Photo:
    """A street photo, upright, with what its file says of the camera.

    Attributes:
        path: the file.
        image: uint8 (3, H, W), RGB, turned upright as Exif says.
        width_px: width after turning.
        height_px: height after turning.
        focal_length_35mm: focal length in millimetres on 36 mm of long side, or None if the file does not
            say.
        latitude_deg: the position the camera noted, WGS84, or None. It serves to tell how far off an answer
            is, never to find it.
        longitude_deg: see ``latitude_deg``.
        heading_deg: azimuth the camera noted, in [0, 360), or None; as noted, even where it counts from
            magnetic north.
        panorama_frame: what part of the sphere the picture shows, if it is an equirectangular panorama; None
            for a flat photo.
    """

    path: Path
    image: Tensor
    width_px: int
    height_px: int
    focal_length_35mm: float | None
    latitude_deg: float | None
    longitude_deg: float | None
    heading_deg: float | None
    panorama_frame: PanoramaFrame | None

    @property
    def is_panorama(self) -> bool:
        """Whether the file says it is an equirectangular panorama, or its shape does (see PANORAMA_RATIO)."""
        return self.panorama_frame is not None


@dataclass(frozen=True)
class PlacedPhoto:
    """A photo in a panorama frame whose centre column is the photo's.

    Attributes:
        image: float32 (3, H, W), RGB in [0, 1], zero where the photo does not reach.
        mask: bool (H, W), True where it does.
        field_of_view_deg: how wide the photo is in azimuth; 360 for a full panorama.
    """

    image: Tensor
    mask: Tensor
    field_of_view_deg: float


def load_photo(path: Path) -> Photo:
    """Read a photo and what its file says of the camera.

    It counts as a panorama if its XMP metadata say so (GPano, equirectangular), or else if it is at least
    ``PANORAMA_RATIO`` times as wide as high and has no focal length: full spheres have a ratio of 2, CVUSA
    5.5.

    Raises:
        ImageryError: if the file is missing, is no image, is truncated, or is too large to be a photo.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow remarks on odd metadata and on 90 megapixels
            with Image.open(path) as opened:
                exif = opened.getexif()
                about, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
                xmp, stored_size = opened.info.get("xmp", b""), opened.size
                upright = _to_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise ImageryError("no such file", where=path, remedy="check the path of the photo") from None
    except UnidentifiedImageError:
        raise ImageryError(
            "not an image that can be read", where=path, remedy="give a JPEG, PNG or WebP (not HEIC)"
        ) from None
    except Image.DecompressionBombError:
        raise ImageryError(
            "an image of more than 178 megapixels", where=path, remedy="make it smaller first"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageryError(
            f"the image cannot be read to its end ({error})",
            where=path,
            remedy="it is damaged or incomplete: copy or download it again",
        ) from None
    focal_length = _focal_length_35mm(about, stored_size)
    width, height = upright.size
    latitude, longitude = _position(gps)
    frame = _frame_from_xmp(xmp, width, height)
    if frame is None and focal_length is None and width >= PANORAMA_RATIO * height:
        frame = _frame_from_shape(width, height)
    return Photo(
        path=path,
        image=torch.from_numpy(np.array(upright)).permute(2, 0, 1).contiguous(),
        width_px=width,
        height_px=height,
        focal_length_35mm=focal_length,
        latitude_deg=latitude,
        longitude_deg=longitude,
        heading_deg=_heading(gps),
        panorama_frame=frame,
    )


def photo_to_frame(
    photo: Photo,
    frame: PanoramaFrame,
    *,
    fov_deg: float | None = None,
    panorama: bool | None = None,
    pitch_deg: float = 0.0,
) -> PlacedPhoto:
    """Place a photo in a panorama frame, its own centre column in the frame's.

    Args:
        photo: the photo.
        frame: the frame to fill.
        fov_deg: horizontal field of view of a flat photo; without it the Exif focal length gives it.
        panorama: True for an equirectangular picture, False for a flat one; None goes by
            ``photo.is_panorama``, and takes the photo for flat where ``fov_deg`` is given.
        pitch_deg: elevation of a flat photo's optical axis, positive looking up.

    Raises:
        ImageryError: if the photo says nothing of its field of view, or is too narrow for a panorama.
        ConfigError: if a field of view or pitch is given for a panorama.
        GeometryError: if the field of view is not within (0, 180).
    """
    whole = panorama if panorama is not None else fov_deg is None and photo.is_panorama
    if whole:
        if fov_deg is not None or pitch_deg != 0.0:
            raise ConfigError(
                "a panorama has no --fov-deg and no pitch",
                where=photo.path,
                remedy="leave out one or the other",
            )
        return _place_panorama(photo, frame)
    field_of_view = _flat_field_of_view(photo) if fov_deg is None else fov_deg
    shrunk = _shrink_to(photo, frame, field_of_view)
    image, mask = place_flat_photo(shrunk, field_of_view, frame, pitch_deg=pitch_deg)
    return PlacedPhoto(image.clamp(0.0, 1.0), mask, field_of_view)


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any picture; 16-bit grey keeps its upper 8 bits, which Pillow alone would clip."""
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _number(value: Any) -> float | None:
    """A finite number out of what Exif holds, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _focal_length_35mm(about: Mapping[int, Any], stored_size: tuple[int, int]) -> float | None:
    stated = _number(about.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if stated is not None and stated > 0:
        return stated
    focal_mm = _number(about.get(ExifTags.Base.FocalLength))
    per_unit = _number(about.get(ExifTags.Base.FocalPlaneXResolution))
    unit_mm = _MM_PER_UNIT.get(about.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    if not focal_mm or not per_unit or unit_mm is None or focal_mm < 0 or per_unit < 0:
        return None
    sizes = (about.get(ExifTags.Base.ExifImageWidth), about.get(ExifTags.Base.ExifImageHeight))
    width, height = (_number(size) or stored for size, stored in zip(sizes, stored_size, strict=True))
    sensor_long_side_mm = max(width, height) / per_unit * unit_mm
    return focal_mm * _FILM_LONG_SIDE_MM / sensor_long_side_mm


def _degrees(parts: Any, reference: Any, negative: str) -> float | None:
    """Degrees, minutes and seconds of Exif with their hemisphere letter as one signed number."""
    if not isinstance(parts, tuple) or len(parts) != 3:
        return None
    numbers = [_number(part) for part in parts]
    degrees, minutes, seconds = (0.0 if number is None else number for number in numbers)
    if numbers[0] is None:
        return None
    value = degrees + minutes / 60.0 + seconds / 3600.0
    return -value if str(reference).strip("\0 ").upper() == negative else value


def _position(gps: Mapping[int, Any]) -> tuple[float | None, float | None]:
    tag = ExifTags.GPS
    latitude = _degrees(gps.get(tag.GPSLatitude), gps.get(tag.GPSLatitudeRef), "S")
    longitude = _degrees(gps.get(tag.GPSLongitude), gps.get(tag.GPSLongitudeRef), "W")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None, None
    return (None, None) if latitude == longitude == 0.0 else (latitude, longitude)  # 0, 0 means "no fix"


def _heading(gps: Mapping[int, Any]) -> float | None:
    stated = _number(gps.get(ExifTags.GPS.GPSImgDirection))
    return None if stated is None else stated % 360.0


def _frame_from_shape(width_px: int, height_px: int) -> PanoramaFrame:
    """A picture of 360° in equal angles, horizon in the middle: 2:1 is the full sphere, more is a crop."""
    half = min(90.0, 180.0 * height_px / width_px)
    return PanoramaFrame(height_px, width_px, half, -half)


def _frame_from_xmp(xmp: Any, width_px: int, height_px: int) -> PanoramaFrame | None:
    """What part of the sphere GPano metadata say the picture shows, or None if they do not."""
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)

    def stated(name: str) -> str | None:
        found = re.search(rf"GPano:{name}\s*(?:=\s*[\"']|>)\s*([\w.+-]+)", text)
        return found.group(1) if found else None

    if (stated("ProjectionType") or "").lower() != "equirectangular":
        return None
    names = ("CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels", "CroppedAreaTopPixels")
    width, height, top = (_number(stated(name)) for name in names)
    full_width, full_height = _number(stated("FullPanoWidthPixels")), _number(stated("FullPanoHeightPixels"))
    if width and height and top is not None and full_width and width <= full_width:
        per_pixel_deg = 180.0 / (full_height or full_width / 2.0)
        top_deg = 90.0 - top * per_pixel_deg
        bottom_deg = max(top_deg - height * per_pixel_deg, -90.0)
        if bottom_deg < top_deg <= 90.0:
            return PanoramaFrame(height_px, width_px, top_deg, bottom_deg, 360.0 * width / full_width)
    return _frame_from_shape(width_px, height_px)


def _flat_field_of_view(photo: Photo) -> float:
    """Horizontal field of view from the focal length, which is stated for 36 mm of the photo's long side."""
    if photo.focal_length_35mm is None:
        raise ImageryError(
            "the file does not say how wide the photo sees",
            where=photo.path,
            remedy="give --fov-deg (about 65 for a phone's main camera), or --panorama for a 360° picture",
        )
    half = math.radians(field_of_view_from_focal_length(photo.focal_length_35mm)) / 2.0
    share = photo.width_px / max(photo.width_px, photo.height_px)
    return math.degrees(2.0 * math.atan(math.tan(half) * share))


def _resize(image: Tensor, width_px: int, height_px: int, box: tuple[float, float, float, float]) -> Tensor:
    """A part of a picture at another size, smoothed when it shrinks; float32 (3, H, W) in [0, 1]."""
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    resized = np.array(picture.resize((width_px, height_px), Image.Resampling.BILINEAR, box=box))
    return torch.from_numpy(resized).permute(2, 0, 1).float() / 255.0


def _shrink_to(photo: Photo, frame: PanoramaFrame, field_of_view_deg: float) -> Tensor:
    """The photo as float in [0, 1], made small enough that sampling it once a frame pixel skips nothing."""
    width, height = photo.width_px, photo.height_px
    scale = 1.0
    if 0.0 < field_of_view_deg < 180.0:  # placing refuses the rest
        focal_px = width / 2.0 / math.tan(math.radians(field_of_view_deg) / 2.0)
        per_deg = max(
            frame.width_px / frame.field_of_view_deg, frame.height_px / (frame.top_deg - frame.bottom_deg)
        )
        scale = min(1.0, per_deg / (focal_px * math.radians(1.0)))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return _resize(photo.image, *size, box=(0.0, 0.0, float(width), float(height)))


def _place_panorama(photo: Photo, frame: PanoramaFrame) -> PlacedPhoto:
    """Cut or pad an equirectangular picture to the frame; columns keep to SAFA's convention at both sizes."""
    width, height = photo.width_px, photo.height_px
    sphere = photo.panorama_frame
    if sphere is None:
        if width < PANORAMA_RATIO * height:
            raise ImageryError(
                f"{width}×{height} pixels are too narrow for a 360° panorama",
                where=photo.path,
                remedy="a panorama is at least twice as wide as high; give --fov-deg for a flat photo",
            )
        sphere = _frame_from_shape(width, height)
    rows_per_deg = height / (sphere.top_deg - sphere.bottom_deg)
    top = (sphere.top_deg - frame.top_deg) * rows_per_deg
    bottom = (sphere.top_deg - frame.bottom_deg) * rows_per_deg
    share = frame.field_of_view_deg / sphere.field_of_view_deg
    step = share * width / frame.width_px
    left = 0.5 * (1.0 - share) * width + 0.5 - 0.5 * step  # column 0's centre at (1 - share)/2·w + ½
    right = left + frame.width_px * step
    spare_rows = math.ceil((bottom - top) / frame.height_px) + 2
    spare_columns = math.ceil(step) + 2
    first_row, last_row = max(0, math.floor(top) - spare_rows), min(height, math.ceil(bottom) + spare_rows)
    first_row, last_row = min(first_row, height - 1), max(last_row, 1)  # one row at least, all of it masked
    above, below = max(0, first_row - math.floor(top)), max(0, math.ceil(bottom) - last_row)
    beside = math.ceil(max(0.0, -left, right - width)) + spare_columns
    rows = photo.image[:, first_row:last_row].numpy()
    full_circle = sphere.field_of_view_deg == 360.0
    padded = np.pad(rows, ((0, 0), (above, below), (0, 0)), mode="edge")
    padded = np.pad(padded, ((0, 0), (0, 0), (beside, beside)), mode="wrap" if full_circle else "edge")
    start = first_row - above
    box = (left + beside, top - start, right + beside, bottom - start)
    image = _resize(torch.from_numpy(padded), frame.width_px, frame.height_px, box)
    elevation, azimuth = frame.row_elevation_deg(), frame.column_azimuth_deg()
    seen_rows = (elevation <= sphere.top_deg + 1e-9) & (elevation >= sphere.bottom_deg - 1e-9)
    seen_columns = full_circle | (azimuth.abs() <= sphere.field_of_view_deg / 2.0 + 1e-9)
    mask = seen_rows[:, None] & seen_columns[None, :]
    return PlacedPhoto(image * mask, mask, sphere.field_of_view_deg)
