import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from smdt import torchvision_guard
from smdt.errors import ConfigError
from smdt.retrieval.models import read_config
from smdt.retrieval.stem import HybridStem, Norm, StandardisedConv, StemSettings
from smdt.retrieval.transformer import Layer, SelfCrossAttention, Transformer, TransformerConfig

PUBLISHED = {
    "R50-ViT-B_16": (97_954_624, 257),
    "ViT-B_16": (85_863_168, 257),
    "ViT-B_32": (87_485_184, 65),
    "ViT-L_16": (303_412_224, 257),
    "R50-ViT-L_16": (315_569_216, 257),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def config_of(variant: str, **settings: object) -> TransformerConfig:
    config = read_config(TransformerConfig, {"variant": variant, **settings})
    assert isinstance(config, TransformerConfig)
    return config


def tiny(variant: str = "tiny", **settings: object) -> Transformer:
    torch.manual_seed(0)
    return Transformer(config_of(variant, **settings)).eval()


def plain_attention(queries: Tensor, keys: Tensor, values: Tensor, attention: SelfCrossAttention) -> Tensor:
    """Head by head, from the formula, in float64."""
    weights = {name: value.double() for name, value in attention.state_dict().items()}

    def linear(name: str, tokens: Tensor) -> Tensor:
        mapped = torch.einsum("btd,ed->bte", tokens.double(), weights[f"{name}.weight"])
        return mapped + weights[f"{name}.bias"]

    q, k, v = linear("query", queries), linear("key", keys), linear("value", values)
    part = q.shape[2] // attention.heads
    heads = []
    for first in range(0, q.shape[2], part):
        cut = slice(first, first + part)
        shares = (torch.einsum("btd,bsd->bts", q[..., cut], k[..., cut]) / math.sqrt(part)).exp()
        shares = shares / shares.sum(2, keepdim=True)
        heads.append(torch.einsum("bts,bsd->btd", shares, v[..., cut]))
    return linear("out", torch.cat(heads, 2))


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_sizes_have_the_published_parameters_and_tokens(variant: str) -> None:
    parameters, tokens = PUBLISHED[variant]
    with torch.device("meta"):
        model = Transformer(config_of(variant))
    for view in ("ground", "aerial"):
        encoder = model.encoders[view]
        assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters
        assert encoder.positions.shape[1] == tokens


def test_a_forward_pass_of_the_published_model_takes_56_8_gflop() -> None:
    with torch.device("meta"):
        model = Transformer(config_of("R50-ViT-B_16")).eval()
        image = torch.zeros(1, 3, 128, 512)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(image, "ground")
    assert counter.get_total_flops() / 1e9 == pytest.approx(56.8, abs=0.05)


def test_attention_is_the_formula() -> None:
    torch.manual_seed(1)
    attention = SelfCrossAttention(24, 3).eval()
    queries, keys, values = torch.randn(2, 5, 24), torch.randn(2, 7, 24), torch.randn(2, 7, 24)
    expected = plain_attention(queries, keys, values, attention)
    torch.testing.assert_close(attention(queries, keys, values).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("values_from", ["previous", "own"])
def test_a_layer_looks_up_in_the_input_of_the_layer_before(values_from: str) -> None:
    torch.manual_seed(2)
    layer = Layer(config_of("tiny", values_from=values_from)).eval()
    for norm in (layer.query_norm, layer.key_norm):  # unlike, as in a trained model
        torch.nn.init.normal_(norm.weight, 1.0, 0.3)
    tokens, previous = torch.randn(2, 6, 32), torch.randn(2, 6, 32)
    own, before = layer.query_norm(tokens), layer.key_norm(previous)
    attended = plain_attention(own, before, before if values_from == "previous" else own, layer.attention)
    between = tokens.double() + attended
    expected = between.float() + layer.mlp(layer.mlp_norm(between.float()))
    torch.testing.assert_close(layer(tokens, previous), expected, atol=1e-5, rtol=1e-5)


def test_the_first_layer_looks_up_in_its_own_input_and_the_third_in_the_second_s() -> None:
    encoder = tiny("tiny-patch", depth=3).encoders["ground"]
    seen: list[tuple[Tensor, Tensor]] = []
    for layer in encoder.layers:
        layer.register_forward_pre_hook(lambda _, given: seen.append(given))
    with torch.inference_mode():
        encoder(torch.randn(1, 3, 32, 128))
    assert seen[0][1] is seen[0][0]
    assert seen[1][1] is seen[0][0]
    assert seen[2][1] is seen[1][0]
    assert seen[2][0] is not seen[1][0]


def test_tokens_keep_their_order_and_their_positions() -> None:
    """A patch moved to another place changes the descriptor by its position alone."""
    model = tiny("tiny-patch")
    image = torch.zeros(1, 3, 32, 128)
    image[..., :16, :16] = 1.0
    moved = torch.roll(image, 64, dims=-1)
    with torch.inference_mode():
        assert not torch.allclose(model(image, "ground"), model(moved, "ground"), atol=1e-4)
        model.encoders["ground"].positions.zero_()
        torch.testing.assert_close(model(image, "ground"), model(moved, "ground"))


def test_a_descriptor_is_one_column_of_unit_norm() -> None:
    model = tiny()
    strips = model(torch.rand(3, 3, 32, 128), "ground")
    assert strips.shape == (3, 32, 1)
    assert (model.channels, model.columns, model.finds_heading) == (32, 1, False)
    torch.testing.assert_close(strips.norm(dim=1), torch.ones(3, 1))


def test_the_two_encoders_share_nothing() -> None:
    model = tiny()
    assert sum(p.numel() for p in model.parameters()) == 2 * sum(
        p.numel() for p in model.encoders["ground"].parameters()
    )
    model(torch.rand(2, 3, 32, 128), "ground").sum().backward()
    assert all(parameter.grad is None for parameter in model.encoders["aerial"].parameters())
    assert all(parameter.grad is not None for parameter in model.encoders["ground"].parameters())


def test_dropout_is_for_training_only() -> None:
    model, image = tiny(), torch.rand(1, 3, 32, 128)
    assert torch.equal(model(image, "ground"), model(image, "ground"))
    model.train()
    assert not torch.equal(model(image, "ground"), model(image, "ground"))
    bare = tiny(dropout=0.0).train()
    assert torch.equal(bare(image, "ground"), bare(image, "ground"))


def test_a_square_aerial_image_has_a_grid_of_its_own() -> None:
    model = tiny(mapping="none")
    assert model.encoders["aerial"].positions.shape[1] == 4 * 4 + 1
    assert model.encoders["ground"].positions.shape[1] == 2 * 8 + 1
    assert model(torch.rand(1, 3, 64, 64), "aerial").shape == (1, 32, 1)


def test_kernels_have_zero_mean_and_unit_variance() -> None:
    torch.manual_seed(3)
    conv = StandardisedConv((3, 4), 3, 1, StemSettings(conv_eps=0.0))
    torch.nn.init.normal_(conv.weight, 5.0, 7.0)
    taps = torch.eye(27).view(27, 3, 3, 3)  # each image shows one tap of each kernel at its centre
    answers = conv(taps)[:, :, 1, 1]
    torch.testing.assert_close(answers.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(answers.var(0, correction=0), torch.ones(4))


def test_the_stem_with_the_arithmetic_of_imagenet_weights_is_timm_s() -> None:
    torchvision_guard.install()
    from timm.models.vision_transformer_hybrid import _resnetv2

    torch.manual_seed(4)
    theirs = _resnetv2((2, 1, 1)).eval()
    settings = StemSettings((2, 1, 1), 64, 32, 32, True, 1e-5, 1e-5, 1e-8)
    ours = HybridStem(settings).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-1.0, 1.0)
        names, tensors = list(ours.state_dict()), dict(theirs.state_dict())
        their_names = [  # the shortcut stands first there, last here
            *(name for name in tensors if name.startswith("stem.")),
            *(
                f"stages.{stage}.blocks.{block}.{part}.{end}"
                for stage, block in ((0, 0), (0, 1), (1, 0), (2, 0))
                for part, ends in (
                    *((f"{kind}{n}", e) for n in (1, 2, 3) for kind, e in (("conv", 1), ("norm", 2))),
                    *((("downsample.conv", 1), ("downsample.norm", 2)) if block == 0 else ()),
                )
                for end in ("weight", "bias")[:ends]
            ),
        ]
        assert len(names) == len(their_names) == len(tensors)
        ours.load_state_dict({name: tensors[their] for name, their in zip(names, their_names, strict=True)})
        image = torch.randn(1, 3, 48, 64)
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-4, rtol=1e-4)


def test_a_norm_keeps_the_precision_it_is_given() -> None:
    torch.manual_seed(0)
    norm, features = Norm(4, 8), 3.0 + torch.randn(2, 8, 5, 6)
    torch.nn.init.normal_(norm.weight)
    exact = torch.nn.functional.group_norm(features, 4, norm.weight, norm.bias, norm.eps)
    assert torch.equal(norm(features), exact)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = norm(features.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert float((rounded.float() - exact).detach().norm() / exact.detach().norm()) < 0.01


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_the_stem_has_stride_16(padding: str) -> None:
    model = tiny(stem_padding=padding)
    assert model.encoders["ground"].stem(torch.rand(1, 3, 32, 128)).shape == (1, 128, 2, 8)


@pytest.mark.parametrize("variant", ["tiny", "tiny-patch"])
def test_the_encoder_can_be_exported_and_gives_the_same(variant: str) -> None:
    encoder = tiny(variant).encoders["ground"]
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(encoder, (torch.rand(2, 3, 32, 128),), dynamic_shapes=({0: batch},))
    images = torch.rand(3, 3, 32, 128)
    torch.testing.assert_close(program.module()(images), encoder(images))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"heads": 5}, "heads"),
        ({"stem": "conv"}, "stem"),
        ({"values_from": "next"}, "values_from"),
        ({"height_px": 40}, "40×128 pixels are not whole tokens"),
        ({"stem_blocks": (1, 1)}, "stem_blocks"),
        ({"stem_groups": 3}, "stem_width/stem_groups"),
        ({"dropout": 1.0}, "dropout"),
        ({"depth": 0}, "depth"),
        ({"mapping": "cylinder"}, "mapping"),
        ({"variant": "ViT-X"}, "variant"),
        ({"layers": 3}, "unknown setting 'layers'"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Transformer(config_of(str(settings.pop("variant", "tiny")), **settings))


def test_the_default_config_is_the_published_model() -> None:
    named = config_of("R50-ViT-B_16")
    assert replace(TransformerConfig(name="x"), name=named.name) == named
