"""The method's own encoder: a Transformer a view over the tokens of a panorama or of a mapped aerial image.

An image of 128×512 becomes 8×32 tokens, by a ResNetV2 stem of stride 16 or by plain patches. With a class token and
learned positions they pass pre-norm layers of *self-cross attention*: layer n asks with its own input and looks its
answers up in the input of layer n-1; the first layer, which has none before it, uses its own. The class token's
output, of unit norm, is the descriptor. Ground and aerial have an encoder each, of one shape, sharing nothing.

Source: SMDT (ICME 2022), figure 5; L2LTR (NeurIPS 2021) for self-cross attention; ViT (ICLR 2021) for stem and layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.errors import ConfigError
from smdt.retrieval.encoder import VIEWS, Encoder, EncoderConfig, View
from smdt.retrieval.stem import STEM_STRIDE, HybridStem, StemSettings

_BASE = {"dim": 768, "depth": 12, "heads": 12, "mlp_dim": 3072}
_LARGE = {"dim": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096}
_TINY = {"dim": 32, "depth": 2, "heads": 4, "mlp_dim": 64, "height_px": 32, "width_px": 128, "tile_px": 64}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "R50-ViT-B_16": {"stem": "hybrid", **_BASE},
    "ViT-B_16": {"stem": "patch", "patch_px": 16, **_BASE},
    "ViT-B_32": {"stem": "patch", "patch_px": 32, **_BASE},
    "ViT-L_16": {"stem": "patch", "patch_px": 16, **_LARGE},
    "R50-ViT-L_16": {"stem": "hybrid", **_LARGE},
    "tiny": {"stem": "hybrid", "stem_blocks": (1, 1, 1), "stem_width": 8, "stem_groups": 4, **_TINY},
    "tiny-patch": {"stem": "patch", "patch_px": 16, **_TINY},
}
"""The published sizes by their published names, and two that are quick enough for tests and trials."""


@dataclass(frozen=True)
class TransformerConfig(EncoderConfig):
    """What a Transformer model is.

    Attributes:
        stem: ``hybrid``, a ResNetV2 of stride 16, or ``patch``, one convolution of a patch each.
        patch_px: side of a patch, for stem ``patch``.
        dim: features of a token, and of the descriptor.
        depth: layers.
        heads: attention heads.
        mlp_dim: hidden features of a layer's MLP.
        dropout: after positions and within MLPs.
        attention_dropout: of attention weights and of what attention gives.
        values_from: where a layer's values come from: ``previous``, the input of the layer before, like its keys; or
            ``own``, its own input, which is what the published code computes (its keys come from the layer before).
        layer_norm_eps: of every LayerNorm.
        stem_blocks: bottleneck blocks of the hybrid stem's three stages.
        stem_width: channels of its first convolution.
        stem_groups: groups of its GroupNorms.
        stem_padding: ``symmetric``, or ``same``: more on the right and below, as the ImageNet-21k weights were trained.
        projection_groups: groups of the GroupNorm on a shortcut; 0 is one a channel.
        group_norm_eps: of the stem's GroupNorms.
        projection_norm_eps: of those on shortcuts.
        std_conv_eps: added to a kernel's variance before its root.
    """

    family: ClassVar[str] = "transformer"

    stem: str = "hybrid"
    patch_px: int = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.0
    values_from: str = "previous"
    layer_norm_eps: float = 1e-6
    stem_blocks: tuple[int, ...] = (3, 4, 9)
    stem_width: int = 64
    stem_groups: int = 32
    stem_padding: str = "symmetric"
    projection_groups: int = 0
    group_norm_eps: float = 1e-6
    projection_norm_eps: float = 1e-5
    std_conv_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        super().__post_init__()
        for name, known in (
            ("stem", ("hybrid", "patch")),
            ("values_from", ("previous", "own")),
            ("stem_padding", ("symmetric", "same")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"'{getattr(self, name)}' is unknown",
                    where=name,
                    remedy=f"choose from {', '.join(known)}",
                )
        if min(self.dim, self.depth, self.heads, self.mlp_dim, self.patch_px, *self.stem_blocks) < 1:
            raise ConfigError(
                "sizes of a Transformer are 1 or more", where="dim/depth/heads/mlp_dim/patch_px"
            )
        if self.dim % self.heads:
            raise ConfigError(
                f"{self.dim} features cannot be shared among {self.heads} heads",
                where="heads",
                remedy="choose a number that divides dim",
            )
        if not (0.0 <= self.dropout < 1.0 and 0.0 <= self.attention_dropout < 1.0):
            raise ConfigError("a dropout is within 0 and 1", where="dropout/attention_dropout")
        for view in VIEWS:
            if any(side % self.token_px for side in self.image_shape(view)):
                rows, columns = self.image_shape(view)
                raise ConfigError(
                    f"{view} images of {rows}×{columns} pixels are not whole tokens of {self.token_px} pixels",
                    where="height_px/width_px/tile_px",
                    remedy=f"choose multiples of {self.token_px}",
                )

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """The published sizes, and tiny ones."""
        return VARIANTS

    @property
    def token_px(self) -> int:
        """Side of the square of pixels that a token stands for."""
        return STEM_STRIDE if self.stem == "hybrid" else self.patch_px

    def grid(self, view: View) -> tuple[int, int]:
        """Rows and columns of a view's tokens."""
        rows, columns = self.image_shape(view)
        return rows // self.token_px, columns // self.token_px


