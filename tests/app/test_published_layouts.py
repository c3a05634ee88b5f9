"""`smdt evaluate` and `smdt train retrieval` on small CVACT and VIGOR sets, written in their published layouts.

The network is an untrained one that is the same for both views, and panoramas are made of mapped aerial images. So it
is known which image a panorama resembles most: its own, a neighbour's, or a stranger's.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from scipy.io import savemat

from smdt.app.cli import cli
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.retrieval.compact import Compact, CompactConfig
from smdt.retrieval.models import load_model, save_model

_TILE_PX, _ROWS, _COLUMNS = 64, 32, 128
_GRID = aerial_grid("polar", _TILE_PX, _ROWS, _COLUMNS)

Pixels = npt.NDArray[np.uint8]


def smdt(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def tile(seed: int) -> Pixels:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((_TILE_PX, _TILE_PX), Image.Resampling.BICUBIC))


def panorama(*shown: tuple[Pixels, float]) -> Pixels:
    """A full sphere whose middle half is the mapped tiles, each by its share."""
    sphere = np.full((2 * _ROWS, _COLUMNS, 3), 127, np.uint8)
    mixed = sum(share * _mapped(one) for one, share in shown)
    sphere[_ROWS // 2 : _ROWS // 2 + _ROWS] = np.asarray(mixed).round().clip(0, 255)
    return sphere


def _mapped(one: Pixels) -> npt.NDArray[np.float64]:
    square = torch.from_numpy(one.copy()).permute(2, 0, 1)[None]
    mapped: npt.NDArray[np.float64] = map_aerial(square, _GRID)[0].permute(1, 2, 0).double().numpy()
    return mapped


def save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 98, "subsampling": 0} if path.suffix == ".jpg" else {}))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same random network for both views."""
    torch.manual_seed(0)
    config = CompactConfig(
        "mirror",
        backbone="test_efficientnet",
        strip_channels=32,
        height_px=_ROWS,
        width_px=_COLUMNS,
        tile_px=_TILE_PX,
    )
    folder = tmp_path_factory.mktemp("models") / "mirror"
    save_model(Compact(config).eval(), folder, {"made": "by a test"})
    return folder


NAMES = (
    "_aGbjgbHAe78_VhcPtmZQa",
    "pdZmLHYEhe2PHj_8-WHMhw",
    "VAMM6sIEbYAY5E6ZD_RMKg",
    "YL81FiK9PucIvAkr1FHkpA",
)


@pytest.fixture(scope="module")
def cvact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four places: 0, 24, 26 and 1000 m east; panoramas show tiles 3, 3, 3 and 4 (counted from 1)."""
    root = tmp_path_factory.mktemp("cvact")
    utm = np.array(
        [[693000.0, 6090000.0], [693024.0, 6090000.0], [693026.0, 6090000.0], [694000.0, 6090000.0]]
    )
    content = {
        "panoIds": np.array(NAMES),
        "utm": utm,
        "trainSet": {"trainInd": np.array([[1], [2], [3], [4]], dtype=np.uint32)},
        "valSet": {"valInd": np.array([[2], [3]], dtype=np.uint32)},
        "valSetAll": {"valInd": np.array([[4], [1], [3], [2]], dtype=np.uint32)},
    }
    savemat(root / "ACT_data.mat", content)
    tiles = [tile(number) for number in range(4)]
    for folder in ("ANU_data_small", "ANU_data_test"):
        for number, name in enumerate(NAMES):
            save(root / folder / f"satview_polish/{name}_satView_polish.jpg", tiles[number])
            shown = tiles[3] if number == 3 else tiles[2]
            save(root / folder / f"streetview/{name}_grdView.jpg", panorama((shown, 1.0)))
    return root


def judged(model: Path, tmp_path: Path, *options: object) -> dict[str, Any]:
    file = tmp_path / "figures.json"
    result = smdt("evaluate", *options, "--model", model, "--json", file, "--batch", 3)
    figures: dict[str, Any] = json.loads(file.read_text())
    return figures | {"printed": result.output}


def test_on_cvact_val_a_query_s_own_image_alone_is_a_hit(cvact: Path, model: Path, tmp_path: Path) -> None:
    found = judged(model, tmp_path, "--dataset", "cvact", "--split", "val", "--root", cvact)
    (condition,) = found["conditions"]
    assert (found["queries"], found["references"], found["hit_radius_m"]) == (2, 2, None)
    assert condition["ranks"] == [1, 0]  # the first shows the second's image, 2 m away
    assert condition["recall_percent"]["R@1"] == 50.0
    assert condition["metres_off"] == [2.0, 0.0]


def test_on_cvact_test_any_image_within_25_m_is_a_hit(cvact: Path, model: Path, tmp_path: Path) -> None:
    found = judged(model, tmp_path, "--dataset", "cvact", "--split", "test", "--root", cvact)
    (condition,) = found["conditions"]
    assert (found["queries"], found["references"], found["hit_radius_m"]) == (4, 4, 25.0)
    assert condition["metres_off"] == [0.0, 26.0, 0.0, 2.0]  # queries 4, 1, 3, 2
    assert [rank == 0 for rank in condition["ranks"]] == [True, False, True, True]
    assert condition["recall_percent"]["R@1"] == 75.0
    assert "any reference within 25 m" in found["printed"]


def test_headings_of_cvact_panoramas_are_found(cvact: Path, model: Path, tmp_path: Path) -> None:
    options = ("--dataset", "cvact", "--split", "test", "--root", cvact, "--unknown-heading")
    (condition,) = judged(model, tmp_path, *options)["conditions"]
    assert [rank == 0 for rank in condition["ranks"]] == [True, False, True, True]
    assert condition["heading"]["median_deg"] < 360.0 / 8  # a column of the strip


CITIES = ("Chicago", "NewYork", "SanFrancisco", "Seattle")


@pytest.fixture(scope="module")
def vigor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images a city; a panorama shows a semi-positive most and its positive next, in Seattle a stranger most.

    Lines of both lists: the first's positive is image 0, semi-positives 1 to 3; the second's is image 1, with 0, 2, 3.
    """
    root = tmp_path_factory.mktemp("vigor")
    for number, city in enumerate(CITIES):
        tiles = [tile(100 * (number + 1) + image) for image in range(5)]
        names = [f"satellite_{41.5 + number}_{-87.6 + 0.0004 * image:.4f}.png" for image in range(5)]
        for name, pixels in zip(names, tiles, strict=True):
            save(root / city / "satellite" / name, pixels)
        stranger = city == "Seattle"
        lines = []
        for own, others in ((0, (1, 2, 3)), (1, (0, 2, 3))):
            pano = f"pano{own},{41.5 + number},{-87.6 + 0.0004 * own:.4f},.jpg"
            most = 4 if stranger else others[2]
            save(root / city / "panorama" / pano, panorama((tiles[most], 0.6), (tiles[own], 0.4)))
            words = [f"{names[image]} 10.0 -20.0" for image in (own, *others)]
            lines.append(" ".join([pano, *words]) + "\n")
        lists = root / "splits__corrected" / city
        lists.mkdir(parents=True)
        (lists / "satellite_list.txt").write_text("\n".join(names) + "\n")
        (lists / "same_area_balanced_train__corrected.txt").write_text(lines[1])
        (lists / "same_area_balanced_test__corrected.txt").write_text(lines[0])
        (lists / "pano_label_balanced__corrected.txt").write_text("".join(lines))
    return root


