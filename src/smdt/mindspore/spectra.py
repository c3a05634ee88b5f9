"""Discrete Fourier transforms and what follows them, on complex numbers kept as pairs.

MindSpore's complex tensors have few operations and fewer gradients on a CPU. So a complex tensor of shape (…) is a
real one of shape (…, 2) here, real and imaginary part last; the converter chooses these functions where torch's tensor
is complex. Transforms are products with the matrix of the transform: exact, differentiable, and quick for the some
tens of azimuths of a strip.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import mint, ops
from mindspore.ops import constexpr

from smdt.mindspore import products, shapes

Tensor = Any


def rfft(self: Tensor, n: Any = None, dim: int = -1, norm: Any = None) -> Tensor:
    """The spectrum of a real signal along a dimension: (…, W) to (…, W//2 + 1) complex."""
    axis = dim % len(self.shape)
    signal = shapes.transpose(_fitted(self, n, axis), axis, -1)
    width = signal.shape[-1]
    pairs = ops.reshape(
        products.matmul(signal, forward_matrix(width, norm)), signal.shape[:-1] + (width // 2 + 1, 2)
    )
    return shapes.transpose(pairs, axis, -2)


def irfft(self: Tensor, n: Any = None, dim: int = -1, norm: Any = None) -> Tensor:
    """The real signal of a spectrum along a dimension: (…, W//2 + 1) complex to (…, W)."""
    axis = dim % (len(self.shape) - 1)
    moved = shapes.transpose(self, axis, -2)
    width = 2 * (moved.shape[-2] - 1) if n is None else n
    bins = width // 2 + 1
    moved = _fitted(moved, bins, len(moved.shape) - 2)
    signal = products.matmul(ops.reshape(moved, moved.shape[:-2] + (2 * bins,)), inverse_matrix(width, norm))
    return shapes.transpose(signal, axis, -1)


def conjugate(self: Tensor) -> Tensor:
    """The imaginary part negated."""
    return self * ms.Tensor([1.0, -1.0], ms.float32)


def multiply(self: Tensor, other: Tensor) -> Tensor:
    """The product of two complex tensors."""
    a, b = self[..., 0], self[..., 1]
    c, d = other[..., 0], other[..., 1]
    return shapes.stack((a * c - b * d, a * d + b * c), -1)


def einsum(equation: str, tensors: Any, path: Any = None) -> Tensor:
    """Einstein's sum of two complex tensors."""
    a, b = tensors[0][..., 0], tensors[0][..., 1]
    c, d = tensors[1][..., 0], tensors[1][..., 1]
    real = products.einsum(equation, (a, c)) - products.einsum(equation, (b, d))
    imaginary = products.einsum(equation, (a, d)) + products.einsum(equation, (b, c))
    return shapes.stack((real, imaginary), -1)


def unsqueeze(self: Tensor, dim: int) -> Tensor:
    """A dimension of length 1 put into a complex tensor."""
    return shapes.unsqueeze(self, dim % len(self.shape))


def magnitude(self: Tensor) -> Tensor:
    """The absolute value, real."""
    return mint.sqrt(self[..., 0] * self[..., 0] + self[..., 1] * self[..., 1])


@constexpr
def forward_matrix(width: int, norm: str | None) -> Tensor:
    """(W, 2·(W//2 + 1)): cosines and minus sines of each frequency in turn."""
    angle = 2 * np.pi * np.outer(np.arange(width), np.arange(width // 2 + 1)) / width
    matrix = np.stack([np.cos(angle), -np.sin(angle)], -1).reshape(width, -1)
    return ms.Tensor((matrix * _factor(width, norm, "forward")).astype(np.float32))


@constexpr
def inverse_matrix(width: int, norm: str | None) -> Tensor:
    """(2·(W//2 + 1), W): each frequency counts twice, but for the constant and, where W is even, the highest."""
    bins = width // 2 + 1
    angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(width)) / width
    twice = np.full((bins, 1), 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    matrix = np.stack([twice * np.cos(angle), -twice * np.sin(angle)], 1).reshape(2 * bins, width)
    return ms.Tensor((matrix * _factor(width, norm, "backward")).astype(np.float32))


def _factor(width: int, norm: str | None, divides: str) -> float:
    """One over the width on the way that divides, its root both ways for ``ortho``."""
    if norm == "ortho":
        return float(width**-0.5)
    return 1.0 / width if (norm or "backward") == divides else 1.0


def _fitted(signal: Tensor, length: Any, axis: int) -> Tensor:
    """Cut, or zeros added, at the end of a dimension."""
    have = signal.shape[axis]
    if length is None or length == have:
        return signal
    if length < have:
        return shapes.slice_(signal, axis, 0, length)
    more = ops.zeros(signal.shape[:axis] + (length - have,) + signal.shape[axis + 1 :], signal.dtype)
    return mint.cat((signal, more), axis)
