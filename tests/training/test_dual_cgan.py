import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from smdt.alignment.cgan_models import load_cgan
from smdt.alignment.labels import BUILDING, ROAD, SKY, VEGETATION
from smdt.config import load_settings
from smdt.errors import ConfigError, DatasetError, SmdtError, TrainingError
from smdt.training.cgan_pairs import CganPair, WorldPairs, batch_of_step, batches_from, turned
from smdt.training.dual_cgan import DualCganTrainer, DualCganTraining
from smdt.training.loop import run
from smdt.training.retrieval import train_retrieval
from smdt.training.retrieval_settings import RetrievalTraining

SMALL = {
    "height_px": 32, "width_px": 64, "generator_filters": 4, "discriminator_filters": 4, "encoder_blocks": 1,
    "decoder_blocks": 1, "batch": 2, "turn": True, "mirror": True, "accelerator": "cpu", "log_every": 1,
}  # fmt: skip
ORDER: dict[str, Any] = {"size": 2, "seed": 3, "rank": 0, "processes": 1, "turn": True, "mirror": True}


class Noise:
    """Pairs of noise whose ground half depends on ``ground`` and whose aerial half does not."""

    def __init__(self, count: int | None = 5, ground: int = 0) -> None:
        self.count, self.ground = count, ground

    def pair(self, number: int) -> CganPair:
        aerial, ground = np.random.default_rng([0, number]), np.random.default_rng([1, number, self.ground])
        return CganPair(
            torch.from_numpy(aerial.integers(0, 256, (3, 32, 64), dtype=np.uint8)),
            torch.from_numpy(ground.integers(0, 7, (32, 64), dtype=np.uint8)),
            torch.from_numpy(ground.integers(0, 256, (3, 32, 64), dtype=np.uint8)),
            f"pair {number}",
        )

    def samples(self, count: int) -> list[CganPair]:
        return [self.pair(number) for number in range(count)]


def settings(out: Path, **options: Any) -> DualCganTraining:
    return DualCganTraining(out=out, **{**SMALL, **options})


def train(chosen: DualCganTraining, ground: int = 0) -> DualCganTrainer:
    trainer = DualCganTrainer(chosen, Noise(ground=ground))
    run(trainer, chosen)
    return trainer


def checkpoint_of(folder: Path) -> dict[str, Any]:
    path = max((folder / "checkpoints").glob("*.pt"))
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_four_steps_are_two_and_two_more_bit_for_bit_in_all_networks_and_optimisers(tmp_path: Path) -> None:
    whole = settings(tmp_path / "whole", steps=4, save_every=2, keep=3, adversarial_from=0.25, dropout=0.5)
    train(whole)
    halved = replace(whole, out=tmp_path / "halved", save_every=1)
    trainer = DualCganTrainer(halved, Noise())
    applied = trainer.step

    def stopping(loop: Any, batch: Any) -> Any:
        if loop.step_number == 3:
            raise KeyboardInterrupt
        return applied(loop, batch)

    trainer.step = stopping  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(trainer, halved)
    train(replace(halved, resume=True))
    first, second = checkpoint_of(whole.out), checkpoint_of(halved.out)
    assert sorted(first["networks"]) == ["d1", "d2", "g1", "g2"]
    assert sorted(first["optimisers"]) == ["discriminators", "generators"]
    for part in ("step", "networks", "optimisers", "schedules", "random"):
        assert equal(first[part], second[part]), part


