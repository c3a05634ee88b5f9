"""Padding, resizing and sampling at coordinates, with the arguments of the aten schema they stand for.

Resizing is two products with matrices of interpolation weights, made by NumPy from the sizes while the network
is built or traced: every convention of torch (``align_corners``, given scale factors, bicubic with A = −0.75,
antialiasing) is one formula, and gradients follow by themselves.
"""

from __future__ import annotations

import math
from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import mint, ops
from mindspore.ops import constexpr

from smdt.mindspore import shapes

Tensor = Any


def constant_pad(self: Tensor, pad: Any, value: Any = 0) -> Tensor:
    """A value around the last dimensions, the last dimension first; negative numbers cut."""
    rank, pairs = len(self.shape), len(pad) // 2
    result = self
    for place in range(pairs):
        low, high = pad[2 * place], pad[2 * place + 1]
        axis = rank - 1 - place
        if low < 0 or high < 0:
            length = result.shape[axis]
            result = shapes.slice_(result, axis, max(-low, 0), length - max(-high, 0))
        if low > 0 or high > 0:
            parts = (result,)
            if low > 0:
                parts = (_block(result, axis, low, value), *parts)
            if high > 0:
                parts = (*parts, _block(result, axis, high, value))
            result = mint.cat(parts, axis)
    return result


