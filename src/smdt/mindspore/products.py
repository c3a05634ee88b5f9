"""Products of matrices and tensors, with the arguments of the aten schema they stand for."""

from __future__ import annotations

from typing import Any

from mindspore import ops
from mindspore.ops import constexpr

Tensor = Any


def linear(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    """``input · weightᵀ + bias``: (..., I) with (O, I) to (..., O)."""
    flat = ops.reshape(input, (-1, input.shape[-1]))
    result = ops.MatMul(transpose_b=True)(flat, weight)
    if bias is not None:
        result = result + bias
    return ops.reshape(result, input.shape[:-1] + (weight.shape[0],))


def matmul(self: Tensor, other: Tensor) -> Tensor:
    """The matrix product, over leading dimensions where there are more than two."""
    left, right = len(self.shape), len(other.shape)
    if left > 2 and left == right and self.shape[:-2] == other.shape[:-2]:
        return ops.BatchMatMul()(self, other)
    return ops.matmul(self, other)


def addmm(self: Tensor, mat1: Tensor, mat2: Tensor, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta·self + alpha·mat1·mat2``."""
    product = matmul(mat1, mat2)
    return (self if beta == 1 else self * beta) + (product if alpha == 1 else product * alpha)


def einsum(equation: str, tensors: Any, path: Any = None) -> Tensor:
    """Einstein's sum of one or two tensors, each letter at most once in each, without an ellipsis."""
    left, right, result = einsum_plan(equation)
    a = _arranged(tensors[0], left[0], left[1])
    if len(tensors) == 1:
        return a
    b = _arranged(tensors[1], right[0], right[1])
    both, rows, summed = result[0], result[1], result[2]
    lengths = a.shape[: both + rows] + b.shape[both + summed :]
    batch, inner = _product(a.shape[:both]), _product(a.shape[both + rows :])
    product = ops.BatchMatMul()(ops.reshape(a, (batch, -1, inner)), ops.reshape(b, (batch, inner, -1)))
    return _arranged(ops.reshape(product, lengths), (), result[3])


@constexpr
def einsum_plan(equation: str) -> Any:
    """For either tensor the dimensions to sum and the order of the rest; then how many dimensions stand in both, in
    the first alone and summed, and the result's order.
    """
    inputs, _, output = equation.replace(" ", "").partition("->")
    letters = (*inputs.split(","), output)
    left, right = letters[0], letters[1] if len(letters) == 3 else ""
    if len(letters) < 3:
        return _kept(left, output), ((), ()), (0, 0, 0, ())
    both = [x for x in left if x in right and x in output]
    summed = [x for x in left if x in right and x not in output]
    rows = [x for x in left if x not in right and x in output]
    columns = [x for x in right if x not in left and x in output]
    order = tuple([*both, *rows, *columns].index(x) for x in output)
    counts = (len(both), len(rows), len(summed), order)
    return _kept(left, [*both, *rows, *summed]), _kept(right, [*both, *summed, *columns]), counts


def _kept(letters: str, wanted: Any) -> Any:
    kept = [x for x in letters if x in wanted]
    return tuple(i for i, x in enumerate(letters) if x not in wanted), tuple(kept.index(x) for x in wanted)


def _arranged(tensor: Tensor, summed: Any, order: Any) -> Tensor:
    """Some dimensions summed over, the rest in another order."""
    if len(summed) > 0:
        tensor = ops.ReduceSum(False)(tensor, summed)
    return ops.transpose(tensor, order) if len(order) > 0 else tensor


def _product(lengths: Any) -> int:
    product = 1
    for length in lengths:
        product = product * length
    return product