def test_every_network_learns_in_a_step_and_the_labels_get_better(tmp_path: Path) -> None:
    chosen = settings(tmp_path, steps=12, labels="classes", label_weight=20.0, learning_rate=2e-3)
    before = {name: one.clone() for name, one in DualCganTrainer(chosen, Noise()).model.state_dict().items()}
    after = train(chosen).model.state_dict()
    for network in ("g1", "g2", "d1", "d2"):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(network))
    with (tmp_path / "logs" / "figures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"discriminators", "adversarial", "labels", "image"} <= set(rows[0])
    assert float(rows[-1]["labels"]) < float(rows[0]["labels"])
    assert load_cgan(str(tmp_path)).config == chosen.config()


def test_discriminators_that_come_in_late_end_at_the_rate_of_the_generators(tmp_path: Path) -> None:
    chosen = settings(tmp_path, steps=8, adversarial_from=0.5, decay_from=0.25, learning_rate=8e-4)
    train(chosen)
    with (tmp_path / "logs" / "figures.csv").open() as file:
        rows = list(csv.DictReader(file))
    generators, discriminators = (
        [float(row[f"rate/{name}"]) for row in rows] for name in ("generators", "discriminators")
    )
    assert generators[3:] == pytest.approx([8e-4 * share for share in (4 / 6, 3 / 6, 2 / 6, 1 / 6, 0)], 1e-4)
    assert discriminators[4:] == pytest.approx(generators[4:], 1e-4)
    assert discriminators[3] == pytest.approx(generators[3], 1e-4)  # what their first step will be made with


def test_no_leak_what_is_made_in_a_step_does_not_depend_on_the_ground_image(tmp_path: Path) -> None:
    made: list[list[Tensor]] = []
    for ground in (0, 1):
        trainer = DualCganTrainer(
            settings(tmp_path / str(ground), steps=1, feedback_loops=1), Noise(ground=ground)
        )
        seen: list[Tensor] = []

        def keep(_: nn.Module, __: Any, output: Tensor, seen: list[Tensor] = seen) -> None:
            seen.append(output.detach().clone())

        for network in (trainer.model.g1, trainer.model.g2):
            network.register_forward_hook(keep)
        run(trainer, trainer.settings)
        made.append(seen)
    assert len(made[0]) == 4  # two generators, two passes
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))


