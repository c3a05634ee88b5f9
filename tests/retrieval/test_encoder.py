"""What every family of models has to keep."""

import json
from pathlib import Path

import pytest
import torch

from smdt.errors import ConfigError, ModelError
from smdt.retrieval.embedding import centre_queries, embed_aerial, embed_ground, embed_mapped
from smdt.retrieval.encoder import VIEWS, Encoder, EncoderConfig
from smdt.retrieval.matching import aligned_scores, best_turn, circular_scores, turn_strips
from smdt.retrieval.models import CONFIG_FILE, create_model, fingerprint, load_model, save_model

SMALL = {"name": "small", "height_px": 32, "width_px": 128, "tile_px": 64}
FAMILIES = {
    "siamese": {**SMALL, "backbone": "test_efficientnet", "strip_channels": 4},
    "transformer": {"variant": "tiny"},
    "safa": {**SMALL, "backbone": "test_efficientnet", "heads": 2},
    "sample4geo": {**SMALL, "backbone": "test_convnext"},
}
GLOBAL = [family for family in FAMILIES if family != "siamese"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def models() -> dict[str, Encoder]:
    torch.manual_seed(0)
    return {family: create_model(family, settings).eval() for family, settings in FAMILIES.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_strips_have_the_channels_and_columns_that_the_model_names(
    models: dict[str, Encoder], family: str
) -> None:
    model = models[family]
    for view in VIEWS:
        images = torch.rand(2, 3, *model.config.image_shape(view))
        assert model(images, view).shape == (2, model.channels, model.columns)
    assert model.ground_mean.shape == (model.channels,)
    assert model.finds_heading == (family == "siamese")
    assert all(isinstance(trunk, torch.nn.Module) for trunk in model.trunks())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_any_family_comes_back_from_its_folder(
    models: dict[str, Encoder], family: str, tmp_path: Path
) -> None:
    model = models[family]
    save_model(model, tmp_path, {})
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["family"] == family
    loaded = load_model(str(tmp_path))
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert fingerprint(loaded) == fingerprint(model)
    images = torch.rand(1, 3, 32, 128)
    torch.testing.assert_close(embed_ground(loaded, images), embed_ground(model, images))


@pytest.mark.parametrize("family", GLOBAL)
def test_global_descriptors_are_strips_of_one_column_and_unit_norm(
    models: dict[str, Encoder], family: str
) -> None:
    strips = embed_ground(models[family], torch.rand(3, 3, 32, 128))
    assert strips.shape[2] == 1
    torch.testing.assert_close(strips.norm(dim=1), torch.ones(3, 1), atol=1e-2, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mirrored_model_compares_both_mirror_images(models: dict[str, Encoder], family: str) -> None:
    plain = models[family]
    mirrored = create_model(family, {**FAMILIES[family], "mirrored": True}).eval()
    mirrored.load_state_dict(plain.state_dict())
    assert fingerprint(mirrored) != fingerprint(plain)  # other descriptors
    for view, embed in zip(VIEWS, (embed_ground, embed_mapped), strict=True):
        images = torch.rand(2, 3, *plain.config.image_shape(view))
        own, other = embed(mirrored, images).chunk(2, dim=1)
        torch.testing.assert_close(own, embed(plain, images))
        torch.testing.assert_close(other, embed(plain, images.flip(-1)).flip(-1))
        torch.testing.assert_close(embed(mirrored, images.flip(-1)), torch.cat([other, own], dim=1).flip(-1))
        assert mirrored(images, view).shape == plain(images, view).shape  # what a training learns by


def test_a_mirrored_model_s_columns_are_those_of_the_picture(models: dict[str, Encoder]) -> None:
    mirrored = create_model("siamese", {**FAMILIES["siamese"], "mirrored": True}).eval()
    mirrored.load_state_dict(models["siamese"].state_dict())
    picture = torch.full((1, 3, 32, 128), 0.5)
    post = picture.clone()
    post[..., 80:96] = 1.0  # the sixth of eight columns
    changed = (embed_ground(mirrored, post) - embed_ground(mirrored, picture)).square()
    for half in changed.chunk(2, dim=1):
        assert int(half.sum(1).argmax()) == 5


def test_a_mirrored_model_s_mean_is_one_for_both_images() -> None:
    settings = {**FAMILIES["siamese"], "mirrored": True, "remove_mean": True}
    model = create_model("siamese", settings).eval()
    model.ground_mean.copy_(torch.rand(model.channels))
    strips = torch.rand(2, 2 * model.channels, model.columns)
    left, right = centre_queries(model, strips).chunk(2, dim=1)
    torch.testing.assert_close(left, strips[:, : model.channels] - model.ground_mean[:, None])
    torch.testing.assert_close(right, strips[:, model.channels :] - model.ground_mean[:, None])


def test_one_column_is_scored_by_cosine_at_its_only_turn_and_gives_no_heading() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.nn.functional.normalize(torch.randn(3, 8, 1, generator=generator), dim=1)
    references = torch.nn.functional.normalize(torch.randn(5, 8, 1, generator=generator), dim=1)
    cosine = queries[..., 0] @ references[..., 0].T
    torch.testing.assert_close(aligned_scores(queries, references), cosine)
    score, heading = best_turn(circular_scores(queries, references))
    torch.testing.assert_close(score, cosine)
    assert heading.isnan().all()
    torch.testing.assert_close(turn_strips(queries, torch.tensor([0.0, 90.0, 200.0])), queries)


def test_a_model_without_a_mapping_sees_the_square_tile(models: dict[str, Encoder]) -> None:
    model = models["sample4geo"]
    tiles = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(embed_aerial(model, tiles, 60.0), embed_mapped(model, tiles / 255.0))
    doubled = tiles.repeat_interleave(2, 2).repeat_interleave(2, 3)  # resized back, nearly the same picture
    alike = (embed_aerial(model, tiles, 60.0) * embed_aerial(model, doubled, 60.0)).sum(1)
    assert float(alike.min()) > 0.9


def test_images_are_normalised_by_the_model(models: dict[str, Encoder]) -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    torch.testing.assert_close(models["transformer"].normalise_pixels(mean), torch.zeros(1, 3, 4, 4))


def test_only_an_unmapped_aerial_image_is_square() -> None:
    class Config(EncoderConfig):
        pass

    assert Config("x").image_shape("aerial") == Config("x").image_shape("ground") == (128, 512)
    assert Config("x", mapping="none", tile_px=384).image_shape("aerial") == (384, 384)
    assert Config("x", mapping="none").image_shape("ground") == (128, 512)


def test_unknown_families_and_settings_are_named() -> None:
    with pytest.raises(ModelError, match="family 'resnet' is unknown; choose from siamese, "):
        create_model("resnet", {"name": "x"})
    with pytest.raises(ConfigError, match="mapping 'cylinder' is unknown"):
        create_model("safa", {"name": "x", "mapping": "cylinder"})
    with pytest.raises(ConfigError, match="has no variant 'huge'; choose from VGG16"):
        create_model("safa", {"variant": "huge"})
    with pytest.raises(ModelError, match="so its aerial images are mapped"):
        create_model("siamese", {"name": "x", "mapping": "none"})
