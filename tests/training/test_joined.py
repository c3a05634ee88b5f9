"""Stages 1 to 3 in the training of stage 4: Ig′ in the aerial branch, keep and remove pictures in the ground branch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from smdt.alignment.cgan_models import load_cgan, save_cgan
from smdt.alignment.dual_cgan import DualCgan, DualCganConfig
from smdt.alignment.label_cache import PanoramaLabels
from smdt.config import load_settings
from smdt.data import open_split
from smdt.data.images import PairImages
from smdt.errors import ConfigError, ModelError, SmdtError
from smdt.evaluate import EvaluateConfig, evaluate, view_settings
from smdt.retrieval.aerial_views import aerial_views, attach_ground_views, ground_view_of
from smdt.retrieval.embedding import embed_aerial, embed_mapped
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.models import create_model, fingerprint, load_model, save_model
from smdt.training.retrieval import RetrievalTrainer, RetrievalTraining, train_retrieval
from smdt.world.store import write_place

_SMALL: dict[str, Any] = {
    "family": "compact",
    "steps": 3,
    "batch": 4,
    "height_px": 32,
    "width_px": 128,
    "strip_channels": 8,
    "model": {"backbone": "test_efficientnet", "tile_px": 64},
    "dataset": "folder",
    "log_every": 1,
    "workers": 0,
    "accelerator": "cpu",
    "freeze": (),
    "turn_deg": 0.0,
    "narrow_share": 0.0,
    "learning_rate": 5e-3,
}
_GAN = {"height_px": 32, "width_px": 64, "generator_filters": 4, "encoder_blocks": 1, "decoder_blocks": 1}


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dual conditional GAN with random weights, for tiles of 60 m."""
    folder = tmp_path_factory.mktemp("gans") / "gan"
    model = DualCgan(
        DualCganConfig(name="tiny-gan", mapping="polar", tile_side_m=60.0, **_GAN),  # type: ignore[arg-type]
        judged=False,
        generator=torch.Generator().manual_seed(3),
    )
    save_cgan(model, folder, {})
    return folder


def write_set(root: Path, ground_seed: int) -> Path:
    """Eight pairs of noise in the folder layout; their aerial halves do not depend on the ground's seed."""
    for view, size, seed in (("aerial", (64, 64), 0), ("ground", (64, 176), ground_seed)):
        rng = np.random.default_rng([seed, size[1]])
        (root / view).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / view / f"p{number}.png")
    return root


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "one", 1)


def model_with(gan: Path | str, aerial_input: str, family: str = "compact", **settings: Any) -> Encoder:
    torch.manual_seed(0)
    own = {"variant": "tiny-patch"} if family == "transformer" else {"backbone": "test_efficientnet"}
    sizes = {"name": "small", "height_px": 32, "width_px": 128, "tile_px": 64, "tile_side_m": 60.0}
    given = {**sizes, **own, "aerial_input": aerial_input, "cgan": str(gan), **settings}
    model = create_model(family, given).eval()
    attach_ground_views(model)
    return model


def tiles(count: int = 2) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("family", ["compact", "transformer"])
def test_a_model_of_both_begins_as_one_of_the_mapped_tile_and_adds_the_other_strip(
    family: str, gan: Path
) -> None:
    both, mapped, made = (
        model_with("" if one == "mapped" else gan, one, family) for one in ("both", "mapped", "ground_view")
    )
    for other in (mapped, made):
        other.load_state_dict(both.state_dict(), strict=False)
    assert aerial_views(both, tiles(), 60.0).shape == (2, 6, 32, 128)
    strip = embed_aerial(both, tiles(), 60.0)
    torch.testing.assert_close(strip, embed_aerial(mapped, tiles(), 60.0), rtol=1e-2, atol=1e-3)  # bfloat16
    assert both.ground_view_weight is not None
    with torch.no_grad():
        both.ground_view_weight.fill_(0.5)
    together = embed_aerial(both, tiles(), 60.0)
    torch.testing.assert_close(
        together, strip + 0.5 * embed_aerial(made, tiles(), 60.0), rtol=1e-2, atol=1e-3
    )
    assert float((strip - embed_aerial(made, tiles(), 60.0)).abs().max()) > 0.05


