"""Random arguments for complex tensors, as the pairs of numbers that they are in MindSpore."""

from __future__ import annotations

import numpy as np

from .operation_cases import Arguments, Draw, array, case, one_of, shape, whole


def spectrum(draw: Draw, form: tuple[int, ...]) -> np.ndarray:
    return (array(draw, form) + 1j * array(draw, form)).astype(np.complex64)


@case("complex:fft_rfft.default", tolerance=1e-4)
def rfft(draw: Draw) -> Arguments:
    form = (2, whole(draw, 2, 9), whole(draw, 2, 9))
    return [
        array(draw, form),
        one_of(draw, None, 4, 7),
        one_of(draw, -1, 1),
        one_of(draw, None, "ortho", "forward"),
    ], {}


@case("complex:fft_irfft.default", tolerance=1e-4)
def irfft(draw: Draw) -> Arguments:
    values = np.fft.rfft(array(draw, (2, 3, whole(draw, 2, 9)))).astype(np.complex64)
    return [values, one_of(draw, None, 4, 7), -1, one_of(draw, None, "ortho", "forward")], {}


@case("complex:_conj.default complex:conj.default complex:conj_physical.default complex:abs.default")
def of_one(draw: Draw) -> Arguments:
    return [spectrum(draw, shape(draw, 1, 3))], {}


@case("complex:mul.Tensor", tolerance=1e-4)
def product(draw: Draw) -> Arguments:
    a, b = whole(draw, 1, 4), whole(draw, 1, 4)
    return [spectrum(draw, (a, 1, b)), spectrum(draw, (1, 3, b))], {}


@case("complex:einsum.default", tolerance=1e-4)
def einsum(draw: Draw) -> Arguments:
    a, b, c, d = (whole(draw, 1, 4) for _ in range(4))
    return ["qcf,rcf->qrf", [spectrum(draw, (a, b, c)), spectrum(draw, (d, b, c))]], {}


@case("complex:unsqueeze.default")
def unsqueeze(draw: Draw) -> Arguments:
    return [spectrum(draw, shape(draw, 2, 2)), one_of(draw, 0, 1, 2, -1, -2)], {}
