"""Training from early features that are computed once: the same as training from pictures, only faster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from smdt.errors import ConfigError, ModelError, SmdtError
from smdt.geometry.panorama import mirror_beyond
from smdt.retrieval.compact import Compact, CompactConfig
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.matching import best_turn, circular_scores, normalise_queries
from smdt.retrieval.memory import NONE, ReferenceMemory
from smdt.retrieval.models import fingerprint, load_model
from smdt.training.augmentation import drop_channels, mix_styles, seen_mask
from smdt.training.loop import Loop, run
from smdt.training.pairs import load_rows
from smdt.training.processes import start_fabric
from smdt.training.retrieval import RetrievalTrainer, RetrievalTraining, train_retrieval
from smdt.training.retrieval_front import FrontCache, FrontRows

_STILL: dict[str, Any] = {"photometric": 0.0, "turn_deg": 0.0, "narrow_share": 0.0}


def _settings(out: Path, root: Path, **changes: Any) -> RetrievalTraining:
    given: dict[str, Any] = {
        "family": "compact",
        "model": {"backbone": "test_efficientnet", "tile_px": 64},
        "dataset": "folder",
        "root": root,
        "steps": 4,
        "batch": 4,
        "height_px": 32,
        "width_px": 128,
        "strip_channels": 8,
        "log_every": 1,
        "workers": 0,
        "accelerator": "cpu",
        "freeze": (),
        "front_versions": 1,
    }
    return RetrievalTraining(out, **{**given, **changes})


def _filled(settings: RetrievalTraining) -> tuple[FrontCache, Compact]:
    trainer = RetrievalTrainer(settings)
    assert trainer.front is not None
    trainer.model.eval()
    trainer.front.fill(Loop(trainer, settings, start_fabric("cpu", 1, 1, "32-true")))
    return trainer.front, trainer.front.model


def _rows(count: int = 8) -> FrontRows:
    return FrontRows(list(range(count)), [f"p{number}" for number in range(count)])


def test_front_and_back_are_the_model_and_turn_with_the_picture() -> None:
    torch.manual_seed(0)
    model = Compact(CompactConfig(name="small", height_px=32, width_px=512, strip_channels=6)).eval()
    images = torch.rand(1, 3, 32, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = model.front(images)
        assert features.shape == (1, 40, 4, 64)
        assert torch.equal(model.back(features), model(images, "ground"))
        turned = model.front(images.roll(16, -1))
        assert torch.allclose(turned, features.roll(2, -1), atol=1e-5)
        strip = model.back(features)
        assert torch.allclose(model.back(turned), strip.roll(1, -1), atol=1e-4)


def test_a_backbone_without_stages_embeds_whole_and_has_no_front() -> None:
    config = CompactConfig(name="r", backbone="test_resnet", height_px=32, width_px=64, strip_channels=4)
    model = Compact(config).eval()
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 32, 64), "ground").shape == (1, 4, 4)
    assert model.front_modules() == ()
    with pytest.raises(ModelError, match="test_resnet"):
        model.front(torch.rand(1, 3, 32, 64))


def test_a_step_from_kept_features_is_that_from_pictures(pairs_folder: Path, tmp_path: Path) -> None:
    losses: dict[int, list[float]] = {0: [], 1: []}
    frozen = ("trunk.conv_stem", "trunk.bn1", "trunk.blocks.0", "trunk.blocks.1", "trunk.blocks.2")
    for versions, found in losses.items():
        settings = _settings(
            tmp_path / str(versions), pairs_folder, front_versions=versions, freeze=frozen, **_STILL
        )
        train_retrieval(settings, lambda _, figures, found=found: found.append(figures["loss"]))  # type: ignore[misc]
    assert losses[0][0] != losses[0][3]
    assert losses[1][0] == pytest.approx(losses[0][0], abs=1e-4)
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)


def test_a_stopped_training_goes_on_bit_for_bit(pairs_folder: Path, tmp_path: Path) -> None:
    settings = _settings(
        tmp_path / "whole",
        pairs_folder,
        steps=6,
        save_every=3,
        front_versions=4,
        head_steps=2,
        mirror=True,
        turn_both=True,
        narrow_share=0.5,
        front_narrow=True,
        feature_style=0.5,
        feature_drop=0.2,
    )
    told: list[tuple[int, int]] = []
    train_retrieval(settings, progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 10)]

    def stop(step: int, _: dict[str, float]) -> None:
        if step == 5:
            raise InterruptedError

    stopped = replace(settings, out=tmp_path / "stopped")
    with pytest.raises(InterruptedError):
        train_retrieval(stopped, stop)
    train_retrieval(replace(stopped, resume=True, front_cache_gib=1.0))
    models = [load_model(str(tmp_path / name)) for name in ("whole", "stopped")]
    assert fingerprint(models[0]) == fingerprint(models[1])
    other = replace(settings, out=tmp_path / "other", seed=1)
    train_retrieval(other)
    assert fingerprint(load_model(str(tmp_path / "other"))) != fingerprint(models[0])


def test_references_in_memory_are_negatives_but_for_those_of_the_same_place(
    pairs_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[set[int], set[int]]] = []

    class Watched(ReferenceMemory):
        def hardest(self, queries: Tensor, shown: Tensor, mask: Tensor | None = None) -> Tensor | None:
            found = super().hardest(queries, shown, mask)
            if found is not None:
                held = self.state()["memory"][-1][1].tolist()
                asked.append((set(shown[:, 0].tolist()), set(held)))
                assert bool(
                    (found > NONE).sum(1).eq(4 - torch.isin(shown[:, 0], torch.tensor(held)).int()).all()
                )
            return found

    monkeypatch.setattr("smdt.training.retrieval.ReferenceMemory", Watched)
    losses = []
    for memory in (0, 4):
        figures: list[float] = []
        settings = _settings(tmp_path / str(memory), pairs_folder, steps=6, memory=memory)
        train_retrieval(settings, lambda _, one, kept=figures: kept.append(one["loss"]))  # type: ignore[misc]
        losses.append(figures)
    assert losses[0][0] == losses[1][0]  # nothing is in memory yet
    assert losses[0][1] < losses[1][1]
    assert len(asked) == 5
    assert any(now & before for now, before in asked)  # an epoch ended, and a pair came again


def test_features_are_turned_together_and_keep_their_heading(pairs_folder: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path, pairs_folder, front_versions=3, photometric=0.0, narrow_share=0.0)
    front, model = _filled(replace(settings, turn_both=True))
    assert front._features is not None
    # each panorama in the place of its tile: the two then differ by the heading alone
    front._features = (front._features[0], front._features[0])
    front._turned_px = (front._turned_px[0], front._turned_px[0])
    views, again = (front.make(_rows(), 3, 0, torch.device("cpu")) for _ in range(2))
    assert torch.equal(views.ground, again.ground)
    assert not torch.equal(views.ground, front.make(_rows(), 3, 1, torch.device("cpu")).ground)
    assert len(torch.unique(views.heading_deg)) >= 6
    scores = circular_scores(normalise_queries(views.ground.flatten(1, 2)), views.aerial.flatten(1, 2))
    score, heading = best_turn(scores.diagonal(dim1=0, dim2=1).T)
    assert float(score.min()) > 0.9
    off = (heading - views.heading_deg + 180.0) % 360.0 - 180.0
    assert float(off.abs().max()) < 5.0  # a column of features is 22.5°
    assert model.columns == 8


def test_kept_features_are_those_of_changed_pictures(pairs_folder: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path, pairs_folder, front_versions=4, photometric=0.0, mirror=True)
    front, model = _filled(replace(settings, narrow_share=0.0, turn_deg=0.0))
    kinds = {tuple(front._versions(step).tolist()) for step in range(1, 12)}
    assert kinds == {(0, 2), (1, 3)}
    assert front._features is not None
    picture, _ = front.pairs.queries[2]
    mirror = picture[..., (-torch.arange(128)) % 128]
    with torch.inference_mode():
        for version, shown in enumerate((picture, mirror, picture, mirror)):
            # pictures are loaded in bytes, and features are kept in half precision
            expected = model.front((shown * 255).round()[None] / 255)[0]
            assert torch.allclose(front._features[0][version, 2].float(), expected, atol=5e-3)
    views = front.make(_rows(), 5, 0, torch.device("cpu"))
    assert float(views.heading_deg.abs().max()) == 0.0


def test_what_a_narrow_photo_does_not_see_is_black(pairs_folder: Path, tmp_path: Path) -> None:
    front, model = _filled(_settings(tmp_path, pairs_folder, narrow_share=1.0, narrowest_deg=90.0))
    views = front.make(_rows(), 2, 0, torch.device("cpu"))
    assert views.mask is not None
    with torch.inference_mode():
        black = model.front(torch.zeros(1, 3, 32, 128))
    dark = (views.ground - black).abs().amax((1, 2)) < 1e-2
    assert torch.equal(dark, ~views.mask.repeat_interleave(2, dim=1))
    assert not bool(((views.aerial - black).abs().amax((1, 2)) < 1e-2).any())


@pytest.mark.parametrize("kept", [True, False])
def test_what_a_narrow_photo_does_not_see_mirrors_what_it_does(
    pairs_folder: Path, tmp_path: Path, kept: bool
) -> None:
    settings = _settings(tmp_path, pairs_folder, narrow_share=1.0, narrowest_deg=90.0)
    settings = replace(settings, model={**settings.model, "beyond": "mirror"})
    if kept:
        front, _ = _filled(settings)
        views = front.make(_rows(), 2, 0, torch.device("cpu"))
    else:
        settings = replace(settings, front_versions=0, photometric=0.0)
        trainer = RetrievalTrainer(settings)
        assert trainer.epochs is not None
        pairs = next(iter(load_rows(trainer.epochs.pairs, [_rows().indices], 0)))
        views = trainer.views.make(pairs, None, 2, 0, torch.device("cpu"))
    assert views.mask is not None
    seen = views.mask[0].repeat_interleave(views.ground.shape[-1] // views.mask.shape[1])
    assert 0 < int(seen.sum()) < len(seen)
    assert torch.equal(views.ground, mirror_beyond(views.ground, seen))
    last = int(seen.nonzero().max())
    assert torch.equal(views.ground[..., last + 1], views.ground[..., last])


def test_narrow_photos_are_kept_as_their_pictures_are_seen(pairs_folder: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"narrow_share": 1.0, "front_narrow": True, "photometric": 0.0}
    settings = _settings(tmp_path, pairs_folder, narrowest_deg=135.0, **changes)
    whole = RetrievalTrainer(replace(settings, front_narrow=False)).front
    front, model = _filled(settings)
    assert whole is not None
    assert front.gib == pytest.approx(1.5 * whole.gib)
    views = front.make(_rows(), 2, 0, torch.device("cpu"))
    assert views.mask is not None
    assert front._narrow is not None
    kept, turned = front._narrow.kept[0, :8], front._narrow.turned_px[0, :8]
    assert views.mask.sum(1).tolist() == kept.tolist()
    assert bool((kept >= 3).all())
    picture = torch.stack([(front.pairs.queries[number][0] * 255).round() / 255 for number in range(8)])
    photos = torch.stack([one.roll(-int(px), -1) for one, px in zip(picture, turned, strict=True)])
    with torch.inference_mode():
        expected = model.front(photos * views.mask.repeat_interleave(16, dim=1)[:, None, None])
    assert torch.allclose(views.ground, expected, atol=5e-3)
    # each panorama in the place of its tile: what is found is then how the photo was turned against it
    assert front._features is not None
    front._features = (front._features[0], front._features[0])
    front._turned_px = (front._turned_px[0], front._turned_px[0])
    views = front.make(_rows(), 2, 0, torch.device("cpu"))
    mask = views.mask.repeat_interleave(2, dim=1) if views.mask is not None else None
    queries = normalise_queries(views.ground.flatten(1, 2), mask)
    scores = circular_scores(queries, views.aerial.flatten(1, 2), mask)
    _, heading = best_turn(scores.diagonal(dim1=0, dim2=1).T)
    off = (heading - views.heading_deg + 180.0) % 360.0 - 180.0
    assert float(off.abs().max()) < 5.0  # a column of features is 22.5°


def test_several_narrow_photos_of_a_version_are_kept(pairs_folder: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"narrow_share": 1.0, "front_narrow": True, "photometric": 0.0, "mirror": True}
    settings = _settings(tmp_path, pairs_folder, narrowest_deg=90.0, front_versions=2, **changes)
    front, model = _filled(replace(settings, front_photos=3))
    one, _ = _filled(settings)
    assert front.gib == pytest.approx(5 / 3 * one.gib)
    assert front._narrow is not None
    assert one._narrow is not None
    assert torch.equal(front._narrow.features[[0, 3]], one._narrow.features)  # the first is what it was alone
    turned, kept = front._narrow.turned_px[:, :8], front._narrow.kept[:, :8]
    assert len({tuple(row.tolist()) for row in turned}) == 6  # each looks another way
    panoramas = torch.stack([(front.pairs.queries[number][0] * 255).round() / 255 for number in range(8)])
    worlds = (panoramas, panoramas[..., (-torch.arange(128)) % 128])
    with torch.inference_mode():
        for row in range(6):
            mask = seen_mask(8, int(kept[row, 0]), 1, torch.device("cpu"))[0].repeat_interleave(16)
            photos = [w.roll(-int(px), -1) for w, px in zip(worlds[row // 3], turned[row], strict=True)]
            expected = model.front(torch.stack(photos) * mask)
            assert torch.allclose(front._narrow.features[row, :8].float(), expected, atol=5e-3)
    drawn = set()
    for step in range(1, 24):  # a batch is of one world
        views = front.make(_rows(), step, 0, torch.device("cpu"))
        found = [
            {row for row in range(6) if torch.equal(ground, front._narrow.features[row, number].float())}
            for number, ground in enumerate(views.ground)
        ]
        assert all(len(rows) == 1 for rows in found)
        rows = set.union(*found)
        assert len({row // 3 for row in rows}) == 1
        drawn |= rows
    assert drawn == set(range(6))


def test_narrow_photos_go_with_a_found_head_and_a_share(pairs_folder: Path, tmp_path: Path) -> None:
    found = {"head_pairs": 8, "trunk_share": 0.0, "learned_share": 0.5, "steps": 3}
    narrow = {"narrow_share": 1.0, "front_narrow": True}
    model = train_retrieval(_settings(tmp_path / "found", pairs_folder, **found, **narrow))
    alike = train_retrieval(_settings(tmp_path / "cut", pairs_folder, **found, narrow_share=1.0))
    assert all(bool(torch.isfinite(weight).all()) for weight in model.state_dict().values())
    assert not torch.equal(model.fold.weight, alike.fold.weight)  # type: ignore[union-attr,arg-type]


def test_patterns_freeze_and_the_trunk_waits_for_the_head(pairs_folder: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path, pairs_folder, freeze=("*.conv_dw.*", "trunk.*bn*"), head_steps=2)
    trainer = RetrievalTrainer(settings)
    learning = {name for name, one in trainer.model.named_parameters() if one.requires_grad}
    assert {"fold.weight", "mix.weight"} <= learning
    in_trunk = {name for name in learning if name.startswith("trunk.")}
    assert in_trunk
    assert all(name.startswith("trunk.blocks.3") for name in in_trunk)  # all before are the front
    assert not any("conv_dw" in name or "bn" in name for name in in_trunk)

    def weights() -> dict[str, Tensor]:
        return {name: one.detach().clone() for name, one in trainer.model.named_parameters()}

    seen = [weights()]
    run(trainer, settings, lambda step, _: seen.append(weights()) if step in (2, 4) else None)
    after_head = {name for name in seen[0] if not torch.equal(seen[0][name], seen[1][name])}
    at_end = {name for name in seen[0] if not torch.equal(seen[0][name], seen[2][name])}
    assert not any(name.startswith("trunk.") for name in after_head)
    assert {name for name in at_end if name.startswith("trunk.")} == in_trunk


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"front_cache_gib": 1e-5}, "1 versions of 10 pairs need .* GiB of memory, more than the 1e-05"),
        ({"family": "siamese"}, "family siamese"),
        ({"model": {"backbone": "test_resnet"}}, "no early part"),
        ({"dataset": "worlds"}, "no features to keep"),
        ({"mirror": True}, "either mirrored or not"),
        ({"picture_every": 2}, "picture_every"),
        ({"front_versions": 0, "feature_drop": 0.1}, "keep some versions"),
        ({"front_versions": -1}, "too small"),
        ({"front_narrow": True, "narrow_share": 0.0}, "give a narrow_share"),
        ({"front_narrow": True, "curriculum_steps": 3}, "no curriculum"),
        ({"front_narrow": True, "front_photos": 0}, "give 1 or more, and front_narrow"),
        ({"front_photos": 2}, "give 1 or more, and front_narrow"),
        ({"feature_drop": 1.0}, "must stay"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    change: dict[str, Any], named: str, pairs_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SmdtError, match=named) as refused:
        RetrievalTrainer(_settings(tmp_path, pairs_folder, **change))
    assert isinstance(refused.value, ConfigError)


def test_styles_change_statistics_alone_and_channels_are_dropped_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 6, 8, 16, generator=generator) * 2.0 + 1.0
    styled = mix_styles(features, 1.0, generator)
    assert not torch.allclose(styled, features, atol=0.1)

    def plain(one: Tensor) -> Tensor:
        return (one - one.mean((2, 3), keepdim=True)) / one.std((2, 3), keepdim=True)

    assert torch.allclose(plain(styled), plain(features), atol=2e-3)
    dropped = drop_channels(features, 0.5, generator)
    gone = (dropped == 0).flatten(2)
    assert torch.equal(gone.all(2), gone.any(2))
    assert 4 <= int(gone.all(2).sum()) <= 20
    assert torch.equal(dropped[~gone.all(2)], features[~gone.all(2)] * 2.0)


def test_a_trained_model_embeds_pictures(pairs_folder: Path, tmp_path: Path) -> None:
    model: Encoder = train_retrieval(_settings(tmp_path, pairs_folder, steps=2))
    loaded = load_model(str(tmp_path))
    with torch.inference_mode():
        images = torch.rand(1, 3, 32, 128, generator=torch.Generator().manual_seed(0))
        assert torch.equal(loaded(images, "aerial"), model(images, "aerial"))
    assert float(loaded.ground_mean.abs().max()) > 0


def test_the_head_alone_learns_from_the_trunks_output_as_from_pictures(
    pairs_folder: Path, tmp_path: Path
) -> None:
    chosen = _settings(tmp_path / "kept", pairs_folder, trunk_share=0.0, learning_rate=5e-3, **_STILL)
    front, model = _filled(chosen)
    views = front.make(_rows(), 1, 0, torch.device("cpu"))
    images = torch.stack([front.pairs.queries[number][0] for number in range(8)])
    with torch.inference_mode():
        model.eval()
        torch.testing.assert_close(
            front.back(views.ground, "ground"), model(images, "ground"), rtol=2e-2, atol=2e-2
        )
    trained = train_retrieval(chosen)
    alike = train_retrieval(replace(chosen, out=tmp_path / "whole", front_versions=0))
    for name, weight in trained.state_dict().items():
        torch.testing.assert_close(alike.state_dict()[name], weight, rtol=5e-2, atol=5e-3, msg=name)
    assert not torch.equal(trained.fold.weight, model.fold.weight)  # type: ignore[union-attr,arg-type]
