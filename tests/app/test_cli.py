"""The command line end to end, on a small town and a network with random weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import ExifTags, Image

from smdt.app.cli import cli
from smdt.errors import SmdtError
from smdt.index.store import read_info
from smdt.world.layers import Place
from smdt.world.render import RenderConfig, Renderer
from smdt.world.store import write_colour


def smdt(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def workplace(small_town: Place, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with town.tif, two street panoramas and an index."""
    folder = tmp_path_factory.mktemp("work")
    write_colour(small_town, folder / "town.tif")
    renderer = Renderer(small_town, RenderConfig(112, 616))
    for number, position in enumerate(((100.0, 100.0), (150.0, 130.0))):
        picture = renderer.panorama(*position).image.permute(1, 2, 0).numpy()
        Image.fromarray(picture).save(folder / f"photo-{number}.jpg")
    result = smdt(
        "index", "build", folder / "town.tif", "--out", folder / "town.index", "--model", tiny_model_folder,
        "--stride-m", 40,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "36 tiles of 60 m every 40 m" in result.output
    return folder


def located(workplace: Path, model: Path, *options: object) -> Result:
    photos = sorted(workplace.glob("photo-?.jpg"))
    return smdt("locate", *photos, "--index", workplace / "town.index", "--model", model, *options)


def test_locate_prints_a_line_a_photo_and_writes_what_is_asked(
    workplace: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    result = located(
        workplace, tiny_model_folder, "--geojson", tmp_path / "a.geojson", "--json", tmp_path / "a.json",
        "--report", tmp_path / "a.html", "--top", 3,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "photo-0.jpg" in result.output
    assert "photo-1.jpg" in result.output
    records = json.loads((tmp_path / "a.json").read_text())
    west, south, east, north = read_info(workplace / "town.index").bounds
    for record in records:
        scores = [candidate["score"] for candidate in record["candidates"]]
        assert scores == sorted(scores, reverse=True)
        assert 0 < record["confidence"] <= 1
        for candidate in record["candidates"]:
            assert south < candidate["latitude_deg"] < north
            assert west < candidate["longitude_deg"] < east
    points = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert len(points) == sum(len(record["candidates"]) for record in records)
    assert "photo-1.jpg" in (tmp_path / "a.html").read_text()


def test_a_known_heading_is_kept(workplace: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    result = located(workplace, tiny_model_folder, "--heading-deg", 77, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    for record in json.loads((tmp_path / "a.json").read_text()):
        assert {candidate["heading_deg"] for candidate in record["candidates"]} == {77.0}


def test_a_compass_leaves_some_degrees_to_find(
    workplace: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    given = ("--heading-deg", 350, "--heading-within-deg", 15, "--json", tmp_path / "a.json")
    result = located(workplace, tiny_model_folder, *given, "--report", tmp_path / "a.html")
    assert result.exit_code == 0, result.output
    for record in json.loads((tmp_path / "a.json").read_text()):
        for candidate in record["candidates"]:
            assert (candidate["heading_deg"] + 25.0) % 360.0 <= 30.0  # 335° to 5°
    assert "found within 15° of 350°" in (tmp_path / "a.html").read_text()


def test_the_azimuth_in_a_photo_is_used_where_its_error_is_given(
    workplace: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    tag = ExifTags.GPS
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            tag.GPSLatitude: (0.0, 0.0, 3.6),
            tag.GPSLatitudeRef: "N",
            tag.GPSLongitude: (0.0, 0.0, 3.6),
            tag.GPSLongitudeRef: "E",
            tag.GPSImgDirection: 120.0,
        }
    )
    photo = tmp_path / "noted.jpg"
    Image.open(workplace / "photo-0.jpg").save(photo, exif=exif)
    common = ("locate", photo, "--index", workplace / "town.index", "--model", tiny_model_folder)
    written = ("--json", tmp_path / "a.json", "--geojson", tmp_path / "a.geojson")
    result = smdt(*common, "--heading-within-deg", 10, *written)
    assert result.exit_code == 0, result.output
    (record,) = json.loads((tmp_path / "a.json").read_text())
    assert all(110.0 <= candidate["heading_deg"] <= 130.0 for candidate in record["candidates"])
    for point in json.loads((tmp_path / "a.geojson").read_text())["features"]:
        assert point["properties"].get("heading_error_deg") is None  # what was used judges nothing


def test_a_photo_without_an_azimuth_and_a_compass_off_by_too_much_are_refused(
    workplace: Path, tiny_model_folder: Path
) -> None:
    with pytest.raises(SmdtError, match=r"photo-0.jpg: notes no azimuth.*--heading-deg"):
        located(workplace, tiny_model_folder, "--heading-within-deg", 10)
    with pytest.raises(SmdtError, match="within 200°"):
        located(workplace, tiny_model_folder, "--heading-within-deg", 200)


def test_a_flat_photo_needs_its_field_of_view(
    workplace: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat.jpg"
    Image.effect_noise((160, 120), 60).convert("RGB").save(flat)
    common = ("locate", flat, "--index", workplace / "town.index", "--model", tiny_model_folder)
    with pytest.raises(SmdtError, match="--fov-deg"):
        smdt(*common)
    result = smdt(*common, "--fov-deg", 70, "--report", tmp_path / "flat.html")
    assert result.exit_code == 0, result.output


def test_an_index_says_what_made_it(workplace: Path) -> None:
    result = smdt("index", "info", workplace / "town.index")
    assert result.exit_code == 0
    assert "tiny" in result.output


def test_building_over_an_index_is_refused_before_any_work(workplace: Path, tiny_model_folder: Path) -> None:
    with pytest.raises(SmdtError, match="exists already"):
        smdt(
            "index", "build", workplace / "town.tif", "--out", workplace / "town.index", "--model",
            tiny_model_folder,
        )  # fmt: skip


def test_locating_with_another_model_is_refused(workplace: Path) -> None:
    with pytest.raises(SmdtError, match="made by model 'tiny', not by 'imagenet'"):
        smdt("locate", workplace / "photo-0.jpg", "--index", workplace / "town.index", "--model", "imagenet")


@pytest.mark.parametrize("mapping", ["polar", "perspective", "mixed"])
def test_align_writes_the_mapped_picture(mapping: str, tmp_path: Path) -> None:
    aerial = tmp_path / "aerial.png"
    picture = torch.zeros(100, 100, 3, dtype=torch.uint8)
    picture[:50, :, 0] = 200  # the north is red
    Image.fromarray(picture.numpy()).save(aerial)
    result = smdt("align", aerial, "--mapping", mapping, "--out", tmp_path / "new" / "mapped.png")
    assert result.exit_code == 0, result.output
    mapped = Image.open(tmp_path / "new" / "mapped.png")
    assert mapped.size == (512, 128)
    assert mapped.getpixel((256, 80))[0] == 200  # type: ignore[index]
    assert mapped.getpixel((2, 80))[0] == 0  # type: ignore[index]


def test_align_refuses_what_is_not_square(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "wide.png")
    with pytest.raises(SmdtError, match=r"wide\.png: is 60×40 pixels, not square; crop it"):
        smdt("align", tmp_path / "wide.png", "--out", tmp_path / "mapped.png")
    with pytest.raises(SmdtError, match="--out"):
        smdt("align", tmp_path / "wide.png", "--out", tmp_path / "mapped.xyz")


def test_world_town_writes_three_layers(tmp_path: Path) -> None:
    result = smdt("world", "town", "--side-m", 120, "--pixel-m", 1, "--out", tmp_path / "town")
    assert result.exit_code == 0, result.output
    assert {"class.tif", "colour.tif", "height.tif"} <= {path.name for path in (tmp_path / "town").iterdir()}


def test_a_users_mistake_is_one_line_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "smdt.app.cli", "locate", "nowhere.jpg", "--index", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "smdt: nowhere.jpg: there is no such photo; check the path\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from smdt.app.cli import cli; cli.main(['--help'], standalone_mode=False); "
        "heavy = {'torch', 'numpy', 'rasterio', 'timm', 'rich', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("text", ["", "a-b", "5-3x"])
def test_seed_lists_are_checked(text: str, tmp_path: Path) -> None:
    with pytest.raises(SmdtError, match="--town-seeds"):
        smdt("train", "retrieval", "--out", tmp_path / "m", "--town-seeds", text)
