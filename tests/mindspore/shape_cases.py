"""Random arguments for the overloads that move, cut, join and reduce."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from .operation_cases import Arguments, Draw, array, case, floats, one_of, shape, some_axes, some_axis, whole


@case("sym_size.int size.int", gradient=False)
def size(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, some_axis(draw, values.ndim)], {}


@case("reshape.default view.default")
def reshape(draw: Draw) -> Arguments:
    a, b, c = (whole(draw, 1, 4) for _ in range(3))
    return [array(draw, (a, b, c)), one_of(draw, [a * b, c], [-1], [c, -1], [a, b, 1, c])], {}


@case("reshape_as.default view_as.default")
def reshape_as(draw: Draw) -> Arguments:
    a, b = whole(draw, 1, 4), whole(draw, 1, 4)
    return [array(draw, (a, b)), array(draw, (b, a))], {}


@case("flatten.using_ints")
def flatten(draw: Draw) -> Arguments:
    return [array(draw, shape(draw, 3, 4)), one_of(draw, 0, 1), one_of(draw, -1, 2)], {}


@case("unflatten.int")
def unflatten(draw: Draw) -> Arguments:
    a, b = whole(draw, 1, 4), whole(draw, 1, 4)
    return [array(draw, (2, a * b, 3)), one_of(draw, 1, -2), one_of(draw, [a, b], [a, -1])], {}


@case("permute.default")
def permute(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 4))
    order = draw(st.permutations(range(values.ndim)))
    return [values, [axis - values.ndim if draw(st.booleans()) else axis for axis in order]], {}


@case("transpose.int swapaxes.default")
def transpose(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 4))
    return [values, some_axis(draw, values.ndim), some_axis(draw, values.ndim)], {}


@case("unsqueeze.default")
def unsqueeze(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    return [values, whole(draw, -values.ndim - 1, values.ndim)], {}


@case("squeeze.default")
def squeeze(draw: Draw) -> Arguments:
    return [array(draw, (1, whole(draw, 1, 3), 1))], {}


@case("squeeze.dim")
def squeeze_one(draw: Draw) -> Arguments:
    return [array(draw, (1, whole(draw, 1, 3), 1)), some_axis(draw, 3)], {}


@case("squeeze.dims")
def squeeze_some(draw: Draw) -> Arguments:
    return [array(draw, (1, whole(draw, 1, 3), 1)), some_axes(draw, 3)], {}


@case("expand.default broadcast_to.default")
def expand(draw: Draw) -> Arguments:
    a, b = whole(draw, 1, 3), whole(draw, 1, 3)
    return [array(draw, (1, a)), one_of(draw, [b, a], [b, -1], [2, b, -1])], {}


@case("expand_as.default")
def expand_as(draw: Draw) -> Arguments:
    a, b = whole(draw, 1, 3), whole(draw, 1, 3)
    return [array(draw, (1, a)), array(draw, (b, a))], {}


@case("repeat.default")
def repeat(draw: Draw) -> Arguments:
    return [array(draw, shape(draw, 2, 2)), one_of(draw, [2, 3], [1, 2], [2, 1, 2])], {}


@case("tile.default")
def tile(draw: Draw) -> Arguments:
    return [array(draw, shape(draw, 2, 2)), one_of(draw, [2, 3], [2], [2, 1, 2])], {}


@case("repeat_interleave.self_int")
def repeat_interleave(draw: Draw) -> Arguments:
    return [array(draw, shape(draw, 2, 3)), whole(draw, 1, 3), one_of(draw, None, 0, -1)], {}


@case("cat.default concat.default")
def cat(draw: Draw) -> Arguments:
    a, axis = whole(draw, 1, 3), one_of(draw, 1, -2)
    return [[array(draw, (2, whole(draw, 1, 3), a)) for _ in range(whole(draw, 1, 3))], axis], {}


@case("stack.default")
def stack(draw: Draw) -> Arguments:
    form = shape(draw, 1, 3)
    return [[array(draw, form) for _ in range(whole(draw, 1, 3))], whole(draw, -len(form) - 1, len(form))], {}


@case("split.Tensor chunk.default")
def split(draw: Draw) -> Arguments:
    return [array(draw, (2, whole(draw, 3, 7), 2)), whole(draw, 1, 3), one_of(draw, 1, -2)], {}


@case("split_with_sizes.default split.sizes")
def split_sizes(draw: Draw) -> Arguments:
    sizes = [whole(draw, 1, 3) for _ in range(whole(draw, 1, 3))]
    return [array(draw, (2, sum(sizes))), sizes, one_of(draw, 1, -1)], {}


@case("unbind.int")
def unbind(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    return [values, some_axis(draw, values.ndim)], {}


@case("select.int")
def select(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    axis = some_axis(draw, values.ndim)
    return [values, axis, some_axis(draw, values.shape[axis])], {}


@case("slice.Tensor")
def cut(draw: Draw) -> Arguments:
    values = array(draw, (3, whole(draw, 4, 8)))
    start, end = one_of(draw, (None, None), (1, 3), (-3, -1), (0, 2**63 - 1), (2, 100))
    return [values, one_of(draw, 1, -1), start, end, whole(draw, 1, 3)], {}


@case("narrow.default")
def narrow(draw: Draw) -> Arguments:
    return [array(draw, (2, 6)), one_of(draw, 1, -1), whole(draw, 0, 2), whole(draw, 1, 3)], {}


@case("index_select.default")
def index_select(draw: Draw) -> Arguments:
    values = array(draw, (whole(draw, 1, 4), 3, 2))
    places = np.array([whole(draw, 0, 2) for _ in range(whole(draw, 1, 5))])
    return [values, one_of(draw, 1, -2), places], {}


@case("gather.default")
def gather(draw: Draw) -> Arguments:
    places = np.abs(array(draw, (2, whole(draw, 1, 4)), np.int64)) % 5
    return [array(draw, (2, 5)), one_of(draw, 1, -1), places], {}


@case("index.Tensor")
def index(draw: Draw) -> Arguments:
    places = np.array([whole(draw, -3, 2) for _ in range(whole(draw, 1, 4))])
    rows = np.arange(len(places)) % 4
    return [array(draw, (4, 3, 2)), one_of(draw, [None, places], [rows, places], [rows])], {}


@case("roll.default")
def roll(draw: Draw) -> Arguments:
    shifts, axes = one_of(draw, ([1], [1]), ([-2], [0]), ([1, 5], [0, -1]), ([2], []))
    return [array(draw, shape(draw, 2, 3)), shifts, axes], {}


@case("flip.default")
def flip(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 2, 3))
    return [values, some_axes(draw, values.ndim)], {}


@case("tril.default triu.default")
def triangle(draw: Draw) -> Arguments:
    return [array(draw, shape(draw, 2, 3), floats(draw)), whole(draw, -2, 2)], {}


@case("diagonal.default")
def diagonal(draw: Draw) -> Arguments:
    form = (whole(draw, 3, 5), 2, whole(draw, 3, 5))
    return [array(draw, form), whole(draw, -2, 2), *one_of(draw, (0, 2), (-1, 0))], {}


@case("pixel_shuffle.default")
def pixel_shuffle(draw: Draw) -> Arguments:
    factor = whole(draw, 1, 3)
    return [array(draw, (2, 2 * factor * factor, whole(draw, 1, 3), whole(draw, 1, 3))), factor], {}


# Over dimensions


@case("sum.dim_IntList", tolerance=1e-4)
def total(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3), one_of(draw, np.float32, np.int64, np.bool_))
    return [values, one_of(draw, None, some_axes(draw, values.ndim)), draw(st.booleans())], {}


@case("mean.dim", tolerance=1e-4)
def mean(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    return [values, one_of(draw, None, some_axes(draw, values.ndim)), draw(st.booleans())], {}


@case("amax.default amin.default")
def extreme(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    if draw(st.booleans()):
        values = np.round(values)
    return [values, one_of(draw, [], some_axes(draw, values.ndim)), draw(st.booleans())], {}


@case("max.default min.default")
def extreme_of_all(draw: Draw) -> Arguments:
    return [array(draw, shape(draw, 1, 3))], {}


@case("max.dim min.dim")
def extreme_and_place(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    return [values, some_axis(draw, values.ndim), draw(st.booleans())], {}


@case("argmax.default argmin.default", gradient=False)
def place(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    return [values, some_axis(draw, values.ndim), draw(st.booleans())] if draw(st.booleans()) else [
        values
    ], {}


@case("var.correction std.correction var_mean.correction std_mean.correction", tolerance=1e-4)
def variance(draw: Draw) -> Arguments:
    values = array(draw, (whole(draw, 3, 5), whole(draw, 3, 5), 3))
    return [values, some_axes(draw, 3)], {"correction": one_of(draw, 0, 1), "keepdim": draw(st.booleans())}


@case("var.dim std.dim", tolerance=1e-4)
def variance_unbiased(draw: Draw) -> Arguments:
    values = array(draw, (whole(draw, 3, 5), whole(draw, 3, 5), 3))
    return [values, some_axes(draw, 3), draw(st.booleans()), draw(st.booleans())], {}


@case("logsumexp.default")
def logsumexp(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3), scale=30.0)
    return [values, some_axes(draw, values.ndim), draw(st.booleans())], {}


@case("linalg_vector_norm.default", tolerance=1e-4)
def norm(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    power = one_of(draw, 2, 2, 1, 3, float("inf"))
    if power == 2 and draw(st.booleans()):
        values = values * 0
    return [values, power, one_of(draw, None, some_axes(draw, values.ndim)), draw(st.booleans())], {}


@case("norm.ScalarOpt_dim", tolerance=1e-4)
def old_norm(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    return [values, one_of(draw, None, 2, 1), some_axes(draw, values.ndim), draw(st.booleans())], {}


@case("cumsum.default", tolerance=1e-4)
def cumsum(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3))
    return [values, some_axis(draw, values.ndim)], {}


@case("prod.dim_int", tolerance=1e-4)
def product(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3)) + 3
    return [values, some_axis(draw, values.ndim), draw(st.booleans())], {}


@case("any.default all.default", gradient=False)
def any_of_all(draw: Draw) -> Arguments:
    return [array(draw, shape(draw, 1, 3), np.bool_)], {}


@case("any.dim all.dim", gradient=False)
def any_along(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3), np.bool_)
    return [values, some_axis(draw, values.ndim), draw(st.booleans())], {}


@case("topk.default")
def topk(draw: Draw) -> Arguments:
    return [array(draw, (3, whole(draw, 4, 7))), whole(draw, 1, 4), -1, draw(st.booleans())], {}


@case("sort.default")
def sort(draw: Draw) -> Arguments:
    return [array(draw, (3, whole(draw, 2, 7))), one_of(draw, -1, 1), draw(st.booleans())], {}