def test_on_vigor_semi_positives_are_neither_found_nor_nearer(
    vigor: Path, model: Path, tmp_path: Path
) -> None:
    found = judged(model, tmp_path, "--dataset", "vigor", "--split", "same-test", "--root", vigor)
    (condition,) = found["conditions"]
    assert (found["queries"], found["references"], found["semi_positives"]) == (4, 20, True)
    assert condition["ranks"] == [0, 0, 0, 1]  # what Seattle's shows most is a stranger
    assert condition["recall_percent"]["R@1"] == 75.0
    assert condition["best"] == [3, 8, 13, 19]  # what came first may be a semi-positive
    assert condition["metres_off"][3] == pytest.approx(4 * 31.81, abs=0.1)  # 0.0016° of longitude at 44.5°


def test_cross_area_is_judged_on_two_cities_and_all_their_images(
    vigor: Path, model: Path, tmp_path: Path
) -> None:
    found = judged(model, tmp_path, "--dataset", "vigor", "--split", "cross-test", "--root", vigor)
    (condition,) = found["conditions"]
    assert (found["queries"], found["references"]) == (4, 10)
    assert condition["ranks"] == [0, 0, 0, 0]
    assert condition["best"] == [3, 3, 8, 8]


@pytest.mark.parametrize(
    ("dataset", "split", "pairs"),
    [("cvact", None, 4), ("vigor", None, 4), ("vigor", "cross-train", 4)],
)
def test_two_steps_of_training_on_a_published_layout(
    dataset: str, split: str | None, pairs: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = request.getfixturevalue(dataset)
    config = tmp_path / "training.yaml"
    settings = {
        "family": "compact",
        "model": {"backbone": "test_efficientnet", "tile_px": _TILE_PX},
        "strip_channels": 8,
        "height_px": _ROWS,
        "width_px": _COLUMNS,
        "freeze": [],
        "mining": "place",
        "group": 2,
        "workers": 0,
        "accelerator": "cpu",
    } | ({"split": split} if split else {})
    config.write_text(json.dumps(settings))  # JSON is YAML
    out = tmp_path / "model"
    options = ("--dataset", dataset, "--root", root, "--steps", 2, "--batch", 2, "--out", out)
    smdt("train", "retrieval", "--config", config, *options)
    record = json.loads((out / "training.json").read_text())
    assert record["steps_done"] == 2
    named = split or {"cvact": "train", "vigor": "same-train"}[dataset]
    assert record["trained_on"] == f"{dataset} {named}, {pairs} pairs"
    side_m = load_model(str(out)).config.tile_side_m
    assert side_m == pytest.approx({"cvact": 146.2, "vigor": 70.0}[dataset], abs=3.0)
