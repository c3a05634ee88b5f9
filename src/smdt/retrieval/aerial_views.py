"""What a model's aerial branch reads, made of square tiles: the mapped tile, its ground view Ig′, or both.

Index, evaluation, TownBench and training all come here, so Ig′ is made in one way. It is made by a dual conditional
GAN of the tile alone; nothing of a ground image is at hand here.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.alignment.cgan_cache import GroundViewCache
from smdt.alignment.cgan_models import built_in, fingerprint, load_cgan
from smdt.alignment.dual_cgan import DualCgan, cut_tile, ground_views
from smdt.data.images import GroundViewOf
from smdt.errors import ModelError
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.retrieval.encoder import Encoder


class GroundViews:
    """Makes Ig′ of aerial tiles.

    The model stays where it is, on the CPU unless it was moved; loader processes may use it there.

    Args:
        cgan: what makes them, in evaluation mode.
        size_px: rows and columns that the retrieval model wants; pictures of another size are resized.
        cache: a folder of pictures made once, see :class:`smdt.alignment.cgan_cache.GroundViewCache`; None: none.
    """

    def __init__(self, cgan: DualCgan, size_px: tuple[int, int], cache: Path | None = None) -> None:
        self.cgan, self.size_px = cgan, size_px
        self.cache: GroundViewCache | None = None
        if cache is not None:
            self.keep_in(cache)

    def keep_in(self, cache: Path) -> None:
        """Take pictures from a folder, and keep there what is made."""
        self.cache = GroundViewCache(self.cgan, cache)

    def of_tiles(self, tiles: Tensor, side_m: float, where: Path | None = None) -> Tensor:
        """Ig′ of tiles of one side.

        Args:
            tiles: (B, 3, S, S) uint8, north up; cut about their centre to the side that the GAN was made for.
            side_m: their side on the ground.
            where: their file, for messages.

        Returns:
            (B, 3, H, W) float32 in [0, 1], on the CPU.

        Raises:
            ImageryError: if the tiles are smaller on the ground than the GAN wants.
            SmdtError: if the cache cannot be written.
        """
        wanted_m = self.cgan.config.tile_side_m
        cut = torch.stack([cut_tile(tile, side_m, wanted_m, where) for tile in tiles.cpu()])
        made = ground_views(self.cgan, cut)[0] if self.cache is None else self.cache.pictures(cut)
        images = made.float() / 255.0
        if images.shape[-2:] == self.size_px:
            return images
        resized = F.interpolate(images, self.size_px, mode="bilinear", antialias=True, align_corners=False)
        return resized.clamp(0.0, 1.0)

    def of_file(self, image: Tensor, side_m: float, path: Path) -> Tensor:
        """Ig′ (3, H, W) of a file's square image (3, S, S) uint8, as :class:`smdt.data.images.PairImages` asks."""
        return self.of_tiles(image[None], side_m, path)[0]


def attach_ground_views(model: Encoder, folder: Path | None = None, cache: Path | None = None) -> None:
    """Give a model the dual conditional GAN that its config names; a model that reads mapped tiles stays as it is.

    Args:
        model: gets ``ground_views``, and in its config where the GAN is and its fingerprint.
        folder: the model's own, from which the GAN's folder is seen.
        cache: where pictures are kept.

    Raises:
        ModelError: if the GAN is missing, or is another one than in training.
    """
    config = model.config
    if config.aerial_input == "mapped":
        return
    name = _found(config.cgan, folder)
    try:
        cgan = load_cgan(name)
    except ModelError as error:
        raise ModelError(
            f"model '{config.name}' reads ground views made by this dual conditional GAN, which {error.what}",
            where=config.cgan,
            remedy="put its folder there, or name another place as 'cgan' in the model's config.json",
        ) from error
    print_now = fingerprint(cgan)
    if config.cgan_fingerprint not in ("", print_now):
        raise ModelError(
            f"is not the dual conditional GAN that '{config.name}' was trained with ({print_now}, "
            f"not {config.cgan_fingerprint})",
            where=name,
            remedy="put the one it was trained with there, or train the model again",
        )
    model.config = replace(config, cgan=name, cgan_fingerprint=print_now)
    model.ground_views = GroundViews(cgan, (config.height_px, config.width_px), cache)


