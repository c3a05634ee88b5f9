import io

import numpy as np
import pytest
import torch
from PIL import Image

from smdt.data.transforms import (
    load_image,
    load_labels,
    normalise,
    require_square,
    resize,
    resize_labels,
)
from smdt.errors import DatasetError


def _message(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_load_image_gives_rows_columns_and_rgb_as_stored(tmp_path):
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[1, 2] = (10, 20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    assert image.shape == (3, 2, 3)
    assert image.dtype == torch.uint8
    assert image[:, 1, 2].tolist() == [10, 20, 30]
    assert int(image.sum()) == 60


def test_load_image_makes_rgb_of_grey_transparent_and_palette_pictures(tmp_path):
    Image.new("L", (4, 2), 7).save(tmp_path / "grey.png")
    Image.new("RGBA", (4, 2), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    palette = Image.new("P", (4, 2), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.save(tmp_path / "palette.png", transparency=b"\x00\x80")
    assert load_image(tmp_path / "grey.png")[:, 0, 0].tolist() == [7, 7, 7]
    assert load_image(tmp_path / "clear.png")[:, 0, 0].tolist() == [1, 2, 3]
    assert load_image(tmp_path / "palette.png")[:, 0, 0].tolist() == [9, 8, 7]


def test_load_image_turns_a_photo_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned: rotate by 90° clockwise to show
    pixels = np.zeros((2, 4, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = load_image(tmp_path / "a.png")
    assert image.shape == (3, 4, 2)
    assert image[0, 0].tolist() == [0, 255]


def test_a_large_picture_is_read_without_a_warning_and_a_huge_one_refused(tmp_path, monkeypatch):
    Image.new("L", (50, 30)).save(tmp_path / "large.png")
    Image.new("L", (50, 41)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow warns above it and refuses twice as much
    assert load_image(tmp_path / "large.png").shape == (3, 30, 50)
    with pytest.raises(DatasetError, match=r"huge\.png: the picture has more than .* pixels; crop it"):
        load_image(tmp_path / "huge.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_a_truncated_picture_is_named_with_a_remedy(tmp_path, kind, kept):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    content = buffer.getvalue()
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DatasetError) as error:
        load_image(path)
    assert str(path) in _message(error)
    assert "truncated or damaged" in _message(error)
    assert "download it again" in _message(error)


def test_a_png_with_overwritten_bytes_is_named(tmp_path):
    path = tmp_path / "hit.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(100)
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"hit\.png: the picture is truncated or damaged"):
        load_image(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "there is no such picture"), (b"", "not a picture"), (b"<html>404</html>", "not a picture")],
)
def test_a_missing_empty_or_other_file_is_named(tmp_path, content, what):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError) as error:
        load_image(path)
    assert _message(error).startswith(f"{path}: ")
    assert what in _message(error)
    assert error.value.remedy


def test_sixteen_bit_pictures_are_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DatasetError, match=r"deep\.png: the picture has more than 8 bits .* 8-bit RGB"):
        load_image(tmp_path / "deep.png")


def test_labels_are_indices_of_grey_and_palette_pictures(tmp_path):
    indices = np.array([[0, 3], [2, 255]], dtype=np.uint8)
    Image.fromarray(indices).save(tmp_path / "grey.png")
    palette = Image.fromarray(indices).copy()
    palette.putpalette([value for k in range(256) for value in (255 - k, k, 9)])
    assert palette.mode == "P"
    palette.save(tmp_path / "palette.png")
    for name in ("grey.png", "palette.png"):
        labels = load_labels(tmp_path / name)
        assert labels.dtype == torch.int64
        assert labels.tolist() == [[0, 3], [2, 255]]


def test_a_colour_label_picture_is_a_named_error(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(DatasetError, match=r"colour\.png: .*class indices.* mode RGB; convert"):
        load_labels(tmp_path / "colour.png")


def test_an_aerial_image_that_is_not_square_is_named_with_its_size(tmp_path):
    require_square(torch.zeros(3, 5, 5), tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=r"a\.jpg: the aerial image of 7×5 pixels is not square; crop it"):
        require_square(torch.zeros(3, 5, 7), tmp_path / "a.jpg")


def test_resize_is_antialiased_and_scales_to_one():
    one = torch.zeros(3, 8, 8, dtype=torch.uint8)
    one[:, :, 0] = 255  # a white column at 3.5 pixels from the middle
    # Triangle of half-width 8 about the middle: weight 1 - 3.5/8 of a sum of 2·(7.5 + 6.5 + 5.5 + 4.5)/8 = 6.
    # Without antialiasing only the two middle columns would count, and the result were 0.
    assert float(resize(one, 8, 1)[0, 0, 0]) == pytest.approx(0.5625 / 6, abs=1e-6)
    assert resize(one, 8, 8)[0, 0].tolist() == [1.0] + [0.0] * 7
    assert float(resize(torch.full((3, 24, 40), 255, dtype=torch.uint8), 7, 13).max()) == 1.0
    assert resize(torch.full((3, 4, 4), 0.25), 2, 2).unique().tolist() == [0.25]


def test_resize_labels_makes_no_new_classes():
    labels = torch.tensor([[0, 0, 3, 3], [0, 0, 3, 3]])
    assert resize_labels(labels, 1, 2).tolist() == [[0, 3]]
    assert resize_labels(labels, 4, 8)[0].tolist() == [0, 0, 0, 0, 3, 3, 3, 3]


def test_normalise_gives_zero_at_the_mean_and_one_a_deviation_above():
    image = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    assert torch.allclose(normalise(image), torch.zeros(3, 1, 1))
    above = image + torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    assert torch.allclose(normalise(above[None]), torch.ones(1, 3, 1, 1))
