"""A memory of references of earlier steps, as further negatives for the queries of a batch.

A batch holds a few hundred places, and hardly ever the one far away that a narrow photo would be mistaken for. The
references of the last steps, as the network embedded them then, are at hand for nothing: a network that is trained
slowly still embeds them alike. Of each query those count that it is most like, at their best turn.

Source: cross-batch memory (Wang, Zhang, Huang and Scott, Cross-Batch Memory for Embedding Learning, CVPR 2020); here at
any heading, and the hardest alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from smdt.retrieval.matching import normalise_queries
from smdt.retrieval.strip_scores import energy_of, inverse_transform, left_factors, right_factors

HARDEST = 16
"""References of the memory that count for a query."""
NONE = -1e4
"""In place of a cosine that shall not count: of no weight in a softmax, and finite, so that gradients are."""
_SMALL = 1e-6


class ReferenceMemory:
    """The references of the last steps.

    Args:
        size: how many are held, to a whole step.
        dtype: in what precision the hardest are sought; how hard they are is computed in single precision.
    """

    def __init__(self, size: int, dtype: torch.dtype = torch.float32) -> None:
        self.size, self.dtype = size, dtype
        self._steps: list[_Step] = []  # the oldest first

    def __len__(self) -> int:
        """How many are held now."""
        return sum(len(one.places) for one in self._steps)

    def add(self, references: Tensor, places: Tensor) -> None:
        """Hold a step's references, and forget the oldest.

        Args:
            references: (B, C, W) strips as they are compared.
            places: (B,) int64, which reference each is; -1 for one that no query of a later step shows.
        """
        self._steps.append(_Step.of(references.detach().half(), places.detach(), self.dtype))
        while len(self) - len(self._steps[0].places) >= self.size:
            del self._steps[0]

    def state(self) -> dict[str, Any]:
        """What is held, for a checkpoint."""
        return {"memory": [(one.strips.cpu(), one.places.cpu()) for one in self._steps]}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Take it back."""
        held = [(strips.to(device), places.to(device)) for strips, places in state["memory"]]
        self._steps = [_Step.of(strips, places, self.dtype) for strips, places in held]

    def hardest(self, queries: Tensor, shown: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Cosines (B, K) of queries with the references of the memory that they are most like, each at its best turn.

        Args:
            queries: (B, C, W) strips.
            shown: (B, m) int64 the references that show each query's place, -1 for none: no negatives of it.
            mask: (B, W), True where a query sees; all of it unless given.

        Returns:
            Cosines with gradients to the queries; of those that show a query's place ``NONE``. None while
            nothing is held.
        """
        if not self._steps:
            return None
        if mask is None:
            mask = torch.ones_like(queries[:, 0], dtype=torch.bool)
        ready = normalise_queries(queries, mask)
        number, allowed = self._chosen(ready.detach(), shown, mask)
        strips = torch.cat([one.strips for one in self._steps])[number].float()  # (B, K, C, W)
        return _best_cosines(ready, strips, mask).masked_fill(~allowed, NONE)

    @torch.no_grad()
    def _chosen(self, queries: Tensor, shown: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (B, K) of the hardest references, and whether they may count."""
        size, width = queries.shape[0], queries.shape[2]
        kinds, kind = torch.unique(mask, dim=0, return_inverse=True)
        order = kind.argsort(stable=True)  # those that see the same columns one after another
        ends = torch.bincount(kind, minlength=len(kinds)).cumsum(0).tolist()
        windows = torch.stack(
            [kinds.roll(turn, 1) for turn in range(width)], dim=1
        ).float()  # (U, turn, column)
        left = left_factors(queries[order]).to(self.dtype)
        back = inverse_transform(width).to(left)
        score = torch.empty(size, 0, device=queries.device)
        number = torch.empty(size, 0, dtype=torch.int64, device=queries.device)
        first = 0
        for step in self._steps:
            count = len(step.places)
            products = torch.bmm(left, step.factors.transpose(1, 2))  # (F, 2B, r)
            turns = (back @ products.view(-1, size * count)).view(width, size, count)
            weights = (windows @ step.energy.T).clamp_min(_SMALL**2).rsqrt().to(turns)  # (U, turn, r)
            for weight, start, end in zip(weights, [0, *ends], ends, strict=False):
                turns[:, start:end] *= weight[:, None]
            own = ((shown[order, :, None] == step.places) & (step.places >= 0)).any(dim=1)
            block = turns.amax(dim=0).float().masked_fill(own, -torch.inf)
            every = torch.cat([score, block], dim=1)
            score, kept = every.topk(min(HARDEST, every.shape[1]), dim=1)
            held = torch.arange(first, first + count, device=queries.device)
            number = torch.cat([number, held.expand(size, -1)], dim=1).gather(1, kept)
            first += count
        in_order = order.argsort()
        return number[in_order], (score > -torch.inf)[in_order]


class _Step(NamedTuple):
    """The references of a step.

    Attributes:
        strips: (B, C, W) float16.
        places: (B,) int64.
        factors: (F, B, 2C) of :func:`smdt.retrieval.strip_scores.right_factors`.
        energy: (B, W) squared norms of the columns.
    """

    strips: Tensor
    places: Tensor
    factors: Tensor
    energy: Tensor

    @staticmethod
    def of(strips: Tensor, places: Tensor, dtype: torch.dtype) -> _Step:
        return _Step(strips, places, right_factors(strips.float()).to(dtype), energy_of(strips))


def _best_cosines(queries: Tensor, references: Tensor, mask: Tensor) -> Tensor:
    """Cosines (B, K) of queries (B, C, W) of unit norm with references (B, K, C, W) of their own, at the best turn."""
    size, number, _, width = references.shape
    columns = references.transpose(1, 2).flatten(2)  # (B, C, K·W)
    products = torch.bmm(queries.transpose(1, 2), columns).view(size, width, number, width)
    at = torch.arange(width, device=queries.device)
    met = (at[:, None] + at).expand(size, number, -1, -1) % width  # a query's column j meets j + turn
    turns = products.transpose(1, 2).gather(3, met).sum(dim=2)  # (B, K, turn)
    energy = references.square().sum(2)  # (B, K, W)
    windows = mask.float()[:, (at - at[:, None]) % width]  # (B, turn, column)
    seen = torch.bmm(energy, windows.transpose(1, 2))
    best: Tensor = (turns / seen.clamp_min(_SMALL**2).sqrt()).amax(dim=2)
    return best
