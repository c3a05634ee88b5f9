"""Which parameters of a retrieval model learn, and at what rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from smdt.retrieval.compact import Compact
from smdt.retrieval.encoder import Encoder
from smdt.training.retrieval_settings import RetrievalTraining

_EARLY = ("trunk.conv_stem", "trunk.bn1", "trunk.blocks.0", "trunk.blocks.1")
_FROZEN = {"siamese": _EARLY, "compact": _EARLY}


def parameter_groups(model: Encoder, settings: RetrievalTraining) -> list[dict[str, Any]]:
    """The parameters that learn, with their rates; a model may have a ``parameter_groups(rate)`` of its own.

    Else those of its ``trunks()`` learn at ``trunk_share`` of the rate.
    """
    _freeze(model, settings)
    own = getattr(model, "parameter_groups", None)
    groups: list[dict[str, Any]]
    if own is not None:
        groups = [dict(group) for group in own(settings.learning_rate)]
    else:
        trunk = [parameter for part in model.trunks() for parameter in part.parameters()]
        in_trunk = {id(parameter) for parameter in trunk}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in in_trunk]
        groups = [
            {"params": trunk, "lr": settings.learning_rate * settings.trunk_share},
            {"params": rest, "lr": settings.learning_rate},
        ]
    for group in groups:
        group["params"] = [one for one in group["params"] if one.requires_grad]
        if group["lr"] == 0:
            for one in group["params"]:
                one.requires_grad_(False)
    return [group for group in groups if group["params"] and group["lr"] > 0]


def _freeze(model: Encoder, settings: RetrievalTraining) -> None:
    patterns = _FROZEN.get(settings.family, ()) if settings.freeze is None else settings.freeze
    for name, parameter in model.named_parameters():
        if fitting(name, patterns) is not None:
            parameter.requires_grad_(False)
    if settings.front_versions and isinstance(model, Compact):
        for module in model.front_modules():
            module.requires_grad_(False)


def fitting(name: str, patterns: Iterable[str]) -> str | None:
    """The first of some patterns, or beginnings of names, that a weight's name fits; None where none does."""
    return next((one for one in patterns if name.startswith(one) or fnmatchcase(name, one)), None)


def learning_trunk(model: Encoder) -> list[nn.Parameter]:
    """The parameters of a model's ``trunks()`` that are not frozen."""
    return [one for part in model.trunks() for one in part.parameters() if one.requires_grad]


def warm_cosine(warm_up: int, steps: int) -> Callable[[int], float]:
    """Share of the peak rate by steps done: linear up over ``warm_up`` steps, then a cosine down to 0 at the end."""

    def share(done: int) -> float:
        if done < warm_up:
            return (done + 1) / warm_up
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (done - warm_up) / max(1, steps - warm_up))))

    return share
