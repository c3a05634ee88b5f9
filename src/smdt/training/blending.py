"""Publish weights on the way from a training's start to what it learned, instead of its end.

What a network learns of simulated places it learns on top of what ImageNet taught, and some of the gain there is paid
for on real pictures. Half way along the straight line between the two sets of weights most of the gain is kept and
little is paid (``docs/worlds.md`` has the figures). Parts of a network differ in what of theirs carries over, so they
may go different shares of the way (``docs/compact.md``).

What was learned may itself be the mean of the weights after many steps: at a rate well above nothing they wander about
a point that generalises better than any of them.

Sources: weight-space ensembling, WiSE-FT (CVPR 2022), whose default is the middle; stochastic weight averaging (UAI
2018), by PyTorch's own ``torch.optim.swa_utils``.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

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
    """Keeps a training's start, its last batches and the mean of its weights, and blends.

    A training that was taken up again within four steps of its end has seen fewer of the last batches.

    Args:
        share: how far the weights go from the start, 0, to what was learned, 1.
        parts: shares of their own for some weights, by beginnings of their names or patterns, the first that fits.
        mean_after: what was learned is the mean of the weights after each later step; without it, those of the last.
    """

    def __init__(
        self, share: float, parts: Mapping[str, float] | None = None, mean_after: int | None = None
    ) -> None:
        self.share, self.parts, self.mean_after = share, dict(parts or {}), mean_after
        self.start: dict[str, Tensor] = {}
        self._mean: AveragedModel | None = None
        self._recent: deque[Views] = deque(maxlen=_BATCHES)

    def begin(self, model: Encoder) -> None:
        """Take the weights that the training begins with."""
        self.start = {name: one.detach().cpu().clone() for name, one in model.state_dict().items()}

    def note(self, step: int, model: Encoder, views: Views) -> None:
        """Keep a step's batch, for what has to be measured anew, and take its weights into the mean.

        Args:
            step: that was done, from 1.
            model: after it.
            views: its batch.
        """
        self._recent.append(views)
        if self.mean_after is not None and step > self.mean_after:
            self._mean = self._mean or _no_mean(model)
            self._mean.update_parameters(model)

    def state(self) -> dict[str, Any]:
        """The start's weights, and the mean's where there is one."""
        mean = {} if self._mean is None else {"mean": self._mean.state_dict()}
        return {"start": self.start, **mean}

    def load_state(self, state: Mapping[str, Any], model: Encoder) -> None:
        """Take them back, for a model of the same shape."""
        self.start = state["start"]
        if "mean" in state:
            self._mean = _no_mean(model)
            self._mean.load_state_dict(state["mean"])

    @torch.no_grad()
    def blend(self, model: Encoder, embed: EmbedViews) -> tuple[Encoder, float | None]:
        """The model in between, and the inverse temperature that fits it; the model given stays as it is.

        The ground view's mean is of the last batches, for a mean of two networks' means is no network's.

        Args:
            model: as the last step left it.
            embed: embeds kept batches.

        Returns:
            The blended model in evaluation mode, and its inverse temperature; None where no batch was seen.
        """
        learnt = model if self._mean is None else cast("Encoder", self._mean.module)
        blended = copy.deepcopy(learnt).eval()
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


def _no_mean(model: Encoder) -> AveragedModel:
    """A mean that no weights were taken into."""
    return AveragedModel(model, use_buffers=True)
