"""Operations that move, cut and join, with the arguments of the aten schema they stand for."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import mint, ops

from smdt.mindspore.creation import counted

Tensor = Any
_END = 9223372036854775807


def size(self: Tensor, dim: int) -> int:
    """The length of one dimension."""
    length: int = self.shape[dim]
    return length


def reshape(self: Tensor, shape: Any) -> Tensor:
    """Another shape of the same elements; one length may be -1."""
    return ops.reshape(self, tuple(shape))


def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The other's shape."""
    return ops.reshape(self, other.shape)


def flatten(self: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Several dimensions as one."""
    rank = len(self.shape)
    if rank == 0:
        return ops.reshape(self, (1,))
    first, last = start_dim % rank, end_dim % rank
    length = 1
    for dim in range(first, last + 1):
        length = length * self.shape[dim]
    return ops.reshape(self, self.shape[:first] + (length,) + self.shape[last + 1 :])


def unflatten(self: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension as several; one length may be -1."""
    place = dim % len(self.shape)
    known = 1
    for length in sizes:
        if length != -1:
            known = known * length
    lengths = ()
    for length in sizes:
        lengths = lengths + ((self.shape[place] // known if length == -1 else length),)
    return ops.reshape(self, self.shape[:place] + lengths + self.shape[place + 1 :])


def permute(self: Tensor, dims: Any) -> Tensor:
    """The dimensions in another order."""
    rank = len(self.shape)
    order = ()
    for dim in dims:
        order = order + (dim % rank,)
    return ops.transpose(self, order)


def transpose(self: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    rank = len(self.shape)
    one, other = dim0 % rank, dim1 % rank
    order = ()
    for dim in range(rank):
        order = order + ((other if dim == one else one if dim == other else dim),)
    return ops.transpose(self, order)


def matrix_transpose(self: Tensor) -> Tensor:
    """Rows and columns exchanged; a vector stays one."""
    if len(self.shape) < 2:
        return self
    return transpose(self, -2, -1)


def unsqueeze(self: Tensor, dim: int) -> Tensor:
    """A dimension of length 1 put in."""
    place = dim % (len(self.shape) + 1)
    return ops.reshape(self, self.shape[:place] + (1,) + self.shape[place:])


def squeeze(self: Tensor, dim: Any = None) -> Tensor:
    """Dimensions of length 1 taken out: all, or those named where their length is 1."""
    rank = len(self.shape)
    named = ()
    if dim is None:
        named = tuple(range(rank))
    elif isinstance(dim, int):
        named = (dim % rank,)
    else:
        for one in dim:
            named = named + (one % rank,)
    kept = ()
    for place in range(rank):
        if place not in named or self.shape[place] != 1:
            kept = kept + (self.shape[place],)
    return ops.reshape(self, kept)


def expand(self: Tensor, size: Any, implicit: bool = False) -> Tensor:
    """Dimensions of length 1 repeated; -1 keeps a length."""
    lead = len(size) - len(self.shape)
    target = ()
    for place in range(len(size)):
        length = size[place]
        target = target + ((self.shape[place - lead] if length == -1 else length),)
    return ops.broadcast_to(self, target)


def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Dimensions of length 1 repeated to the other's shape."""
    return ops.broadcast_to(self, other.shape)


def repeat(self: Tensor, repeats: Any) -> Tensor:
    """The tensor side by side with itself."""
    return ops.tile(self, tuple(repeats))


def repeat_interleave(self: Tensor, repeats: int, dim: Any = None, output_size: Any = None) -> Tensor:
    """Each element several times in a row; the output's size follows from that."""
    if dim is None:
        return repeat_interleave(ops.reshape(self, (-1,)), repeats, 0)
    place = dim % len(self.shape)
    shape = self.shape
    spread = ops.reshape(self, shape[: place + 1] + (1,) + shape[place + 1 :])
    spread = ops.broadcast_to(spread, shape[: place + 1] + (repeats,) + shape[place + 1 :])
    return ops.reshape(spread, shape[:place] + (shape[place] * repeats,) + shape[place + 1 :])


def cat(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors joined along a dimension."""
    return mint.cat(tuple(tensors), dim)


def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors joined along a new dimension."""
    place = dim % (len(tensors[0].shape) + 1)
    joined = ()
    for one in tensors:
        joined = joined + (unsqueeze(one, place),)
    return mint.cat(joined, place)


def split(self: Tensor, split_size: int, dim: int = 0) -> Any:
    """Pieces of one length; the last may be shorter."""
    place = dim % len(self.shape)
    pieces = ()
    for start in range(0, self.shape[place], split_size):
        pieces = pieces + (slice_(self, place, start, start + split_size),)
    return pieces


def split_with_sizes(self: Tensor, split_sizes: Any, dim: int = 0) -> Any:
    """Pieces of given lengths."""
    pieces, start = (), 0
    for length in split_sizes:
        pieces = pieces + (slice_(self, dim, start, start + length),)
        start = start + length
    return pieces


def chunk(self: Tensor, chunks: int, dim: int = 0) -> Any:
    """At most so many pieces of one length."""
    return split(self, -(-self.shape[dim] // chunks), dim)


def unbind(self: Tensor, dim: int = 0) -> Any:
    """The tensors along a dimension, without it."""
    pieces = ()
    for index in range(self.shape[dim]):
        pieces = pieces + (select(self, dim, index),)
    return pieces


def select(self: Tensor, dim: int, index: int) -> Tensor:
    """One element of a dimension, without it."""
    place = dim % len(self.shape)
    one = index % self.shape[place]
    piece = slice_(self, place, one, one + 1)
    return ops.reshape(piece, self.shape[:place] + self.shape[place + 1 :])


def slice_(self: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    """A range of a dimension."""
    rank = len(self.shape)
    place = dim % rank
    length = self.shape[place]
    first = 0 if start is None else (start if start >= 0 else max(start + length, 0))
    last = length if end is None else (end if end >= 0 else max(end + length, 0))
    first, last = min(first, length), min(last, length)
    if first == 0 and last == length and step == 1:
        return self
    if step != 1:  # a strided slice's gradient fails for some lengths
        return ops.gather(self, counted(first, max(last, first), step), place)
    begin, stop = (), ()
    for one in range(rank):
        begin = begin + ((first if one == place else 0),)
        stop = stop + ((max(last, first) if one == place else self.shape[one]),)
    return ops.strided_slice(self, begin, stop, (1,) * rank)


def narrow(self: Tensor, dim: int, start: int, length: int) -> Tensor:
    """So many elements of a dimension."""
    return slice_(self, dim, start, start + length)


def index_select(self: Tensor, dim: int, index: Tensor) -> Tensor:
    """Elements of a dimension by number."""
    return ops.gather(self, index, dim % len(self.shape))


def gather(self: Tensor, dim: int, index: Tensor, sparse_grad: bool = False) -> Tensor:
    """At each place of ``index`` the element of that number along a dimension."""
    return ops.gather_elements(self, dim % len(self.shape), index)


def index(self: Tensor, indices: Any) -> Tensor:
    """Elements by one or several index tensors; None takes a dimension whole."""
    places = ()
    for place in range(len(indices)):
        if indices[place] is not None:
            places = places + (place,)
    if len(places) == 1 and indices[places[0]].dtype != ms.bool_:
        numbers = indices[places[0]]
        numbers = numbers + (numbers < 0).astype(numbers.dtype) * self.shape[places[0]]
        return ops.gather(self, numbers, places[0])
    keys = ()
    for one in indices:
        keys = keys + ((slice(None) if one is None else one),)
    return self[keys]


def roll(self: Tensor, shifts: Any, dims: Any = ()) -> Tensor:
    """Elements moved round a dimension."""
    if len(dims) == 0:
        return ops.reshape(roll(ops.reshape(self, (-1,)), shifts, (0,)), self.shape)
    result = self
    for number in range(len(dims)):
        length = self.shape[dims[number]]
        cut = (length - shifts[number] % length) % length
        if cut:
            ahead = slice_(result, dims[number], cut, None)
            result = mint.cat((ahead, slice_(result, dims[number], 0, cut)), dims[number] % len(self.shape))
    return result


def flip(self: Tensor, dims: Any) -> Tensor:
    """The order turned round along dimensions."""
    return mint.flip(self, tuple(dims))


def triangle_low(self: Tensor, diagonal: int = 0) -> Tensor:
    """Zero above a diagonal of the last two dimensions."""
    rows, columns = self.shape[-2], self.shape[-1]
    below = counted(0, columns, 1).reshape((1, -1)) <= counted(0, rows, 1).reshape((-1, 1)) + diagonal
    return mint.where(below, self, ops.zeros_like(self))


def triangle_high(self: Tensor, diagonal: int = 0) -> Tensor:
    """Zero below a diagonal of the last two dimensions."""
    rows, columns = self.shape[-2], self.shape[-1]
    above = counted(0, columns, 1).reshape((1, -1)) >= counted(0, rows, 1).reshape((-1, 1)) + diagonal
    return mint.where(above, self, ops.zeros_like(self))


def diagonal(self: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions, as the last one."""
    rank = len(self.shape)
    one, other = dim1 % rank, dim2 % rank
    order = ()
    for dim in range(rank):
        if dim not in (one, other):
            order = order + (dim,)
    moved = ops.transpose(self, order + (one, other))
    rows, columns = self.shape[one], self.shape[other]
    length = min(rows + min(offset, 0), columns - max(offset, 0))
    flat = ops.reshape(moved, moved.shape[:-2] + (rows * columns,))
    numbers = counted(0, length, 1) * (columns + 1) + (max(offset, 0) - min(offset, 0) * columns)
    return ops.gather(flat, numbers, rank - 2)


def pixel_shuffle(self: Tensor, upscale_factor: int) -> Tensor:
    """Channels spread into pixels: (B, C·r², H, W) to (B, C, H·r, W·r)."""
    batch, channels, height, width = self.shape
    r = upscale_factor
    apart = ops.reshape(self, (batch, channels // (r * r), r, r, height, width))
    apart = ops.transpose(apart, (0, 1, 4, 2, 5, 3))
    return ops.reshape(apart, (batch, channels // (r * r), height * r, width * r))