def test_the_ground_view_is_that_of_the_tile_cut_to_the_gans_side(gan: Path) -> None:
    model = model_with(gan, "ground_view")
    wide = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    wide[:, :, 32:96, 32:96] = tiles(1)
    torch.testing.assert_close(aerial_views(model, wide, 120.0), aerial_views(model, tiles(1), 60.0))
    with pytest.raises(SmdtError, match="covers 30 m, and the model wants 60 m"):
        aerial_views(model, tiles(1), 30.0)


@pytest.mark.parametrize("aerial_input", ["ground_view", "both"])
def test_no_leak_descriptors_of_references_are_the_same_whatever_the_ground_images_are(
    aerial_input: str, gan: Path, pairs: Path, tmp_path: Path
) -> None:
    model = model_with(gan, aerial_input)
    if model.ground_view_weight is not None:
        torch.nn.init.ones_(model.ground_view_weight)
    other = write_set(tmp_path / "two", 2)
    found, queries = [], []
    for root in (pairs, other):
        split = open_split("folder", root, "all")
        views = view_settings(model, EvaluateConfig())
        images = PairImages(split, "reference", views, ground_view_of(model))
        found.append(embed_mapped(model, torch.stack([images[number][0] for number in range(8)])))
        queries.append(PairImages(split, "query", views)[0][0])
        assert evaluate(model, split).queries == 8
    assert torch.equal(found[0], found[1])
    assert not torch.equal(queries[0], queries[1])
    assert not torch.equal(found[0][0], found[0][1])


def test_a_data_sets_references_and_an_indexs_tiles_are_embedded_alike(gan: Path, pairs: Path) -> None:
    model = model_with(gan, "both")
    torch.nn.init.ones_(model.ground_view_weight)  # type: ignore[arg-type]
    split = open_split("folder", pairs, "all")
    views = replace(view_settings(model, EvaluateConfig()), half_side_m=40.0)
    image = PairImages(split, "reference", views, ground_view_of(model))[3][0]
    pixels = np.asarray(Image.open(pairs / "aerial" / "p3.png"))
    tile = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    torch.testing.assert_close(embed_mapped(model, image[None]), embed_aerial(model, tile, 80.0))


def test_a_model_and_its_gan_may_be_moved_together_and_a_missing_or_other_one_is_named(
    gan: Path, tmp_path: Path
) -> None:
    shutil.copytree(gan, tmp_path / "a" / "gan")
    model = model_with(tmp_path / "a" / "gan", "both")
    save_model(model, tmp_path / "a" / "model", {})
    (tmp_path / "a").rename(tmp_path / "b")
    moved = load_model(str(tmp_path / "b" / "model"))
    assert fingerprint(moved) == fingerprint(model)
    assert moved.ground_views is not None
    assert fingerprint(moved) != fingerprint(model_with("dual-cgan", "both"))
    other = DualCgan(load_cgan(str(gan)).config, judged=False, generator=torch.Generator().manual_seed(4))
    save_cgan(other, tmp_path / "b" / "gan", {})
    with pytest.raises(ModelError, match=r"is not the dual conditional GAN that 'small' was trained with"):
        load_model(str(tmp_path / "b" / "model"))
    shutil.rmtree(tmp_path / "b" / "gan")
    with pytest.raises(ModelError, match=r"\.\./gan: model 'small' reads ground views.*put its folder there"):
        load_model(str(tmp_path / "b" / "model"))


