"""Photos: what Exif and XMP say, and where pixels land in the panorama frame."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from smdt.errors import ConfigError, GeometryError, ImageryError
from smdt.geometry.panorama import PanoramaFrame
from smdt.imagery.photo import load_photo, photo_to_frame

FRAME = PanoramaFrame(128, 512)
EXIF, GPS = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo


def save(
    path: Path,
    array: np.ndarray,
    *,
    about: dict[int, object] | None = None,
    gps: dict[int, object] | None = None,
    orientation: int = 1,
    xmp: str = "",
) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(EXIF).update(about or {})
    exif.get_ifd(GPS).update(gps or {})
    more = {"xmp": xmp.encode()} if xmp else {}
    Image.fromarray(array).save(path, exif=exif, **more)
    return path


def blank(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def gpano(**values: object) -> str:
    inside = " ".join(f'GPano:{name}="{value}"' for name, value in values.items())
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {inside}/></x:xmpmeta>'


# What the file says


def test_orientation_is_applied(tmp_path: Path) -> None:
    array = blank(40, 20)
    array[:, :20] = [255, 0, 0]  # the stored left half, which orientation 6 makes the upper one
    photo = load_photo(save(tmp_path / "a.png", array, orientation=6))
    assert (photo.width_px, photo.height_px) == (20, 40)
    assert photo.image.shape == (3, 40, 20)
    assert photo.image.dtype == torch.uint8
    assert photo.image[0, :20].unique().tolist() == [255]
    assert photo.image[0, 20:].unique().tolist() == [0]
    assert photo.image[1].unique().tolist() == [0]


def test_a_photo_without_metadata(tmp_path: Path) -> None:
    photo = load_photo(save(tmp_path / "a.jpg", blank(40, 30)))
    assert photo.focal_length_35mm is None
    assert (photo.latitude_deg, photo.longitude_deg, photo.heading_deg) == (None, None, None)
    assert not photo.is_panorama


def test_focal_length_in_35mm_film_wins(tmp_path: Path) -> None:
    about = {ExifTags.Base.FocalLengthIn35mmFilm: 26, ExifTags.Base.FocalLength: IFDRational(42, 10)}
    assert load_photo(save(tmp_path / "a.jpg", blank(40, 30), about=about)).focal_length_35mm == 26.0


@pytest.mark.parametrize(("unit", "per_unit"), [(4, 100), (3, 1000), (2, 2540), (None, 2540)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_focal_length_from_the_focal_plane(
    tmp_path: Path, unit: int | None, per_unit: int, orientation: int
) -> None:
    base = ExifTags.Base
    about: dict[int, object] = {
        base.FocalLength: IFDRational(10, 1),
        base.FocalPlaneXResolution: IFDRational(per_unit, 1),  # 100 pixels a millimetre
        base.ExifImageWidth: 4000,  # so 40 mm
        base.ExifImageHeight: 3000,
    }
    if unit is not None:
        about[base.FocalPlaneResolutionUnit] = unit
    photo = load_photo(save(tmp_path / "a.jpg", blank(40, 30), about=about, orientation=orientation))
    assert photo.focal_length_35mm == pytest.approx(10 * 36 / 40)


@pytest.mark.parametrize(
    "about",
    [
        {ExifTags.Base.FocalLengthIn35mmFilm: 0},
        {ExifTags.Base.FocalLength: IFDRational(10, 1)},
        {
            ExifTags.Base.FocalLength: IFDRational(1, 0),
            ExifTags.Base.FocalPlaneXResolution: IFDRational(1, 0),
        },
    ],
)
def test_unknown_focal_lengths(tmp_path: Path, about: dict[int, object]) -> None:
    assert load_photo(save(tmp_path / "a.jpg", blank(40, 30), about=about)).focal_length_35mm is None


def test_position_and_heading(tmp_path: Path) -> None:
    tag = ExifTags.GPS
    gps = {
        tag.GPSLatitudeRef: "S",
        tag.GPSLatitude: (IFDRational(33), IFDRational(30), IFDRational(36)),
        tag.GPSLongitudeRef: "W",
        tag.GPSLongitude: (IFDRational(70), IFDRational(45), IFDRational(0)),
        tag.GPSImgDirectionRef: "T",
        tag.GPSImgDirection: IFDRational(3605, 10),
    }
    photo = load_photo(save(tmp_path / "a.jpg", blank(40, 30), gps=gps))
    assert photo.latitude_deg == pytest.approx(-33.51)
    assert photo.longitude_deg == pytest.approx(-70.75)
    assert photo.heading_deg == pytest.approx(0.5)


def test_position_zero_means_no_fix(tmp_path: Path) -> None:
    zero = (IFDRational(0), IFDRational(0), IFDRational(0))
    gps = {ExifTags.GPS.GPSLatitude: zero, ExifTags.GPS.GPSLongitude: zero}
    photo = load_photo(save(tmp_path / "a.jpg", blank(40, 30), gps=gps))
    assert (photo.latitude_deg, photo.longitude_deg) == (None, None)


@pytest.mark.parametrize(
    ("width", "height", "panorama"), [(200, 100, True), (190, 100, True), (160, 90, False), (1232, 224, True)]
)
def test_wide_pictures_are_panoramas(tmp_path: Path, width: int, height: int, panorama: bool) -> None:
    assert load_photo(save(tmp_path / "a.png", blank(width, height))).is_panorama is panorama


def test_a_wide_picture_with_a_focal_length_is_flat(tmp_path: Path) -> None:
    about = {ExifTags.Base.FocalLengthIn35mmFilm: 24}
    assert not load_photo(save(tmp_path / "a.jpg", blank(210, 90), about=about)).is_panorama


def test_xmp_names_a_panorama_and_its_part_of_the_sphere(tmp_path: Path) -> None:
    about = {ExifTags.Base.FocalLengthIn35mmFilm: 12}
    path = save(tmp_path / "a.jpg", blank(200, 100), about=about, xmp=gpano(ProjectionType="equirectangular"))
    photo = load_photo(path)
    assert photo.panorama_frame == PanoramaFrame(100, 200, 90.0, -90.0)
    part = gpano(
        ProjectionType="equirectangular",
        FullPanoWidthPixels=3600,
        FullPanoHeightPixels=1800,
        CroppedAreaImageWidthPixels=1800,
        CroppedAreaImageHeightPixels=600,
        CroppedAreaTopPixels=500,
    )
    photo = load_photo(save(tmp_path / "b.jpg", blank(180, 60), xmp=part))
    assert photo.panorama_frame == PanoramaFrame(60, 180, 40.0, -20.0, 180.0)
    element = "<GPano:ProjectionType>equirectangular</GPano:ProjectionType>"
    assert load_photo(save(tmp_path / "c.jpg", blank(110, 60), xmp=element)).is_panorama
    assert not load_photo(
        save(tmp_path / "d.jpg", blank(110, 60), xmp=gpano(ProjectionType="cylindrical"))
    ).is_panorama


def test_sixteen_bit_grey(tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 40), 0x8123, np.uint16)).save(tmp_path / "a.png")
    assert load_photo(tmp_path / "a.png").image.unique().tolist() == [0x81]


# Flat photos


def centroid(weights: torch.Tensor) -> float:
    return float((weights * torch.arange(len(weights))).sum() / weights.sum())


@pytest.mark.parametrize("azimuth_deg", [-35.0, 0.0, 30.0])
def test_a_column_lands_at_its_azimuth(tmp_path: Path, azimuth_deg: float) -> None:
    array = blank(801, 601)  # 90°: focal length 400.5 px
    column = round(400.0 + 400.5 * math.tan(math.radians(azimuth_deg)))
    array[:, column - 3 : column + 4] = 255
    true_deg = math.degrees(math.atan((column - 400.0) / 400.5))
    placed = photo_to_frame(load_photo(save(tmp_path / "a.png", array)), FRAME, fov_deg=90.0)
    assert placed.image.shape == (3, 128, 512)
    assert placed.image.dtype == torch.float32
    assert placed.field_of_view_deg == 90.0
    assert centroid(placed.image[0, 60:68].sum(0)) == pytest.approx((true_deg / 360 + 0.5) * 512, abs=0.15)


def test_the_mask_is_as_wide_as_the_photo(tmp_path: Path) -> None:
    placed = photo_to_frame(load_photo(save(tmp_path / "a.png", blank(400, 300) + 255)), FRAME, fov_deg=90.0)
    assert placed.mask.dtype == torch.bool
    horizon = placed.mask[64].nonzero().ravel()
    assert (int(horizon[0]), int(horizon[-1])) == (192, 320)  # ±45° of 512 columns
    assert placed.image[:, placed.mask].min() > 0.99
    assert placed.image[:, ~placed.mask].max() == 0
    assert placed.image.max() <= 1.0


def test_a_pitched_photo_moves_up(tmp_path: Path) -> None:
    array = blank(401, 301)
    array[148:153] = 255  # the optical axis
    photo = load_photo(save(tmp_path / "a.png", array))
    rows = [
        centroid(photo_to_frame(photo, FRAME, fov_deg=60.0, pitch_deg=p).image[0, :, 256])
        for p in (0.0, 10.0)
    ]
    assert rows[0] == pytest.approx(63.5, abs=0.1)
    assert rows[0] - rows[1] == pytest.approx(10.0 / (360 * 224 / 1232) * 128, abs=0.15)


def test_large_photos_are_smoothed(tmp_path: Path) -> None:
    rows, columns = np.indices((1500, 2000))
    board = np.where((rows // 3 + columns // 3) % 2 == 0, 255, 0).astype(np.uint8)[..., None].repeat(3, 2)
    placed = photo_to_frame(load_photo(save(tmp_path / "a.png", board)), FRAME, fov_deg=60.0)
    inner = placed.image[0, 50:78, 230:282]
    assert (inner - 0.5).abs().max() < 0.1


@pytest.mark.parametrize(
    ("width", "height", "expected_deg"),
    [(400, 300, 69.39), (300, 400, 54.88)],  # 2·atan(18/26); upright: 2·atan(18·¾/26)
)
def test_field_of_view_from_exif_counts_the_long_side(
    tmp_path: Path, width: int, height: int, expected_deg: float
) -> None:
    about = {ExifTags.Base.FocalLengthIn35mmFilm: 26}
    photo = load_photo(save(tmp_path / "a.jpg", blank(width, height), about=about))
    assert photo_to_frame(photo, FRAME).field_of_view_deg == pytest.approx(expected_deg, abs=0.01)
    assert photo_to_frame(photo, FRAME, fov_deg=50.0).field_of_view_deg == 50.0


def test_upright_by_orientation_is_upright_for_the_field_of_view(tmp_path: Path) -> None:
    about = {ExifTags.Base.FocalLengthIn35mmFilm: 26}
    photo = load_photo(save(tmp_path / "a.jpg", blank(400, 300), about=about, orientation=8))
    assert photo_to_frame(photo, FRAME).field_of_view_deg == pytest.approx(54.88, abs=0.01)


# Panoramas


@pytest.mark.parametrize(("centre", "expected"), [(768, 384.0), (512, 256.0), (300, 150.0)])
def test_convention_panorama_columns_keep_their_azimuth(tmp_path: Path, centre: int, expected: float) -> None:
    array = blank(1024, 512)
    array[:, centre - 1 : centre + 2] = 255
    placed = photo_to_frame(load_photo(save(tmp_path / "a.png", array)), FRAME)
    assert placed.field_of_view_deg == 360.0
    assert bool(placed.mask.all())
    assert centroid(placed.image[0, 64]) == pytest.approx(expected, abs=0.02)


def test_panorama_column_zero_is_made_of_both_edges(tmp_path: Path) -> None:
    array = blank(1024, 512)
    array[:, [1023, 0, 1]] = 255
    row = photo_to_frame(load_photo(save(tmp_path / "a.png", array)), FRAME).image[0, 64]
    assert row[0] > 0.9
    assert float(row[1]) == pytest.approx(float(row[511]), abs=0.01)
    assert float(row[1]) > 0.2
    assert row[2:511].max() == 0
    array[:, [0, 1]] = 0
    row = photo_to_frame(load_photo(save(tmp_path / "a.png", array)), FRAME).image[0, 64]
    assert 0.2 < float(row[0]) < 0.3  # a triangle two pixels wide gives the neighbour a quarter


def test_full_sphere_is_cropped_to_the_frames_elevations(tmp_path: Path) -> None:
    array = blank(1024, 512)
    elevation = 90.0 - (np.arange(512) + 0.5) / 512 * 180.0
    array[:] = np.clip(np.rint(128 + 3 * elevation), 0, 255).astype(np.uint8)[:, None, None]
    placed = photo_to_frame(load_photo(save(tmp_path / "a.png", array)), FRAME)
    seen = (placed.image[0, :, 100] * 255 - 128) / 3
    assert (seen - FRAME.row_elevation_deg()).abs().max() < 0.35


def test_cvusa_panoramas_fill_the_frame(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (224, 1232, 3), dtype=np.uint8)
    photo = load_photo(save(tmp_path / "a.png", array))
    placed = photo_to_frame(photo, PanoramaFrame(224, 1232))
    assert bool(placed.mask.all())
    assert torch.equal((placed.image * 255).round().to(torch.uint8), photo.image)


def test_low_panoramas_are_padded(tmp_path: Path) -> None:
    photo = load_photo(save(tmp_path / "a.png", blank(1600, 200) + 200))  # ±22.5° of the frame's ±32.73°
    placed = photo_to_frame(photo, FRAME)
    assert placed.mask.all(dim=1).nonzero().ravel().tolist() == list(range(20, 108))
    assert not placed.mask[:20].any()
    assert placed.image[:, :20].max() == 0
    assert placed.image[:, 20:108].min() == pytest.approx(200 / 255)


def test_a_part_of_the_circle_is_masked(tmp_path: Path) -> None:
    part = gpano(
        ProjectionType="equirectangular",
        FullPanoWidthPixels=720,
        FullPanoHeightPixels=360,
        CroppedAreaImageWidthPixels=360,
        CroppedAreaImageHeightPixels=180,
        CroppedAreaTopPixels=90,
    )
    photo = load_photo(save(tmp_path / "a.jpg", blank(360, 180) + 200, xmp=part))
    placed = photo_to_frame(photo, FRAME)
    assert placed.field_of_view_deg == 180.0
    assert placed.mask[64].nonzero().ravel().tolist() == list(range(128, 385))
    assert placed.image[0, :, 128:385].min() == pytest.approx(200 / 255, abs=0.01)


# Mistakes


def refused(path: Path, match: str) -> None:
    with pytest.raises(ImageryError, match=match) as caught:
        load_photo(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_a_missing_photo(tmp_path: Path) -> None:
    refused(tmp_path / "none.jpg", "no such file")


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("Dear reader")
    refused(tmp_path / "a.jpg", "not an image")


def test_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, "cannot be read")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_truncated_image(tmp_path: Path, name: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    path = save(tmp_path / name, array)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "cannot be read to its end")


def test_an_unknown_field_of_view_names_the_options(tmp_path: Path) -> None:
    photo = load_photo(save(tmp_path / "a.jpg", blank(40, 30)))
    with pytest.raises(ImageryError, match=r"--fov-deg .* or --panorama") as caught:
        photo_to_frame(photo, FRAME)
    assert str(photo.path) in str(caught.value)
    wide = load_photo(save(tmp_path / "b.png", blank(200, 100)))
    with pytest.raises(ImageryError, match="how wide"):
        photo_to_frame(wide, FRAME, panorama=False)


def test_a_narrow_picture_is_no_panorama(tmp_path: Path) -> None:
    photo = load_photo(save(tmp_path / "a.jpg", blank(40, 30)))
    with pytest.raises(ImageryError, match="too narrow for a 360° panorama"):
        photo_to_frame(photo, FRAME, panorama=True)


def test_a_panorama_takes_no_field_of_view(tmp_path: Path) -> None:
    photo = load_photo(save(tmp_path / "a.png", blank(200, 100)))
    with pytest.raises(ConfigError, match="--fov-deg"):
        photo_to_frame(photo, FRAME, panorama=True, fov_deg=70.0)
    assert photo_to_frame(photo, FRAME, fov_deg=70.0).field_of_view_deg == 70.0  # the option makes it flat


@pytest.mark.parametrize("fov_deg", [0.0, 180.0, -20.0])
def test_impossible_fields_of_view(tmp_path: Path, fov_deg: float) -> None:
    photo = load_photo(save(tmp_path / "a.png", blank(40, 30)))
    with pytest.raises(GeometryError, match="field of view"):
        photo_to_frame(photo, FRAME, fov_deg=fov_deg)
