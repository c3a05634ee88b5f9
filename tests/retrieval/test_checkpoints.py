"""Weights of others: files in their layouts are made here, and judged by independent readings of what they mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from smdt import torchvision_guard
from smdt.app.cli import cli
from smdt.errors import ConfigError, ModelError
from smdt.retrieval.checkpoints import ORIGIN_STEM, import_weights, resize_positions
from smdt.retrieval.encoder import VIEWS
from smdt.retrieval.models import load_model

BLOCKS = (2, 1, 1)
SIZES = {"dim": 32, "heads": 4, "mlp_dim": 64}
HYBRID = {**SIZES, "stem_blocks": BLOCKS, "stem_width": 64, "stem_groups": 32}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def small_timm(depth: int, *, hybrid: bool) -> torch.nn.Module:
    """timm's (hybrid) ViT of the tiny sizes at 32×128, every number random."""
    torchvision_guard.install()
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed, _resnetv2

    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "img_size": (32, 128),
        "patch_size": 16,
        "embed_dim": SIZES["dim"],
        "depth": depth,
        "num_heads": SIZES["heads"],
        "mlp_ratio": 2.0,
        "num_classes": 0,
    }
    if hybrid:
        backbone = _resnetv2(BLOCKS)
        settings |= {
            "patch_size": 1,
            "embed_layer": lambda **given: HybridEmbed(backbone=backbone, **given),
        }
    model = VisionTransformer(**settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3)
    return model


