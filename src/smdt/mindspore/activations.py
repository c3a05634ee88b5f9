"""Activation functions, with the arguments of the aten schema they stand for."""

from __future__ import annotations

from typing import Any

from mindspore import mint, ops

from smdt.mindspore.elementwise import floating, number

Tensor = Any
_SQRT_HALF = 0.7071067811865476


def relu(self: Tensor) -> Tensor:
    """Zero where negative."""
    return ops.relu(self)


def relu6(self: Tensor) -> Tensor:
    """Between 0 and 6."""
    return hardtanh(self, 0.0, 6.0)


def hardtanh(self: Tensor, min_val: Any = -1.0, max_val: Any = 1.0) -> Tensor:
    """Between two values; no gradient at the bounds, as in torch."""
    below = mint.where(self <= min_val, ops.full_like(self, min_val), self)
    return mint.where(self >= max_val, ops.full_like(self, max_val), below)


def leaky_relu(self: Tensor, negative_slope: Any = 0.01) -> Tensor:
    """``negative_slope·self`` where negative."""
    return mint.where(self > 0, self, self * number(negative_slope, self))


def prelu(self: Tensor, weight: Tensor) -> Tensor:
    """``weight·self`` where negative; one weight, or one a channel."""
    shape = (1, -1) + (1,) * (len(self.shape) - 2) if len(self.shape) > 1 else (-1,)
    return mint.where(self > 0, self, self * ops.reshape(weight, shape))


def elu(self: Tensor, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Tensor:
    """``alpha·(exp(input_scale·self) − 1)`` where negative, both sides times ``scale``."""
    below = mint.expm1(mint.where(self > 0, ops.zeros_like(self), self) * input_scale) * alpha
    return mint.where(self > 0, self, below) * scale


def gelu(self: Tensor, approximate: str = "none") -> Tensor:
    """GELU: with the error function, or with torch's tanh approximation."""
    if approximate == "tanh":
        return ops.gelu(self, "tanh")
    return self * 0.5 * (mint.erf(self * number(_SQRT_HALF, self)) + 1.0)


def silu(self: Tensor) -> Tensor:
    """``self·sigmoid(self)``."""
    return self * mint.sigmoid(self)


def mish(self: Tensor) -> Tensor:
    """``self·tanh(softplus(self))``."""
    return self * tanh(softplus(self))


def hardsigmoid(self: Tensor) -> Tensor:
    """``relu6(self + 3) / 6``."""
    return relu6(self + 3.0) / 6.0


def hardswish(self: Tensor) -> Tensor:
    """``self·hardsigmoid(self)``."""
    return self * hardsigmoid(self)


def sigmoid(self: Tensor) -> Tensor:
    """The logistic function."""
    return mint.sigmoid(floating(self))


def log_sigmoid(self: Tensor) -> Tensor:
    """The logarithm of the logistic function, without overflow."""
    return mint.neg(softplus(mint.neg(self)))


def tanh(self: Tensor) -> Tensor:
    """The hyperbolic tangent; MindSpore's own is off by up to 1e-4 in float32 on a CPU."""
    source = floating(self)
    positive = source > 0
    nothing = ops.zeros_like(source)
    high = mint.expm1(mint.where(positive, source, nothing) * -2.0)
    low = mint.expm1(mint.where(positive, nothing, source) * 2.0)
    return mint.where(positive, mint.neg(high) / (high + 2.0), low / (low + 2.0))


def softplus(self: Tensor, beta: Any = 1, threshold: Any = 20) -> Tensor:
    """``log(1 + exp(beta·self)) / beta``; ``self`` where beta·self is above the threshold."""
    scaled = self * beta
    large = scaled > threshold
    safe = mint.where(large, ops.zeros_like(scaled), scaled)
    smooth = mint.where(safe > 0, safe, ops.zeros_like(safe)) + mint.log1p(mint.exp(mint.neg(mint.abs(safe))))
    return mint.where(large, self, smooth / beta)
