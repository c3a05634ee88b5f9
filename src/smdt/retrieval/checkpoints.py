"""Weights of others for the Transformer: ImageNet-21k weights to start from, and checkpoints of the published code.

Three layouts are read, told apart by their keys:

- ``google``: the ``.npz`` files of ViT and R50+ViT, arrays as the original JAX code has them;
- ``timm``: a state dict of timm's ViT or hybrid ViT, the same weights under timm's names;
- ``published``: what the L2LTR code saves, a dict with ``model_grd``, ``model_sat`` and ``optimizer``.

Weights to start from serve both encoders, and their one attention norm serves queries and keys. Their positions are
resized to the token grid, corner to corner, as the published code does it. A published checkpoint fits as it is; its
attention takes values from a layer's own input, and the config made for it says so.
"""

from __future__ import annotations

import pickle  # for its error alone
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from smdt.errors import ModelError
from smdt.retrieval.encoder import VIEWS
from smdt.retrieval.models import read_config
from smdt.retrieval.transformer import Transformer, TransformerConfig

ORIGIN_STEM: Mapping[str, Any] = {
    "stem_padding": "same",
    "projection_groups": 32,
    "group_norm_eps": 1e-5,
    "projection_norm_eps": 1e-5,
    "std_conv_eps": 1e-8,
}
"""The stem's arithmetic as timm runs the ImageNet-21k weights; the published code runs them with our defaults."""

_PUBLISHED_VIEWS = {"ground": "model_grd", "aerial": "model_sat"}
_GOOGLE_PREFIXES = ("", "opt/target/", "params/")
_NOT_OURS = ("head.", "head/", "head_dist.", "pre_logits", "fc_norm.")
"""What a classifier has beyond its features, in timm's and in Google's names."""

_QUERY, _KEY, _VALUE = range(3)


@dataclass(frozen=True)
class Weights:
    """A file of weights as it was read.

    Attributes:
        layout: ``google``, ``timm`` or ``published``.
        tensors: by the file's own key; for ``published`` by view first, ``ground/…`` and ``aerial/…``.
        where: the file.
    """

    layout: str
    tensors: Mapping[str, Tensor]
    where: Path


@dataclass(frozen=True)
class _Source:
    """Where one of our tensors comes from: the file's key, how it is laid out there, and which part of it is ours."""

    key: str
    kind: str = "as it is"
    part: int = 0


def import_weights(file: Path, variant: str, settings: Mapping[str, Any] | None = None) -> Transformer:
    """A Transformer with weights of others, from a file: :func:`read_weights`, then :func:`transformer_of`.

    Args:
        file: ``.npz``, ``.safetensors``, or a PyTorch checkpoint.
        variant: which Transformer it is, one of ``smdt.retrieval.transformer.VARIANTS``.
        settings: other fields of its config.
    """
    return transformer_of(read_weights(file), variant, settings)


def transformer_of(weights: Weights, variant: str, settings: Mapping[str, Any] | None = None) -> Transformer:
    """A Transformer with weights of others, in evaluation mode.

    Args:
        weights: what to put into it.
        variant: which Transformer it is, one of ``smdt.retrieval.transformer.VARIANTS``.
        settings: other fields of its config. ``values_from`` is ``own`` for published weights unless it is among them.

    Raises:
        ModelError: if the weights lack a tensor, have one of another shape, or some that this variant has no place for;
            the key is named.
        ConfigError: if the variant or a setting is unknown.
    """
    given = {"variant": variant, **(settings or {})}
    if weights.layout == "published":
        given = {"values_from": "own", **given}
    config = read_config(TransformerConfig, given)
    assert isinstance(config, TransformerConfig)
    model = Transformer(config)
    load_weights(model, weights)
    return model.eval()


