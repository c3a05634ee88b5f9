"""Random arguments for layers, pooling, padding, sampling and losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from .operation_cases import Arguments, Draw, Fixed, array, case, one_of, shape, some_axis, whole


def maybe(draw: Draw, value: Any) -> Any:
    return value if draw(st.booleans()) else None


@case("linear.default", tolerance=1e-4)
def linear(draw: Draw) -> Arguments:
    inner, outer = whole(draw, 1, 6), whole(draw, 1, 6)
    return [
        array(draw, (*shape(draw, 1, 3), inner)),
        array(draw, (outer, inner)),
        maybe(draw, array(draw, (outer,))),
    ], {}


@case("matmul.default", tolerance=1e-4)
def matmul(draw: Draw) -> Arguments:
    a, b, c = (whole(draw, 1, 5) for _ in range(3))
    left, right = one_of(
        draw, ((a, b), (b, c)), ((2, a, b), (2, b, c)), ((2, a, b), (b, c)), ((b,), (b, c)), ((a, b), (b,))
    )
    return [array(draw, left), array(draw, right)], {}


@case("mm.default", tolerance=1e-4)
def mm(draw: Draw) -> Arguments:
    a, b, c = (whole(draw, 1, 5) for _ in range(3))
    return [array(draw, (a, b)), array(draw, (b, c))], {}


@case("bmm.default", tolerance=1e-4)
def bmm(draw: Draw) -> Arguments:
    a, b, c = (whole(draw, 1, 5) for _ in range(3))
    return [array(draw, (3, a, b)), array(draw, (3, b, c))], {}


@case("mv.default", tolerance=1e-4)
def mv(draw: Draw) -> Arguments:
    a, b = whole(draw, 1, 5), whole(draw, 1, 5)
    return [array(draw, (a, b)), array(draw, (b,))], {}


@case("dot.default", tolerance=1e-4)
def dot(draw: Draw) -> Arguments:
    a = whole(draw, 1, 5)
    return [array(draw, (a,)), array(draw, (a,))], {}


@case("addmm.default", tolerance=1e-4)
def addmm(draw: Draw) -> Arguments:
    a, b, c = (whole(draw, 1, 5) for _ in range(3))
    scales = one_of(draw, {}, {"beta": 2, "alpha": 0.5})
    return [array(draw, one_of(draw, (c,), (a, c))), array(draw, (a, b)), array(draw, (b, c))], scales


@case("baddbmm.default", tolerance=1e-4)
def baddbmm(draw: Draw) -> Arguments:
    a, b, c = (whole(draw, 1, 5) for _ in range(3))
    return [array(draw, (2, a, c)), array(draw, (2, a, b)), array(draw, (2, b, c))], {}


@case("einsum.default", tolerance=1e-4)
def einsum(draw: Draw) -> Arguments:
    lengths = {letter: whole(draw, 1, 4) for letter in "abcd"}
    equation = one_of(
        draw, "abc,ab->c", "ab,cb->ac", "abc,dbc->adb", "ab,cd->dcba", "abc,bd->acd", "abc->ca", "abc,abc->a"
    )
    inputs = equation.partition("->")[0].split(",")
    return [equation, [array(draw, tuple(lengths[letter] for letter in one)) for one in inputs]], {}


def convolution_parts(draw: Draw) -> tuple[Any, Any, Any, list[int], list[int], list[int], int]:
    groups = one_of(draw, 1, 1, 2, "depthwise")
    channels = 4 if groups != "depthwise" else 3
    outer = 4 if groups != "depthwise" else 3
    groups = channels if groups == "depthwise" else groups
    kernel = [whole(draw, 1, 3), whole(draw, 1, 3)]
    dilation = [whole(draw, 1, 2), whole(draw, 1, 2)] if groups == 1 else [1, 1]
    image = array(draw, (whole(draw, 1, 3), channels, whole(draw, 6, 10), whole(draw, 6, 10)))
    weight = array(draw, (outer, channels // groups, *kernel))
    stride, padding = [whole(draw, 1, 3), whole(draw, 1, 3)], [whole(draw, 0, 2), whole(draw, 0, 2)]
    return image, weight, maybe(draw, array(draw, (outer,))), stride, padding, dilation, groups


@case("conv2d.default", tolerance=1e-4)
def conv2d(draw: Draw) -> Arguments:
    return list(convolution_parts(draw)), {}


@case("conv2d.padding", tolerance=1e-4)
def conv2d_named(draw: Draw) -> Arguments:
    image, weight, bias, stride, _, dilation, groups = convolution_parts(draw)
    padding = one_of(draw, "valid", "same")
    return [image, weight, bias, [1, 1] if padding == "same" else stride, padding, dilation, groups], {}


@case("convolution.default", tolerance=1e-4)
def convolution(draw: Draw) -> Arguments:
    image, weight, bias, stride, padding, dilation, groups = convolution_parts(draw)
    return [image, weight, bias, stride, padding, dilation, False, [0, 0], groups], {}


@case("conv1d.default", tolerance=1e-4)
def conv1d(draw: Draw) -> Arguments:
    image, weight, bias, stride, padding, dilation, groups = convolution_parts(draw)
    return [image[:, :, 0], weight[:, :, 0], bias, stride[:1], padding[:1], dilation[:1], groups], {}


@case("conv_transpose2d.input", tolerance=1e-4)
def conv_transpose2d(draw: Draw) -> Arguments:
    groups = one_of(draw, 1, 2)
    stride = [whole(draw, 1, 3), whole(draw, 1, 3)]
    kernel = (whole(draw, 1, 4), whole(draw, 1, 4))
    padding = [whole(draw, 0, max(kernel[0] - 1, 0)), whole(draw, 0, max(kernel[1] - 1, 0))]
    more = [whole(draw, 0, stride[0] - 1), whole(draw, 0, stride[1] - 1)]
    image = array(draw, (2, 4, whole(draw, 3, 5), whole(draw, 3, 5)))
    bias = maybe(draw, array(draw, (2 * groups,)))
    return [
        image,
        array(draw, (4, 2, *kernel)),
        bias,
        stride,
        padding,
        more,
        groups,
        one_of(draw, [1, 1], [2, 1]),
    ], {}


@case("layer_norm.default", tolerance=1e-4)
def layer_norm(draw: Draw) -> Arguments:
    form = (*shape(draw, 0, 2), whole(draw, 3, 7), whole(draw, 3, 7))
    normed = list(form[-whole(draw, 1, 2) :])
    affine = draw(st.booleans())
    scale, shift = (array(draw, tuple(normed)), array(draw, tuple(normed))) if affine else (None, None)
    return [array(draw, form), normed, scale, shift, one_of(draw, 1e-5, 1e-6, 0.1)], {}


@case("rms_norm.default", tolerance=1e-4)
def rms_norm(draw: Draw) -> Arguments:
    features = whole(draw, 3, 7)
    return [
        array(draw, (2, 3, features)),
        [features],
        maybe(draw, array(draw, (features,))),
        maybe(draw, 1e-4),
    ], {}


@case("group_norm.default", tolerance=2e-4)
def group_norm(draw: Draw) -> Arguments:
    form = (whole(draw, 1, 3), 4, whole(draw, 3, 5), whole(draw, 3, 5))
    affine = draw(st.booleans())
    scale, shift = (array(draw, (4,)), array(draw, (4,))) if affine else (None, None)
    return [array(draw, form), one_of(draw, 1, 2, 4), scale, shift, one_of(draw, 1e-5, 1e-6, 0.1)], {}


@case("instance_norm.default", tolerance=2e-4)
def instance_norm(draw: Draw) -> Arguments:
    form = (whole(draw, 1, 3), 3, whole(draw, 3, 5), whole(draw, 3, 5))
    affine = draw(st.booleans())
    scale, shift = (array(draw, (3,)), array(draw, (3,))) if affine else (None, None)
    return [array(draw, form), scale, shift, None, None, True, 0.1, one_of(draw, 1e-5, 0.1), False], {}


@case("batch_norm.default", tolerance=2e-4)
def batch_norm(draw: Draw) -> Arguments:
    form = (whole(draw, 2, 4), 3, *shape(draw, 1, 2))
    if form[0] * int(np.prod(form[2:])) < 3:
        form = (4, *form[1:])
    affine, training = draw(st.booleans()), draw(st.booleans())
    scale, shift = (array(draw, (3,)), array(draw, (3,))) if affine else (None, None)
    running: tuple[Any, Any] = (None, None)
    if not training:
        running = (Fixed(array(draw, (3,))), Fixed(np.abs(array(draw, (3,))) + 0.1))
    return [array(draw, form), scale, shift, *running, training, 0.1, one_of(draw, 1e-5, 0.1), False], {}


@case("scaled_dot_product_attention.default", tolerance=1e-4)
def attention(draw: Draw) -> Arguments:
    lead, length, keys, features = shape(draw, 1, 2), whole(draw, 1, 5), whole(draw, 2, 5), whole(draw, 1, 4)
    kind = one_of(draw, "plain", "plain", "truth", "number", "causal")
    mask = None
    if kind == "truth":
        mask = array(draw, (length, keys), np.bool_)
        mask[:, 0] = True
    elif kind == "number":
        mask = array(draw, (length, keys))
    arguments = [
        array(draw, (*lead, length, features)),
        array(draw, (*lead, keys, features)),
        array(draw, (*lead, keys, 3)),
    ]
    return [*arguments, mask, 0.0, kind == "causal"], {"scale": maybe(draw, 0.3)}


@case("softmax.int log_softmax.int")
def softmax(draw: Draw) -> Arguments:
    values = array(draw, shape(draw, 1, 3), scale=one_of(draw, 2.0, 60.0))
    return [values, some_axis(draw, values.ndim)], {}


@case("embedding.default")
def embedding(draw: Draw) -> Arguments:
    return [array(draw, (7, whole(draw, 1, 4))), np.abs(array(draw, shape(draw, 1, 2), np.int64))], {}


# Pooling, padding and sampling


@case("max_pool2d.default")
def max_pool2d(draw: Draw) -> Arguments:
    kernel = [whole(draw, 1, 3), whole(draw, 1, 3)]
    stride = one_of(draw, [], [whole(draw, 1, 3), whole(draw, 1, 3)])
    padding = [whole(draw, 0, kernel[0] // 2), whole(draw, 0, kernel[1] // 2)]
    image = array(draw, (whole(draw, 1, 2), 3, whole(draw, 6, 9), whole(draw, 6, 9)))
    return [image, kernel, stride, padding, one_of(draw, [1, 1], [1, 1], [2, 1]), draw(st.booleans())], {}


@case("avg_pool2d.default")
def avg_pool2d(draw: Draw) -> Arguments:
    kernel = [whole(draw, 1, 3), whole(draw, 1, 3)]
    stride = one_of(draw, [], [whole(draw, 1, 3), whole(draw, 1, 3)])
    padding = [whole(draw, 0, kernel[0] // 2), whole(draw, 0, kernel[1] // 2)]
    image = array(draw, (whole(draw, 1, 2), 3, whole(draw, 6, 9), whole(draw, 6, 9)))
    options = [draw(st.booleans()), draw(st.booleans()), one_of(draw, None, None, 5)]
    return [image, kernel, stride, padding, *options], {}


@case("adaptive_avg_pool2d.default")
def adaptive_avg_pool2d(draw: Draw) -> Arguments:
    image = array(draw, (2, 3, whole(draw, 3, 8), whole(draw, 3, 8)))
    return [image, [whole(draw, 1, 4), whole(draw, 1, 4)]], {}


@case("adaptive_avg_pool1d.default")
def adaptive_avg_pool1d(draw: Draw) -> Arguments:
    return [array(draw, (2, 3, whole(draw, 3, 8))), [whole(draw, 1, 4)]], {}


@case("pad.default")
def pad(draw: Draw) -> Arguments:
    mode = one_of(draw, "constant", "reflect", "replicate", "circular")
    around = [whole(draw, -1 if mode == "constant" else 0, 3) for _ in range(4)]
    return [array(draw, (2, 3, whole(draw, 4, 6), whole(draw, 4, 6))), around, mode], (
        {"value": one_of(draw, None, 1.5)} if mode == "constant" else {}
    )


@case("constant_pad_nd.default")
def constant_pad(draw: Draw) -> Arguments:
    around = [whole(draw, -1, 2) for _ in range(one_of(draw, 2, 4, 6))]
    return [array(draw, (3, 3, whole(draw, 4, 6), 4)), around, one_of(draw, 0, 2.5)], {}


@case("reflection_pad1d.default replication_pad1d.default")
def pad_line(draw: Draw) -> Arguments:
    return [array(draw, (2, 3, whole(draw, 4, 6))), [whole(draw, 0, 3) for _ in range(2)]], {}


@case("reflection_pad2d.default replication_pad2d.default")
def pad_image(draw: Draw) -> Arguments:
    return [array(draw, (2, 3, whole(draw, 4, 6), 4)), [whole(draw, 0, 3) for _ in range(4)]], {}


def target(draw: Draw) -> tuple[Any, Any]:
    if draw(st.booleans()):
        return [whole(draw, 1, 12), whole(draw, 1, 12)], None
    return None, [one_of(draw, 2.0, 0.5, 1.7, 3.0), one_of(draw, 2.0, 0.7, 1.3)]


@case("upsample_nearest2d.vec")
def nearest(draw: Draw) -> Arguments:
    return [array(draw, (2, 3, whole(draw, 3, 7), whole(draw, 3, 7))), *target(draw)], {}


@case("upsample_bilinear2d.vec upsample_bicubic2d.vec")
def resized(draw: Draw) -> Arguments:
    size, scales = target(draw)
    return [array(draw, (2, 3, whole(draw, 3, 7), whole(draw, 3, 7))), size, draw(st.booleans()), scales], {}


@case("_upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.vec")
def resized_smoothly(draw: Draw) -> Arguments:
    size, scales = target(draw)
    return [array(draw, (2, 3, whole(draw, 3, 7), whole(draw, 3, 7))), size, False, scales], {}


@case("grid_sampler.default grid_sampler_2d.default", tolerance=1e-4)
def grid_sampler(draw: Draw) -> Arguments:
    image = array(draw, (2, 3, whole(draw, 3, 7), whole(draw, 3, 7)))
    grid = array(draw, (2, whole(draw, 1, 4), whole(draw, 1, 4), 2), scale=0.7)
    return [image, grid, one_of(draw, 0, 0, 1), one_of(draw, 0, 1, 2), draw(st.booleans())], {}


@case("affine_grid_generator.default", tolerance=1e-4)
def affine_grid(draw: Draw) -> Arguments:
    return [array(draw, (2, 2, 3)), [2, 3, whole(draw, 1, 5), whole(draw, 1, 5)], draw(st.booleans())], {}


# Losses


@case("l1_loss.default mse_loss.default")
def plain_loss(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, array(draw, values.shape), whole(draw, 0, 2)], {}


@case("smooth_l1_loss.default huber_loss.default")
def bent_loss(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    return [values, array(draw, values.shape), whole(draw, 0, 2), one_of(draw, 1.0, 0.5)], {}


@case("soft_margin_loss.default")
def margin_loss(draw: Draw) -> Arguments:
    values = array(draw, shape(draw), scale=20.0)
    return [values, Fixed(np.sign(array(draw, values.shape))), whole(draw, 0, 2)], {}


@case("binary_cross_entropy.default")
def cross_entropy_of_probabilities(draw: Draw) -> Arguments:
    values = 1 / (1 + np.exp(-array(draw, shape(draw))))
    weight = maybe(draw, Fixed(np.abs(array(draw, values.shape))))
    wanted = Fixed(array(draw, values.shape, np.bool_).astype(np.float32))
    return [values, wanted, weight, whole(draw, 0, 2)], {}


@case("binary_cross_entropy_with_logits.default")
def cross_entropy_of_logits(draw: Draw) -> Arguments:
    values = array(draw, shape(draw), scale=one_of(draw, 2.0, 50.0))
    wanted = array(draw, values.shape, np.bool_).astype(np.float32) * np.float32(0.9)
    weight, positive = (maybe(draw, Fixed(np.abs(array(draw, values.shape)))) for _ in range(2))
    return [values, Fixed(wanted), weight, positive, whole(draw, 0, 2)], {}


@case("kl_div.default")
def divergence(draw: Draw) -> Arguments:
    values = array(draw, shape(draw))
    logs = draw(st.booleans())
    wanted = array(draw, values.shape)
    wanted = wanted if logs else np.abs(wanted)
    if not logs:
        wanted.flat[0] = 0.0
    return [values, Fixed(wanted), whole(draw, 0, 2)], {"log_target": logs}


def classes(draw: Draw) -> tuple[Any, Any, Any]:
    form = (whole(draw, 2, 3), 4, *shape(draw, 0, 2))
    wanted = np.abs(array(draw, (form[0], *form[2:]), np.int64)) % 4
    return array(draw, form), wanted, maybe(draw, Fixed(np.abs(array(draw, (4,))) + 0.1))


@case("nll_loss_nd.default")
def nll_loss(draw: Draw) -> Arguments:
    values, wanted, weight = classes(draw)
    return [
        values,
        wanted,
        weight,
        whole(draw, 0, 2),
        one_of(draw, -100, 1) if wanted.min() != wanted.max() else -100,
    ], {}


@case("cross_entropy_loss.default", tolerance=1e-4)
def cross_entropy(draw: Draw) -> Arguments:
    values, wanted, weight = classes(draw)
    smoothing = one_of(draw, 0.0, 0.1)
    if draw(st.booleans()):
        shares = np.abs(array(draw, values.shape)) + 0.1
        return [values, shares / shares.sum(1, keepdims=True), weight, whole(draw, 0, 2), -100, smoothing], {}
    ignored = one_of(draw, -100, 1) if wanted.min() != wanted.max() else -100
    return [values, wanted, weight, whole(draw, 0, 2), ignored, smoothing], {}
