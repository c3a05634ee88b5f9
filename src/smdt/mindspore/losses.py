"""Losses, with the arguments of the aten schema they stand for; ``reduction`` is 0 none, 1 mean, 2 sum."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import mint, ops

from smdt.mindspore import activations, elementwise, layers

Tensor = Any


def l1_loss(self: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    """The absolute difference."""
    return _reduce(mint.abs(self - target), reduction)


def mse_loss(self: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    """The squared difference."""
    apart = self - target
    return _reduce(apart * apart, reduction)


def smooth_l1_loss(self: Tensor, target: Tensor, reduction: int = 1, beta: float = 1.0) -> Tensor:
    """The squared difference over 2·beta where below beta, the absolute one less beta/2 elsewhere."""
    apart = mint.abs(self - target)
    return _reduce(mint.where(apart < beta, apart * apart * (0.5 / beta), apart - 0.5 * beta), reduction)


def huber_loss(self: Tensor, target: Tensor, reduction: int = 1, delta: float = 1.0) -> Tensor:
    """Half the squared difference up to delta, linear beyond."""
    apart = mint.abs(self - target)
    return _reduce(mint.where(apart <= delta, apart * apart * 0.5, (apart - 0.5 * delta) * delta), reduction)


def binary_cross_entropy(self: Tensor, target: Tensor, weight: Any = None, reduction: int = 1) -> Tensor:
    """The cross entropy of probabilities; logarithms are cut at -100, as in torch."""
    positive = elementwise.clamp(mint.log(self), -100.0)
    negative = elementwise.clamp(mint.log1p(mint.neg(self)), -100.0)
    loss = (target - 1.0) * negative - target * positive
    return _reduce(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    self: Tensor, target: Tensor, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Tensor:
    """The cross entropy of logits, without overflow."""
    # relu as a product with a constant mask: at a logit of 0 the two halves' gradients cancel as in torch
    smooth = activations.softplus(mint.neg(self), 1, 3.0e38)
    if pos_weight is None:
        loss = (1.0 - target) * self + smooth
    else:
        loss = (1.0 - target) * self + ((pos_weight - 1.0) * target + 1.0) * smooth
    return _reduce(loss if weight is None else loss * weight, reduction)


def soft_margin_loss(self: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    """``log(1 + exp(−target·self))``."""
    return _reduce(activations.softplus(mint.neg(target * self), 1, 3.0e38), reduction)


def kl_div(self: Tensor, target: Tensor, reduction: int = 1, log_target: bool = False) -> Tensor:
    """The divergence from log-probabilities ``self`` to ``target``."""
    if log_target:
        return _reduce(mint.exp(target) * (target - self), reduction)
    safe = mint.where(target > 0, target, ops.ones_like(target))
    return _reduce(
        mint.where(target > 0, target * mint.log(safe), ops.zeros_like(target)) - target * self, reduction
    )


def nll_loss(
    self: Tensor, target: Tensor, weight: Any = None, reduction: int = 1, ignore_index: int = -100
) -> Tensor:
    """Minus the log-probability of the class: (B, C, ...) with (B, ...); ignored places count for nothing."""
    counted = target != ignore_index
    places = mint.where(counted, target, ops.zeros_like(target))
    axis = 0 if len(self.shape) == 1 else 1
    picked = ops.gather_elements(self, axis, ops.expand_dims(places, axis).astype(ms.int64))
    share = counted.astype(self.dtype)
    if weight is not None:
        share = share * ops.gather(weight, places, 0)
    losses = mint.neg(ops.reshape(picked, target.shape)) * share
    if reduction == 1:
        return losses.sum() / share.sum()
    return _reduce(losses, reduction)


def cross_entropy_loss(
    self: Tensor,
    target: Tensor,
    weight: Any = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy of logits (B, C, ...) with class numbers (B, ...) or with probabilities (B, C, ...)."""
    axis = 0 if len(self.shape) == 1 else 1
    logs = layers.log_softmax(self, axis)
    classes = self.shape[axis]
    per_class = None
    if weight is not None:
        per_class = ops.reshape(weight, (1,) * axis + (-1,) + (1,) * (len(self.shape) - axis - 1))
    if target.dtype in (ms.float16, ms.float32, ms.float64):
        soft = target * (1.0 - label_smoothing) + label_smoothing / classes
        losses = mint.neg(soft * logs if per_class is None else soft * logs * per_class)
        losses = ops.ReduceSum(False)(losses, axis)
        return losses.sum() / (losses.size) if reduction == 1 else _reduce(losses, reduction)
    plain = nll_loss(logs, target, weight, reduction, ignore_index)
    if label_smoothing == 0.0:
        return plain
    counted = (target != ignore_index).astype(self.dtype)
    spread = mint.neg(ops.ReduceSum(False)(logs if per_class is None else logs * per_class, axis)) * counted
    if reduction == 1:
        share = counted
        if weight is not None:
            share = counted * ops.gather(weight, mint.where(target != ignore_index, target, target * 0), 0)
        smooth = spread.sum() / share.sum()
    else:
        smooth = _reduce(spread, reduction)
    return plain * (1.0 - label_smoothing) + smooth * (label_smoothing / classes)


def _reduce(losses: Tensor, reduction: int) -> Tensor:
    if reduction == 0:
        return losses
    return losses.mean() if reduction == 1 else losses.sum()
