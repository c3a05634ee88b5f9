"""Every file in configs/: settings load, networks build and take pictures of their sizes, what is wrong is refused."""

import importlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from smdt.alignment.dual_cgan import DualCgan
from smdt.alignment.segmenter_network import SegmentationNetwork
from smdt.config import load_settings
from smdt.errors import ConfigError, SmdtError
from smdt.retrieval.encoder import VIEWS, Encoder
from smdt.training.dual_cgan import DualCganTraining
from smdt.training.rates import parameter_groups
from smdt.training.retrieval import build_model
from smdt.training.retrieval_settings import RetrievalTraining
from smdt.training.segmenter import SegmenterTrainable, SegmenterTraining
from smdt.training.settings import LoopSettings

_PROJECT = Path(__file__).resolve().parents[1]
# Those of the whole method, smdt*.yaml, hold one of these for each stage: tests/test_stages.py loads and builds them.
_FILES = [one for one in sorted((_PROJECT / "configs").glob("*.yaml")) if not one.stem.startswith("smdt")]
_OTHERS: dict[str, type[LoopSettings]] = {"segmenter": SegmenterTraining, "dual-cgan": DualCganTraining}
_COMMANDS = {SegmenterTraining: "segmenter", DualCganTraining: "dual-cgan", RetrievalTraining: "retrieval"}


def _kind(file: Path) -> type[Any]:
    return next((kind for name, kind in _OTHERS.items() if file.stem.startswith(name)), RetrievalTraining)


def _load(file: Path, **changes: Any) -> Any:
    kind = _kind(file)
    roots = {RetrievalTraining: {"root": Path("anywhere")}, DualCganTraining: {"root": "anywhere"}}
    return load_settings(kind, file, {"out": Path("nowhere"), **roots.get(kind, {}), **changes})


_RETRIEVAL = [file for file in _FILES if _kind(file) is RetrievalTraining]


