"""Operations on each element, with the arguments of the aten schema they stand for.

Every function here runs in PyNative and in graph mode. ``Tensor`` is MindSpore's.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import mint, ops

Tensor = Any


def number(value: Any, like: Tensor) -> Any:
    """A number beside a float64 tensor as float64: MindSpore would round it to float32 first."""
    if isinstance(value, float) and like.dtype == ms.float64:
        return ms.Tensor(value, ms.float64)
    return value


def is_floating(self: Tensor) -> bool:
    """Whether of a floating point type."""
    return self.dtype in (ms.float16, ms.float32, ms.float64, ms.bfloat16)


def add(self: Any, other: Any, alpha: Any = 1) -> Tensor:
    """``self + alpha·other``."""
    if alpha == 1:
        return _both(mint.add, self, other)
    return _both(mint.add, self, _both(mint.mul, other, alpha))


def sub(self: Any, other: Any, alpha: Any = 1) -> Tensor:
    """``self − alpha·other``."""
    if alpha == 1:
        return _both(mint.sub, self, other)
    return _both(mint.sub, self, _both(mint.mul, other, alpha))


def rsub(self: Any, other: Any, alpha: Any = 1) -> Tensor:
    """``other − alpha·self``."""
    return sub(other, self, alpha)


def mul(self: Any, other: Any) -> Tensor:
    """The product."""
    return _both(mint.mul, self, other)


def div(self: Any, other: Any, rounding_mode: str | None = None) -> Tensor:
    """The quotient; whole numbers divide to float32, as in torch, unless a rounding is asked for."""
    if rounding_mode == "floor":
        return _both(ops.floor_div, self, other)
    if rounding_mode == "trunc":
        whole = _both(ops.floor_div, absolute(self), absolute(other))
        negative = _both(mint.mul, self, other) < 0
        return mint.where(negative, mint.neg(whole), whole)
    return _both(mint.div, self, other)


def floor_divide(self: Any, other: Any) -> Tensor:
    """The quotient rounded down."""
    return _both(ops.floor_div, self, other)


def remainder(self: Any, other: Any) -> Tensor:
    """The remainder with the divisor's sign."""
    return _both(ops.floor_mod, self, other)


def power(self: Any, exponent: Any) -> Tensor:
    """``self`` to the power of ``exponent``; small whole powers are products, whose gradient is exact at zero."""
    if isinstance(exponent, (int, float)) and not isinstance(self, (int, float)):
        if exponent == 2:
            return self * self
        if exponent == 3:
            return self * self * self
        if exponent == 1:
            return self
        if exponent == 0.5:
            return mint.sqrt(self)
    return _both(mint.pow, self, exponent)


def maximum(self: Tensor, other: Tensor) -> Tensor:
    """The larger of two; where they are equal, each takes half of the gradient, as in torch."""
    return _extreme(self, other, self > other, self < other)


def minimum(self: Tensor, other: Tensor) -> Tensor:
    """The smaller of two; where they are equal, each takes half of the gradient, as in torch."""
    return _extreme(self, other, self < other, self > other)


def where(condition: Tensor, self: Any, other: Any) -> Tensor:
    """``self`` where the condition holds, ``other`` elsewhere."""
    if not isinstance(self, (int, float)) and isinstance(other, (int, float)):
        other = ops.full_like(self, other)
    elif isinstance(self, (int, float)) and not isinstance(other, (int, float)):
        self = ops.full_like(other, self)
    elif isinstance(self, (int, float)):
        kind = ms.float32 if isinstance(self, float) or isinstance(other, float) else ms.int64
        self, other = ms.Tensor(self, kind), ms.Tensor(other, kind)
    self, other = _alike(self, other)
    if self.dtype != other.dtype:
        zero = ops.zeros_like(self) + ops.zeros_like(other)
        self, other = self + zero, other + zero
    return mint.where(condition, self, other)