def test_a_loss_that_is_no_number_names_the_batch(tmp_path: Path) -> None:
    trainer = DualCganTrainer(settings(tmp_path, steps=3), Noise())
    with torch.no_grad():
        next(trainer.model.g2.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 1, with pair \d, pair \d"):
        run(trainer, trainer.settings)


def test_a_batch_depends_on_seed_process_and_step_alone() -> None:
    from_first = batches_from(Noise(), 1, 0, **ORDER)
    third = [next(from_first) for _ in range(3)][2]
    assert equal(tuple(third), tuple(next(batches_from(Noise(), 3, 0, **ORDER))))
    other = batch_of_step(Noise(), 3, **{**ORDER, "rank": 1, "processes": 2})
    assert not equal(tuple(third), tuple(other))


def test_a_pass_takes_every_pair_once_over_all_processes() -> None:
    names = [
        name
        for step in (1, 2, 3)
        for rank in (0, 1)
        for name in batch_of_step(Noise(12), step, **{**ORDER, "rank": rank, "processes": 2}).names
    ]
    assert sorted(names) == sorted(f"pair {number}" for number in range(12))
    assert names != sorted(names)


def test_convention_turning_and_mirroring_keep_both_views_in_step() -> None:
    south_west_north_east = torch.tensor([[0, 1, 2, 3]], dtype=torch.uint8)
    picture = south_west_north_east.expand(3, 1, 4)
    pair = CganPair(picture, south_west_north_east, picture, "")
    mirrored = turned(pair, 0, True)
    assert mirrored.labels.tolist() == [[0, 3, 2, 1]]
    assert turned(pair, 1, False).labels.tolist() == [[1, 2, 3, 0]]
    assert torch.equal(mirrored.aerial[0], mirrored.labels)
    assert torch.equal(mirrored.image[0], mirrored.labels)


def test_pairs_of_towns_are_aligned_and_the_same_at_every_call(tmp_path: Path) -> None:
    chosen = settings(
        tmp_path, town_seeds=(5,), town_side_m=200.0, tile_px=64, mapping="polar", ground_variety=0.3, pool=2
    )
    pool, endless = chosen.pairs(), replace(chosen, pool=0).pairs()
    assert isinstance(pool, WorldPairs)
    assert isinstance(endless, WorldPairs)
    one = pool.pair(1)
    assert pool.pair(1) is one
    assert equal(tuple(endless.pair(1)), tuple(one))
    assert not equal(tuple(endless.pair(2)), tuple(one))
    other = replace(chosen, pool=0, ground_variety=1.0).pairs().pair(1)
    assert not torch.equal(
        one.image, other.image
    )  # the ground view is of another day and camera, of one place
    assert (one.labels == other.labels).float().mean() > 0.8
    assert one.aerial.shape == one.image.shape == (3, 32, 64)
    assert (one.labels == SKY).float()[:8].mean() > 0.3 > (one.labels == SKY).float()[-8:].mean()


def write_cvusa(root: Path, labelled: bool = True) -> Path:
    rng = np.random.default_rng(0)
    labels = np.zeros((28, 154), np.uint8)
    labels[14:], labels[:7, :77], labels[7:14, 77:] = 2, 1, 3
    pictures = {
        "bingmap/19/1.png": rng.integers(0, 256, (48, 48, 3), dtype=np.uint8),
        "streetview/panos/1.png": rng.integers(0, 256, (28, 154, 3), dtype=np.uint8),
    }
    if labelled:
        pictures["streetview/annotations/1.png"] = labels
    for name, pixels in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    (root / "splits").mkdir()
    line = "bingmap/19/1.png,streetview/panos/1.png,streetview/annotations/1.png\n"
    (root / "splits/train-19zl.csv").write_text(line)
    return root


def test_cvusa_with_its_annotations_trains_too(tmp_path: Path) -> None:
    root = write_cvusa(tmp_path / "root")
    chosen = settings(
        tmp_path / "m", dataset="cvusa", root=str(root), batch=1, steps=1, picture_every=1, tile_side_m=170.0
    )
    pair = chosen.pairs().pair(0)
    # CVUSA's 0 sky, 1 building, 2 road, 3 vegetation
    corners = [int(pair.labels[row, column]) for row, column in ((2, 2), (2, 40), (12, 40), (30, 0))]
    assert corners == [BUILDING, SKY, VEGETATION, ROAD]
    run(DualCganTrainer(chosen), chosen)
    with Image.open(tmp_path / "m/pictures/step-00000001/sheet.png") as sheet:
        assert sheet.size == (5 * 64 + 4 * 4, 32)


BAD_LABELS = [
    (Image.new("RGB", (154, 28)), r"annotations/1\.png: a label picture holds class indices.* mode RGB"),
    (Image.new("L", (154, 40)), r"annotations/1\.png: the panorama has 154×40 pixels, not the shape"),
    (Image.new("L", (154, 28), 9), r"annotations/1\.png: label 9 is none of cvusa's"),
]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("labels", "named"), BAD_LABELS)
def test_labels_that_are_none_end_both_trainings_with_the_files_name(
    labels: Image.Image, named: str, workers: int, tmp_path: Path
) -> None:
    root = write_cvusa(tmp_path / "root")
    for number in (1, 2):
        for folder in ("bingmap/19", "streetview/panos", "streetview/annotations"):
            if number == 2:
                shutil.copy(root / folder / "1.png", root / folder / "2.png")
    line = "bingmap/19/{0}.png,streetview/panos/{0}.png,streetview/annotations/{0}.png\n"
    (root / "splits/train-19zl.csv").write_text(line.format(1) + line.format(2))
    labels.save(root / "streetview/annotations/1.png")
    gan = settings(
        tmp_path / "gan", dataset="cvusa", root=str(root), steps=1, workers=workers, tile_side_m=170.0
    )
    with pytest.raises(SmdtError, match=named):
        run(DualCganTrainer(gan), gan)
    retrieval = RetrievalTraining(
        tmp_path / "retrieval", dataset="cvusa", root=root, family="compact", height_px=32, width_px=128, batch=2,
        model={"backbone": "test_efficientnet"}, freeze=(), align={"remove_share": 0.5}, workers=workers,
        accelerator="cpu", steps=1,
    )  # fmt: skip
    with pytest.raises(SmdtError, match=named):
        train_retrieval(retrieval)


def test_a_data_set_without_labels_is_refused(tmp_path: Path) -> None:
    root = write_cvusa(tmp_path / "root", labelled=False)
    with pytest.raises(DatasetError, match="1 of 1 panoramas have no labels"):
        settings(tmp_path / "m", dataset="cvusa", root=str(root)).pairs()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch": 0}, "--batch"),
        ({"batch": 3, "devices": 2}, "--batch"),
        ({"dataset": "vigor"}, "--dataset"),
        ({"dataset": "cvusa"}, "--root"),
        ({"decay_from": 1.5}, "decay_from"),
        ({"town_seeds": (2022,)}, "held out"),
        ({"steps": 0}, "--steps"),
        ({"width_px": 70}, "width_px"),
    ],
)
def test_impossible_trainings_are_refused_before_they_start(
    change: dict[str, object], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        settings(tmp_path, **change)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_the_shipped_settings_can_be_read(name: str, tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "configs" / f"dual-cgan-{name}.yaml"
    chosen = load_settings(DualCganTraining, file, {"out": tmp_path, "root": str(tmp_path)})
    assert chosen.config().name == {"small": "dual-cgan", "paper": "dual-cgan-paper"}[name]