def load_weights(model: Transformer, weights: Weights) -> None:
    """Put weights into a model's encoders.

    Raises:
        ModelError: as :func:`transformer_of` says.
    """
    for view in VIEWS:
        rows_columns = model.config.grid(view)
        prefix = f"{view}/" if weights.layout == "published" else ""
        tensors = {
            key.removeprefix(prefix): tensor
            for key, tensor in weights.tensors.items()
            if key.startswith(prefix)
        }
        encoder = model.encoders[view]
        wanted = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
        found, used = {}, set()
        for name, source in _sources(model.config, weights.layout):
            key = source.key
            if key not in tensors:
                raise _misfit(weights, f"lacks '{key}'")
            tensor = _ours(tensors[key], source, rows_columns, wanted[name])
            if tensor.shape != wanted[name]:
                raise _misfit(
                    weights,
                    f"'{key}' gives {_shape(tensor.shape)} for {name}, which takes {_shape(wanted[name])}",
                )
            found[name] = tensor
            used.add(key)
        spare = sorted(key for key in set(tensors) - used if not key.startswith(_NOT_OURS))
        if spare:
            raise _misfit(weights, f"holds '{spare[0]}', for which this variant has no place")
        encoder.load_state_dict(found)


def _misfit(weights: Weights, what: str) -> ModelError:
    return ModelError(
        f"{what} (read as {weights.layout} weights)",
        where=weights.where,
        remedy="choose the --variant that the weights were made for",
    )


def _shape(shape: torch.Size) -> str:
    return "×".join(str(size) for size in shape)


def read_weights(file: Path) -> Weights:
    """Read a file of weights, without running anything that may lie in it.

    Raises:
        ModelError: if it is missing or damaged, or its keys are of no layout known here.
    """
    if not file.is_file():
        raise ModelError("there is no such file", where=file, remedy="check the path")
    try:
        if file.suffix == ".npz":
            return _google(file)
        if file.suffix == ".safetensors":
            return _state(load_file(file), file)
        return _state(torch.load(file, map_location="cpu", weights_only=True), file)
    except (
        OSError,
        ValueError,
        RuntimeError,
        EOFError,
        SafetensorError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
    ) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"cannot be read as weights ({reason[0]})",
            where=file,
            remedy="give a whole .npz, .safetensors, or PyTorch file that holds tensors only",
        ) from error


def _google(file: Path) -> Weights:
    with np.load(file, allow_pickle=False) as arrays:
        for prefix in _GOOGLE_PREFIXES:
            if f"{prefix}embedding/kernel" in arrays:
                tensors = {
                    key.removeprefix(prefix): torch.from_numpy(arrays[key].astype(np.float32))
                    for key in arrays
                    if key.startswith(prefix)
                }
                return Weights("google", tensors, file)
    raise ModelError(
        "has no 'embedding/kernel', so it holds no ViT", where=file, remedy="give Google's .npz of a ViT"
    )


def _state(content: Any, file: Path) -> Weights:
    """A loaded PyTorch file as weights of one of two layouts."""
    if isinstance(content, Mapping) and all(name in content for name in _PUBLISHED_VIEWS.values()):
        tensors = {}
        for view, name in _PUBLISHED_VIEWS.items():
            for key, tensor in _tensors(content[name], file).items():
                tensors[f"{view}/{key.removeprefix('module.')}"] = tensor
        return Weights("published", tensors, file)
    if isinstance(content, Mapping):
        for wrapper in ("state_dict", "model"):
            if isinstance(content.get(wrapper), Mapping):
                return _state(content[wrapper], file)
        if "patch_embed.proj.weight" in content:
            return Weights("timm", _tensors(content, file), file)
    raise ModelError(
        "holds neither a published checkpoint (model_grd, model_sat) nor a timm ViT (patch_embed.proj.weight)",
        where=file,
        remedy="give weights of one of these layouts",
    )


def _tensors(state: Any, file: Path) -> dict[str, Tensor]:
    """A state dict, which holds tensors by name and nothing else."""
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError("holds something else than tensors by name", where=file, remedy="give a state dict")
    return {str(key): value for key, value in state.items()}


