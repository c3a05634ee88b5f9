from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from smdt.errors import ModelError
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.imagenet_weights import imagenet_lite0_state
from smdt.retrieval.embedding import centre_queries, embed_aerial, embed_ground, embed_mapped
from smdt.retrieval.models import WEIGHTS_FILE, fingerprint, load_model, save_model
from smdt.retrieval.siamese import Siamese, SiameseConfig, build_trunk


def test_imagenet_weights_recognise_what_they_are() -> None:
    """The converted weights give the statistics of a trained network, parameter by parameter, in the right place."""
    state = imagenet_lite0_state()
    assert state["conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["blocks.6.0.conv_pwl.weight"].shape == (320, 1152, 1, 1)
    for name, tensor in state.items():
        if name.endswith("running_var"):
            assert bool((tensor >= 0).all()), name  # a mean or bias in its place would be negative somewhere


def test_imagenet_model_has_896_channels_and_32_columns() -> None:
    model = load_model("imagenet")
    strips = embed_ground(model, torch.rand(1, 3, 128, 512))
    assert strips.shape == (1, 8 * 112, 32)
    assert sum(p.numel() for p in model.trunk.parameters()) < 800_000  # stages behind stride 16 are dropped


def test_turning_a_panorama_by_a_stride_turns_its_strip(tiny_model: Siamese) -> None:
    panorama = torch.rand(1, 3, 32, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        straight = tiny_model(panorama, "ground")
        turned = tiny_model(torch.roll(panorama, -32, dims=-1), "ground")
    alike = torch.nn.functional.cosine_similarity(torch.roll(straight, -2, dims=-1), turned, dim=1)
    assert float(alike.min()) > 0.999
    unlike = torch.nn.functional.cosine_similarity(straight, turned, dim=1)
    assert float(unlike.mean()) < 0.999


def test_ground_and_aerial_have_heads_of_their_own(tiny_model: Siamese) -> None:
    picture = torch.rand(1, 3, 32, 128)
    with torch.inference_mode():
        assert not torch.allclose(tiny_model(picture, "ground"), tiny_model(picture, "aerial"))


def test_aerial_tiles_are_mapped_before_they_are_embedded(tiny_model: Siamese) -> None:
    tiles = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    mapped = map_aerial(tiles, aerial_grid("polar", 64, 32, 128)) / 255.0
    torch.testing.assert_close(embed_aerial(tiny_model, tiles, 60.0), embed_mapped(tiny_model, mapped))


def test_only_untrained_models_have_their_mean_removed(tiny_model: Siamese) -> None:
    strips = torch.rand(2, 8, 8)
    assert torch.equal(centre_queries(tiny_model, strips), strips)
    bare = Siamese(SiameseConfig(name="bare", backbone="test_efficientnet", remove_mean=True))
    strips = torch.rand(2, bare.channels, bare.columns)
    mean = strips.mean((0, 2))
    bare.ground_mean.copy_(mean)
    torch.testing.assert_close(centre_queries(bare, strips), strips - mean[:, None])
    torch.testing.assert_close(
        centre_queries(bare, strips, strips.mean(0)).sum(0), torch.zeros_like(strips[0])
    )


def test_a_model_comes_back_from_its_folder(tiny_model: Siamese, tiny_model_folder: Path) -> None:
    loaded = load_model(str(tiny_model_folder))
    assert loaded.config == tiny_model.config
    assert fingerprint(loaded) == fingerprint(tiny_model)


def test_the_fingerprint_tells_weights_and_settings_apart(tiny_model: Siamese, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path, {})
    state = load_file(tmp_path / WEIGHTS_FILE)
    state["ground_mean"] = state["ground_mean"] + 1e-3
    save_file(state, tmp_path / WEIGHTS_FILE)
    assert fingerprint(load_model(str(tmp_path))) != fingerprint(tiny_model)


def test_unknown_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no such model; name one of imagenet, town"):
        load_model("nowhere")
    with pytest.raises(ModelError, match=r"config\.json: is missing"):
        load_model(str(tmp_path))


def test_damaged_weights_are_named(tiny_model: Siamese, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path, {})
    weights = tmp_path / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="does not hold a model"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("backbone", ["no_such_net", "vit_tiny_patch16_224"])
def test_unfit_backbones_are_named(backbone: str) -> None:
    with pytest.raises(ModelError, match=backbone):
        build_trunk(backbone)


def test_any_convolutional_timm_backbone_will_do() -> None:
    model = Siamese(SiameseConfig(name="x", backbone="resnet18", height_px=32, width_px=128))
    assert model(torch.rand(1, 3, 32, 128), "ground").shape == (1, 2 * 256, 8)