def _built(settings: RetrievalTraining) -> Encoder:
    """The network of a training, without its weights."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no-op")  # weights that meet no memory
        return build_model(replace(settings, start=None, pretrained=False), 160.0)


def test_there_are_files_for_every_family_and_data_set() -> None:
    found = [_load(file) for file in _RETRIEVAL]
    assert {"transformer", "compact", "safa", "sample4geo"} <= {one.family for one in found}
    assert {"worlds", "cvusa", "vigor"} <= {one.dataset for one in found}


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_settings_load_and_an_unknown_one_is_refused(file: Path, tmp_path: Path) -> None:
    settings = _load(file)
    given = yaml.safe_load(file.read_text())
    assert settings.steps == given["steps"]
    wrong = tmp_path / file.name
    wrong.write_text(file.read_text() + "\nlearning_rat: 0.1\n")
    with pytest.raises(ConfigError, match=rf"{file.name}: unknown setting 'learning_rat'"):
        _load(wrong)


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_the_command_at_the_head_of_a_file_is_of_this_file(file: Path) -> None:
    command = f"smdt train {_COMMANDS[_kind(file)]} --config configs/{file.name}"
    assert command in file.read_text()


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("change", [{"batch": 0}, {"steps": 0}, {"devices": 1000}], ids=str)
def test_impossible_settings_are_refused(file: Path, change: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        _load(file, **change)


@pytest.mark.parametrize("file", _RETRIEVAL, ids=lambda file: file.stem)
def test_a_retrieval_network_builds_and_embeds_both_views(file: Path) -> None:
    settings = _load(file)
    model = _built(settings).eval()
    assert model.config.family == settings.family
    assert model.config.image_shape("ground") == (settings.height_px, settings.width_px)
    strips = {
        view: model(torch.zeros(2, 3, *model.config.image_shape(view), device="meta"), view) for view in VIEWS
    }
    assert strips["ground"].shape == strips["aerial"].shape == (2, model.channels, model.columns)
    if model.columns == 1:
        assert settings.loss != "contrast" or settings.turn_deg == 0
    else:
        assert settings.loss == "contrast"
    assert parameter_groups(model, settings) or settings.head_pairs  # a head in closed form needs no gradient


@pytest.mark.parametrize("file", _RETRIEVAL, ids=lambda file: file.stem)
def test_frozen_names_are_names_of_the_network(file: Path) -> None:
    kept = {"front_versions": 0, "front_narrow": False, "front_photos": 1}
    kept |= {"feature_style": 0.0, "feature_drop": 0.0}
    settings = _load(file, **kept)  # features that are kept freeze stages of their own
    for pattern in settings.freeze or ():
        model = _built(settings)
        parameter_groups(model, replace(settings, freeze=(pattern,)))
        assert not all(one.requires_grad for one in model.parameters()), pattern


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("transformer-cvusa", {"parts": 3}, "in 3 parts"),
        ("transformer-cvusa", {"height_px": 100}, "whole tokens"),
        ("transformer-cvusa", {"model": {"variant": "R50-ViT-B_17"}}, "no variant"),
        ("compact", {"front_versions": 1}, "one version"),
        ("compact-vigor", {"model": {"context": 2}}, "make no strip"),
        ("safa-cvusa", {"model": {"variant": "VGG16", "heads": 0}}, "heads"),
        ("sample4geo-cvusa", {"model": {"backbone": "convnext_bass"}}, "no such backbone"),
        ("town", {"town_seeds": (2022,)}, "held out"),
    ],
)
def test_a_change_that_cannot_be_is_named(name: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SmdtError, match=named):
        _built(_load(_PROJECT / "configs" / f"{name}.yaml", **changes))


@pytest.mark.parametrize("name", ["dual-cgan-paper", "dual-cgan-small"])
def test_a_generating_network_builds(name: str) -> None:
    settings = _load(_PROJECT / "configs" / f"{name}.yaml")
    with torch.device("meta"):
        network = DualCgan(settings.config())
        made = network(torch.zeros(1, 3, settings.height_px, settings.width_px))
    assert made.image.shape == (1, 3, settings.height_px, settings.width_px)


def test_the_segmenter_builds() -> None:
    trainable = SegmenterTrainable(_load(_PROJECT / "configs" / "segmenter.yaml"))
    assert any(isinstance(one, SegmentationNetwork) for one in trainable.networks.values())


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(_PROJECT / "benchmarks"))
    importlib.import_module("equal_budget")
    yield sys.modules["equal_budget_rows"]
    for name in ("equal_budget", "equal_budget_rows", "closing"):
        sys.modules.pop(name, None)


def test_the_comparison_writes_its_pairs(benchmark: ModuleType, tmp_path: Path) -> None:
    small = {"town_seeds": "7,8", "count": 4, "val_share": 0.5, "town_side_m": 140.0, "tile_side_m": 40.0}
    options = {**benchmark.SIZES["short"].pairs, **small, "aerial_px": 40, "height_px": 32, "apart_m": 12.0}
    splits = sys.modules["equal_budget"].write_set(tmp_path / "pairs", options, 0)
    assert {name: len(split.queries) for name, split in splits.items()} == {"train": 2, "val": 2}


@pytest.mark.parametrize("size", ["small", "full"])
def test_rows_of_the_comparison_differ_in_what_is_their_own_alone(
    benchmark: ModuleType, size: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = benchmark.row_settings(benchmark.SIZES[size], Path("pairs"), tmp_path, {}, None)
    assert {one.family for one in rows.values()} == {"transformer", "compact", "safa", "sample4geo"}
    assert len({(one.steps, one.batch, one.mining, one.seed) for one in rows.values()}) == 1
    names = ("transformer", "compact", "safa", "sample4geo")
    for name in names:  # each file says what the comparison does
        alone = load_settings(
            RetrievalTraining,
            benchmark.CONFIGS / benchmark.SIZES[size].configs[name],
            {"out": tmp_path, "root": Path("p")},
        )
        assert (alone.steps, alone.batch) == (rows[name].steps, rows[name].batch)
    monkeypatch.setattr(benchmark, "OWN", benchmark.OWN - {"loss"})
    with pytest.raises(ConfigError, match="an equal budget needs it equal"):
        benchmark.row_settings(benchmark.SIZES[size], Path("pairs"), tmp_path, {}, None)
