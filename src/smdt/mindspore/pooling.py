"""Pooling by explicit padding and pooling without any, so that every option of the aten schema holds exactly."""

from __future__ import annotations

from typing import Any

from mindspore import mint, ops

from smdt.mindspore import resampling, shapes

Tensor = Any
_LOWEST = -3.4028234663852886e38


def max_pool2d(
    self: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest of each window; with ``ceil_mode`` windows may hang over the lower and right edge."""
    kernel = _pair(kernel_size)
    step = _pair(stride) if stride else kernel
    (top, bottom), (left, right) = _around(self, kernel, step, _pair(padding), _pair(dilation), ceil_mode)
    padded = resampling.constant_pad(self, (left, right, top, bottom), _LOWEST)
    tall, wide = _pair(dilation)
    if tall == 1 and wide == 1:
        return ops.MaxPool(kernel_size=kernel, strides=step, pad_mode="valid")(padded)
    result = None
    rows = (padded.shape[2] - tall * (kernel[0] - 1) - 1) // step[0] * step[0] + 1
    columns = (padded.shape[3] - wide * (kernel[1] - 1) - 1) // step[1] * step[1] + 1
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            y, x = row * tall, column * wide
            part = shapes.slice_(shapes.slice_(padded, 2, y, y + rows, step[0]), 3, x, x + columns, step[1])
            result = part if result is None else mint.where(part > result, part, result)
    return result


def avg_pool2d(
    self: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Tensor:
    """The mean of each window.

    The zeros of the padding count, unless ``count_include_pad`` is off; the overhang of ``ceil_mode`` never
    counts; ``divisor_override`` replaces the count.
    """
    kernel = _pair(kernel_size)
    step = _pair(stride) if stride else kernel
    rows, columns = _pair(padding)
    (top, bottom), (left, right) = _around(self, kernel, step, (rows, columns), (1, 1), ceil_mode)
    padded = resampling.constant_pad(self, (left, right, top, bottom), 0.0)
    mean = ops.AvgPool(kernel_size=kernel, strides=step, pad_mode="valid")(padded)
    area = kernel[0] * kernel[1]
    if divisor_override is not None:
        return mean * (area / divisor_override)
    if bottom <= rows and right <= columns and (count_include_pad or (rows == 0 and columns == 0)):
        return mean
    counted = ops.ones((1, 1, self.shape[2], self.shape[3]), self.dtype)
    if count_include_pad:
        counted = ops.ones((1, 1, self.shape[2] + 2 * rows, self.shape[3] + 2 * columns), self.dtype)
        counted = resampling.constant_pad(counted, (0, right - columns, 0, bottom - rows), 0.0)
    else:
        counted = resampling.constant_pad(counted, (left, right, top, bottom), 0.0)
    share = ops.AvgPool(kernel_size=kernel, strides=step, pad_mode="valid")(counted)
    return mean / share


def adaptive_avg_pool2d(self: Tensor, output_size: Any) -> Tensor:
    """The mean of each of so many rows and columns of windows, which may overlap by one pixel."""
    rows, columns = _pair(output_size)
    height, width = self.shape[2], self.shape[3]
    if rows == 1 and columns == 1:
        return ops.ReduceMean(True)(self, (2, 3))
    if height % rows == 0 and width % columns == 0:
        window = (height // rows, width // columns)
        return ops.AvgPool(kernel_size=window, strides=window, pad_mode="valid")(self)
    lines = ()
    for row in range(rows):
        top, bottom = row * height // rows, -(-(row + 1) * height // rows)
        cells = ()
        for column in range(columns):
            left, right = column * width // columns, -(-(column + 1) * width // columns)
            cells = cells + (ops.ReduceMean(True)(self[:, :, top:bottom, left:right], (2, 3)),)
        lines = lines + (mint.cat(cells, 3),)
    return mint.cat(lines, 2)


def adaptive_avg_pool1d(self: Tensor, output_size: Any) -> Tensor:
    """The mean of each of so many windows along the last dimension."""
    shape = self.shape
    length = output_size if isinstance(output_size, int) else output_size[0]
    flat = adaptive_avg_pool2d(ops.reshape(self, shape[:-1] + (1, shape[-1])), (1, length))
    return ops.reshape(flat, shape[:-1] + (length,))


def _around(image: Tensor, kernel: Any, step: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    """Padding above and below, left and right; a window must start inside the image or its upper padding."""
    sides = ()
    for axis in range(2):
        length, pad = image.shape[2 + axis], padding[axis]
        span = dilation[axis] * (kernel[axis] - 1) + 1
        room = length + 2 * pad - span
        count = room // step[axis] + 1
        if ceil_mode:
            count = -(-room // step[axis]) + 1
            if (count - 1) * step[axis] >= length + pad:
                count = count - 1
        more = max((count - 1) * step[axis] + span - length - 2 * pad, 0)
        sides = sides + ((pad, pad + more),)
    return sides


def _pair(value: Any) -> Any:
    if isinstance(value, int):
        return (value, value)
    return (value[0], value[-1])
