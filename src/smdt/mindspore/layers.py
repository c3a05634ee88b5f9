"""The layers of networks: convolution, linear, normalisation, attention, dropout; arguments as in the aten schema."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import mint, ops

from smdt.mindspore import resampling, shapes
from smdt.mindspore.creation import counted
from smdt.mindspore.elementwise import number

Tensor = Any


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Two-dimensional convolution: (B, I, H, W) with (O, I/groups, h, w)."""
    rows, columns = _pair(padding)
    return _convolve(input, weight, bias, stride, (rows, rows, columns, columns), dilation, groups)


def conv2d_named(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: str = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Two-dimensional convolution with padding ``valid`` (none) or ``same``; an odd one falls below and right."""
    if padding == "valid":
        return _convolve(input, weight, bias, stride, (0, 0, 0, 0), dilation, groups)
    tall, wide = _pair(dilation)
    rows, columns = tall * (weight.shape[2] - 1), wide * (weight.shape[3] - 1)
    around = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
    return _convolve(input, weight, bias, stride, around, dilation, groups)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """One-dimensional convolution: (B, I, L) with (O, I/groups, l)."""
    flat = conv2d(
        shapes.unsqueeze(input, 2),
        shapes.unsqueeze(weight, 2),
        bias,
        (1, _last(stride)),
        (0, _last(padding)),
        (1, _last(dilation)),
        groups,
    )
    return shapes.squeeze(flat, 2)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution, (B, I, H, W) with (I, O/groups, h, w): zeros between the pixels, then a convolution
    with the kernel turned round.
    """
    step_y, step_x = _pair(stride)
    tall, wide = _pair(dilation)
    pad_y, pad_x = _pair(padding)
    more_y, more_x = _pair(output_padding)
    batch, channels, height, width = input.shape
    kernel_y, kernel_x = weight.shape[2], weight.shape[3]
    spread = input
    if step_y > 1 or step_x > 1:
        spread = ops.reshape(spread, (batch, channels, height, 1, width, 1))
        spread = resampling.constant_pad(spread, (0, step_x - 1, 0, 0, 0, step_y - 1), 0.0)
        spread = ops.reshape(spread, (batch, channels, height * step_y, width * step_x))
        spread = resampling.constant_pad(spread, (0, 1 - step_x, 0, 1 - step_y), 0.0)
    low_y, low_x = tall * (kernel_y - 1) - pad_y, wide * (kernel_x - 1) - pad_x
    spread = resampling.constant_pad(spread, (low_x, low_x + more_x, low_y, low_y + more_y), 0.0)
    kernel = mint.flip(weight, (2, 3))
    each = weight.shape[1]
    kernel = ops.reshape(kernel, (groups, channels // groups, each, kernel_y, kernel_x))
    kernel = ops.reshape(ops.transpose(kernel, (0, 2, 1, 3, 4)), (-1, channels // groups, kernel_y, kernel_x))
    return _convolve(spread, kernel, bias, (1, 1), (0, 0, 0, 0), (tall, wide), groups)


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Tensor:
    """Convolution of one or two dimensions, or the transposed one of two."""
    if transposed:
        return conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)
    if len(input.shape) == 3:
        return conv1d(input, weight, bias, stride, padding, dilation, groups)
    return conv2d(input, weight, bias, stride, padding, dilation, groups)


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over the last dimensions; ``eps`` is added to the variance."""
    shape = tuple(normalized_shape)
    axis = len(input.shape) - len(shape)
    scale = ops.ones(shape, input.dtype) if weight is None else weight
    shift = ops.zeros(shape, input.dtype) if bias is None else bias
    normed, _, _ = ops.LayerNorm(begin_norm_axis=axis, begin_params_axis=axis, epsilon=eps)(
        input, scale, shift
    )
    return normed


def rms_norm(input: Tensor, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Tensor:
    """Mean square 1 over the last dimensions; ``eps``, else the type's own, is added to it."""
    small = 1.1920928955078125e-07 if eps is None else eps
    dims = tuple(range(len(input.shape) - len(normalized_shape), len(input.shape)))
    normed = input * mint.rsqrt(ops.ReduceMean(True)(input * input, dims) + small)
    return normed if weight is None else normed * weight


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over each sample's channel groups; ``eps`` is added to the variance."""
    channels = input.shape[1]
    flat = ops.reshape(input, (input.shape[0] * num_groups, -1))
    length = flat.shape[1]
    one, nothing = ops.ones((length,), input.dtype), ops.zeros((length,), input.dtype)
    normed, _, _ = ops.LayerNorm(begin_norm_axis=1, begin_params_axis=1, epsilon=eps)(flat, one, nothing)
    normed = ops.reshape(normed, input.shape)
    return _scale(normed, weight, bias, channels)


def instance_norm(
    input: Tensor,
    weight: Any = None,
    bias: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over each sample's channel; or by running figures, which are updated in training."""
    channels = input.shape[1]
    if not use_input_stats:
        return batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps)
    if running_mean is not None:
        dims = tuple(range(2, len(input.shape)))
        count = input[0, 0].size
        mean = ops.ReduceMean(True)(input, dims)
        var = ops.ReduceSum(True)((input - mean) * (input - mean), dims) / (count - 1)
        _update(running_mean, ops.ReduceMean(False)(ops.reshape(mean, (-1, channels)), 0), momentum)
        _update(running_var, ops.ReduceMean(False)(ops.reshape(var, (-1, channels)), 0), momentum)
    return group_norm(input, channels, weight, bias, eps)


def batch_norm(
    input: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Mean 0 and variance 1 over batch and pixels in training, by running figures else.

    As in torch, the running variance takes the unbiased one, and momentum is the share of the new figure.
    """
    channels = input.shape[1]
    if not training and running_mean is not None:
        spread = mint.rsqrt(running_var + number(eps, running_var))
        scale = spread if weight is None else spread * weight
        shift = mint.neg(running_mean * scale)
        return _scale(input, scale, shift if bias is None else shift + bias, channels)
    dims = (0, *tuple(range(2, len(input.shape))))
    mean = ops.ReduceMean(True)(input, dims)
    apart = input - mean
    var = ops.ReduceMean(True)(apart * apart, dims)
    if running_mean is not None:
        count = input.size // channels
        unbiased = var * (count / max(count - 1, 1))
        _update(running_mean, ops.reshape(mean, (channels,)), momentum)
        _update(running_var, ops.reshape(unbiased, (channels,)), momentum)
    return _scale(apart * mint.rsqrt(var + number(eps, var)), weight, bias, channels)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query·keyᵀ·scale + mask)·value``: (..., L, E), (..., S, E), (..., S, V) to (..., L, V)."""
    if enable_gqa:
        share = query.shape[-3] // key.shape[-3]
        key, value = shapes.repeat_interleave(key, share, -3), shapes.repeat_interleave(value, share, -3)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = ops.BatchMatMul(transpose_b=True)(query * number(factor, query), key)
    if is_causal:
        allowed = counted(0, key.shape[-2], 1).reshape((1, -1)) <= counted(0, query.shape[-2], 1).reshape(
            (-1, 1)
        )
        scores = mint.where(allowed, scores, ops.full_like(scores, -3.0e38))
    if attn_mask is not None:
        if attn_mask.dtype == ms.bool_:
            scores = mint.where(attn_mask, scores, ops.full_like(scores, -3.0e38))
        else:
            scores = scores + attn_mask
    weights = ops.softmax(scores, -1)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p, True)
    return ops.BatchMatMul()(weights, value)


def softmax(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Exponentials that sum to 1 along a dimension."""
    return ops.softmax(self if dtype is None else self.astype(dtype), dim)


def log_softmax(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """The logarithm of the softmax, computed without the softmax, so that nothing underflows."""
    source = self if dtype is None else self.astype(dtype)
    largest = ops.stop_gradient(ops.ReduceMax(True)(source, dim))
    shifted = source - largest
    return shifted - mint.log(ops.ReduceSum(True)(mint.exp(shifted), dim))


def embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a table by number."""
    return ops.gather(weight, indices, 0)


def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """In training each element is zero with probability ``p``, and the others are divided by 1 − p."""
    if not train or p == 0.0:
        return input
    if p == 1.0:
        return input * 0.0
    kept = (ops.rand(input.shape) >= p).astype(input.dtype)
    return input * kept / (1.0 - p)


def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """Dropout of whole channels."""
    if not train or p == 0.0:
        return input
    kept = (ops.rand(input.shape[:2] + (1,) * (len(input.shape) - 2)) >= p).astype(input.dtype)
    return input * kept / (1.0 - p)


def _convolve(
    image: Tensor, weight: Tensor, bias: Any, stride: Any, around: Any, dilation: Any, groups: int
) -> Tensor:
    """Convolution with the padding above, below, left and right."""
    down, right = _pair(stride)
    tall, wide = _pair(dilation)
    convolve = ops.Conv2D(
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        mode=1,
        pad_mode="pad",
        pad=around,
        stride=(down, right),
        dilation=(tall, wide),
        group=groups,
    )
    result = convolve(image, weight)
    if bias is None:
        return result
    return result + ops.reshape(bias, (1, -1, 1, 1))


def _scale(image: Tensor, weight: Any, bias: Any, channels: int) -> Tensor:
    """A factor and a summand a channel."""
    shape = (1, channels) + (1,) * (len(image.shape) - 2)
    if weight is not None:
        image = image * ops.reshape(weight, shape)
    if bias is not None:
        image = image + ops.reshape(bias, shape)
    return image


def _update(running: Any, figure: Tensor, momentum: float) -> None:
    """A running figure moves by the share ``momentum`` towards the batch's."""
    ops.assign(running, running * (1.0 - momentum) + ops.stop_gradient(figure) * momentum)


def _pair(value: Any) -> Any:
    if isinstance(value, int):
        return (value, value)
    return (value[0], value[-1])


def _last(value: Any) -> Any:
    return value if isinstance(value, int) else value[-1]