def pad(self: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    """Padding of the last dimensions: ``constant``, ``circular``, ``reflect`` or ``replicate``."""
    if mode == "constant":
        return constant_pad(self, pad, 0.0 if value is None else value)
    result = self
    for place in range(len(pad) // 2):
        low, high = pad[2 * place], pad[2 * place + 1]
        axis = len(self.shape) - 1 - place
        if low or high:
            result = _extend(result, axis, low, high, mode)
    return result


def reflection_pad(self: Tensor, padding: Any) -> Tensor:
    """The image mirrored at its edges, the edge itself not repeated."""
    return pad(self, padding, "reflect")


def replication_pad(self: Tensor, padding: Any) -> Tensor:
    """The edge repeated."""
    return pad(self, padding, "replicate")


def upsample_nearest2d(input: Tensor, output_size: Any, scale_factors: Any = None) -> Tensor:
    """The pixel at floor(i·scale) of each axis."""
    rows, columns, scale_y, scale_x = _target(input, output_size, scale_factors)
    height, width = input.shape[2], input.shape[3]
    if rows % height == 0 and columns % width == 0 and _whole(scale_y, rows, height, scale_x, columns, width):
        return shapes.repeat_interleave(
            shapes.repeat_interleave(input, rows // height, 2), columns // width, 3
        )
    result = ops.gather(input, nearest_places(height, rows, scale_y), 2)
    return ops.gather(result, nearest_places(width, columns, scale_x), 3)


def upsample_bilinear2d(
    input: Tensor,
    output_size: Any,
    align_corners: bool,
    scale_factors: Any = None,
) -> Tensor:
    """Resized by linear interpolation along both axes."""
    return _resize(input, output_size, scale_factors, align_corners, "linear")


def upsample_bicubic2d(
    input: Tensor,
    output_size: Any,
    align_corners: bool,
    scale_factors: Any = None,
) -> Tensor:
    """Resized by cubic interpolation (A = −0.75) along both axes."""
    return _resize(input, output_size, scale_factors, align_corners, "cubic")


def upsample_bilinear2d_smooth(
    input: Tensor,
    output_size: Any,
    align_corners: bool,
    scale_factors: Any = None,
) -> Tensor:
    """Resized by linear interpolation with antialiasing; corners cannot be aligned then."""
    return _resize(input, output_size, scale_factors, align_corners, "smooth linear")


def upsample_bicubic2d_smooth(
    input: Tensor,
    output_size: Any,
    align_corners: bool,
    scale_factors: Any = None,
) -> Tensor:
    """Resized by cubic interpolation (A = −0.5) with antialiasing; corners cannot be aligned then."""
    return _resize(input, output_size, scale_factors, align_corners, "smooth cubic")


def grid_sampler(
    input: Tensor,
    grid: Tensor,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> Tensor:
    """Images sampled at coordinates in [-1, 1]: bilinear (0) or nearest (1); outside zeros (0), the border (1) or
    the reflection (2).
    """
    if interpolation_mode > 1:
        raise ValueError("grid_sample has no bicubic mode in MindSpore")
    mode = "bilinear" if interpolation_mode == 0 else "nearest"
    padding = ("zeros", "border", "reflection")[padding_mode]
    return ops.grid_sample(input, grid, mode, padding, align_corners)


def affine_grid(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """Sampling coordinates (B, H, W, 2) of affine maps (B, 2, 3)."""
    base = base_grid(int(size[2]), int(size[3]), align_corners)
    flat = ops.matmul(ops.reshape(base, (1, -1, 3)).astype(theta.dtype), ops.transpose(theta, (0, 2, 1)))
    return ops.reshape(flat, (size[0], size[2], size[3], 2))


@constexpr
def base_grid(height: int, width: int, align_corners: bool) -> Tensor:
    """Column, row and 1 of each pixel, with the image from -1 to 1."""
    rows = (np.linspace(-1, 1, height) if height > 1 else np.zeros(1)) * (
        1 if align_corners else (height - 1) / height
    )
    columns = (np.linspace(-1, 1, width) if width > 1 else np.zeros(1)) * (
        1 if align_corners else (width - 1) / width
    )
    x, y = np.meshgrid(columns, rows)
    return ms.Tensor(np.stack([x, y, np.ones_like(x)], -1).astype(np.float32))


@constexpr
def nearest_places(source: int, target: int, scale: float) -> Tensor:
    """The source pixel of each target pixel, as float32 arithmetic gives it in torch."""
    factor = np.float32(1.0 / scale) if scale > 0 else np.float32(source) / np.float32(target)
    places = np.floor(np.arange(target, dtype=np.float32) * factor).astype(np.int64)
    return ms.Tensor(np.minimum(places, source - 1))


@constexpr
def resize_matrix(source: int, target: int, scale: float, align_corners: bool, kind: str) -> Tensor:
    """Interpolation weights (target, source), float32; every row sums to 1."""
    if kind.startswith("smooth"):
        return ms.Tensor(_smooth_weights(source, target, scale, kind).astype(np.float32))
    places = _places(source, target, scale, align_corners)
    if kind == "linear":
        places = np.maximum(places, 0)
    first = np.floor(places).astype(np.int64)
    fraction = places - first
    taps = range(2) if kind == "linear" else range(-1, 3)
    weights = np.zeros((target, source))
    for tap in taps:
        distance = np.abs(fraction - tap)
        share = np.maximum(1 - distance, 0) if kind == "linear" else _cubic(distance, -0.75)
        np.add.at(weights, (np.arange(target), np.clip(first + tap, 0, source - 1)), share)
    return ms.Tensor(weights.astype(np.float32))


def _places(source: int, target: int, scale: float, align_corners: bool) -> npt.NDArray[np.floating]:
    if align_corners:
        return np.arange(target) * ((source - 1) / (target - 1) if target > 1 else 0.0)
    return (np.arange(target) + 0.5) * (1.0 / scale if scale > 0 else source / target) - 0.5


def _cubic(distance: npt.NDArray[np.floating], a: float) -> npt.NDArray[np.floating]:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _smooth_weights(source: int, target: int, scale: float, kind: str) -> npt.NDArray[np.floating]:
    """The kernel stretched by the reduction, each row divided by its sum."""
    step = 1.0 / scale if scale > 0 else source / target
    stretch = max(step, 1.0)
    reach = (1.0 if kind == "smooth linear" else 2.0) * stretch
    weights = np.zeros((target, source))
    for row in range(target):
        centre = step * (row + 0.5)
        low = max(math.trunc(centre - reach + 0.5), 0)
        high = min(math.trunc(centre + reach + 0.5), source)
        distance = np.abs((np.arange(low, high) - centre + 0.5) / stretch)
        share = np.maximum(1 - distance, 0) if kind == "smooth linear" else _cubic(distance, -0.5)
        weights[row, low:high] = share / share.sum()
    return weights


def _resize(image: Tensor, output_size: Any, scale_factors: Any, align_corners: bool, kind: str) -> Tensor:
    if align_corners and kind.startswith("smooth"):
        raise ValueError("resizing with antialiasing does not align corners")
    rows, columns, scale_y, scale_x = _target(image, output_size, scale_factors)
    batch, channels, height, width = image.shape
    result = ops.reshape(image, (-1, width))
    if columns != width:
        across = resize_matrix(width, columns, scale_x, align_corners, kind).astype(image.dtype)
        result = ops.MatMul(transpose_b=True)(result, across)
    result = ops.reshape(result, (batch * channels, height, columns))
    if rows != height:
        down = resize_matrix(height, rows, scale_y, align_corners, kind).astype(image.dtype)
        down = ops.broadcast_to(ops.reshape(down, (1, rows, height)), (batch * channels, rows, height))
        result = ops.BatchMatMul()(down, result)
    return ops.reshape(result, (batch, channels, rows, columns))


def _target(image: Tensor, output_size: Any, scale_factors: Any) -> Any:
    """Rows, columns, and the scales torch computes with: those given, else 0 for the sizes' own."""
    if scale_factors is None:
        return output_size[0], output_size[1], 0.0, 0.0
    rows = int(image.shape[2] * scale_factors[0])
    columns = int(image.shape[3] * scale_factors[1])
    return rows, columns, float(scale_factors[0]), float(scale_factors[1])


def _whole(scale_y: float, rows: int, height: int, scale_x: float, columns: int, width: int) -> bool:
    return scale_y in (0.0, rows / height) and scale_x in (0.0, columns / width)


def _block(image: Tensor, axis: int, length: int, value: Any) -> Tensor:
    return ops.full(image.shape[:axis] + (length,) + image.shape[axis + 1 :], value, dtype=image.dtype)


def _extend(image: Tensor, axis: int, low: int, high: int, mode: str) -> Tensor:
    length = image.shape[axis]
    cut = image
    if low < 0 or high < 0:
        cut = shapes.slice_(image, axis, max(-low, 0), length - max(-high, 0))
    before, after = max(low, 0), max(high, 0)
    parts = (cut,)
    if mode == "circular":
        if before:
            parts = (shapes.slice_(image, axis, length - before, length), *parts)
        if after:
            parts = (*parts, shapes.slice_(image, axis, 0, after))
    elif mode == "reflect":
        if before:
            parts = (mint.flip(shapes.slice_(image, axis, 1, before + 1), (axis,)), *parts)
        if after:
            mirrored = shapes.slice_(image, axis, length - after - 1, length - 1)
            parts = (*parts, mint.flip(mirrored, (axis,)))
    else:
        edge = image.shape[:axis]
        rest = image.shape[axis + 1 :]
        if before:
            first = shapes.slice_(image, axis, 0, 1)
            parts = (ops.broadcast_to(first, (*edge, before, *rest)), *parts)
        if after:
            last = shapes.slice_(image, axis, length - 1, length)
            parts = (*parts, ops.broadcast_to(last, (*edge, after, *rest)))
    return parts[0] if len(parts) == 1 else mint.cat(parts, axis)
