"""`smdt segment` from files to files."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from smdt.alignment.labels import PALETTE, SemanticClass
from smdt.app.cli import cli
from smdt.errors import ConfigError, DatasetError, ImageryError, LabelError, SmdtError


def segment(*arguments: object) -> Result:
    return CliRunner().invoke(
        cli, ["segment", *(str(argument) for argument in arguments)], catch_exceptions=False
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A panorama of noise, 40×160 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 40, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray(pixels).save(tmp_path / "street.png")
    return tmp_path / "street.png"


def test_every_picture_is_written_and_they_agree(photo: Path, tiny_segmenter_folder: Path, tmp_path: Path):
    out = tmp_path / "labels"
    result = segment(
        photo, "--out", out, "--model", tiny_segmenter_folder, "--classes", "sky,road,pole",
        "--keep", "vegetation", "--remove", "sky",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "street.png" in result.output
    names = {path.name for path in out.iterdir()}
    kinds = ("labels", "overlay", "mask-sky", "mask-road", "mask-pole", "keep-vegetation", "remove-sky")
    assert names == {f"street-{kind}.png" for kind in kinds}
    with Image.open(out / "street-labels.png") as picture:
        assert picture.mode == "P"
        labels = np.asarray(picture)
        colours = np.asarray(picture.convert("RGB"))
    assert labels.shape == (40, 160)
    assert (colours == np.array(PALETTE, np.uint8)[labels]).all()
    image = np.asarray(Image.open(photo))
    sky = labels == SemanticClass.SKY
    assert (np.asarray(Image.open(out / "street-mask-sky.png")) == np.where(sky, 0, 255)).all()
    kept = labels == SemanticClass.VEGETATION
    assert (
        np.asarray(Image.open(out / "street-keep-vegetation.png")) == np.where(kept[..., None], image, 255)
    ).all()
    assert (np.asarray(Image.open(out / "street-remove-sky.png")) == np.where(sky[..., None], 0, image)).all()


def test_a_flat_photo_and_all_masks(photo: Path, tiny_segmenter_folder: Path, tmp_path: Path):
    out = tmp_path / "flat"
    assert segment(photo, "--out", out, "--model", tiny_segmenter_folder, "--flat").exit_code == 0
    assert len(list(out.glob("street-mask-*.png"))) == 6


def test_mistakes_are_told_before_any_work(photo: Path, tiny_segmenter_folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    options = ("--out", out, "--model", tiny_segmenter_folder)
    with pytest.raises(SmdtError, match=r"none.jpg: no such file"):
        segment(photo, tmp_path / "none.jpg", *options)
    with pytest.raises(LabelError, match="there is no class 'tree'"):
        segment(photo, *options, "--keep", "tree")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "street.jpg").write_bytes(photo.read_bytes())
    with pytest.raises(ConfigError, match="has the same name"):
        segment(photo, tmp_path / "other" / "street.jpg", *options)
    assert not out.exists()
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        segment(photo, "--out", photo, "--model", tiny_segmenter_folder)


def test_what_is_no_photo_is_named(tiny_segmenter_folder: Path, tmp_path: Path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("nothing to see")
    with pytest.raises(ImageryError, match=r"broken.jpg: not an image"):
        segment(broken, "--out", tmp_path / "out", "--model", tiny_segmenter_folder)
    Image.new("RGB", (40, 40)).save(tmp_path / "square.png")
    with pytest.raises(DatasetError, match=r"square.png: a picture of 40×40 pixels is no 360° panorama"):
        segment(tmp_path / "square.png", "--panorama", "--out", tmp_path, "--model", tiny_segmenter_folder)
