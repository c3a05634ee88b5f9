"""Ground-view pictures of aerial tiles, made once: a folder of PNGs by the tile's content and the model's fingerprint.

So a tile that several indexes or trainings share is made once, a changed tile or model never meets an old picture, and
a picture that cannot be read is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from smdt.alignment.cgan_models import fingerprint
from smdt.alignment.dual_cgan import DualCgan, cut_tile, ground_views
from smdt.data.pairs import Reference
from smdt.data.transforms import load_image, require_square
from smdt.files import write_whole


class GroundViewCache:
    """Get or make the ground-view pictures of aerial tiles.

    Args:
        model: in evaluation mode.
        folder: made where it is missing; several models may share it.

    Attributes:
        made: pictures made since the beginning.
        found: pictures that were there.
    """

    def __init__(self, model: DualCgan, folder: Path) -> None:
        self.model, self.folder = model, folder / fingerprint(model)
        self.made = self.found = 0

    def path_of(self, tile: Tensor) -> Path:
        """Where the picture of a tile (3, S, S) uint8 is or will be."""
        digest = hashlib.sha256(str(tuple(tile.shape)).encode())
        digest.update(tile.contiguous().numpy().tobytes())
        name = digest.hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.png"

    def pictures(self, tiles: Tensor) -> Tensor:
        """Ig′ of tiles.

        Args:
            tiles: (B, 3, S, S) uint8, north up, of the side the model was made for.

        Returns:
            (B, 3, H, W) uint8.

        Raises:
            SmdtError: if the folder cannot be written.
        """
        paths = [self.path_of(tile) for tile in tiles]
        there = [self._read(path) for path in paths]
        missing = [number for number, picture in enumerate(there) if picture is None]
        if missing:
            made, _ = ground_views(self.model, tiles[missing])
            for number, picture in zip(missing, made, strict=True):
                there[number] = picture
                coded = Image.fromarray(picture.permute(1, 2, 0).numpy())
                write_whole(paths[number], coded.save)
        self.made += len(missing)
        self.found += len(paths) - len(missing)
        return torch.stack([picture for picture in there if picture is not None])

    def _read(self, path: Path) -> Tensor | None:
        """A stored picture, or None where there is none that can be read."""
        size = (self.model.config.height_px, self.model.config.width_px, 3)
        try:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError):
            return None
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1) if pixels.shape == size else None


def fill_cache(
    cache: GroundViewCache,
    references: Sequence[Reference],
    progress: Callable[[int, int], None] | None = None,
    batch: int = 16,
) -> None:
    """Make the ground views of a data set's aerial images that a cache has not yet.

    Args:
        cache: to fill.
        references: the aerial images.
        progress: called with images done and in all.
        batch: images made at once.

    Raises:
        SmdtError: if an image cannot be read or is too small, or the cache cannot be written.
    """
    wanted_m = cache.model.config.tile_side_m
    waiting: list[Tensor] = []
    for number, reference in enumerate(references, start=1):
        image = load_image(reference.path)
        require_square(image, reference.path)
        waiting.append(cut_tile(image, 2.0 * reference.half_side_m, wanted_m, reference.path))
        alike = len({tuple(tile.shape) for tile in waiting}) == 1
        if len(waiting) == batch or number == len(references) or not alike:
            for tiles in [torch.stack(waiting)] if alike else [tile[None] for tile in waiting]:
                cache.pictures(tiles)
            waiting = []
            if progress is not None:
                progress(number, len(references))
