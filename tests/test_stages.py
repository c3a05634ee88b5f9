"""The whole method, stage by stage, in sizes for a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from smdt.alignment.cgan_models import load_cgan
from smdt.alignment.dual_cgan import DualCgan
from smdt.app.cli import cli
from smdt.config import load_settings
from smdt.errors import ConfigError, SmdtError
from smdt.retrieval.models import create_model, fingerprint, load_model
from smdt.stages import DONE_FILE, EVALUATION_FILE, train_stages
from smdt.training.retrieval import build_model
from smdt.training.stage_settings import QUICK, StagesConfig

_CONFIGS = Path(__file__).parents[1] / "configs"
_TINY: dict[str, Any] = {
    "accelerator": "cpu",
    "worlds": {
        "town_seeds": (460, 461),
        "town_side_m": 240.0,
        "count": 12,
        "val_share": 0.5,
        "tile_side_m": 100.0,
        "aerial_px": 64,
        "height_px": 32,
    },
    "segmenter": {
        "steps": 2, "batch": 2, "height_px": 32, "width_px": 128, "town_seeds": (200,), "town_side_m": 200.0,
        "workers": 0, "save_every": 1,
    },
    "cgan": {
        "steps": 4, "batch": 2, "height_px": 32, "width_px": 64, "generator_filters": 4, "save_every": 1,
        "discriminator_filters": 4, "encoder_blocks": 1, "decoder_blocks": 1,
    },
    "retrieval": {
        "steps": 2, "batch": 4, "family": "compact", "height_px": 32, "width_px": 128, "workers": 0, "freeze": (),
        "model": {"backbone": "test_efficientnet", "tile_px": 64}, "save_every": 1, "narrow_share": 0.0,
        "align": {"keep_share": 0.5, "remove_share": 0.5},
    },
}  # fmt: skip


class Watching:
    """Keeps what it is told, and stops at a step of a stage if it shall."""

    def __init__(self, stop: tuple[str, int] | None = None) -> None:
        self.told: list[tuple[str, str]] = []
        self.worked: dict[str, int] = {}
        self._stop = stop

    def stage(self, name: str, state: str) -> None:
        self.told.append((name, state))

    @contextmanager
    def training(self, name: str, steps: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
        def report(step: int, _: dict[str, float]) -> None:
            if (name, step) == self._stop:
                raise KeyboardInterrupt

        yield report

    @contextmanager
    def work(self, name: str) -> Iterator[Callable[[int, int], None]]:
        def progress(done: int, total: int) -> None:
            self.worked[name] = total

        yield progress


def test_all_stages_are_trained_a_stopped_one_goes_on_and_a_finished_one_is_not_repeated(
    tmp_path: Path,
) -> None:
    out = tmp_path / "smdt"

    def settings() -> StagesConfig:
        return load_settings(StagesConfig, None, {**_TINY, "out": out})

    first = Watching(stop=("dual-cgan", 3))
    with pytest.raises(KeyboardInterrupt):
        train_stages(settings(), first)
    assert first.told == [("pairs", "begins"), ("segmenter", "begins"), ("dual-cgan", "begins")]
    assert list(json.loads((out / DONE_FILE).read_text())) == ["pairs", "segmenter"]
    second = Watching()
    trained = train_stages(settings(), second)
    assert second.told == [
        ("pairs", "is there"),
        ("segmenter", "is there"),
        ("dual-cgan", "goes on"),
        ("ground views", "begins"),
        ("retrieval", "begins"),
        ("evaluation", "begins"),
    ]
    assert second.worked["ground views, val"] == 6
    assert trained.evaluation is not None
    assert trained.evaluation.queries == 6
    record = json.loads((out / EVALUATION_FILE).read_text())
    assert record["aerial_input"] == "both"
    assert record["simulated"]
    card = (out / "retrieval" / "README.md").read_text()
    assert "6 pairs of simulated towns val, 360°, heading known" in card
    assert "a dual conditional GAN makes of the tile" in card
    third = Watching()
    assert train_stages(settings(), third).evaluation is None
    assert {state for _, state in third.told} == {"is there"}
    # as if it had never been stopped: a GAN trained by itself on the same pairs and labels is the same
    whole = load_settings(StagesConfig, None, {**_TINY, "out": out}).cgan_training()
    from smdt.training.dual_cgan import train_dual_cgan

    alone = train_dual_cgan(replace(whole, out=tmp_path / "alone", resume=False))
    state = load_cgan(str(out / "dual-cgan")).state_dict()
    assert all(torch.equal(state[name], alone.state_dict()[name].half().float()) for name in state)
    changed = {**_TINY, "out": out, "cgan": {**_TINY["cgan"], "learning_rate": 0.1}}
    with pytest.raises(SmdtError, match=r"stage dual-cgan was made with learning_rate 0\.0002, not 0\.1"):
        train_stages(load_settings(StagesConfig, None, changed), Watching())
    out.rename(tmp_path / "moved")
    model = load_model(str(tmp_path / "moved" / "retrieval"))
    assert model.config.cgan_fingerprint == record_fingerprint(tmp_path / "moved" / "dual-cgan")
    assert fingerprint(model) == record["model_fingerprint"]


def record_fingerprint(folder: Path) -> str:
    from smdt.alignment.cgan_models import fingerprint as of_gan

    return of_gan(load_cgan(str(folder)))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dataset": "vigor"}, "--dataset: 'vigor' is unknown"),
        ({"dataset": "cvusa"}, "--root: the data set's folder is missing"),
        ({"worlds": {"town_side": 3.0}}, "worlds, town_side: unknown setting"),
        ({"cgan": {"labels": "words"}}, "cgan, labels: labels cannot be 'words'"),
        ({"retrieval": {"align": {"aerial_input": "up"}, "batch": 1}}, "retrieval, --batch"),
        ({"segmenter": {"town_seeds": (2022,)}}, "held out"),
        ({"retrieval": {"devices": 2}}, "retrieval, devices: stages are trained one after the other"),
    ],
)
def test_impossible_stages_are_refused_before_the_first_begins(
    change: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        load_settings(StagesConfig, None, {"out": tmp_path, **change})
    assert not list(tmp_path.iterdir())


def test_the_quick_settings_and_those_for_a_cpu_can_be_read(tmp_path: Path) -> None:
    for config in (
        load_settings(StagesConfig, None, {**QUICK, "out": tmp_path}),
        load_settings(StagesConfig, _CONFIGS / "smdt.yaml", {"out": tmp_path}),
    ):
        aligned = config.retrieval_training().aligned()
        assert (aligned.mapping, aligned.aerial_input) == ("mixed", "both")
        assert aligned.cgan == str(tmp_path / "dual-cgan")
        assert config.cgan_training().segmenter == aligned.segmenter == str(tmp_path / "segmenter")


def test_the_published_sizes_are_read_and_their_networks_built(tmp_path: Path) -> None:
    given = {"out": tmp_path, "root": tmp_path / "CVUSA", "cgan_model": "dual-cgan"}
    config = load_settings(StagesConfig, _CONFIGS / "smdt-cvusa.yaml", given)
    retrieval = replace(config.retrieval_training(), start=None)
    with torch.device("meta"):
        gan = DualCgan(config.cgan_training().config())
        plain = {**retrieval.model, "name": "plain", "mapping": "mixed"}
        without = create_model("transformer", plain)
    assert sum(one.numel() for one in gan.g1.parameters()) == 47_128_003
    assert sum(one.numel() for one in gan.d1.parameters()) == 4_147_073
    model = build_model(retrieval, 170.0)
    count = sum(one.numel() for one in model.parameters())
    assert count == sum(one.numel() for one in without.parameters()) + 768
    assert model.config.cgan == "dual-cgan"
    assert model.config.aerial_input == "both"


def test_the_command_wants_a_config_or_the_quick_settings(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["train", "smdt", "--out", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "--config configs/smdt.yaml" in str(result.exception)