def masked_fill(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``value`` where the mask holds."""
    if isinstance(value, (int, float, bool)):
        value = ops.full_like(self, value)
    return mint.where(mask, value.astype(self.dtype), self)


def clamp(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Between ``min`` and ``max``; the gradient passes at the bounds, as in torch."""
    result = self
    if min is not None:
        low = ops.full_like(self, min) if isinstance(min, (int, float)) else min
        result = mint.where(result < low, low, result)
    if max is not None:
        high = ops.full_like(self, max) if isinstance(max, (int, float)) else max
        result = mint.where(result > high, high, result)
    return result


def clamp_min(self: Tensor, min: Any) -> Tensor:
    """At least ``min``."""
    return clamp(self, min, None)


def clamp_max(self: Tensor, max: Any) -> Tensor:
    """At most ``max``."""
    return clamp(self, None, max)


def neg(self: Tensor) -> Tensor:
    """The negative."""
    return mint.neg(self)


def absolute(self: Tensor) -> Tensor:
    """The absolute value."""
    return abs(self) if isinstance(self, (int, float)) else mint.abs(self)


def sign(self: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return mint.sign(self)


def exp(self: Tensor) -> Tensor:
    """The exponential."""
    return mint.exp(floating(self))


def expm1(self: Tensor) -> Tensor:
    """``exp(self) − 1``, exact near zero."""
    return mint.expm1(floating(self))


def log(self: Tensor) -> Tensor:
    """The natural logarithm."""
    return mint.log(floating(self))


def log1p(self: Tensor) -> Tensor:
    """``log(1 + self)``, exact near zero."""
    return mint.log1p(floating(self))


def sqrt(self: Tensor) -> Tensor:
    """The square root."""
    return mint.sqrt(floating(self))


def rsqrt(self: Tensor) -> Tensor:
    """One over the square root."""
    return mint.rsqrt(floating(self))


def reciprocal(self: Tensor) -> Tensor:
    """One over ``self``."""
    return mint.reciprocal(floating(self))


def square(self: Tensor) -> Tensor:
    """The square."""
    return self * self


def sin(self: Tensor) -> Tensor:
    """The sine; radians."""
    return mint.sin(floating(self))


def cos(self: Tensor) -> Tensor:
    """The cosine; radians."""
    return mint.cos(floating(self))


def tan(self: Tensor) -> Tensor:
    """The tangent; radians."""
    return mint.tan(floating(self))


def atan(self: Tensor) -> Tensor:
    """The arc tangent, in radians."""
    return ops.atan(floating(self))


def atan2(self: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (``other``, ``self``), in radians."""
    return ops.atan2(floating(self), floating(other))


def erf(self: Tensor) -> Tensor:
    """The error function."""
    return mint.erf(floating(self))


def floor(self: Tensor) -> Tensor:
    """Rounded down."""
    return mint.floor(self) if is_floating(self) else self


def ceil(self: Tensor) -> Tensor:
    """Rounded up."""
    return mint.ceil(self) if is_floating(self) else self


def rounded(self: Tensor) -> Tensor:
    """Rounded to the nearest whole number, halves to even."""
    return mint.round(self) if is_floating(self) else self


def eq(self: Any, other: Any) -> Tensor:
    """Whether equal."""
    return self == other


def ne(self: Any, other: Any) -> Tensor:
    """Whether different."""
    return self != other


def lt(self: Any, other: Any) -> Tensor:
    """Whether smaller."""
    return self < other


def le(self: Any, other: Any) -> Tensor:
    """Whether smaller or equal."""
    return self <= other


def gt(self: Any, other: Any) -> Tensor:
    """Whether larger."""
    return self > other


def ge(self: Any, other: Any) -> Tensor:
    """Whether larger or equal."""
    return self >= other


def logical_and(self: Tensor, other: Tensor) -> Tensor:
    """Whether both hold."""
    return mint.logical_and(self.astype(ms.bool_), other.astype(ms.bool_))


def logical_or(self: Tensor, other: Tensor) -> Tensor:
    """Whether one of them holds."""
    return mint.logical_or(self.astype(ms.bool_), other.astype(ms.bool_))


def logical_not(self: Tensor) -> Tensor:
    """Whether it does not hold."""
    return mint.logical_not(self.astype(ms.bool_))


def isfinite(self: Tensor) -> Tensor:
    """Whether neither infinite nor NaN."""
    return mint.isfinite(self)


def isnan(self: Tensor) -> Tensor:
    """Whether NaN."""
    return self != self  # noqa: PLR0124 - NaN is what differs from itself


def lerp(self: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``self + weight·(end − self)``."""
    return self + (end - self) * weight


def addcmul(self: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any = 1) -> Tensor:
    """``self + value·tensor1·tensor2``."""
    return self + tensor1 * tensor2 * value


def addcdiv(self: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any = 1) -> Tensor:
    """``self + value·tensor1/tensor2``."""
    return self + tensor1 / tensor2 * value


def cast(self: Tensor, dtype: Any = None) -> Tensor:
    """The tensor in another type."""
    if dtype is None or self.dtype == dtype:
        return self
    return self.astype(dtype)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the other's type."""
    return cast(self, other.dtype)


def identity(self: Tensor) -> Tensor:
    """The tensor itself: copies and memory formats mean nothing here."""
    return self


def detach(self: Tensor) -> Tensor:
    """The tensor without its gradient."""
    return ops.stop_gradient(self)


def _both(operation: Any, left: Any, right: Any) -> Tensor:
    if isinstance(left, (int, float)):
        return operation(number(left, right), right)
    if isinstance(right, (int, float)):
        return operation(left, number(right, left))
    left, right = _alike(left, right)
    return operation(left, right)


def _alike(left: Tensor, right: Tensor) -> Any:
    """A tensor without dimensions takes the other's type, as in torch, where both are floating or both whole."""
    if left.dtype != right.dtype and is_floating(left) == is_floating(right):
        if len(left.shape) == 0 and len(right.shape) > 0 and right.dtype != ms.bool_:
            return left.astype(right.dtype), right
        if len(right.shape) == 0 and len(left.shape) > 0 and left.dtype != ms.bool_:
            return left, right.astype(left.dtype)
    return left, right


def _extreme(left: Tensor, right: Tensor, takes_left: Tensor, takes_right: Tensor) -> Tensor:
    halves = (left + right) * 0.5
    result = mint.where(takes_left, left, mint.where(takes_right, right, halves))
    return result.astype((left + right).dtype)


def floating(self: Tensor) -> Tensor:
    """Whole numbers and truths as float32, the rest as it is."""
    return self if is_floating(self) else self.astype(ms.float32)
