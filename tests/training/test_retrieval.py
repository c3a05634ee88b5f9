from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from smdt.errors import ConfigError
from smdt.retrieval.models import fingerprint, load_model
from smdt.training.retrieval import (
    RetrievalTraining,
    augment,
    contrast_loss,
    narrow_mask,
    train_retrieval,
)


def test_the_loss_falls_to_nothing_for_perfect_strips_and_not_for_a_wrong_heading() -> None:
    references = torch.nn.functional.normalize(
        torch.randn(6, 16 * 32, generator=torch.Generator().manual_seed(0))
    )
    references = references.view(6, 16, 32)
    turns = torch.tensor([0, 4, 9, 13, 20, 31])
    queries = torch.stack([torch.roll(r, -int(t), dims=-1) for r, t in zip(references, turns, strict=True)])
    heading, scale = turns * 360.0 / 32, torch.tensor(60.0)
    right = float(contrast_loss(queries, references, heading, scale))
    wrong = float(contrast_loss(queries, references, heading + 90.0, scale))
    assert right < 0.01
    assert wrong > 10.0
    assert float(contrast_loss(queries, references.roll(1, 0), heading, scale)) > 10.0


def test_augmentation_keeps_shape_and_range_and_is_repeatable() -> None:
    images = torch.rand(3, 3, 16, 32)
    first, again = (augment(images, torch.Generator().manual_seed(4)) for _ in range(2))
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert not torch.allclose(first, images)
    assert bool(((first >= 0) & (first <= 1)).all())


def test_narrow_masks_are_centred_and_90_degrees_at_least() -> None:
    for seed in range(20):
        mask = narrow_mask(2, 32, torch.Generator().manual_seed(seed))
        seen = torch.nonzero(mask[0])[:, 0]
        assert 8 <= len(seen) <= 32
        assert abs(float(seen.float().mean()) - 15.5) <= 0.5
        assert torch.equal(mask[0], mask[1])


@pytest.mark.parametrize(
    ("change", "named"),
    [({"steps": 0}, "--steps"), ({"batch": 1}, "--batch"), ({"town_seeds": (2022,)}, "held out")],
)
def test_impossible_trainings_are_refused_before_they_start(
    change: dict[str, object], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        replace(RetrievalTraining(out=tmp_path), **change)


def test_a_short_training_learns_writes_a_model_and_repeats(tmp_path: Path) -> None:
    settings = RetrievalTraining(
        out=tmp_path / "a",
        name="short",
        steps=8,
        batch=6,
        height_px=32,
        width_px=128,
        town_seeds=(5,),
        town_side_m=240.0,
        log_every=1,
    )
    losses: list[float] = []
    train_retrieval(settings, lambda _, figures: losses.append(figures["loss"]))
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    model = load_model(str(tmp_path / "a"))
    assert model.config.name == "short"
    assert (tmp_path / "a" / "training.json").read_text().count('"steps": 8') == 1
    train_retrieval(replace(settings, out=tmp_path / "b"))
    assert fingerprint(load_model(str(tmp_path / "b"))) == fingerprint(model)
