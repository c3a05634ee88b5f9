"""Random arguments for what makes tensors: casts, constants, counts and the like."""

from __future__ import annotations

import numpy as np
import torch

from .operation_cases import Arguments, Draw, array, case, floats, one_of, shape, whole

_DTYPES = (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool)


@case("to.dtype", gradient=False)
def cast(draw: Draw) -> Arguments:
    return [
        array(draw, shape(draw), one_of(draw, np.float32, np.int64, np.bool_)),
        one_of(draw, *_DTYPES),
    ], {}


@case("to.dtype_layout _to_copy.default", gradient=False)
def cast_by_name(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), one_of(draw, np.float32, np.int64))], {"dtype": one_of(draw, *_DTYPES)}


@case("to.device", gradient=False)
def moved_and_cast(draw: Draw) -> Arguments:
    return [array(draw, shape(draw)), torch.device("cpu"), one_of(draw, *_DTYPES)], {}


@case("type_as.default", gradient=False)
def cast_like(draw: Draw) -> Arguments:
    return [array(draw, shape(draw)), array(draw, (2,), one_of(draw, np.int64, np.float64))], {}


# Made from nothing


@case("full.default", gradient=False)
def full(draw: Draw) -> Arguments:
    return [list(shape(draw)), one_of(draw, 1.5, 2, True)], one_of(draw, {}, {"dtype": torch.float64})


@case("zeros.default ones.default", gradient=False)
def constants(draw: Draw) -> Arguments:
    return [list(shape(draw))], one_of(draw, {}, {"dtype": torch.int64})


@case("full_like.default", gradient=False)
def full_like(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), floats(draw)), 2.5], one_of(draw, {}, {"dtype": torch.int64})


@case("zeros_like.default ones_like.default", gradient=False)
def constants_like(draw: Draw) -> Arguments:
    return [array(draw, shape(draw), floats(draw))], one_of(draw, {}, {"dtype": torch.int64})


@case("new_full.default", gradient=False)
def new_full(draw: Draw) -> Arguments:
    return [array(draw, (2,), floats(draw)), list(shape(draw)), 2.5], {}


@case("new_zeros.default new_ones.default", gradient=False)
def new_constants(draw: Draw) -> Arguments:
    return [array(draw, (2,), one_of(draw, np.float32, np.int64)), list(shape(draw))], {}


@case("arange.default", gradient=False)
def counted(draw: Draw) -> Arguments:
    return [one_of(draw, 5, 3.5, 7)], one_of(draw, {}, {"dtype": torch.float32})


@case("arange.start", gradient=False)
def counted_from(draw: Draw) -> Arguments:
    return [one_of(draw, 0, 2), one_of(draw, 5, 3.5)], {}


@case("arange.start_step", gradient=False)
def counted_by(draw: Draw) -> Arguments:
    return [one_of(draw, 0, 1), one_of(draw, 9, 7.5), one_of(draw, 2, 3)], {}


@case("linspace.default", gradient=False)
def spaced(draw: Draw) -> Arguments:
    return [one_of(draw, 0.0, -1.0), one_of(draw, 1.0, 3), whole(draw, 1, 7)], {}


@case("eye.default", gradient=False)
def eye(draw: Draw) -> Arguments:
    return [whole(draw, 1, 5)], one_of(draw, {}, {"dtype": torch.bool})


@case("eye.m", gradient=False)
def eye_wide(draw: Draw) -> Arguments:
    return [whole(draw, 1, 5), whole(draw, 1, 5)], {}


@case("scalar_tensor.default", gradient=False)
def number(draw: Draw) -> Arguments:
    return [one_of(draw, 1.5, 2.0)], one_of(draw, {}, {"dtype": torch.float64})


@case("one_hot.default", gradient=False)
def one_hot(draw: Draw) -> Arguments:
    return [np.abs(array(draw, shape(draw, 1, 3), np.int64)), 7], {}
