"""The table: each aten operation that can be converted, and the MindSpore function that stands for it.

One line a function; beside it the aten overloads it serves. A function takes the arguments of the overload's schema
under its names and in its order. In-place overloads (``relu_``) need no line: the converter reads them as the
operation out of place and renames its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smdt.mindspore import (
    activations,
    creation,
    elementwise,
    layers,
    losses,
    pooling,
    products,
    reductions,
    resampling,
    shapes,
    spectra,
)

COMPLEX = "complex:"
"""Before the name of an overload that has to do with complex tensors."""

_LINES: tuple[tuple[Callable[..., Any], str], ...] = (
    # Element by element
    (elementwise.add, "add.Tensor add.Scalar"),
    (elementwise.sub, "sub.Tensor sub.Scalar"),
    (elementwise.rsub, "rsub.Scalar rsub.Tensor"),
    (elementwise.mul, "mul.Tensor mul.Scalar multiply.Tensor"),
    (
        elementwise.div,
        "div.Tensor div.Scalar div.Tensor_mode div.Scalar_mode true_divide.Tensor divide.Tensor",
    ),
    (elementwise.floor_divide, "floor_divide.default floor_divide.Scalar"),
    (elementwise.remainder, "remainder.Tensor remainder.Scalar"),
    (elementwise.power, "pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar"),
    (elementwise.maximum, "maximum.default max.other"),
    (elementwise.minimum, "minimum.default min.other"),
    (elementwise.where, "where.self where.ScalarSelf where.ScalarOther where.Scalar"),
    (elementwise.masked_fill, "masked_fill.Scalar masked_fill.Tensor"),
    (elementwise.clamp, "clamp.default clamp.Tensor clip.default"),
    (elementwise.clamp_min, "clamp_min.default clamp_min.Tensor"),
    (elementwise.clamp_max, "clamp_max.default clamp_max.Tensor"),
    (elementwise.neg, "neg.default"),
    (elementwise.absolute, "abs.default absolute.default"),
    (elementwise.sign, "sign.default sgn.default"),
    (elementwise.exp, "exp.default"),
    (elementwise.expm1, "expm1.default"),
    (elementwise.log, "log.default"),
    (elementwise.log1p, "log1p.default"),
    (elementwise.sqrt, "sqrt.default"),
    (elementwise.rsqrt, "rsqrt.default"),
    (elementwise.reciprocal, "reciprocal.default"),
    (elementwise.square, "square.default"),
    (elementwise.sin, "sin.default"),
    (elementwise.cos, "cos.default"),
    (elementwise.tan, "tan.default"),
    (elementwise.atan, "atan.default arctan.default"),
    (elementwise.atan2, "atan2.default arctan2.default"),
    (elementwise.erf, "erf.default special_erf.default"),
    (elementwise.floor, "floor.default"),
    (elementwise.ceil, "ceil.default"),
    (elementwise.rounded, "round.default"),
    (activations.relu, "relu.default"),
    (activations.relu6, "relu6.default"),
    (activations.hardtanh, "hardtanh.default"),
    (activations.leaky_relu, "leaky_relu.default"),
    (activations.prelu, "prelu.default"),
    (activations.elu, "elu.default"),
    (activations.gelu, "gelu.default"),
    (activations.silu, "silu.default"),
    (activations.mish, "mish.default"),
    (activations.hardsigmoid, "hardsigmoid.default"),
    (activations.hardswish, "hardswish.default"),
    (activations.sigmoid, "sigmoid.default special_expit.default"),
    (activations.log_sigmoid, "log_sigmoid.default"),
    (activations.tanh, "tanh.default"),
    (activations.softplus, "softplus.default"),
    (elementwise.eq, "eq.Tensor eq.Scalar"),
    (elementwise.ne, "ne.Tensor ne.Scalar"),
    (elementwise.lt, "lt.Tensor lt.Scalar"),
    (elementwise.le, "le.Tensor le.Scalar"),
    (elementwise.gt, "gt.Tensor gt.Scalar"),
    (elementwise.ge, "ge.Tensor ge.Scalar"),
    (elementwise.logical_and, "logical_and.default bitwise_and.Tensor __and__.Tensor"),
    (elementwise.logical_or, "logical_or.default bitwise_or.Tensor __or__.Tensor"),
    (elementwise.logical_not, "logical_not.default bitwise_not.default"),
    (elementwise.isfinite, "isfinite.default"),
    (elementwise.isnan, "isnan.default"),
    (elementwise.lerp, "lerp.Scalar lerp.Tensor"),
    (elementwise.addcmul, "addcmul.default"),
    (elementwise.addcdiv, "addcdiv.default"),
    (elementwise.cast, "to.dtype to.device to.dtype_layout _to_copy.default"),
    (elementwise.type_as, "type_as.default"),
    (
        elementwise.identity,
        "contiguous.default clone.default alias.default lift_fresh_copy.default lift_fresh.default",
    ),
    (elementwise.detach, "detach.default"),
    # Made from nothing
    (creation.full, "full.default"),
    (creation.zeros, "zeros.default empty.memory_format"),
    (creation.ones, "ones.default"),
    (creation.full_like, "full_like.default"),
    (creation.zeros_like, "zeros_like.default empty_like.default"),
    (creation.ones_like, "ones_like.default"),
    (creation.new_full, "new_full.default"),
    (creation.new_zeros, "new_zeros.default new_empty.default"),
    (creation.new_ones, "new_ones.default"),
    (creation.arange, "arange.default"),
    (creation.arange_start, "arange.start arange.start_step"),
    (creation.linspace, "linspace.default"),
    (creation.eye, "eye.default eye.m"),
    (creation.scalar_tensor, "scalar_tensor.default"),
    (creation.bernoulli, "bernoulli.p bernoulli.float"),
    (creation.one_hot, "one_hot.default"),
    # Moved, cut and joined
    (shapes.size, "sym_size.int size.int"),
    (shapes.reshape, "reshape.default view.default"),
    (shapes.reshape_as, "reshape_as.default view_as.default"),
    (shapes.flatten, "flatten.using_ints"),
    (shapes.unflatten, "unflatten.int"),
    (shapes.permute, "permute.default"),
    (shapes.transpose, "transpose.int swapaxes.default"),
    (shapes.matrix_transpose, "t.default numpy_T.default mT.default"),
    (shapes.unsqueeze, "unsqueeze.default"),
    (shapes.squeeze, "squeeze.default squeeze.dim squeeze.dims"),
    (shapes.expand, "expand.default broadcast_to.default"),
    (shapes.expand_as, "expand_as.default"),
    (shapes.repeat, "repeat.default tile.default"),
    (shapes.repeat_interleave, "repeat_interleave.self_int"),
    (shapes.cat, "cat.default concat.default"),
    (shapes.stack, "stack.default"),
    (shapes.split, "split.Tensor"),
    (shapes.split_with_sizes, "split_with_sizes.default split.sizes"),
    (shapes.chunk, "chunk.default"),
    (shapes.unbind, "unbind.int"),
    (shapes.select, "select.int"),
    (shapes.slice_, "slice.Tensor"),
    (shapes.narrow, "narrow.default"),
    (shapes.index_select, "index_select.default"),
    (shapes.gather, "gather.default"),
    (shapes.index, "index.Tensor"),
    (shapes.roll, "roll.default"),
    (shapes.flip, "flip.default"),
    (shapes.triangle_low, "tril.default"),
    (shapes.triangle_high, "triu.default"),
    (shapes.diagonal, "diagonal.default"),
    (shapes.pixel_shuffle, "pixel_shuffle.default"),
    # Over dimensions
    (reductions.total, "sum.dim_IntList"),
    (reductions.sum_all, "sum.default"),
    (reductions.mean, "mean.dim"),
    (reductions.mean_all, "mean.default"),
    (reductions.amax, "amax.default"),
    (reductions.amin, "amin.default"),
    (reductions.max_all, "max.default"),
    (reductions.min_all, "min.default"),
    (reductions.max_dim, "max.dim"),
    (reductions.min_dim, "min.dim"),
    (reductions.argmax, "argmax.default"),
    (reductions.argmin, "argmin.default"),
    (reductions.var, "var.correction"),
    (reductions.var_unbiased, "var.dim"),
    (reductions.std, "std.correction"),
    (reductions.std_unbiased, "std.dim"),
    (reductions.var_mean, "var_mean.correction"),
    (reductions.std_mean, "std_mean.correction"),
    (reductions.logsumexp, "logsumexp.default"),
    (reductions.vector_norm, "linalg_vector_norm.default"),
    (reductions.norm, "norm.ScalarOpt_dim"),
    (reductions.cumsum, "cumsum.default"),
    (reductions.prod_dim, "prod.dim_int"),
    (reductions.any_, "any.default any.dim"),
    (reductions.all_, "all.default all.dim"),
    (reductions.topk, "topk.default"),
    (reductions.sort, "sort.default"),
    # Layers
    (products.linear, "linear.default"),
    (products.matmul, "matmul.default mm.default bmm.default mv.default dot.default"),
    (products.einsum, "einsum.default"),
    (products.addmm, "addmm.default baddbmm.default"),
    (layers.conv1d, "conv1d.default"),
    (layers.conv2d, "conv2d.default"),
    (layers.conv2d_named, "conv2d.padding"),
    (layers.conv_transpose2d, "conv_transpose2d.input"),
    (layers.convolution, "convolution.default"),
    (layers.layer_norm, "layer_norm.default"),
    (layers.rms_norm, "rms_norm.default"),
    (layers.group_norm, "group_norm.default"),
    (layers.instance_norm, "instance_norm.default"),
    (layers.batch_norm, "batch_norm.default"),
    (layers.attention, "scaled_dot_product_attention.default"),
    (layers.softmax, "softmax.int"),
    (layers.log_softmax, "log_softmax.int"),
    (layers.embedding, "embedding.default"),
    (layers.dropout, "dropout.default"),
    (layers.feature_dropout, "feature_dropout.default"),
    # Pooling, padding and sampling
    (pooling.max_pool2d, "max_pool2d.default"),
    (pooling.avg_pool2d, "avg_pool2d.default"),
    (pooling.adaptive_avg_pool1d, "adaptive_avg_pool1d.default"),
    (pooling.adaptive_avg_pool2d, "adaptive_avg_pool2d.default"),
    (resampling.pad, "pad.default"),
    (resampling.constant_pad, "constant_pad_nd.default"),
    (resampling.reflection_pad, "reflection_pad1d.default reflection_pad2d.default"),
    (resampling.replication_pad, "replication_pad1d.default replication_pad2d.default"),
    (resampling.upsample_nearest2d, "upsample_nearest2d.vec"),
    (resampling.upsample_bilinear2d, "upsample_bilinear2d.vec"),
    (resampling.upsample_bicubic2d, "upsample_bicubic2d.vec"),
    (resampling.upsample_bilinear2d_smooth, "_upsample_bilinear2d_aa.vec"),
    (resampling.upsample_bicubic2d_smooth, "_upsample_bicubic2d_aa.vec"),
    (resampling.grid_sampler, "grid_sampler.default grid_sampler_2d.default"),
    (resampling.affine_grid, "affine_grid_generator.default"),
    # Complex numbers, as pairs
    (spectra.rfft, "complex:fft_rfft.default"),
    (spectra.irfft, "complex:fft_irfft.default"),
    (spectra.conjugate, "complex:_conj.default complex:conj.default complex:conj_physical.default"),
    (spectra.multiply, "complex:mul.Tensor"),
    (spectra.einsum, "complex:einsum.default"),
    (spectra.unsqueeze, "complex:unsqueeze.default"),
    (spectra.magnitude, "complex:abs.default"),
    # Losses
    (losses.l1_loss, "l1_loss.default"),
    (losses.mse_loss, "mse_loss.default"),
    (losses.smooth_l1_loss, "smooth_l1_loss.default"),
    (losses.huber_loss, "huber_loss.default"),
    (losses.binary_cross_entropy, "binary_cross_entropy.default"),
    (losses.binary_cross_entropy_with_logits, "binary_cross_entropy_with_logits.default"),
    (losses.soft_margin_loss, "soft_margin_loss.default"),
    (losses.kl_div, "kl_div.default"),
    (losses.nll_loss, "nll_loss_nd.default"),
    (losses.cross_entropy_loss, "cross_entropy_loss.default"),
)

OPERATIONS: dict[str, Callable[..., Any]] = {
    f"{COMPLEX}aten.{overload.removeprefix(COMPLEX)}"
    if overload.startswith(COMPLEX)
    else f"aten.{overload}": function
    for function, overloads in _LINES
    for overload in overloads.split()
}
"""The MindSpore function of each aten overload, by a name like ``aten.conv2d.default``."""


def coverage() -> list[tuple[str, str, str]]:
    """The table's lines: group, function's name, and the aten overloads it serves."""
    return [
        (function.__module__.rpartition(".")[2], function.__name__, overloads)
        for function, overloads in _LINES
    ]


def coverage_table() -> str:
    """The table as Markdown, a row a file, as docs/mindspore.md holds it; ``.default`` is left out."""
    served: dict[str, list[str]] = {}
    for group, _, overloads in coverage():
        served.setdefault(group, []).extend(f"`{one.removesuffix('.default')}`" for one in overloads.split())
    rows = [f"| `{group}.py` | {', '.join(names)} |" for group, names in served.items()]
    return "\n".join(["| in `smdt/mindspore/` | aten operations |", "|---|---|", *rows]) + "\n"
