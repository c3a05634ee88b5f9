"""Embedding whole sets: every picture of a data set once, in batches, into one tensor of strips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from smdt.errors import SmdtError
from smdt.geometry.panorama import crop_field_of_view
from smdt.retrieval.embedding import embed_ground, filled_beyond
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.strip_scores import held_type

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Loading:
    """How pictures are loaded.

    Attributes:
        batch: images embedded at once.
        workers: loader processes.
        progress: called with what is embedded, images done and images in all.
    """

    batch: int = 16
    workers: int = 0
    progress: Progress | None = None


def embed_queries(
    model: Encoder,
    panoramas: Dataset[tuple[Tensor, int]],
    turns: npt.NDArray[np.int64],
    field_of_view_deg: float,
    loading: Loading = Loading(),
    *,
    north_up: bool = False,
) -> Tensor:
    """Strips (Q, C, W) of what cameras see whose heading is 360°·turn/W.

    Args:
        model: what embeds.
        panoramas: (image, number), the images' centre column looking north.
        turns: (Q,) whole columns by which cameras look clockwise of north.
        field_of_view_deg: what they see around their heading; the rest is as the model wants it, ``beyond``.
        loading: batches, processes, progress.
        north_up: turn back what is seen, so that the centre column looks north again. A descriptor of one column cannot
            be turned after embedding, so this is where a known heading tells it something.
    """

    def embed(images: Tensor, numbers: Tensor) -> Tensor:
        columns = turns[numbers.numpy()]
        narrow = narrow_panoramas(turn_panoramas(images, columns), field_of_view_deg)
        narrow = filled_beyond(model.config, narrow, seen_pixels(images.shape[-1], field_of_view_deg))
        return embed_ground(model, turn_panoramas(narrow, -columns) if north_up else narrow)

    return embed_all(panoramas, embed, "panoramas", loading)


def turn_panoramas(images: Tensor, columns: npt.NDArray[np.int64]) -> Tensor:
    """Turn each panorama (B, 3, H, W) clockwise by whole columns (B,); its heading is then 360°·columns/W."""
    return torch.stack([torch.roll(i, -int(c), dims=-1) for i, c in zip(images, columns, strict=True)])


def narrow_panoramas(images: Tensor, field_of_view_deg: float) -> Tensor:
    """Black out what a photo of that field of view does not show of panoramas (..., H, W), around their centre."""
    if field_of_view_deg >= 360:
        return images
    return torch.where(seen_pixels(images.shape[-1], field_of_view_deg), images, 0.0)


def seen_pixels(width_px: int, field_of_view_deg: float) -> Tensor:
    """Mask (W,) of the columns of pixels that a photo of that field of view shows of a panorama, around its centre."""
    seen = torch.zeros(width_px, dtype=torch.bool)
    crop_field_of_view(seen, field_of_view_deg)[:] = True
    return seen


def embed_all(
    images: Dataset[tuple[Tensor, int]],
    embed: Callable[[Tensor, Tensor], Tensor],
    what: str,
    loading: Loading = Loading(),
) -> Tensor:
    """Embed a whole set: strips (N, C, W), in half precision where they would take more than 1 GiB in single.

    Args:
        images: gives (image, number).
        embed: strips (B, C, W) of images (B, 3, H, W) and their numbers (B,).
        what: the images' name for the progress.
        loading: batches, processes, progress.

    Raises:
        SmdtError: if an image cannot be read; the same from a loader process as from this one.
    """
    loader = DataLoader(
        _Handed(images), batch_size=loading.batch, num_workers=loading.workers, collate_fn=_batch_or_error
    )
    total, done = len(images), 0  # type: ignore[arg-type]
    strips = torch.empty(0)
    for loaded in loader:
        if isinstance(loaded, SmdtError):
            raise loaded
        made = embed(*loaded)
        if not done:
            strips = torch.empty(total, *made.shape[1:], dtype=held_type(total * made[0].numel()))
        strips[done : done + len(made)] = made
        done += len(made)
        if loading.progress:
            loading.progress(what, done, total)
    return strips


class _Handed(Dataset[tuple[Tensor, int] | SmdtError]):
    """A data set that hands a user's mistake over instead of raising it, which a loader process would bury."""

    def __init__(self, images: Dataset[tuple[Tensor, int]]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int] | SmdtError:
        try:
            return self.images[index]
        except SmdtError as error:
            return error


def _batch_or_error(items: list[tuple[Tensor, int] | SmdtError]) -> tuple[Tensor, Tensor] | SmdtError:
    pictures, numbers = [], []
    for item in items:
        if isinstance(item, SmdtError):
            return item
        pictures.append(item[0])
        numbers.append(item[1])
    return torch.stack(pictures), torch.tensor(numbers)
