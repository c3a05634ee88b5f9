import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from smdt.config import load_settings
from smdt.errors import ConfigError, DatasetError, ModelError, SmdtError, TrainingError
from smdt.imagenet_weights import imagenet_lite0_state
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.models import fingerprint, load_model
from smdt.retrieval.siamese import Siamese
from smdt.training.loop import run
from smdt.training.pairs import ViewPairs
from smdt.training.rates import parameter_groups, warm_cosine
from smdt.training.retrieval import RetrievalTrainer, RetrievalTraining, build_model, train_retrieval
from smdt.training.retrieval_sources import world_pairs
from smdt.world.places import TownPlace
from smdt.world.store import write_place

_SMALL: dict[str, Any] = {
    "steps": 4,
    "batch": 4,
    "height_px": 32,
    "width_px": 128,
    "log_every": 1,
    "workers": 0,
    "accelerator": "cpu",
    "strip_channels": 8,
    "model": {"backbone": "test_efficientnet", "tile_px": 64},
    "freeze": (),
}
_TINY_TRANSFORMER: dict[str, Any] = {
    "family": "transformer",
    "model": {"variant": "tiny-patch"},
    "loss": "triplet",
    "turn_deg": 0.0,
    "narrow_share": 0.0,
    "learning_rate": 1e-3,
}


def _settings(out: Path, **changes: Any) -> RetrievalTraining:
    return RetrievalTraining(out, **{**_SMALL, **changes})


