from pathlib import Path

import pytest
import torch
from torch import Tensor

from smdt.alignment.cgan_cache import GroundViewCache
from smdt.alignment.cgan_models import fingerprint, load_cgan, save_cgan
from smdt.alignment.dual_cgan import (
    DualCgan,
    DualCganConfig,
    class_map,
    ground_views,
    label_picture,
    map_tiles,
)
from smdt.alignment.labels import PALETTE, SKY, VOID
from smdt.errors import ConfigError, ModelError
from smdt.world.aerial import aerial_square, aerial_view
from smdt.world.layers import Place
from smdt.world.moment import Moment

SMALL = {
    "height_px": 32, "width_px": 64, "generator_filters": 4, "discriminator_filters": 4, "encoder_blocks": 1,
    "decoder_blocks": 1, "mapping": "polar",
}  # fmt: skip


def small(**options: object) -> DualCgan:
    config = DualCganConfig(**{**SMALL, **options})  # type: ignore[arg-type]
    return DualCgan(config, generator=torch.Generator().manual_seed(3)).eval()


def tiles(count: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 48, 48), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("loops", [0, 1])
@pytest.mark.parametrize("labels", ["colours", "classes"])
@pytest.mark.parametrize("aerial_to_image", [False, True])
def test_one_image_in_gives_labels_and_an_image_out(labels: str, aerial_to_image: bool, loops: int) -> None:
    model = small(labels=labels, aerial_to_image=aerial_to_image, feedback_loops=loops)
    with torch.no_grad():
        made = model(torch.rand(2, 3, 32, 64))
        assert len(model.passes(torch.rand(1, 3, 32, 64))) == 1 + loops
    assert made.labels.shape == (2, 7 if labels == "classes" else 3, 32, 64)
    assert made.image.shape == (2, 3, 32, 64)
    assert 0.0 <= float(made.image.min()) <= float(made.image.max()) <= 1.0


def test_figure_3_the_image_is_made_of_the_labels_alone_unless_asked() -> None:
    model = small()
    aerial = torch.rand(1, 3, 32, 64) * 2 - 1
    with torch.no_grad():
        labels, image = model.passes(aerial)[-1]
        assert torch.equal(image, model.g2(labels))
        assert not torch.equal(labels, model.passes(-aerial)[-1].labels)


@pytest.mark.parametrize("kind", ["colours", "classes"])
def test_label_pictures_and_class_maps_are_inverse(kind: str) -> None:
    labels = torch.arange(7, dtype=torch.uint8).repeat(2, 3, 1)
    picture = label_picture(labels, kind)
    assert picture.shape == (2, 3 if kind == "colours" else 7, 3, 7)
    assert torch.equal(class_map(picture, kind), labels)


def test_a_colour_between_two_becomes_the_nearer_class() -> None:
    black, road = torch.tensor(PALETTE[VOID]), torch.tensor(PALETTE[2])
    mixed = (0.7 * black + 0.3 * road) / 127.5 - 1
    assert int(class_map(mixed[None, :, None, None], "colours")) == VOID


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"height_px": 40}, "height_px"),
        ({"mapping": "radial"}, "mapping"),
        ({"labels": "names"}, "labels"),
        ({"generator_filters": 0}, "generator_filters"),
        ({"dropout": 1.0}, "dropout"),
        ({"feedback_loops": -1}, "blocks"),
    ],
)
def test_impossible_networks_are_refused(change: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        DualCganConfig(**{**SMALL, **change})  # type: ignore[arg-type]


def test_a_saved_model_loads_and_makes_the_same_pictures(tmp_path: Path) -> None:
    model = small(feedback_loops=1)
    save_cgan(model, tmp_path / "m", {"made": "by a test"})
    first, again = load_cgan(str(tmp_path / "m")), load_cgan(str(tmp_path / "m"))
    assert first.config == model.config
    assert fingerprint(first) == fingerprint(again)
    rounded, _ = ground_views(model.half().float(), tiles())  # as they are stored
    assert torch.equal(ground_views(first, tiles())[0], rounded)


def test_discriminators_are_stored_only_where_feedback_needs_them(tmp_path: Path) -> None:
    save_cgan(small(), tmp_path / "plain", {})
    assert not any(name.startswith("d") for name in load_cgan(str(tmp_path / "plain")).state_dict())


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        load_cgan("nowhere")
    with pytest.raises(ModelError, match=r"config\.json"):
        load_cgan(str(tmp_path))
    save_cgan(small(), tmp_path / "m", {})
    (tmp_path / "m" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="does not hold"):
        load_cgan(str(tmp_path / "m"))


@pytest.mark.parametrize("wrap", [False, True])
def test_it_exports_and_the_export_computes_the_same(wrap: bool) -> None:
    model, image = small(wrap=wrap, labels="classes", aerial_to_image=True), torch.rand(1, 3, 32, 64)
    exported = torch.export.export(model, (image,))
    with torch.no_grad():
        for one, other in zip(exported.module()(image), model(image), strict=True):
            assert torch.allclose(one, other, atol=1e-6)


def test_convention_the_middle_of_a_mapped_tile_looks_north() -> None:
    north = torch.zeros(1, 3, 48, 48, dtype=torch.uint8)
    north[:, :, :20, 20:28] = 255
    mapped = map_tiles(north, DualCganConfig(**SMALL))[0, 0]  # type: ignore[arg-type]
    assert float(mapped[:16, 32].mean()) > 0.5
    assert float(mapped[:16, [0, 16, 48]].max()) == 0.0


def test_the_cache_makes_each_picture_once_and_knows_the_model(tmp_path: Path) -> None:
    model = small()
    cache = GroundViewCache(model, tmp_path)
    first = cache.pictures(tiles())
    assert torch.equal(first, ground_views(model, tiles())[0])
    again = GroundViewCache(model, tmp_path)
    assert torch.equal(again.pictures(tiles().flip(0)), first.flip(0))
    assert (cache.made, cache.found, again.made, again.found) == (2, 0, 0, 2)
    other = GroundViewCache(small(wrap=True), tmp_path)
    other.pictures(tiles())
    assert other.made == 2
    changed = tiles()
    changed[0, 0, 0, 0] ^= 1
    again.pictures(changed)
    assert again.made == 1


def test_a_torn_picture_in_the_cache_is_made_again(tmp_path: Path) -> None:
    cache = GroundViewCache(small(), tmp_path)
    first = cache.pictures(tiles(1))
    path = cache.path_of(tiles(1)[0])
    path.write_bytes(path.read_bytes()[:60])
    assert torch.equal(cache.pictures(tiles(1)), first)
    assert cache.made == 2


def test_the_model_that_ships_puts_sky_above_and_ground_below(small_town: Place) -> None:
    model = load_cgan("dual-cgan")
    overhead = aerial_view(small_town, Moment()).round().byte()
    side_m = model.config.tile_side_m
    tile = aerial_square(overhead, small_town.pixel_m, 120.0, 120.0, side_m, 192)
    image, classes = ground_views(model, tile.round().byte()[None])
    assert image.shape == (1, 3, model.config.height_px, model.config.width_px)
    assert (classes[0, :8] == SKY).float().mean() > 0.9
    assert (classes[0, -8:] == SKY).float().mean() == 0.0