def _sources(config: TransformerConfig, layout: str) -> Iterator[tuple[str, _Source]]:
    """Each tensor of one encoder, by our name, with where it stands in a layout."""
    named = {"google": _google_layer, "timm": _timm_layer, "published": _published_layer}[layout]
    ends = {
        "google": (
            "embedding",
            "cls",
            "Transformer/posembed_input/pos_embedding",
            "Transformer/encoder_norm",
        ),
        "timm": ("patch_embed.proj", "cls_token", "pos_embed", "norm"),
        "published": (
            "transformer.embeddings.patch_embeddings",
            "transformer.embeddings.cls_token",
            "transformer.embeddings.position_embeddings",
            "transformer.encoder.encoder_norm",
        ),
    }[layout]
    weight, bias, scale = (
        ("/kernel", "/bias", "/scale") if layout == "google" else (".weight", ".bias", ".weight")
    )
    yield "patch.weight", _Source(ends[0] + weight, "kernel" if layout == "google" else "as it is")
    yield "patch.bias", _Source(ends[0] + bias)
    yield "class_token", _Source(ends[1])
    yield "positions", _Source(ends[2], "as it is" if layout == "published" else "positions")
    yield "norm.weight", _Source(ends[3] + scale)
    yield "norm.bias", _Source(ends[3] + bias)
    if config.stem == "hybrid":
        yield from _stem_sources(config, layout)
    for number in range(config.depth):
        for name, source in named(number):
            yield f"layers.{number}.{name}", source


def _stem_sources(config: TransformerConfig, layout: str) -> Iterator[tuple[str, _Source]]:
    root = {
        "google": ("conv_root", "gn_root"),
        "timm": ("patch_embed.backbone.stem.conv", "patch_embed.backbone.stem.norm"),
        "published": (
            "transformer.embeddings.hybrid_model.root.conv",
            "transformer.embeddings.hybrid_model.root.gn",
        ),
    }[layout]
    yield from _normed("stem.root.conv", "stem.root.norm", *root, layout)
    for stage, blocks in enumerate(config.stem_blocks):
        for block in range(blocks):
            ours = f"stem.stages.{stage}.{block}"
            theirs = {
                "google": f"block{stage + 1}/unit{block + 1}/",
                "timm": f"patch_embed.backbone.stages.{stage}.blocks.{block}.",
                "published": f"transformer.embeddings.hybrid_model.body.block{stage + 1}.unit{block + 1}.",
            }[layout]
            norm = "norm" if layout == "timm" else "gn"
            for number in (1, 2, 3):
                keys = (f"{theirs}conv{number}", f"{theirs}{norm}{number}")
                yield from _normed(f"{ours}.conv{number}", f"{ours}.norm{number}", *keys, layout)
            if block == 0:
                shortcut = {
                    "google": ("conv_proj", "gn_proj"),
                    "timm": ("downsample.conv", "downsample.norm"),
                    "published": ("downsample", "gn_proj"),
                }[layout]
                keys = (theirs + shortcut[0], theirs + shortcut[1])
                yield from _normed(f"{ours}.shortcut", f"{ours}.shortcut_norm", *keys, layout)


def _normed(
    conv: str, norm: str, their_conv: str, their_norm: str, layout: str
) -> Iterator[tuple[str, _Source]]:
    """A convolution and the norm behind it."""
    if layout == "google":
        yield f"{conv}.weight", _Source(f"{their_conv}/kernel", "kernel")
        yield f"{norm}.weight", _Source(f"{their_norm}/scale", "flat")
        yield f"{norm}.bias", _Source(f"{their_norm}/bias", "flat")
    else:
        yield f"{conv}.weight", _Source(f"{their_conv}.weight")
        yield f"{norm}.weight", _Source(f"{their_norm}.weight")
        yield f"{norm}.bias", _Source(f"{their_norm}.bias")


