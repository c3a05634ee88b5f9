"""A contrast over a batch too large to embed at once: embeddings are cached, then embedded again for their gradients.

First every part is embedded without a graph. The loss over all of them gives each embedding's gradient. Then every part
is embedded again, with the same random numbers, and its gradients are passed on to the weights. The result is the
gradient of the whole batch, at the memory of one part and the time of one more forward pass. Networks must treat each
image by itself: batch statistics in training would differ between the passes.

Source: gradient caching, Gao et al. (RepL4NLP 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Embed = Callable[[int], tuple[Tensor, ...]]
LossOf = Callable[[tuple[Tensor, ...]], Tensor]


def backward_in_parts(
    parts: int, embed: Embed, loss_of: LossOf, backward: Callable[[Tensor], object], device: torch.device
) -> None:
    """Add the gradients of a loss over all parts to the parameters'.

    Args:
        parts: how many; with one, it is embedded once.
        embed: embeddings (B, …) of the part of a number; several, such as of queries and of references.
        loss_of: the loss of the embeddings of all parts, joined along their first dimension.
        backward: called with the loss; adds gradients.
        device: where it is computed, whose random numbers dropout draws.
    """
    if parts == 1:
        backward(loss_of(embed(0)))
        return
    states, cached = [], []
    for part in range(parts):
        states.append(_random_state(device))
        with torch.no_grad():
            cached.append(embed(part))
    sizes = [len(part[0]) for part in cached]
    leaves = tuple(torch.cat(column).requires_grad_() for column in zip(*cached, strict=True))
    del cached
    backward(loss_of(leaves))
    gradients = [torch.split(_gradient(leaf), sizes) for leaf in leaves]
    after = _random_state(device)
    for part in range(parts):
        _restore(states[part], device)
        _push(embed(part), [column[part] for column in gradients])
    _restore(after, device)


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _push(embeddings: tuple[Tensor, ...], gradients: Sequence[Tensor]) -> None:
    torch.autograd.backward(embeddings, [g.to(e.dtype) for e, g in zip(embeddings, gradients, strict=True)])


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _restore(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