class SelfCrossAttention(nn.Module):
    """Multi-head attention that may take its keys and values from another layer's tokens than its queries.

    Args:
        dim: features of a token.
        heads: how many parts they are split into.
        dropout: of attention weights and of the output.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Tokens (B, T, D) that attend to keys and values (B, S, D): softmax(QKᵀ/√(D/heads))·V, then projected."""
        asked = self._split(self.query(queries))
        attended = F.scaled_dot_product_attention(
            asked,
            self._split(self.key(keys)),
            self._split(self.value(values)),
            dropout_p=self.dropout if self.training else 0.0,
        )
        joined: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return F.dropout(joined, self.dropout, self.training) if self.dropout else joined

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, T, D) to (B, heads, T, D/heads)."""
        batch, count, dim = tokens.shape
        return tokens.view(batch, count, self.heads, dim // self.heads).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear maps with a GELU in between, on each token by itself.

    Args:
        dim: features of a token.
        hidden: features in between.
        dropout: after either map.
    """

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        mixed: Tensor = self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(tokens)))))
        return mixed


class Layer(nn.Module):
    """One pre-norm layer: self-cross attention, then an MLP, each beside a shortcut.

    Args:
        config: sizes, dropout, and where the values come from.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.values_from = config.values_from
        self.query_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.key_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.attention = SelfCrossAttention(config.dim, config.heads, config.attention_dropout)
        self.mlp_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.mlp = Mlp(config.dim, config.mlp_dim, config.dropout)

    def forward(self, tokens: Tensor, previous: Tensor) -> Tensor:
        """Tokens (B, T, D) of this layer's input and of the input of the layer before, to this layer's output."""
        own, before = self.query_norm(tokens), self.key_norm(previous)
        values = before if self.values_from == "previous" else own
        tokens = tokens + self.attention(own, before, values)
        mixed: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return mixed


class ViewEncoder(nn.Module):
    """The Transformer of one view.

    Args:
        config: sizes.
        view: whose token grid it has.
    """

    def __init__(self, config: TransformerConfig, view: View) -> None:
        super().__init__()
        rows, columns = config.grid(view)
        self.stem: HybridStem | None = None
        features, patch = 3, config.patch_px
        if config.stem == "hybrid":
            self.stem = HybridStem(stem_settings(config))
            features, patch = self.stem.channels, 1
        self.patch = nn.Conv2d(features, config.dim, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(torch.zeros(1, rows * columns + 1, config.dim))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self._start()

    def _start(self) -> None:
        """Random weights: Glorot for linear maps, which start unbiased, and small positions."""
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Descriptors (B, D) of unit norm of normalised images (B, 3, H, W)."""
        features = pixels if self.stem is None else self.stem(pixels)
        patches = self.patch(features).flatten(2).transpose(1, 2)
        start = self.class_token.expand(patches.shape[0], -1, -1)
        tokens = self.dropout(torch.cat([start, patches], dim=1) + self.positions)
        previous = tokens
        for layer in self.layers:
            tokens, previous = layer(tokens, previous), tokens
        return F.normalize(self.norm(tokens[:, 0]), dim=1)


def stem_settings(config: TransformerConfig) -> StemSettings:
    """The hybrid stem's part of a config."""
    return StemSettings(
        blocks=config.stem_blocks,
        width=config.stem_width,
        groups=config.stem_groups,
        projection_groups=config.projection_groups,
        same_padding=config.stem_padding == "same",
        norm_eps=config.group_norm_eps,
        projection_norm_eps=config.projection_norm_eps,
        conv_eps=config.std_conv_eps,
    )


class Transformer(Encoder):
    """The method's two encoders; a strip is one column, the class token's descriptor of unit norm.

    Args:
        config: what to build. Weights are random; see :mod:`smdt.retrieval.checkpoints` for those to start from.

    Raises:
        ConfigError: if the stem's channels cannot be grouped as asked.
    """

    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, channels=config.dim, columns=1)
        self.encoders = nn.ModuleDict({view: ViewEncoder(config, view) for view in VIEWS})

    def strips(self, images: Tensor, view: View) -> Tensor:
        """Descriptors as strips of one column.

        Args:
            images: (B, 3, H, W) RGB in [0, 1], of ``config.image_shape(view)``.
            view: which encoder.

        Returns:
            (B, D, 1) of unit norm.
        """
        descriptors: Tensor = self.encoders[view](self.normalise_pixels(images))
        return descriptors[..., None]

    def trunks(self) -> tuple[nn.Module, ...]:
        """Both encoders: all of it may start from ImageNet's weights."""
        return tuple(self.encoders[view] for view in VIEWS)
