"""Random arguments for each aten overload of the table, drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Arguments = tuple[list[Any], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """How to draw arguments of an overload; whether gradients are compared; and how close results must be."""

    arguments: Callable[[Draw], Arguments]
    gradient: bool = True
    tolerance: float = 2e-5
    typed: bool = True


@dataclass(frozen=True)
class Fixed:
    """An array that torch takes no gradient of."""

    values: np.ndarray[Any, Any]


CASES: dict[str, Case] = {}


def case(names: str, **options: Any) -> Callable[[Callable[[Draw], Arguments]], Callable[[Draw], Arguments]]:
    def register(function: Callable[[Draw], Arguments]) -> Callable[[Draw], Arguments]:
        for name in names.split():
            mark, _, plain = name.rpartition(":")
            CASES[f"{mark}:aten.{plain}" if mark else f"aten.{plain}"] = Case(function, **options)
        return function

    return register


def whole(draw: Draw, low: int, high: int) -> int:
    return int(draw(st.integers(low, high)))


def one_of(draw: Draw, *values: Any) -> Any:
    return draw(st.sampled_from(values))


def array(
    draw: Draw, shape: tuple[int, ...], kind: Any = np.float32, scale: float = 2.0
) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(whole(draw, 0, 2**31))
    if np.dtype(kind) == np.bool_:
        return np.asarray(rng.random(shape) < 0.5)
    if np.issubdtype(kind, np.integer):
        return np.asarray(rng.integers(-6, 7, shape), kind)
    return np.asarray(rng.standard_normal(shape) * scale, kind)


def shape(draw: Draw, least: int = 1, most: int = 4) -> tuple[int, ...]:
    return tuple(whole(draw, 1, 5) for _ in range(whole(draw, least, most)))


def some_axis(draw: Draw, rank: int) -> int:
    return whole(draw, -rank, rank - 1)


def some_axes(draw: Draw, rank: int) -> list[int]:
    axes = [axis for axis in range(rank) if draw(st.booleans())] or [0]
    return [axis - rank if draw(st.booleans()) else axis for axis in axes]


def floats(draw: Draw) -> Any:
    return one_of(draw, np.float32, np.float32, np.float64)


# Element by element


@case(
    "neg.default abs.default absolute.default exp.default expm1.default square.default sin.default "
    "cos.default tan.default atan.default arctan.default erf.default special_erf.default relu.default relu6.default "
    "sigmoid.default special_expit.default log_sigmoid.default tanh.default silu.default mish.default "
    "hardsigmoid.default hardswish.default contiguous.default clone.default alias.default lift_fresh_copy.default "
    "mean.default sum.default t.default",
    tolerance=5e-5,
)
def unary(draw: Draw) -> Arguments:
    return [array(draw, shape(draw, 1, 2), floats(draw))], {}


@case("log.default log1p.default sqrt.default rsqrt.default reciprocal.default")
def unary_positive(draw: Draw) -> Arguments:
    return [np.abs(array(draw, shape(draw), floats(draw))) + 0.1], {}


@case(
    "floor.default ceil.default round.default sign.default sgn.default isfinite.default isnan.default detach.default "
    "lift_fresh.default",
    gradient=False,
)
def steps(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    values.flat[0] = one_of(draw, 0.5, 1.5, -0.5, 0.0, 2.0)
    return [values], {}


@case("mT.default numpy_T.default")
def turned(draw: Draw) -> Arguments:
    return [array(draw, (whole(draw, 1, 4), whole(draw, 1, 4)))], {}


def broadcast_pair(draw: Draw, kinds: tuple[Any, Any]) -> tuple[Any, Any]:
    full = shape(draw, 1, 3)
    part = tuple(length if draw(st.booleans()) else 1 for length in full)[whole(draw, 0, len(full)) :]
    pair = (array(draw, full, kinds[0]), array(draw, part, kinds[1]))
    return pair if draw(st.booleans()) else pair[::-1]


_KINDS = [
    (np.float32, np.float32),
    (np.float64, np.float64),
    (np.int64, np.int64),
    (np.float32, np.int64),
    (np.float32, np.bool_),
    (np.float64, np.float32),
    (np.int64, np.int32),
]


@case("mul.Tensor multiply.Tensor")
def binary(draw: Draw) -> Arguments:
    return list(broadcast_pair(draw, one_of(draw, *_KINDS))), {}


@case("add.Tensor sub.Tensor rsub.Tensor")
def binary_scaled(draw: Draw) -> Arguments:
    alpha = one_of(draw, 1, 1, 2)
    kinds = one_of(draw, *(pair for pair in _KINDS if np.bool_ not in pair))
    return list(broadcast_pair(draw, kinds)), {"alpha": alpha} if alpha != 1 else {}


@case("add.Scalar sub.Scalar rsub.Scalar mul.Scalar")
def with_number(draw: Draw) -> Arguments:
    kind = one_of(draw, np.float32, np.float64, np.int64)
    return [array(draw, shape(draw), kind), one_of(draw, 2, 0.1, -3, 1.7)], {}


def away_from_zero(values: Any) -> Any:
    return np.where(np.abs(values) < 0.3, 1, values).astype(values.dtype)


@case("div.Tensor true_divide.Tensor divide.Tensor")
def division(draw: Draw) -> Arguments:
    kinds = one_of(draw, *(pair for pair in _KINDS if np.bool_ not in pair))
    left, right = broadcast_pair(draw, kinds)
    return [left, away_from_zero(right)], {}


@case("div.Scalar")
def division_by_number(draw: Draw) -> Arguments:
    return [
        array(draw, shape(draw), one_of(draw, np.float32, np.float64, np.int64)),
        one_of(draw, 2, 0.7, -3),
    ], {}


@case("div.Tensor_mode", gradient=False)
def division_rounded(draw: Draw) -> Arguments:
    left, right = broadcast_pair(draw, one_of(draw, (np.float32, np.float32), (np.int64, np.int64)))
    return [left, away_from_zero(right)], {"rounding_mode": one_of(draw, "floor", "trunc")}


@case("div.Scalar_mode", gradient=False)
def division_by_number_rounded(draw: Draw) -> Arguments:
    values = array(draw, shape(draw), one_of(draw, np.float32, np.int64))
    return [values, one_of(draw, 2, -3)], {"rounding_mode": one_of(draw, "floor", "trunc")}


@case("floor_divide.default remainder.Tensor", gradient=False)
def whole_division(draw: Draw) -> Arguments:
    left, right = broadcast_pair(draw, one_of(draw, (np.float32, np.float32), (np.int64, np.int64)))
    return [left, away_from_zero(right)], {}


@case("floor_divide.Scalar remainder.Scalar", gradient=False)
def whole_division_by_number(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), one_of(draw, np.float32, np.int64)), one_of(draw, 2, 3, -2)], {}


@case("pow.Tensor_Scalar")
def power(draw: Draw) -> Arguments:
    return [
        np.abs(array(draw, shape(draw), floats(draw))) + 0.1,
        one_of(draw, 0.5, 1, 2, 3, -1, 1.3, -0.5),
    ], {}


@case("pow.Tensor_Tensor")
def power_of_tensors(draw: Draw) -> Arguments:
    left, right = broadcast_pair(draw, (np.float32, np.float32))
    return [np.abs(left) + 0.2, right], {}


@case("pow.Scalar")
def power_of_number(draw: Draw) -> Arguments:
    return [one_of(draw, 2.0, 0.5, 10.0), array(draw, shape(draw))], {}


@case("maximum.default minimum.default max.other min.other atan2.default arctan2.default")
def extremes(draw: Draw) -> Arguments:
    return list(broadcast_pair(draw, (np.float32, np.float32))), {}


@case("where.self")
def choice(draw: Draw) -> Arguments:
    left, right = broadcast_pair(draw, one_of(draw, (np.float32, np.float32), (np.float32, np.float64)))
    return [array(draw, np.broadcast_shapes(left.shape, right.shape), np.bool_), left, right], {}


@case("where.ScalarSelf")
def choice_number_first(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [array(draw, values.shape, np.bool_), one_of(draw, 1.5, -2.0), values], {}


@case("where.ScalarOther")
def choice_number_last(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [array(draw, values.shape, np.bool_), values, one_of(draw, 1.5, -2.0)], {}


@case("where.Scalar", gradient=False)
def choice_of_numbers(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), np.bool_), one_of(draw, 1.5, 2), one_of(draw, 0.0, 3)], {}


@case("masked_fill.Scalar")
def filled(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, array(draw, values.shape, np.bool_), one_of(draw, 0.0, -1.5, float("-inf"))], {}


@case("masked_fill.Tensor")
def filled_by_tensor(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, array(draw, values.shape, np.bool_), np.asarray(1.5, np.float32)], {}


@case("clamp.default clip.default")
def clamped(draw: Draw) -> Arguments:
    low, high = one_of(draw, (-1.0, 1.0), (None, 0.5), (0.25, None), (-1.0, None))
    return [array(draw, shape(draw), floats(draw)), low, high], {}


@case("clamp.Tensor")
def clamped_by_tensors(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [
        values,
        array(draw, values.shape) - 2,
        one_of(draw, None, np.full(values.shape, 2.5, np.float32)),
    ], {}


@case("clamp_min.default clamp_max.default")
def clamped_one_way(draw: Draw) -> Arguments:
    return [array(draw, shape(draw)), one_of(draw, -0.5, 0.0, 1.0)], {}


@case("clamp_min.Tensor clamp_max.Tensor")
def clamped_one_way_by_tensor(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, array(draw, values.shape)], {}


@case("hardtanh.default")
def bounded(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    values.flat[0] = 1.0
    return [values, *one_of(draw, (), (-2.0, 0.5))], {}


@case("leaky_relu.default")
def leaky(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), floats(draw)), one_of(draw, 0.01, 0.2)], {}


@case("prelu.default")
def prelu(draw: Draw) -> Arguments:
    channels = whole(draw, 1, 4)
    weights = array(draw, (one_of(draw, 1, channels),))
    return [array(draw, (whole(draw, 1, 3), channels, *shape(draw, 0, 2))), weights], {}


@case("elu.default")
def elu(draw: Draw) -> Arguments:
    return [array(draw, shape(draw)), *one_of(draw, (), (0.5,), (1.67, 1.05))], {}


@case("gelu.default")
def gelu(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), floats(draw))], {"approximate": one_of(draw, "none", "tanh")}


@case("softplus.default")
def softplus(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), scale=8.0), *one_of(draw, (), (2.0,), (1.0, 5.0))], {}


@case("eq.Tensor ne.Tensor lt.Tensor le.Tensor gt.Tensor ge.Tensor", gradient=False)
def comparison(draw: Draw) -> Arguments:
    return list(broadcast_pair(draw, one_of(draw, (np.int64, np.int64), (np.float32, np.float32)))), {}


@case("eq.Scalar ne.Scalar lt.Scalar le.Scalar gt.Scalar ge.Scalar", gradient=False)
def comparison_with_number(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), one_of(draw, np.int64, np.float32)), one_of(draw, 0, 1, -2)], {}


@case(
    "logical_and.default logical_or.default bitwise_and.Tensor bitwise_or.Tensor __and__.Tensor __or__.Tensor",
    gradient=False,
)
def truths(draw: Draw) -> Arguments:
    return list(broadcast_pair(draw, (np.bool_, np.bool_))), {}


@case("logical_not.default bitwise_not.default", gradient=False)
def one_truth(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), np.bool_)], {}


@case("lerp.Scalar")
def between(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, array(draw, values.shape), 0.3], {}


@case("lerp.Tensor")
def between_by_tensor(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, array(draw, values.shape), array(draw, values.shape)], {}


@case("addcmul.default addcdiv.default")
def multiplied_and_added(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, array(draw, values.shape), away_from_zero(array(draw, values.shape))], {"value": 0.5}