def _pairs(batch: int = 4) -> ViewPairs:
    generator = torch.Generator().manual_seed(0)
    ground = torch.randint(0, 256, (batch, 3, 32, 128), dtype=torch.uint8, generator=generator)
    aerial = torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8, generator=generator)
    return ViewPairs(ground, aerial, ground[:, 0].long() % 7, [str(number) for number in range(batch)])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch": 1}, "--batch"),
        ({"town_seeds": (2022,)}, "held out"),
        ({"batch": 6, "devices": 4}, "cannot be shared evenly among 4 processes"),
        ({"batch": 6, "parts": 4}, "in 4 parts"),
        ({"loss": "hinge"}, "choose from contrast"),
        ({"dataset": "cvusa"}, "--root"),
        ({"narrow_widths": "few"}, "choose from even, inverse"),
        ({"mining": "place"}, "neighbours already"),
        ({"memory": -1}, "a memory of -1 references"),
        ({"memory": 8, "loss": "triplet"}, "cannot be used with loss triplet"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"occlusion": 2.0}, "no share"),
        ({"relief": 2.0}, "relief"),
        ({"loss": "info_nce"}, "would be turned"),
        ({"family": "siamsee"}, "family 'siamsee' is unknown"),
        ({"model": {"bakbone": "x"}}, "unknown setting 'bakbone'"),
    ],
)
def test_impossible_trainings_are_refused_before_they_start(
    change: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(SmdtError, match=named):
        train_retrieval(_settings(tmp_path, **change))
    assert not (tmp_path / "logs").exists()


def test_settings_are_read_with_the_models_own(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("family: transformer\nmodel: {variant: tiny, depth: 1}\nloss: triplet\nwarm_up: 500\n")
    settings = load_settings(RetrievalTraining, file, {"out": tmp_path})
    assert settings.model == {"variant": "tiny", "depth": 1}
    assert settings.warm_up == 500
    with pytest.raises(ConfigError, match="'model' is"):
        load_settings(RetrievalTraining, None, {"out": tmp_path, "model": "tiny"})


def test_the_rate_rises_to_its_peak_and_falls_by_a_cosine() -> None:
    share = warm_cosine(4, 12)
    assert [share(done) for done in (0, 1, 3, 4)] == [0.25, 0.5, 1.0, 1.0]
    assert share(8) == pytest.approx(0.5)
    assert share(12) == pytest.approx(0.0)


def test_rates_are_the_trunks_share_and_the_frozen_stay(tmp_path: Path, tiny_model: Siamese) -> None:
    from copy import deepcopy

    model = deepcopy(tiny_model)
    settings = _settings(tmp_path, freeze=("trunk.conv_stem",), learning_rate=0.1, trunk_share=0.2)
    trunk, rest = parameter_groups(model, settings)
    assert (trunk["lr"], rest["lr"]) == (pytest.approx(0.02), 0.1)
    assert {id(p) for p in rest["params"]} == {id(p) for p in model.heads.parameters()}
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(name.startswith("trunk.conv_stem") for name in frozen)
    assert len(parameter_groups(model, replace(settings, trunk_share=0.0))) == 1
    assert not any(p.requires_grad for p in model.trunk.parameters())
    own = deepcopy(tiny_model)
    own.parameter_groups = lambda rate: [{"params": list(own.heads.parameters()), "lr": rate / 2}]  # type: ignore[assignment]
    assert [group["lr"] for group in parameter_groups(own, settings)] == [0.05]


def test_a_short_training_on_places_learns_writes_a_model_and_repeats(
    crossroads: Callable[..., Any], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    write_place(crossroads().open(), place)
    settings = _settings(
        tmp_path / "a",
        name="short",
        steps=8,
        town_seeds=(),
        places=(place,),
        tile_side_m=60.0,
        learning_rate=5e-3,
    )
    losses: list[float] = []
    train_retrieval(settings, lambda _, figures: losses.append(figures["loss"]))
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    model = load_model(str(tmp_path / "a"))
    assert model.config.name == "short"
    assert model.config.tile_side_m == 60.0
    assert float(model.ground_mean.abs().max()) > 0
    record = json.loads((tmp_path / "a" / "training.json").read_text())
    assert record["steps_done"] == 8
    assert record["trained_on"] == "stored places"
    assert record["settings"]["places"] == ["place"]
    train_retrieval(replace(settings, out=tmp_path / "b"))
    assert fingerprint(load_model(str(tmp_path / "b"))) == fingerprint(model)


@pytest.mark.parametrize(("mining", "memory"), [("random", 0), ("similarity", 0), ("random", 8)])
def test_a_training_on_a_data_set_repeats_when_it_is_stopped_and_resumed(
    mining: str,
    memory: int,
    pairs_folder: Path,
    tmp_path: Path,
    assert_resumes: Callable[[RetrievalTraining, int], None],
) -> None:
    settings = _settings(
        tmp_path / "whole",
        steps=6,
        dataset="folder",
        root=pairs_folder,
        mining=mining,
        memory=memory,
        group=2,
        save_every=3,
        mirror=True,
        tile_side_m=0.0,
    )
    assert_resumes(settings, 5)  # two batches of four make an epoch of ten pairs
    record = json.loads((tmp_path / "whole" / "training.json").read_text())
    assert record["trained_on"] == "folder all, 10 pairs"


def test_the_published_loss_trains_a_transformer_in_parts_as_at_once(
    pairs_folder: Path, tmp_path: Path
) -> None:
    settings = _settings(
        tmp_path / "whole",
        dataset="folder",
        root=pairs_folder,
        **{**_TINY_TRANSFORMER, "model": {"variant": "tiny-patch", "dropout": 0.0}},
    )
    losses: dict[str, list[float]] = {"whole": [], "parts": []}
    train_retrieval(settings, lambda _, figures: losses["whole"].append(figures["loss"]))
    in_parts = replace(settings, out=tmp_path / "parts", parts=2)
    train_retrieval(in_parts, lambda _, figures: losses["parts"].append(figures["loss"]))
    assert np.allclose(losses["whole"], losses["parts"], rtol=1e-4)
    model: Encoder = load_model(str(tmp_path / "whole"))
    assert model.config.family == "transformer"
    assert not model.finds_heading


def _two_processes(config: Path, *options: object) -> None:
    """Train by torchrun on two CPUs' processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "smdt.app.cli", "train", "retrieval", "--config", str(config), "--accelerator", "cpu"]
    command += ["--devices", "2", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_processes_hold_the_references_that_one_holds(pairs_folder: Path, tmp_path: Path) -> None:
    network = {"family": "compact", "model": {"backbone": "test_efficientnet", "tile_px": 64}, "freeze": []}
    still = {"turn_deg": 0, "narrow_share": 0, "photometric": 0, "learning_rate": 1e-6, "strip_channels": 8}
    given = {"dataset": "folder", "height_px": 32, "width_px": 128, "workers": 0, "log_every": 1}
    config = tmp_path / "training.yaml"
    config.write_text(json.dumps({**network, **still, **given, "batch": 8, "steps": 3, "memory": 8}))
    _two_processes(config, "--root", pairs_folder, "--out", tmp_path / "two")
    losses = []
    for memory in (8, 0):
        changes = {
            "root": pairs_folder,
            "out": tmp_path / str(memory),
            "memory": memory,
            "accelerator": "cpu",
        }
        train_retrieval(load_settings(RetrievalTraining, config, changes))
    for name in ("two", "8", "0"):
        rows = csv.DictReader((tmp_path / name / "logs" / "figures.csv").read_text().splitlines())
        losses.append([float(row["loss"]) for row in rows])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[1][1] > losses[2][1] * 1.05  # the first step's are negatives in the second


def test_two_processes_of_torchrun_in_parts_train_the_model_that_one_trains_at_once(
    pairs_folder: Path, tmp_path: Path
) -> None:
    """The contrast runs over the batch of all processes and parts, by the command that the documentation gives."""
    config = tmp_path / "training.yaml"
    still = {"turn_deg": 0, "narrow_share": 0, "photometric": 0}  # what is random differs between processes
    model = {"variant": "tiny-patch", "dropout": 0}
    loss = {"family": "transformer", "model": model, "loss": "triplet", "learning_rate": 1e-3}
    settings = {"dataset": "folder", "height_px": 32, "width_px": 128, "workers": 0, **still, **loss}
    config.write_text(json.dumps(settings))
    in_parts = tmp_path / "parts.yaml"
    in_parts.write_text(json.dumps(settings | {"parts": 2}))
    _two_processes(in_parts, "--root", pairs_folder, "--steps", 3, "--batch", 8, "--out", tmp_path / "two")
    changes = {"root": pairs_folder, "out": tmp_path / "one", "steps": 3, "batch": 8, "accelerator": "cpu"}
    train_retrieval(load_settings(RetrievalTraining, config, changes))
    two, one = (load_model(str(tmp_path / name)).state_dict() for name in ("two", "one"))
    torch.manual_seed(0)
    start = build_model(load_settings(RetrievalTraining, config, changes), 0.0).state_dict()
    moved = 0
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-4)
        moved += int((weight - start[name]).abs().max() > 3e-4)
    assert moved > len(one) // 2
    assert json.loads((tmp_path / "two" / "training.json").read_text())["device"].endswith("2 processes")


def test_trunks_of_other_families_start_from_imagenet_if_they_are_told_to(tmp_path: Path) -> None:
    sizes = {"height_px": 64, "width_px": 256, "turn_deg": 0.0, "narrow_share": 0.0, "freeze": None}
    state = imagenet_lite0_state()
    for family, mapping in (("safa", "polar"), ("sample4geo", "none")):
        model = {"backbone": "tf_efficientnet_lite0"}
        settings = _settings(tmp_path, family=family, mapping=mapping, model=model, pretrained=True, **sizes)
        for trunk in build_model(settings, 0.0).trunks():
            for name, weight in trunk.state_dict().items():
                assert torch.equal(weight, state[name])
        drawn = build_model(replace(settings, pretrained=False), 0.0).trunks()[0].state_dict()
        assert not torch.equal(drawn["conv_stem.weight"], state["conv_stem.weight"])
    with pytest.raises(ConfigError, match="import-weights"):
        build_model(_settings(tmp_path, **{**_TINY_TRANSFORMER, "pretrained": True}), 0.0)


def test_weights_that_cannot_be_fetched_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create = timm.create_model

    def offline(*names: Any, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise ConnectionError("no network")
        return create(*names, pretrained=pretrained, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    settings = _settings(tmp_path, family="sample4geo", mapping="none", pretrained=True)
    with pytest.raises(ModelError, match="test_efficientnet: its ImageNet weights could not be fetched"):
        build_model(settings, 0.0)


def test_a_loss_that_is_no_number_names_the_pairs(pairs_folder: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path, dataset="folder", root=pairs_folder)
    trainer = RetrievalTrainer(settings)
    with torch.no_grad():
        trainer.model.heads["ground"].bias.fill_(float("nan"))  # type: ignore[operator, union-attr, index]

    with pytest.raises(TrainingError, match=r"not a number at step 1, with p\d, p\d"):
        run(trainer, settings)


def test_a_start_of_another_shape_and_missing_labels_are_refused(
    pairs_folder: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    start = _settings(tmp_path, start=str(tiny_model_folder), dataset="folder", root=pairs_folder)
    trainer = RetrievalTrainer(start)
    theirs = load_model(str(tiny_model_folder))
    for name, weight in theirs.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], weight)
    with pytest.raises(ModelError, match="weights do not fit"):
        RetrievalTrainer(replace(start, strip_channels=16))
    with pytest.raises(DatasetError, match="no labels"):
        RetrievalTrainer(replace(start, keep_share=0.2))


def test_pictures_show_what_the_networks_saw(pairs_folder: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path, steps=1, dataset="folder", root=pairs_folder, picture_every=1)
    train_retrieval(settings)
    with Image.open(tmp_path / "pictures" / "step-00000001" / "pair-0.png") as picture:
        assert picture.size == (128, 64)


def test_keep_and_remove_pictures_are_made_of_panoramas_in_the_share_asked_for(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    settings = _settings(
        tmp_path,
        start=str(tiny_model_folder),
        photometric=0.0,
        narrow_share=0.0,
        turn_deg=0.0,
        keep_share=0.5,
        remove_share=0.5,
    )
    trainer = RetrievalTrainer(settings)
    pairs = _pairs(32)
    labels = torch.arange(32 * 128).view(1, 32, 128).repeat(32, 1, 1) % 7
    views = trainer.views.make(pairs, labels, 1, 0, torch.device("cpu"))
    plain = pairs.ground.float() / 255.0
    white, black = ((views.ground == shade).all(dim=1) for shade in (1.0, 0.0))
    untouched = (views.ground == plain).all(dim=1)
    assert bool((white | black | untouched).all())
    assert 8 <= int((white.float().mean((1, 2)) > 0.8).sum()) <= 24  # kept: one class of seven is left
    assert 8 <= int((black.float().mean((1, 2)) > 0.1).sum()) <= 24
    without = RetrievalTrainer(replace(settings, keep_share=0.0, remove_share=0.0))
    assert torch.equal(without.views.make(pairs, labels, 1, 0, torch.device("cpu")).aerial, views.aerial)


@pytest.mark.parametrize("family", ["siamese", "compact"])
def test_trunks_start_from_imagenet_and_keep_their_edges(family: str, tmp_path: Path) -> None:
    trainer = RetrievalTrainer(_settings(tmp_path, family=family, model={}, freeze=None))
    state = imagenet_lite0_state()
    (trunk,) = trainer.model.trunks()
    for name, weight in trunk.state_dict().items():
        assert torch.equal(weight, state[name])
    frozen = {name for name, one in trainer.model.named_parameters() if not one.requires_grad}
    assert "trunk.conv_stem.weight" in frozen
    assert not any(name.startswith("trunk.blocks.2") for name in frozen)


@pytest.mark.parametrize(("source", "workers"), [("worlds", 0), ("worlds", 1), ("folder", 0), ("folder", 1)])
def test_a_transformer_with_dropout_resumes_bit_for_bit(
    source: str,
    workers: int,
    crossroads: Callable[..., Any],
    pairs_folder: Path,
    tmp_path: Path,
    assert_resumes: Callable[[RetrievalTraining, int], None],
) -> None:
    """Loaders draw from torch's global randomness, as dropout does: neither may disturb the other."""
    where: dict[str, Any] = {"dataset": "folder", "root": pairs_folder}
    if source == "worlds":
        write_place(crossroads().open(), tmp_path / "place")
        where = {"town_seeds": (), "places": (tmp_path / "place",), "tile_side_m": 60.0}
    settings = _settings(
        tmp_path / "whole", save_every=2, steps=5, **{**_TINY_TRANSFORMER, **where, "workers": workers}
    )
    assert RetrievalTrainer(settings).model.config.dropout > 0  # type: ignore[attr-defined]
    assert_resumes(settings, 3)


def test_towns_are_as_hilly_as_the_settings_say(tmp_path: Path) -> None:
    for relief in (None, 0.5):
        settings = _settings(tmp_path, relief=relief, town_seeds=(7, 8), style="rural")
        world = world_pairs(settings, RetrievalTrainer(settings).model, 1, 0)
        assert [place.relief for place in world.places if isinstance(place, TownPlace)] == [relief, relief]
