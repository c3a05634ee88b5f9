"""Publish weights on the way from a training's start to what it learned, instead of its end.

What a network learns of simulated places it learns on top of what ImageNet taught, and some of the gain there is paid
for on real pictures. Half way along the straight line between the two sets of weights most of the gain is kept and
little is paid (``docs/worlds.md`` has the figures). Parts of a network differ in what of theirs carries over, so they
may go different shares of the way (``docs/compact.md``).

Source: weight-space ensembling, WiSE-FT (CVPR 2022), whose default is the middle.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from smdt.errors import ConfigError
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.losses import MAX_SCALE, centred, contrast_loss
from smdt.training.rates import fitting
from smdt.training.retrieval_views import Views

EmbedViews = Callable[[Encoder, Views], tuple[Tensor, Tensor]]
"""Strips of panoramas and of aerial images of a batch of views, by a model."""

_BATCHES = 4
_SCALES = tuple(float(one) for one in torch.logspace(0.5, 2.0, 31))


def check_parts(model: Encoder, parts: Iterable[str]) -> None:
    """Refuse parts that a model does not have.

    Args:
        model: to be trained.
        parts: beginnings of names of weights, or patterns.

    Raises:
        ConfigError: if none of its weights fits one of them.
    """
    names = list(model.state_dict())
    for part in parts:
        if not any(fitting(name, (part,)) for name in names):
            known = ", ".join(sorted({name.split(".")[0] for name in names}))
            raise ConfigError(
                f"no weights of this model are named '{part}'",
                where="learned_parts",
                remedy=f"choose from {known}, or parts of these",
            )


class Blending:
    """Keeps a training's start and its last batches, and blends.

    A training that was taken up again within four steps of its end has seen fewer of the last batches.

    Args:
        share: how far the weights go from the start, 0, to what was learned, 1.
        parts: shares of their own for some weights, by beginnings of their names or patterns, the first that fits.
    """

    def __init__(self, share: float, parts: Mapping[str, float] | None = None) -> None:
        self.share, self.parts = share, dict(parts or {})
        self.start: dict[str, Tensor] = {}
        self._recent: deque[Views] = deque(maxlen=_BATCHES)

    def begin(self, model: Encoder) -> None:
        """Take the weights that the training begins with."""
        self.start = {name: one.detach().cpu().clone() for name, one in model.state_dict().items()}

    def note(self, views: Views) -> None:
        """Keep a batch, for what has to be measured anew."""
        self._recent.append(views)

    @torch.no_grad()
    def blend(self, model: Encoder, embed: EmbedViews) -> tuple[Encoder, float | None]:
        """The model in between, and the inverse temperature that fits it; the model given stays as it is.

        The ground view's mean is of the last batches, for a mean of two networks' means is no network's.

        Args:
            model: as learned.
            embed: embeds kept batches.

        Returns:
            The blended model in evaluation mode, and its inverse temperature; None where no batch was seen.
        """
        blended = copy.deepcopy(model).eval()
        state = blended.state_dict()
        for name, learned in state.items():
            if learned.is_floating_point():
                part = fitting(name, self.parts)
                share = self.share if part is None else self.parts[part]
                learned.lerp_(self.start[name].to(learned), 1.0 - share)
        strips = [(*embed(blended, views), views) for views in self._recent]
        if not strips:
            return blended, None
        ready, means = [], []
        for queries, references, views in strips:
            if model.config.remove_mean:
                queries, mean = centred(queries, views.mask)  # noqa: PLW2901
                references, _ = centred(references)  # noqa: PLW2901
                means.append(mean)
            ready.append((queries, references, views))
        if means:
            blended.ground_mean.copy_(torch.stack(means).mean(0))
        losses = [
            sum(float(contrast_loss(q, r, v.heading_deg, scale, v.mask)) for q, r, v in ready)
            for scale in _SCALES
        ]
        return blended, min(MAX_SCALE, _SCALES[losses.index(min(losses))])
