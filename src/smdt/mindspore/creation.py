"""Tensors made from nothing, with the arguments of the aten schema they stand for."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ops
from mindspore.ops import constexpr

Tensor = Any


def full(size: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value everywhere; without a type, float32 for a number with a point, int64 for a whole one."""
    if dtype is None:
        dtype = ms.float32 if isinstance(fill_value, float) else ms.int64
        if isinstance(fill_value, bool):
            dtype = ms.bool_
    return ops.full(tuple(size), fill_value, dtype=dtype)


def zeros(size: Any, dtype: Any = None) -> Tensor:
    """Zeros; float32 without a type."""
    return ops.zeros(tuple(size), ms.float32 if dtype is None else dtype)


def ones(size: Any, dtype: Any = None) -> Tensor:
    """Ones; float32 without a type."""
    return ops.ones(tuple(size), ms.float32 if dtype is None else dtype)


def full_like(self: Tensor, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value in the shape of a tensor."""
    return full(self.shape, fill_value, self.dtype if dtype is None else dtype)


def zeros_like(self: Tensor, dtype: Any = None) -> Tensor:
    """Zeros in the shape of a tensor."""
    return zeros(self.shape, self.dtype if dtype is None else dtype)


def ones_like(self: Tensor, dtype: Any = None) -> Tensor:
    """Ones in the shape of a tensor."""
    return ones(self.shape, self.dtype if dtype is None else dtype)


def new_full(self: Tensor, size: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value in a given shape, in the type of a tensor."""
    return full(size, fill_value, self.dtype if dtype is None else dtype)


def new_zeros(self: Tensor, size: Any, dtype: Any = None) -> Tensor:
    """Zeros in a given shape, in the type of a tensor."""
    return zeros(size, self.dtype if dtype is None else dtype)


def new_ones(self: Tensor, size: Any, dtype: Any = None) -> Tensor:
    """Ones in a given shape, in the type of a tensor."""
    return ones(size, self.dtype if dtype is None else dtype)


def arange(end: Any, dtype: Any = None) -> Tensor:
    """0, 1, … up to before ``end``."""
    return arange_start(0, end, 1, dtype)


def arange_start(start: Any, end: Any, step: Any = 1, dtype: Any = None) -> Tensor:
    """``start``, ``start + step``, … up to before ``end``; int64 for whole numbers, float32 otherwise."""
    if dtype is None:
        whole = isinstance(start, int) and isinstance(end, int) and isinstance(step, int)
        dtype = ms.int64 if whole else ms.float32
    return counted(start, end, step).astype(dtype)


@constexpr
def counted(start: Any, end: Any, step: Any) -> Tensor:
    """Numbers from NumPy, int64 or float64: MindSpore has no kernel for them on a CPU."""
    return ms.Tensor(np.arange(start, end, step))


def linspace(start: Any, end: Any, steps: int, dtype: Any = None) -> Tensor:
    """So many numbers from ``start`` to ``end``, both included, evenly spaced."""
    kind = ms.float32 if dtype is None else dtype
    return evenly(start, end, steps).astype(kind)


@constexpr
def evenly(start: Any, end: Any, steps: int) -> Tensor:
    """Evenly spaced numbers from NumPy, float64."""
    return ms.Tensor(np.linspace(start, end, steps))


def eye(n: int, m: Any = None, dtype: Any = None) -> Tensor:
    """Ones on the diagonal, zeros elsewhere."""
    rows, columns = counted(0, n, 1), counted(0, n if m is None else m, 1)
    return (rows.reshape((-1, 1)) == columns.reshape((1, -1))).astype(ms.float32 if dtype is None else dtype)


def scalar_tensor(s: Any, dtype: Any = None) -> Tensor:
    """A number as a tensor without dimensions."""
    return full((), s, dtype)


def bernoulli(self: Tensor, p: Any = 0.5) -> Tensor:
    """One with probability ``p``, zero otherwise, in the shape of a tensor, from MindSpore's generator."""
    return (ops.rand(self.shape) < p).astype(self.dtype)


def one_hot(self: Tensor, num_classes: int = -1) -> Tensor:
    """Class numbers (...) as (..., num_classes) of zeros and a one, int64; the classes have to be counted."""
    if num_classes < 0:
        raise ValueError("one_hot needs the number of classes")
    classes = counted(0, num_classes, 1).astype(self.dtype)
    return (self.reshape((*self.shape, 1)) == classes).astype(ms.int64)
