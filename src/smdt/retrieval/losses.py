"""Losses over a batch of pairs: what belongs together comes near, all else in the batch goes away.

Three are offered. The soft-margin triplet loss is the published one. Symmetric InfoNCE is its softmax sibling with a
learned temperature. The contrast over places and turns is for strips in azimuth order whose heading is to be found: it
takes a wrong heading for as wrong as a wrong place. On strips of one column it is symmetric InfoNCE.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.errors import ConfigError
from smdt.retrieval.matching import circular_scores, normalise_queries

MAX_SCALE = 100.0
"""A learned temperature's inverse is held below this, or it grows on pairs that are right already."""


class Temperature(nn.Module):
    """A learned temperature, kept as the logarithm of its inverse.

    Args:
        scale: the inverse to start with.
    """

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        if not 0.0 < scale <= MAX_SCALE:
            raise ConfigError(
                f"a scale of {scale:g} is not within 0 and {MAX_SCALE:g}",
                where="scale",
                remedy="give one within",
            )
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self) -> Tensor:
        """The inverse temperature, at most ``MAX_SCALE``."""
        return self.log_scale.exp().clamp_max(MAX_SCALE)


def soft_margin_triplet(queries: Tensor, references: Tensor, scale: float = 10.0) -> Tensor:
    """The published loss: every reference but a query's own is a negative to it, and the other way round.

    log(1 + exp(γ·(d⁺ − d⁻))) with d = 2 − 2cos is summed over the B×B pairs, divided by B(B−1), and the two ways are
    averaged. The sum has the B pairs of an element with itself in it, as published; they add log 2 / (B−1) and no
    gradient.

    Args:
        queries: (B, D) of unit norm.
        references: (B, D) of unit norm, in the same order.
        scale: γ.

    Raises:
        ConfigError: if there is one pair alone.

    Source: CVM-Net (CVPR 2018) eq. 6, with SAFA's (NeurIPS 2019) sums; SMDT's γ of 10.
    """
    size = len(queries)
    if size < 2:
        raise ConfigError("one pair has nothing to contrast", where="--batch", remedy="give 2 or more")
    distance = 2.0 - 2.0 * queries.float() @ references.float().T
    own = distance.diagonal()
    to_references = F.softplus(scale * (own[:, None] - distance)).sum()
    to_queries = F.softplus(scale * (own[None] - distance)).sum()
    return (to_references + to_queries) / (2.0 * size * (size - 1))


def symmetric_info_nce(
    queries: Tensor,
    references: Tensor,
    scale: Tensor | float,
    *,
    smoothing: float = 0.0,
    neutral: Tensor | None = None,
) -> Tensor:
    """Cross entropy of each query's own reference among all, and of each reference's own query, averaged.

    Args:
        queries: (B, D) of unit norm.
        references: (B, D) of unit norm, in the same order.
        scale: inverse temperature.
        smoothing: share of the target that is spread evenly over all.
        neutral: (B, B), True where a reference is neither right nor wrong for a query (it shows the place, too).

    Source: InfoNCE of CLIP (2021); with smoothing as in Sample4Geo (ICCV 2023).
    """
    logits = queries.float() @ references.float().T * scale
    if neutral is not None:
        others = neutral & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(others, torch.finfo(logits.dtype).min)
        if smoothing:
            raise ConfigError(
                "smoothing spreads the target over neutral references too",
                where="smoothing",
                remedy="leave it 0",
            )
    own = torch.arange(len(logits), device=logits.device)
    there = F.cross_entropy(logits, own, label_smoothing=smoothing)
    back = F.cross_entropy(logits.T, own, label_smoothing=smoothing)
    return (there + back) / 2.0


def contrast_loss(
    queries: Tensor,
    references: Tensor,
    heading_deg: Tensor,
    scale: Tensor | float,
    mask: Tensor | None = None,
    negatives: Tensor | None = None,
) -> Tensor:
    """Symmetric contrast over places and turns.

    Every query is scored against every reference at every turn; the softmax runs over all of these, and the target is
    the true reference at the true heading, shared between the two columns that the heading lies between.

    Args:
        queries: (B, C, W) strips of the panoramas.
        references: (B, C, W) strips of their tiles, in the same order.
        heading_deg: (B,) true headings of the panoramas.
        scale: inverse temperature.
        mask: (B, W), True where a query sees.
        negatives: (B, K) cosines of each query with references that are none of the batch, such as those of
            :class:`smdt.retrieval.memory.ReferenceMemory`.

    Returns:
        The mean cross entropy, queries to references and back.
    """
    size, width = len(queries), queries.shape[-1]
    scores = circular_scores(normalise_queries(queries, mask), references, mask) * scale  # (B, B, W)
    column = heading_deg / 360.0 * width
    low = column.floor()
    weight = column - low
    own = torch.arange(size, device=queries.device)
    total = scores.new_zeros(())
    for logits, others in ((scores, negatives), (scores.transpose(0, 1), None)):
        every = logits.reshape(size, -1)
        if others is not None:
            every = torch.cat([every, others * scale], dim=1)
        log_share = every.log_softmax(dim=1)[:, : size * width].view(size, size, width)[own, own]
        first = log_share.gather(1, (low.long() % width)[:, None])[:, 0]
        second = log_share.gather(1, ((low.long() + 1) % width)[:, None])[:, 0]
        total = total - ((1 - weight) * first + weight * second).mean()
    return total / 2


def centred(strips: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Strips (B, C, W) less their mean over the batch and the columns seen, and that mean (C,), detached.

    What all places of a view have in common tells none apart, and it is what differs most between simulated and real
    pictures; the model never learns to rely on it.
    """
    seen = torch.ones_like(strips[:, 0]) if mask is None else mask.to(strips.dtype)
    mean = torch.einsum("bcw,bw->c", strips, seen) / seen.sum()
    return strips - mean[:, None], mean.detach()