def _found(name: str, folder: Path | None) -> str:
    """A GAN's name or folder; one beside the model's folder comes before one of the working directory."""
    if name in built_in() or folder is None or not (folder / name).is_dir():
        return name
    return os.path.normpath(folder / name)


def seen_from(folder: Path, name: str) -> str:
    """How a config in a folder names a GAN: a folder by the way from there, so that both can be moved together."""
    if name in ("", *built_in()) or not Path(name).is_dir():
        return name
    return Path(os.path.relpath(Path(name).resolve(), folder.resolve())).as_posix()


def aerial_views(
    model: Encoder, tiles: Tensor, side_m: float, centre_m: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    """What the aerial branch reads of tiles.

    Args:
        model: whose.
        tiles: (B, 3, S, S) uint8, or floating point in 0..255, north up.
        side_m: their side on the ground.
        centre_m: what they are unrolled about, metres east and north of their middle; for mapped tiles alone.

    Returns:
        (B, 3 or 6, H, W) float32 in [0, 1], see :meth:`smdt.retrieval.encoder.Encoder.forward`.

    Raises:
        ModelError: if the model reads ground views and has nothing that makes them, or no mapped tiles and a centre is
            given.
        ImageryError: if the tiles are smaller than the GAN wants.
    """
    config = model.config
    if centre_m != (0.0, 0.0) and (config.mapping == "none" or config.aerial_input != "mapped"):
        raise ModelError(
            "reads a tile as it is, and can unroll it about no other point than its middle",
            where=config.name,
            remedy="choose one centre a tile",
        )
    if config.aerial_input == "ground_view":
        return made_views(model, tiles, side_m)
    if config.mapping == "none":
        return _square(tiles, config.tile_px)
    east, north = (one / (side_m / 2.0) for one in centre_m)
    size = (tiles.shape[-1], config.height_px, config.width_px)
    grid = aerial_grid(config.mapping, *size, half_side_m=side_m / 2.0, centre=(east, north))
    mapped = map_aerial(tiles, grid) / 255.0
    if config.aerial_input == "mapped":
        return mapped
    return torch.cat([mapped, made_views(model, tiles, side_m).to(mapped.device)], dim=1)


def made_views(model: Encoder, tiles: Tensor, side_m: float) -> Tensor:
    """Ig′ (B, 3, H, W) in [0, 1] of tiles as in :func:`aerial_views`."""
    pixels = tiles if tiles.dtype == torch.uint8 else tiles.round().clamp(0, 255).byte()
    return required(model).of_tiles(pixels, side_m)


def ground_view_of(model: Encoder) -> GroundViewOf | None:
    """What makes Ig′ of a file's image for a model, None if it reads none; see :class:`smdt.data.images.PairImages`."""
    return None if model.config.aerial_input == "mapped" else required(model).of_file


def required(model: Encoder) -> GroundViews:
    """What makes a model's ground views.

    Raises:
        ModelError: if it has none.
    """
    if model.ground_views is None:
        raise ModelError(
            "reads ground views, and nothing that makes them is attached",
            where=model.config.name,
            remedy="load it by load_model, or call attach_ground_views",
        )
    return model.ground_views


def _square(tiles: Tensor, side_px: int) -> Tensor:
    """Tiles (B, 3, S, S) in 0..255 as images in [0, 1] of the side that a model without a mapping takes."""
    images = tiles.float() / 255.0
    if tiles.shape[-1] == side_px:
        return images
    resized = F.interpolate(images, (side_px, side_px), mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp(0.0, 1.0)
