"""Build an index: cover the imagery with overlapping tiles, embed them, keep strips and coordinates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from smdt.errors import ConfigError
from smdt.imagery.aerial import open_aerial
from smdt.imagery.tiles import iter_tiles, tile_grid
from smdt.index.store import FORMAT, DescriptorIndex, IndexInfo
from smdt.retrieval.embedding import embed_aerial, tile_side_m
from smdt.retrieval.encoder import Encoder, EncoderConfig
from smdt.retrieval.matching import normalise_references
from smdt.retrieval.models import fingerprint

_STRIDE_BY_REACH = 5.0


def build_index(
    imagery: Path,
    model: Encoder,
    *,
    side_m: float | None = None,
    stride_m: float | None = None,
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> DescriptorIndex:
    """Index aerial imagery.

    Args:
        imagery: a GeoTIFF or COG, a folder of XYZ tiles, or an MBTiles file.
        model: what embeds the tiles.
        side_m: side of a tile; what the model was trained on unless given.
        stride_m: distance of neighbouring centres; unless given, :func:`usual_stride_m`.
        batch: tiles embedded at once.
        progress: called with tiles done and tiles in all.

    Raises:
        ImageryError: if the imagery cannot be read or covers no tile.
        ConfigError: if the side or stride is not positive.
    """
    side = side_m if side_m is not None else tile_side_m(model)
    stride = stride_m if stride_m is not None else usual_stride_m(model.config, side)
    for name, value in (("--side-m", side), ("--stride-m", stride)):
        if not value > 0:
            raise ConfigError(f"{value} m is not a length", where=name, remedy="give a positive number")
    strips, places = [], []
    with open_aerial(imagery) as source:
        tiles = tile_grid(source, side, stride)
        bounds = source.bounds
        for kept, pixels in iter_tiles(source, tiles, model.config.tile_px, batch):
            strips.append(embed_aerial(model, pixels, side).half())
            places.extend(kept)
            if progress:
                progress(kept[-1].number + 1, len(tiles))
    gallery = torch.cat(strips)
    mean = torch.zeros(gallery.shape[1:])
    if model.config.remove_mean:
        mean = gallery.float().mean(0)
        for part in torch.split(gallery, 256):  # in place: a float32 copy of a large gallery may not fit
            part.copy_((part.float() - mean).half())
    for part in torch.split(gallery, 256):
        part.copy_(normalise_references(part.float()).half())
    info = IndexInfo(
        format=FORMAT,
        model=model.config.name,
        fingerprint=fingerprint(model),
        mapping=model.config.mapping,
        imagery=str(imagery),
        tile_side_m=side,
        stride_m=stride,
        tile_px=model.config.tile_px,
        bounds=(bounds[0], bounds[1], bounds[2], bounds[3]),
    )
    return DescriptorIndex(
        info,
        gallery,
        torch.tensor([tile.latitude_deg for tile in places], dtype=torch.float64),
        torch.tensor([tile.longitude_deg for tile in places], dtype=torch.float64),
        mean,
    )


def usual_stride_m(config: EncoderConfig, side_m: float) -> float:
    """The distance of neighbouring tiles' centres: an eighth of the side, or less for a model that wants cameras near.

    Cameras are then half of it off a centre at most, east and north each. A model that was trained on cameras nearer
    than that still finds them, at up to two and a half times its distance with little loss; see docs/locate.md.

    Args:
        config: the model's.
        side_m: side of a tile.
    """
    return min(side_m / 8.0, _STRIDE_BY_REACH * config.camera_within_m or side_m)