def google_arrays(depth: int, *, hybrid: bool, tokens: int = 17) -> dict[str, np.ndarray]:
    """Random arrays under the names and in the shapes of Google's files."""
    rng = np.random.default_rng(1)
    dim, heads, hidden = SIZES["dim"], SIZES["heads"], SIZES["mlp_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, dim),
        "embedding/kernel": (1, 1, 1024, dim) if hybrid else (16, 16, 3, dim),
        "embedding/bias": (dim,),
        "Transformer/posembed_input/pos_embedding": (1, tokens, dim),
        "Transformer/encoder_norm/scale": (dim,),
        "Transformer/encoder_norm/bias": (dim,),
        "head/kernel": (dim, 5),
        "head/bias": (5,),
        "pre_logits/kernel": (dim, dim),
        "pre_logits/bias": (dim,),
    }
    for layer in range(depth):
        root = f"Transformer/encoderblock_{layer}"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes |= {f"{root}/{norm}/scale": (dim,), f"{root}/{norm}/bias": (dim,)}
        attention = f"{root}/MultiHeadDotProductAttention_1"
        for name in ("query", "key", "value"):
            shapes[f"{attention}/{name}/kernel"] = (dim, heads, dim // heads)
            shapes[f"{attention}/{name}/bias"] = (heads, dim // heads)
        shapes |= {f"{attention}/out/kernel": (heads, dim // heads, dim), f"{attention}/out/bias": (dim,)}
        mlp = f"{root}/MlpBlock_3"
        shapes |= {f"{mlp}/Dense_0/kernel": (dim, hidden), f"{mlp}/Dense_0/bias": (hidden,)}
        shapes |= {f"{mlp}/Dense_1/kernel": (hidden, dim), f"{mlp}/Dense_1/bias": (dim,)}
    if hybrid:
        shapes |= {
            "conv_root/kernel": (7, 7, 3, 64),
            "gn_root/scale": (1, 1, 1, 64),
            "gn_root/bias": (1, 1, 1, 64),
        }
        coming = 64
        for stage, blocks in enumerate(BLOCKS):
            going = 256 * 2**stage
            for block in range(blocks):
                root = f"block{stage + 1}/unit{block + 1}"
                middle = going // 4
                convs = {
                    "conv1": (1, coming, middle),
                    "conv2": (3, middle, middle),
                    "conv3": (1, middle, going),
                }
                norms = {"gn1": middle, "gn2": middle, "gn3": going}
                if block == 0:
                    convs["conv_proj"], norms["gn_proj"] = (1, coming, going), going
                for name, (side, into, out) in convs.items():
                    shapes[f"{root}/{name}/kernel"] = (side, side, into, out)
                for name, out in norms.items():
                    shapes |= {f"{root}/{name}/scale": (1, 1, 1, out), f"{root}/{name}/bias": (1, 1, 1, out)}
                coming = going
    return {name: rng.uniform(-0.3, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def descriptor_of(model: torch.nn.Module, pixels: Tensor) -> Tensor:
    """timm's class token of unit norm."""
    with torch.inference_mode():
        return F.normalize(model.forward_features(pixels)[:, 0], dim=1)  # type: ignore[operator]


@pytest.mark.parametrize("hybrid", [True, False])
def test_timm_weights_of_one_layer_give_timm_s_descriptor(hybrid: bool, tmp_path: Path) -> None:
    """In the first layer self-cross attention is self-attention, so there the two networks are the same one."""
    theirs = small_timm(1, hybrid=hybrid)
    state = theirs.state_dict() | {"head.weight": torch.zeros(5, 32), "head.bias": torch.zeros(5)}
    torch.save(state, tmp_path / "vit.pth")
    settings = {"depth": 1, "name": "x", **(HYBRID | ORIGIN_STEM if hybrid else SIZES)}
    ours = import_weights(tmp_path / "vit.pth", "tiny" if hybrid else "tiny-patch", settings)
    pixels = torch.randn(2, 3, 32, 128)
    for view in VIEWS:
        torch.testing.assert_close(
            ours.encoders[view](pixels), descriptor_of(theirs, pixels), atol=2e-5, rtol=1e-4
        )


@pytest.mark.parametrize("hybrid", [True, False])
def test_google_s_arrays_give_what_timm_makes_of_them(hybrid: bool, tmp_path: Path) -> None:
    np.savez(tmp_path / "vit.npz", **google_arrays(1, hybrid=hybrid))
    theirs = small_timm(1, hybrid=hybrid)
    theirs.load_pretrained(str(tmp_path / "vit.npz"))  # type: ignore[operator]
    settings = {"depth": 1, "name": "x", **(HYBRID | ORIGIN_STEM if hybrid else SIZES)}
    ours = import_weights(tmp_path / "vit.npz", "tiny" if hybrid else "tiny-patch", settings)
    pixels = torch.randn(2, 3, 32, 128)
    torch.testing.assert_close(
        ours.encoders["aerial"](pixels), descriptor_of(theirs, pixels), atol=2e-5, rtol=1e-4
    )
    assert ours.config.values_from == "previous"


def test_the_command_says_what_tiles_the_model_reads(tmp_path: Path) -> None:
    np.savez(tmp_path / "vit.npz", **google_arrays(2, hybrid=False))
    command = ["import-weights", tmp_path / "vit.npz", "--variant", "tiny-patch", "--out", tmp_path / "model"]
    sizes = ["--height", 32, "--width", 128, "--tile-px", 96, "--tile-side-m", 144]
    result = CliRunner().invoke(cli, [str(part) for part in command + sizes], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    config = load_model(tmp_path / "model").config
    assert (config.tile_px, config.tile_side_m) == (96, 144.0)


def test_one_attention_norm_serves_queries_and_keys(tmp_path: Path) -> None:
    arrays = google_arrays(2, hybrid=False)
    np.savez(tmp_path / "vit.npz", **{f"opt/target/{name}": array for name, array in arrays.items()})
    state = import_weights(tmp_path / "vit.npz", "tiny-patch").state_dict()
    scale = torch.from_numpy(arrays["Transformer/encoderblock_1/LayerNorm_0/scale"])
    for view in VIEWS:
        assert torch.equal(state[f"encoders.{view}.layers.1.query_norm.weight"], scale)
        assert torch.equal(state[f"encoders.{view}.layers.1.key_norm.weight"], scale)


def test_positions_are_resized_corner_to_corner() -> None:
    positions = torch.randn(1, 1 + 14 * 14, 5)
    resized = resize_positions(positions, (8, 32))
    grid = positions[0, 1:].reshape(14, 14, 5).numpy()
    expected = ndimage.zoom(grid, (8 / 14, 32 / 14, 1), order=1).reshape(256, 5)
    np.testing.assert_allclose(resized[0, 1:].numpy(), expected, atol=1e-5)
    assert torch.equal(resized[:, 0], positions[:, 0])
    assert torch.equal(resized[0, 1], positions[0, 1])
    assert torch.equal(resized[0, -1], positions[0, -1])


def test_positions_of_imagenet_are_resized_on_import(tmp_path: Path) -> None:
    arrays = google_arrays(2, hybrid=False, tokens=1 + 3 * 3)
    np.savez(tmp_path / "vit.npz", **arrays)
    model = import_weights(tmp_path / "vit.npz", "tiny-patch")
    given = torch.from_numpy(arrays["Transformer/posembed_input/pos_embedding"])
    torch.testing.assert_close(model.encoders["ground"].positions.data, resize_positions(given, (2, 8)))


def published_state(seed: int, depth: int = 3) -> dict[str, Tensor]:
    """One encoder's state dict under the published code's names: stem of one block a stage, 8 channels wide."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.position_embeddings": (1, 17, 32),
        "embeddings.cls_token": (1, 1, 32),
        "embeddings.patch_embeddings.weight": (32, 128, 1, 1),
        "embeddings.patch_embeddings.bias": (32,),
        "embeddings.hybrid_model.root.conv.weight": (8, 3, 7, 7),
        "embeddings.hybrid_model.root.gn.weight": (8,),
        "embeddings.hybrid_model.root.gn.bias": (8,),
        "encoder.encoder_norm.weight": (32,),
        "encoder.encoder_norm.bias": (32,),
    }
    for stage, (coming, going) in enumerate(((8, 32), (32, 64), (64, 128)), start=1):
        root, middle = f"embeddings.hybrid_model.body.block{stage}.unit1", going // 4
        shapes |= {
            f"{root}.conv1.weight": (middle, coming, 1, 1),
            f"{root}.conv2.weight": (middle, middle, 3, 3),
            f"{root}.conv3.weight": (going, middle, 1, 1),
            f"{root}.downsample.weight": (going, coming, 1, 1),
        }
        for norm, count in (("gn1", middle), ("gn2", middle), ("gn3", going), ("gn_proj", going)):
            shapes |= {f"{root}.{norm}.weight": (count,), f"{root}.{norm}.bias": (count,)}
    for layer in range(depth):
        root = f"encoder.layer.{layer}"
        for norm in ("attention_norm_1", "attention_norm_2", "ffn_norm"):
            shapes |= {f"{root}.{norm}.weight": (32,), f"{root}.{norm}.bias": (32,)}
        for name in ("query", "key", "value", "out"):
            shapes |= {f"{root}.attn.{name}.weight": (32, 32), f"{root}.attn.{name}.bias": (32,)}
        shapes |= {f"{root}.ffn.fc1.weight": (64, 32), f"{root}.ffn.fc1.bias": (64,)}
        shapes |= {f"{root}.ffn.fc2.weight": (32, 64), f"{root}.ffn.fc2.bias": (32,)}
    return {
        f"transformer.{name}": torch.rand(shape, generator=generator) * 0.8 - 0.4
        for name, shape in shapes.items()
    }


def published_descriptor(state: dict[str, Tensor], pixels: Tensor, depth: int = 3) -> Tensor:
    """What the published code computes of a state dict, written out: keys of the layer before, values of its own."""
    state = {name.removeprefix("transformer."): value for name, value in state.items()}

    def conv(name: str, images: Tensor, stride: int = 1) -> Tensor:
        kernel = state[f"{name}.weight"]
        flat = kernel.flatten(1)
        flat = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        return F.conv2d(images, flat.view_as(kernel), stride=stride, padding=kernel.shape[-1] // 2)

    def groups(name: str, images: Tensor, count: int, eps: float = 1e-6) -> Tensor:
        return F.group_norm(images, count, state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def linear(name: str, tokens: Tensor) -> Tensor:
        return tokens @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens, (32,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    hybrid = "embeddings.hybrid_model"
    images = groups(f"{hybrid}.root.gn", conv(f"{hybrid}.root.conv", pixels, 2), 4).relu()
    images = F.max_pool2d(images, 3, 2, 1)
    for stage in (1, 2, 3):
        root, stride = f"{hybrid}.body.block{stage}.unit1", 1 if stage == 1 else 2
        kept = conv(f"{root}.downsample", images, stride)
        kept = groups(f"{root}.gn_proj", kept, kept.shape[1], 1e-5)
        for number in (1, 2, 3):
            images = conv(f"{root}.conv{number}", images, stride if number == 2 else 1)
            images = groups(f"{root}.gn{number}", images, 4)
            images = images.relu() if number < 3 else (images + kept).relu()
    name = "embeddings.patch_embeddings"
    images = F.conv2d(images, state[f"{name}.weight"], state[f"{name}.bias"])
    start = state["embeddings.cls_token"].expand(len(pixels), -1, -1)
    tokens = torch.cat([start, images.flatten(2).mT], 1) + state["embeddings.position_embeddings"]
    before = tokens
    for layer in range(depth):
        root = f"encoder.layer.{layer}"
        own, other = norm(f"{root}.attention_norm_1", tokens), norm(f"{root}.attention_norm_2", before)
        before = tokens
        query, key = linear(f"{root}.attn.query", own), linear(f"{root}.attn.key", other)
        value = linear(f"{root}.attn.value", own)
        parts = [
            ((query[..., c : c + 8] @ key[..., c : c + 8].mT) / 8**0.5).softmax(2) @ value[..., c : c + 8]
            for c in range(0, 32, 8)
        ]
        tokens = tokens + linear(f"{root}.attn.out", torch.cat(parts, 2))
        hidden = F.gelu(linear(f"{root}.ffn.fc1", norm(f"{root}.ffn_norm", tokens)))
        tokens = tokens + linear(f"{root}.ffn.fc2", hidden)
    return F.normalize(norm("encoder.encoder_norm", tokens)[:, 0], dim=1)


def published_file(folder: Path, **changed: dict[str, Tensor]) -> Path:
    states = {"model_grd": published_state(1), "model_sat": published_state(2)} | changed
    torch.save(
        {**states, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}}, folder / "checkpoint.pth"
    )
    return folder / "checkpoint.pth"


def test_a_published_checkpoint_gives_the_published_descriptors(tmp_path: Path) -> None:
    model = import_weights(published_file(tmp_path), "tiny", {"depth": 3})
    assert model.config.values_from == "own"
    pixels = torch.randn(2, 3, 32, 128)
    for view, seed in (("ground", 1), ("aerial", 2)):
        expected = published_descriptor(published_state(seed), pixels)
        torch.testing.assert_close(model.encoders[view](pixels), expected, atol=2e-5, rtol=1e-4)
    assert (
        import_weights(
            published_file(tmp_path), "tiny", {"depth": 3, "values_from": "previous"}
        ).config.values_from
        == "previous"
    )


def test_keys_of_a_data_parallel_model_are_the_same_keys(tmp_path: Path) -> None:
    parallel = {f"module.{name}": tensor for name, tensor in published_state(1).items()}
    one = import_weights(published_file(tmp_path, model_grd=parallel), "tiny", {"depth": 3}).state_dict()
    other = import_weights(published_file(tmp_path), "tiny", {"depth": 3}).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_missing_a_misshapen_and_a_spare_tensor_are_named(tmp_path: Path) -> None:
    state = published_state(1)
    key = "transformer.encoder.layer.1.attn.key.weight"
    lacking = {name: tensor for name, tensor in state.items() if name != key}
    with pytest.raises(ModelError, match=rf"checkpoint\.pth: lacks '{key}' \(read as published"):
        import_weights(published_file(tmp_path, model_grd=lacking), "tiny", {"depth": 3})
    with pytest.raises(
        ModelError, match=rf"'{key}' gives 32×31 for layers\.1\.attention\.key\.weight, which takes 32×32"
    ):
        import_weights(
            published_file(tmp_path, model_sat=state | {key: torch.zeros(32, 31)}), "tiny", {"depth": 3}
        )
    with pytest.raises(ModelError, match=r"holds 'transformer\.encoder\.layer\.2\.[a-z_0-9.]+', for which"):
        import_weights(published_file(tmp_path), "tiny", {"depth": 2})


def test_positions_of_another_image_size_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="position_embeddings' gives 1×17×32 for positions, which takes 1×9×32"
    ):
        import_weights(published_file(tmp_path), "tiny", {"depth": 3, "width_px": 64})


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        import_weights(tmp_path / "none.pth", "tiny")
    for name, content in (
        ("a.pth", b"not weights"),
        ("b.npz", b"not weights"),
        ("c.safetensors", b"not weights"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=rf"{name}: cannot be read as weights"):
            import_weights(tmp_path / name, "tiny")
    torch.save({"some": torch.zeros(2)}, tmp_path / "d.pth")
    with pytest.raises(ModelError, match="holds neither a published checkpoint"):
        import_weights(tmp_path / "d.pth", "tiny")
    np.savez(tmp_path / "e.npz", some=np.zeros(2))
    with pytest.raises(ModelError, match="has no 'embedding/kernel'"):
        import_weights(tmp_path / "e.npz", "tiny")
    torch.save({"model_grd": [1], "model_sat": [2]}, tmp_path / "f.pth")
    with pytest.raises(ModelError, match="something else than tensors by name"):
        import_weights(tmp_path / "f.pth", "tiny")
    with pytest.raises(ConfigError, match="no variant 'ViT-X'"):
        import_weights(published_file(tmp_path), "ViT-X")


class _Runs:
    """What a malicious checkpoint would hold: unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"model_grd": _Runs(tmp_path / "ran"), "model_sat": {}}, tmp_path / "bad.pth")
    with pytest.raises(ModelError, match=r"bad\.pth: cannot be read as weights"):
        import_weights(tmp_path / "bad.pth", "tiny")
    assert not (tmp_path / "ran").exists()
