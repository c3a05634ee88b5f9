"""Weights on the way from a training's start to what it learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from smdt.config import load_settings
from smdt.errors import ConfigError
from smdt.retrieval.models import load_model
from smdt.training import checkpoint
from smdt.training.retrieval import RetrievalTrainer, RetrievalTraining, train_retrieval

Settings = Callable[..., RetrievalTraining]


@pytest.fixture
def settings(tmp_path: Path, pairs_folder: Path) -> Settings:
    def make(name: str, **changes: Any) -> RetrievalTraining:
        given: dict[str, Any] = {
            "family": "compact",
            "model": {"backbone": "test_efficientnet", "tile_px": 64, "blocks": 1},
            "dataset": "folder",
            "root": pairs_folder,
            "steps": 5,
            "batch": 4,
            "height_px": 32,
            "width_px": 128,
            "strip_channels": 8,
            "freeze": (),
            "workers": 0,
            "accelerator": "cpu",
        }
        return RetrievalTraining(tmp_path / name, **{**given, **changes})

    return make


@pytest.mark.parametrize("kept", [{}, {"front_versions": 2}, {"front_versions": 2, "trunk_share": 0.0}])
def test_published_weights_lie_between_start_and_end(settings: Settings, kept: dict[str, Any]) -> None:
    start = {
        name: one.clone() for name, one in RetrievalTrainer(settings("s", **kept)).model.state_dict().items()
    }
    train_retrieval(settings("end", **kept))
    learned = train_retrieval(settings("part", learned_share=0.25, **kept)).state_dict()
    end, part = (load_file(settings(name).out / "model.safetensors") for name in ("end", "part"))
    assert not torch.equal(end["fold.weight"], start["fold.weight"])
    for name, one in end.items():
        assert torch.equal(learned[name], one)  # what is trained is the same, only what is published is not
        if name != "ground_mean":
            between = 0.75 * start[name].float() + 0.25 * one.float()
            assert torch.allclose(part[name].float(), between, atol=1e-6)


def test_parts_go_shares_of_their_own_of_the_way(settings: Settings) -> None:
    trainer = RetrievalTrainer(settings("s"))
    start = {name: one.clone() for name, one in trainer.model.state_dict().items()}
    parts = {"blocks.ground": 0.5, "blocks.*.widen.*": 1.0, "trunk": 0.75}
    end = train_retrieval(settings("part", learned_share=0.0, learned_parts=parts)).state_dict()
    part = load_file(settings("part").out / "model.safetensors")
    moved = set()
    for name, one in end.items():
        share = 0.5 if name.startswith("blocks.ground") else 0.75 if name.startswith("trunk") else 0.0
        share = 1.0 if name.startswith("blocks.aerial") and ".widen." in name else share
        if name != "ground_mean":
            between = (1.0 - share) * start[name].float() + share * one.float()
            assert torch.allclose(part[name].float(), between, atol=1e-6), name
        if not torch.equal(one, start[name]):
            moved.add(share)
    assert moved == {0.0, 0.5, 0.75, 1.0}  # some of every share did learn


def test_published_weights_are_the_mean_after_each_step_of_the_tail(settings: Settings) -> None:
    tail = settings("tail", average_from=0.5, steps=6, save_every=1, keep=9)
    train_retrieval(tail)
    after = [
        checkpoint.read_checkpoint(checkpoint.checkpoint_path(tail.out, step))["networks"]["model"]
        for step in range(1, 7)
    ]
    published = load_file(tail.out / "model.safetensors")
    assert not torch.allclose(after[3]["fold.weight"], after[5]["fold.weight"], atol=1e-6)
    for name, one in published.items():
        if name != "ground_mean":
            mean = torch.stack([state[name].double() for state in after[3:]]).mean(0)
            assert torch.allclose(one.double(), mean, atol=1e-6), name


def test_a_mean_goes_a_share_of_the_way_too(settings: Settings) -> None:
    for name, share in (("whole", 1.0), ("part", 0.25)):
        train_retrieval(settings(name, average_from=0.5, learned_share=share))
    start = RetrievalTrainer(settings("s")).model.state_dict()
    whole, part = (load_file(settings(name).out / "model.safetensors") for name in ("whole", "part"))
    for name, one in whole.items():
        if name != "ground_mean":
            between = 0.75 * start[name].float() + 0.25 * one.float()
            assert torch.allclose(part[name].float(), between, atol=1e-6)


def test_an_average_from_the_last_step_on_is_that_step(settings: Settings) -> None:
    late = settings("late", average_from=0.99)
    learned = train_retrieval(late).state_dict()
    published = load_file(late.out / "model.safetensors")
    assert all(torch.equal(learned[name], one) for name, one in published.items() if name != "ground_mean")


def test_mean_and_temperature_are_those_of_the_weights_in_between(settings: Settings) -> None:
    still = {"photometric": 0.0, "turn_deg": 0.0, "narrow_share": 0.0, "steps": 9, "batch": 10}
    trainer_settings = settings("part", learned_share=0.5, **still)
    train_retrieval(trainer_settings)
    model = load_model(str(trainer_settings.out))
    pairs = RetrievalTrainer(trainer_settings).epochs.pairs  # type: ignore[union-attr]
    ground = pairs[range(10)].ground.float() / 255.0
    with torch.no_grad():
        strips = model(ground, "ground")
    assert torch.allclose(model.ground_mean, strips.mean((0, 2)), atol=1e-4)
    assert 3.0 < model.config.scale <= 100.0


@pytest.mark.parametrize("published", [{"learned_share": 0.5}, {"average_from": 0.0}])
def test_a_training_that_stopped_goes_on_to_the_same_weights(
    settings: Settings,
    assert_resumes: Callable[[RetrievalTraining, int], None],
    published: dict[str, Any],
) -> None:
    assert_resumes(settings("whole", save_every=2, batch=5, steps=8, **published), 4)


def test_a_training_that_is_done_leaves_its_model(settings: Settings) -> None:
    done = settings("done", learned_share=0.5)
    train_retrieval(done)
    before = (done.out / "model.safetensors").read_bytes()
    train_retrieval(settings("done", learned_share=0.5, resume=True))
    assert (done.out / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"learned_share": 1.5}, "learned_share"),
        ({"learned_parts": {"trunk": -0.5}}, "learned_parts, trunk"),
        ({"average_from": -0.1}, "average_from"),
        ({"average_from": 0.5, "loss": "triplet"}, "average_from"),
        ({"learned_share": 0.5, "loss": "info_nce"}, "learned_share"),
        ({"learned_parts": {"trunk": 0.5}, "loss": "info_nce"}, "learned_parts"),
    ],
)
def test_what_cannot_be_blended_is_refused(settings: Settings, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        settings("wrong", **wrong)


def test_parts_that_the_model_has_not_are_refused_before_anything_is_read(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="named 'tail'"):
        RetrievalTrainer(settings("wrong", learned_parts={"trunk": 0.5, "tail": 0.5}))


def test_a_share_of_a_part_in_a_file_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("learned_parts: {trunk: most}\n")
    with pytest.raises(ConfigError, match="learned_parts, trunk"):
        load_settings(RetrievalTraining, file, {"out": tmp_path})