def _google_layer(number: int) -> Iterator[tuple[str, _Source]]:
    root = f"Transformer/encoderblock_{number}"
    for ours, theirs in (
        ("query_norm", "LayerNorm_0"),
        ("key_norm", "LayerNorm_0"),
        ("mlp_norm", "LayerNorm_2"),
    ):
        yield f"{ours}.weight", _Source(f"{root}/{theirs}/scale")
        yield f"{ours}.bias", _Source(f"{root}/{theirs}/bias")
    for name in ("query", "key", "value"):
        attention = f"{root}/MultiHeadDotProductAttention_1/{name}"
        yield f"attention.{name}.weight", _Source(f"{attention}/kernel", "heads last")
        yield f"attention.{name}.bias", _Source(f"{attention}/bias", "flat")
    out = f"{root}/MultiHeadDotProductAttention_1/out"
    yield "attention.out.weight", _Source(f"{out}/kernel", "heads first")
    yield "attention.out.bias", _Source(f"{out}/bias")
    for ours, theirs in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
        yield f"mlp.{ours}.weight", _Source(f"{root}/MlpBlock_3/{theirs}/kernel", "matrix")
        yield f"mlp.{ours}.bias", _Source(f"{root}/MlpBlock_3/{theirs}/bias")


def _timm_layer(number: int) -> Iterator[tuple[str, _Source]]:
    root = f"blocks.{number}"
    parts = (("query", _QUERY), ("key", _KEY), ("value", _VALUE))
    for end in ("weight", "bias"):
        for ours, theirs in (("query_norm", "norm1"), ("key_norm", "norm1"), ("mlp_norm", "norm2")):
            yield f"{ours}.{end}", _Source(f"{root}.{theirs}.{end}")
        for name, part in parts:
            yield f"attention.{name}.{end}", _Source(f"{root}.attn.qkv.{end}", "third", part)
        yield f"attention.out.{end}", _Source(f"{root}.attn.proj.{end}")
        for name in ("fc1", "fc2"):
            yield f"mlp.{name}.{end}", _Source(f"{root}.mlp.{name}.{end}")


def _published_layer(number: int) -> Iterator[tuple[str, _Source]]:
    root = f"transformer.encoder.layer.{number}"
    names = {"query_norm": "attention_norm_1", "key_norm": "attention_norm_2", "mlp_norm": "ffn_norm"}
    names |= {f"attention.{name}": f"attn.{name}" for name in ("query", "key", "value", "out")}
    names |= {f"mlp.{name}": f"ffn.{name}" for name in ("fc1", "fc2")}
    for ours, theirs in names.items():
        for end in ("weight", "bias"):
            yield f"{ours}.{end}", _Source(f"{root}.{theirs}.{end}")


def _ours(tensor: Tensor, source: _Source, grid: tuple[int, int], wanted: torch.Size) -> Tensor:
    """A file's tensor laid out as ours; one that is not of the kind it should be comes back as it is."""
    tensor = tensor.float()
    if source.kind == "third" and tensor.shape[0] == 3 * wanted[0]:
        return tensor[source.part * wanted[0] : (source.part + 1) * wanted[0]]
    if source.kind == "positions" and tensor.ndim == 3:
        return resize_positions(tensor, grid)
    laid_out: dict[tuple[str, int], Callable[[], Tensor]] = {
        ("kernel", 4): lambda: tensor.permute(3, 2, 0, 1),  # rows, columns, in, out
        ("matrix", 2): lambda: tensor.T,
        ("heads last", 3): lambda: tensor.flatten(1).T,  # in, heads, features
        ("heads first", 3): lambda: tensor.flatten(0, 1).T,  # heads, features, out
    }
    if source.kind == "flat":
        return tensor.flatten()
    return laid_out.get((source.kind, tensor.ndim), lambda: tensor)()


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions (1, 1 + N, D) of a square grid, the class token's first, for another grid: (1, 1 + rows·columns, D).

    Bilinear with corners on corners. Positions that fit already, or that are of no square, come back as they are.
    """
    rows, columns = grid
    count = positions.shape[1] - 1
    side = round(count**0.5)
    if count == rows * columns or side * side != count:
        return positions
    square = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square, (rows, columns), mode="bilinear", align_corners=True)
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