def test_a_model_without_its_gan_attached_says_so(gan: Path) -> None:
    model = create_model("compact", {"name": "x", "aerial_input": "both", "cgan": str(gan)})
    with pytest.raises(ModelError, match="nothing that makes them is attached"):
        embed_aerial(model, tiles(), 60.0)


@pytest.mark.parametrize(
    ("align", "named"),
    [
        ({"aerial_input": "sideways", "cgan": "dual-cgan"}, "cannot read 'sideways'"),
        ({"aerial_input": "both"}, "cgan: .*no model is named.*dual-cgan"),
        ({"aerial_input": "both", "cgan": "nowhere"}, "nowhere: .*no such model.*put its folder there"),
        ({"cgan": "dual-cgan"}, r"align\.aerial_input: .*mapped tile alone"),
        ({"maping": "polar"}, "align, maping: unknown setting 'maping'"),
        ({"keep_share": 0.8, "remove_share": 0.4}, "cannot be"),
        ({"keep_share": 0.1, "keep_classes": ("river",)}, "there is no class 'river'"),
        ({"keep_share": 0.1}, "no labels for this panorama.*name a segmenter"),
        ({"keep_share": 0.1, "segmenter": "nowhere"}, "nowhere: no such segmenter"),
        ({"mapping": "none", "aerial_input": "both", "cgan": "dual-cgan"}, "mapping: .*panorama's frame"),
    ],
)
def test_what_cannot_be_joined_is_named(
    align: dict[str, Any], named: str, pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(SmdtError, match=named):
        RetrievalTrainer(RetrievalTraining(tmp_path, root=pairs, align=align, **_SMALL))


def test_align_wins_over_the_settings_it_stands_beside(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(
        "mapping: polar\nkeep_share: 0.2\nalign: {mapping: mixed, remove_share: 0.3, cache: views}\n"
    )
    aligned = load_settings(RetrievalTraining, file, {"out": tmp_path}).aligned()
    assert (aligned.mapping, aligned.keep_share, aligned.remove_share) == ("mixed", 0.2, 0.3)
    assert aligned.cache == Path("views")
    file.write_text("align: polar\n")
    with pytest.raises(ConfigError, match="'align' is"):
        load_settings(RetrievalTraining, file, {"out": tmp_path})


@pytest.mark.parametrize("front_versions", [0, 2])
def test_a_training_with_both_learns_the_weight_fills_the_cache_once_and_goes_on(
    front_versions: int, gan: Path, pairs: Path, tmp_path: Path
) -> None:
    align = {"mapping": "polar", "aerial_input": "both", "cgan": str(gan), "cache": str(tmp_path / "cache")}
    settings = RetrievalTraining(
        tmp_path / "whole", root=pairs, align=align, front_versions=front_versions, save_every=1, **_SMALL
    )
    model = train_retrieval(settings)
    assert model.ground_view_weight is not None
    assert float((model.ground_view_weight.detach() - 0.5).abs().max()) > 1e-3
    assert len(list((tmp_path / "cache").rglob("*.png"))) == 8
    loaded = load_model(str(tmp_path / "whole"))
    assert loaded.config.cgan_fingerprint == model.config.cgan_fingerprint
    torch.testing.assert_close(
        embed_aerial(loaded, tiles(), 60.0), embed_aerial(model, tiles(), 60.0), rtol=1e-3, atol=1e-3
    )

    def stop(step: int, _: dict[str, float]) -> None:
        if step == 2:
            raise InterruptedError

    stopped = replace(settings, out=tmp_path / "stopped")
    with pytest.raises(InterruptedError):
        train_retrieval(stopped, stop)
    moved = shutil.copytree(gan, tmp_path / "moved")
    again = {**align, "cgan": str(moved), "cache": str(tmp_path / "cache")}
    train_retrieval(replace(stopped, resume=True, align=again))
    assert fingerprint(load_model(str(tmp_path / "stopped"))) == fingerprint(loaded)


def test_the_weight_of_the_ground_view_begins_where_it_is_told(
    gan: Path, pairs: Path, tmp_path: Path
) -> None:
    align = {"aerial_input": "both", "cgan": str(gan)}
    for given, begins in (({}, 0.5), ({"ground_view_start": 0.25}, 0.25)):
        trainer = RetrievalTrainer(RetrievalTraining(tmp_path, root=pairs, align=align | given, **_SMALL))
        assert trainer.model.ground_view_weight is not None
        assert torch.equal(trainer.model.ground_view_weight.detach(), torch.full((8,), begins))


def test_a_training_on_places_makes_the_ground_views_of_its_tiles(
    crossroads: Callable[..., Any], gan: Path, tmp_path: Path
) -> None:
    write_place(crossroads().open(), tmp_path / "place")
    worlds = {
        **_SMALL,
        "dataset": "worlds",
        "town_seeds": (),
        "places": (tmp_path / "place",),
        "tile_side_m": 60.0,
        "tile_factors": (1.0, 1.2),
    }
    for aerial_input, channels in (("ground_view", 3), ("both", 6)):
        align = {"aerial_input": aerial_input, "cgan": str(gan), "keep_share": 0.5, "remove_share": 0.5}
        trainer = RetrievalTrainer(RetrievalTraining(tmp_path / aerial_input, align=align, **worlds))
        seen = trainer.views.make(_one(trainer), None, 1, 0, torch.device("cpu"))
        assert seen.aerial.shape == (4, channels, 32, 128)
        train_retrieval(trainer.settings)
        assert load_model(str(tmp_path / aerial_input)).config.aerial_input == aerial_input


def _one(trainer: RetrievalTrainer) -> Any:
    from smdt.training.loop import Loop
    from smdt.training.processes import start_fabric

    batch = next(trainer.batches(Loop(trainer, trainer.settings, start_fabric("cpu", 1, 1, "32-true")), 1))
    assert batch.aerial_side_m in (60.0, 72.0)  # type: ignore[union-attr]
    return batch


def test_keep_and_remove_pictures_come_from_a_segmenter_where_there_are_no_labels(
    pairs: Path, tmp_path: Path
) -> None:
    align = {
        "keep_share": 0.5, "remove_share": 0.5, "segmenter": "town", "cache": str(tmp_path / "labels"),
        "remove_classes": ["sky", "vegetation", "road", "building", "object", "pole"],
    }  # fmt: skip
    settings = RetrievalTraining(tmp_path / "m", root=pairs, align=align, **_SMALL)
    train_retrieval(settings)
    trainer = RetrievalTrainer(settings)
    assert trainer.epochs is not None
    batch = trainer.epochs.pairs[[0, 1, 2]]
    labeller = trainer.epochs.pairs.labeller
    assert labeller is not None
    assert (labeller.made, labeller.found) == (0, 3)
    fresh = PanoramaLabels("town").of_panorama(batch.ground[1], trainer.epochs.pairs.split.elevation_deg)
    assert torch.equal(batch.labels[1], fresh.long())
    plain = RetrievalTrainer(replace(settings, align={}))
    views = [one.views.make(batch, batch.labels, 1, 0, torch.device("cpu")) for one in (trainer, plain)]
    assert torch.equal(views[0].aerial, views[1].aerial)


def test_an_unmapped_compact_model_pools_both_views_and_trains_from_its_front(
    pairs: Path, tmp_path: Path
) -> None:
    settings = RetrievalTraining(
        tmp_path / "raw", root=pairs, align={"mapping": "none"}, front_versions=1, **_SMALL
    )
    model = train_retrieval(settings)
    assert (model.columns, model.finds_heading) == (1, False)
    strips = embed_aerial(load_model(str(tmp_path / "raw")), tiles(), 60.0)
    assert strips.shape == (2, 8, 1)
    with pytest.raises(ConfigError, match="square tile cannot be turned"):
        replace(settings, turn_both=True)
