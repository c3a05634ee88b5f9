"""Operations over dimensions, with the arguments of the aten schema they stand for."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import mint, ops

Tensor = Any


def dims_of(self: Tensor, dim: Any) -> Any:
    """Dimensions as a tuple of numbers from 0; None and an empty list mean all."""
    rank = len(self.shape)
    if dim is None:
        return tuple(range(rank))
    if isinstance(dim, int):
        return (dim % rank,) if rank else ()
    if len(dim) == 0:
        return tuple(range(rank))
    named = ()
    for one in dim:
        named = named + (one % rank,)
    return named


def count_of(self: Tensor, dim: Any) -> int:
    """How many elements stand along dimensions."""
    count = 1
    for one in dims_of(self, dim):
        count = count * self.shape[one]
    return count


def total(self: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The sum; whole numbers and truths sum to int64."""
    if dtype is not None:
        self = self.astype(dtype)
    elif self.dtype not in (ms.float16, ms.float32, ms.float64, ms.bfloat16):
        self = self.astype(ms.int64)
    if len(self.shape) == 0:
        return self
    return ops.ReduceSum(keepdim)(self, dims_of(self, dim))


def sum_all(self: Tensor, dtype: Any = None) -> Tensor:
    """The sum of all."""
    return total(self, None, False, dtype)


def mean(self: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The mean."""
    if dtype is not None:
        self = self.astype(dtype)
    if len(self.shape) == 0:
        return self
    return ops.ReduceMean(keepdim)(self, dims_of(self, dim))


def mean_all(self: Tensor, dtype: Any = None) -> Tensor:
    """The mean of all."""
    return mean(self, None, False, dtype)


def amax(self: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest; equal ones share the gradient, as in torch."""
    return ops.ReduceMax(keepdim)(self, dims_of(self, dim))


def amin(self: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest; equal ones share the gradient, as in torch."""
    return ops.ReduceMin(keepdim)(self, dims_of(self, dim))


def max_all(self: Tensor) -> Tensor:
    """The largest of all."""
    return amax(self, ())


def min_all(self: Tensor) -> Tensor:
    """The smallest of all."""
    return amin(self, ())


def max_dim(self: Tensor, dim: int, keepdim: bool = False) -> Any:
    """The largest along a dimension, and the first place where it stands."""
    place = argmax(self, dim, True)
    largest = ops.gather_elements(self, dim % len(self.shape), place)
    return _squeezed(largest, dim, keepdim), _squeezed(place, dim, keepdim)


def min_dim(self: Tensor, dim: int, keepdim: bool = False) -> Any:
    """The smallest along a dimension, and the first place where it stands."""
    place = argmax(mint.neg(self), dim, True)
    smallest = ops.gather_elements(self, dim % len(self.shape), place)
    return _squeezed(smallest, dim, keepdim), _squeezed(place, dim, keepdim)


def argmax(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The place of the largest, int64; the first of equal ones."""
    if dim is None:
        return ops.Argmax(axis=0, output_type=ms.int64)(ops.reshape(self, (-1,)))
    place = ops.Argmax(axis=dim % len(self.shape), output_type=ms.int64)(self)
    if not keepdim:
        return place
    axis = dim % len(self.shape)
    return ops.reshape(place, self.shape[:axis] + (1,) + self.shape[axis + 1 :])


def argmin(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The place of the smallest, int64; the first of equal ones."""
    return argmax(mint.neg(self), dim, keepdim)


def var(self: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Tensor:
    """The variance: squares from the mean, summed and divided by their number less the correction."""
    apart = self - mean(self, dim, True)
    squares = total(apart * apart, dim, keepdim)
    return squares / max(count_of(self, dim) - (1 if correction is None else correction), 0)


def var_unbiased(self: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The variance, by number less one or by number."""
    return var(self, dim, 1 if unbiased else 0, keepdim)


def std(self: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Tensor:
    """The standard deviation."""
    return mint.sqrt(var(self, dim, correction, keepdim))


def std_unbiased(self: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The standard deviation, by number less one or by number."""
    return std(self, dim, 1 if unbiased else 0, keepdim)


def var_mean(self: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    """The variance and the mean."""
    return var(self, dim, correction, keepdim), mean(self, dim, keepdim)


def std_mean(self: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    """The standard deviation and the mean."""
    return std(self, dim, correction, keepdim), mean(self, dim, keepdim)


def logsumexp(self: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """The logarithm of the sum of exponentials, without overflow."""
    largest = ops.stop_gradient(ops.ReduceMax(True)(self, dims_of(self, dim)))
    summed = mint.log(total(mint.exp(self - largest), dim, True)) + largest
    return _squeezed(summed, dims_of(self, dim), keepdim)


def vector_norm(
    self: Tensor,
    ord: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Tensor:
    """The norm of vectors: 2, 1, another power, or the largest absolute value (infinity)."""
    if dtype is not None:
        self = self.astype(dtype)
    if ord == 2:
        squares = total(self * self, dim, keepdim)
        safe = mint.where(squares > 0, squares, ops.ones_like(squares))  # no gradient at zero, as in torch
        return mint.where(squares > 0, mint.sqrt(safe), ops.zeros_like(squares))
    if ord == 1:
        return total(mint.abs(self), dim, keepdim)
    if ord == float("inf"):
        return amax(mint.abs(self), dim, keepdim)
    return mint.pow(total(mint.pow(mint.abs(self), ord), dim, keepdim), 1.0 / ord)


def norm(self: Tensor, p: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The norm of vectors; 2 without a power."""
    return vector_norm(self, 2 if p is None else p, dim, keepdim)


def cumsum(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """The running sum along a dimension."""
    return ops.cumsum(self if dtype is None else self.astype(dtype), dim % len(self.shape))


def prod_dim(self: Tensor, dim: int, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The product along a dimension."""
    return ops.ReduceProd(keepdim)(self if dtype is None else self.astype(dtype), dim % len(self.shape))


def any_(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any holds."""
    return ops.ReduceAny(keepdim)(self.astype(ms.bool_), dims_of(self, dim))


def all_(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all hold."""
    return ops.ReduceAll(keepdim)(self.astype(ms.bool_), dims_of(self, dim))


def topk(self: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The largest or smallest so many, and their places, in order."""
    values, places = ops.topk(self, k, dim, largest, True)
    return values, places.astype(ms.int64)


def sort(self: Tensor, dim: int = -1, descending: bool = False) -> Any:
    """In order along a dimension, and the places they had."""
    values, places = ops.topk(self, self.shape[dim], dim, descending, True)
    return values, places.astype(ms.int64)


def _squeezed(self: Tensor, dim: Any, keepdim: bool) -> Tensor:
    if keepdim:
        return self
    kept, named = (), dims_of(self, dim)
    for place in range(len(self.shape)):
        if place not in named:
            kept = kept + (self.shape[place],)
    return ops.reshape(self, kept)
