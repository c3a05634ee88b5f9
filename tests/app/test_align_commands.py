from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from smdt.alignment.cgan_models import save_cgan
from smdt.alignment.dual_cgan import DualCgan, DualCganConfig
from smdt.app.cli import cli
from smdt.errors import SmdtError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cgan") / "tiny"
    config = DualCganConfig(
        height_px=32, width_px=64, generator_filters=4, encoder_blocks=1, decoder_blocks=1, mapping="polar"
    )
    save_cgan(DualCgan(config, judged=False), folder, {"made": "by a test"})
    return folder


def picture(path: Path, seed: int, height_px: int = 60, width_px: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)).save(path)
    return path


def smdt(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(one) for one in arguments])
    if isinstance(result.exception, SmdtError):
        return result
    assert result.exit_code == 0, result.output
    return result


def test_a_tile_becomes_its_ground_view_and_labels(model: Path, tmp_path: Path) -> None:
    tile = picture(tmp_path / "tile.png", 1)
    smdt("align", tile, "--cgan", model, "--out", tmp_path / "out.png", "--labels", tmp_path / "labels.png")
    for name in ("out.png", "labels.png"):
        with Image.open(tmp_path / name) as made:
            assert made.size == (64, 32)
    # a tile of 170 m is cut to the model's 100 m: its rim does not count
    with Image.open(tile) as whole:
        whole.crop((5, 5, 55, 55)).save(tmp_path / "cut.png")
    smdt(
        "align",
        tmp_path / "cut.png",
        "--side-m",
        170 * 50 / 60,
        "--cgan",
        model,
        "--out",
        tmp_path / "again.png",
    )
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out.png").read_bytes()


def write_set(root: Path, ground_seed: int) -> Path:
    lines = []
    for one in ("0000001", "0000002"):
        picture(root / f"bingmap/19/{one}.png", int(one))
        picture(root / f"streetview/panos/{one}.png", ground_seed + int(one), 28, 154)
        lines.append(f"bingmap/19/{one}.png,streetview/panos/{one}.png,streetview/annotations/{one}.png")
    (root / "splits").mkdir()
    (root / "splits/val-19zl.csv").write_text("\n".join(lines) + "\n")
    return root


def test_no_leak_a_cache_is_the_same_to_the_byte_whatever_the_ground_images_are(
    model: Path, tmp_path: Path
) -> None:
    found = []
    for seed in (10, 20):
        root, cache = write_set(tmp_path / f"set{seed}", seed), tmp_path / f"cache{seed}"
        told = smdt("align", "--dataset", "cvusa", "--root", root, "--cgan", model, "--cache", cache)
        assert "2 ground views made, 0 found" in told.output
        found.append({path.relative_to(cache): path.read_bytes() for path in cache.rglob("*.png")})
    assert len(found[0]) == 2
    assert found[0] == found[1]
    again = smdt("align", "--dataset", "cvusa", "--root", root, "--cgan", model, "--cache", cache)
    assert "0 ground views made, 2 found" in again.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["{tile}", "--cgan", "{model}", "--mapping", "mixed", "--out", "o.png"], "--mapping polar"),
        (["{tile}", "--cgan", "{model}", "--side-m", "50", "--out", "o.png"], "wants 100 m"),
        (["{tile}", "--labels", "l.png", "--out", "o.png"], "--cgan"),
        (["{tile}", "--cgan", "nowhere", "--out", "o.png"], "no such model"),
        (["{tile}", "--out", "o.gif"], "--out"),
        (["{tile}"], "AERIAL"),
        (["{tile}", "--cache", "c", "--dataset", "cvusa"], "--cache"),
        (["--cache", "c", "--dataset", "cvusa", "--cgan", "{model}"], "--root"),
        (["{tile}", "--out", "o.png", "--dataset", "cvusa"], "--dataset"),
    ],
)
def test_mistakes_are_named(arguments: list[str], named: str, model: Path, tmp_path: Path) -> None:
    tile = picture(tmp_path / "tile.png", 1)
    result = smdt("align", *(one.format(tile=tile, model=model) for one in arguments))
    assert isinstance(result.exception, SmdtError)
    assert named in str(result.exception)
    assert result.exception.remedy
