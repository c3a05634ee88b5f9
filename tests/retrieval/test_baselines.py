import pytest
import torch

from smdt.errors import ConfigError, ModelError
from smdt.retrieval.baselines import Safa, SharedBackbone, SpatialAttention
from smdt.retrieval.models import create_model

SMALL = {"name": "small", "backbone": "test_efficientnet", "height_px": 32, "width_px": 128}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def safa(**settings: object) -> Safa:
    model = create_model("safa", {**SMALL, **settings}).eval()
    assert isinstance(model, Safa)
    return model


def test_weights_of_places_by_hand() -> None:
    """Two places, strongest 3 and 5; between them 3·1 + 5·2 + 0.5 = 13.5; weights 13.5·(1, -1) + (0, 4)."""
    attention = SpatialAttention(2, 1)
    with torch.no_grad():
        attention.narrow.copy_(torch.tensor([[[1.0], [2.0]]]))
        attention.narrow_bias.fill_(0.5)
        attention.wide.copy_(torch.tensor([[[1.0, -1.0]]]))
        attention.wide_bias.copy_(torch.tensor([[0.0, 4.0]]))
        features = torch.tensor([[[3.0, 2.0], [-1.0, 5.0]]])
        torch.testing.assert_close(attention(features), torch.tensor([[[13.5, -9.5]]]))


def test_each_head_sums_the_features_over_places_by_its_weights() -> None:
    model = safa(heads=3)
    images = torch.rand(2, 3, 32, 128)
    with torch.inference_mode():
        features = model.backbones["ground"](model.normalise_pixels(images))[0]
        weights = model.attentions["ground"](features.flatten(2)).view(2, 3, *features.shape[2:])
        parts = [(features * weights[:, head, None]).sum((2, 3)) for head in range(3)]
        expected = torch.stack(parts, 2).flatten(1)
        expected = expected / expected.norm(dim=1, keepdim=True)
        torch.testing.assert_close(model(images, "ground")[..., 0], expected, atol=1e-5, rtol=1e-4)


def test_views_of_safa_share_nothing() -> None:
    model = safa()
    model.train()
    model(torch.rand(2, 3, 32, 128), "aerial").sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (".ground." in name), name


def test_the_published_safa_has_4096_numbers_of_vgg16_at_stride_32() -> None:
    with torch.device("meta"):
        model = create_model("safa", {"variant": "VGG16"})
    assert isinstance(model, Safa)
    assert model.channels == 4096
    attention = model.attentions["ground"]
    assert isinstance(attention, SpatialAttention)
    assert attention.narrow.shape == (8, 3 * 19, (3 * 19) // 2)  # 112/32 = 3, 616/32 = 19


def test_both_views_go_through_the_same_backbone() -> None:
    model = create_model("sample4geo", {**SMALL, "backbone": "test_convnext", "tile_px": 64}).eval()
    assert isinstance(model, SharedBackbone)
    square = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(square, "ground"), model(square, "aerial"))
        assert model(torch.rand(1, 3, 32, 128), "ground").shape == (1, model.channels, 1)
    assert model.config.mapping == "none"


def test_unfit_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="have one feature at stride 32"):
        safa(stride=32, width_px=32)
    with pytest.raises(ConfigError, match="heads: a descriptor needs a head"):
        safa(heads=0)
    with pytest.raises(ModelError, match="test_efficientnet: this backbone gives no stride-6 feature map"):
        safa(stride=6)
    with pytest.raises(ModelError, match="no_such_net: timm has no such backbone"):
        create_model("sample4geo", {"name": "x", "backbone": "no_such_net"})
    with pytest.raises(
        ModelError, match="vit_tiny_patch16_224: this backbone does not take images of both sizes"
    ):
        create_model("sample4geo", {**SMALL, "backbone": "vit_tiny_patch16_224", "tile_px": 64})
