"""The pictures of a split as torch data sets: panoramas cropped and turned, aerial images mapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from smdt.data.listing import missing_files
from smdt.data.pairs import PairSplit, Query, Reference
from smdt.data.transforms import load_image, load_labels, require_square, resize, resize_labels
from smdt.errors import ConfigError, DatasetError, GeometryError
from smdt.geometry.mapping import (
    DEFAULT_CAMERA_HEIGHT_M,
    DEFAULT_JOIN_M,
    MAPPINGS,
    aerial_grid,
    map_aerial,
)
from smdt.geometry.panorama import PanoramaFrame, crop_elevation, turn_panorama

GroundViewOf = Callable[[Tensor, float, Path], Tensor]


@dataclass(frozen=True)
class ViewSettings:
    """How the pictures of a split become network inputs.

    Attributes:
        height_px: rows of panoramas and mapped aerial images.
        width_px: columns of the same, 360°.
        mapping: ``polar``, ``perspective``, ``mixed``; ``none`` leaves the aerial image square.
        aerial_side_px: side of an unmapped aerial image.
        use_polarmap: read polar-mapped pictures from the data set's folder instead of mapping on the fly.
        elevation_deg: crop panoramas to this far above and below the horizon; None: as the data set is used.
        camera_height_m: height of the camera (perspective and mixed).
        join_m: radius where mixed turns from perspective to polar.
        half_side_m: half the side of every aerial image in metres; None: as the data set has it.
        centre_m: what aerial images are unrolled about, metres east and north of their middle.
        aerial_input: ``mapped``; ``ground_view``, what :class:`PairImages` is given to make of the square image; or
            ``both``, six channels.
    """

    height_px: int = 128
    width_px: int = 512
    mapping: str = "polar"
    aerial_side_px: int = 256
    use_polarmap: bool = False
    elevation_deg: float | None = None
    camera_height_m: float = DEFAULT_CAMERA_HEIGHT_M
    join_m: float = DEFAULT_JOIN_M
    half_side_m: float | None = None
    centre_m: tuple[float, float] = (0.0, 0.0)
    aerial_input: str = "mapped"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if self.mapping not in (*MAPPINGS, "none"):
            raise ConfigError(
                f"mapping '{self.mapping}' is unknown", remedy=f"choose from {', '.join(MAPPINGS)}, none"
            )
        if self.use_polarmap and self.mapping != "polar":
            raise ConfigError(
                f"polarmap pictures cannot serve as mapping '{self.mapping}'",
                remedy="choose the mapping polar, or do without the polarmap folder",
            )
        if self.centre_m != (0.0, 0.0) and (self.use_polarmap or self.mapping == "none"):
            raise ConfigError(
                "aerial images that are not mapped here are not unrolled about another point than their middle",
                where="centre_m",
                remedy="choose a mapping, and do without the polarmap folder",
            )
        if min(self.height_px, self.width_px, self.aerial_side_px) < 1:
            raise ConfigError("pictures need at least one row and one column")
        if self.elevation_deg is not None and not 0.0 < self.elevation_deg <= 90.0:
            raise ConfigError(f"an elevation of {self.elevation_deg}° is not within 0°..90°")


class PairImages(Dataset[tuple[Tensor, int]]):
    """The pictures of one view of a split as (image, index); works with any number of loader workers.

    Queries: the panorama cropped to the elevations in use, turned so that its centre looks north, resized.
    References: the square aerial image mapped to the panorama frame, or the polarmap picture resized, or, with
    mapping ``none``, the square image resized. Images are (3, H, W) float32, RGB in [0, 1], antialiased.

    Args:
        split: what a reader returned.
        view: ``query`` or ``reference``; the index counts in ``split.queries`` or ``split.references``.
        settings: sizes and mapping.
        ground_view: makes the ground view (3, H, W) in [0, 1] of a square image (3, S, S) uint8, given its side in
            metres and its file; for the aerial inputs that have one. It sees no panorama.

    Raises:
        DatasetError: if polarmap pictures are asked for and not all there.
        ConfigError: if the data set's panoramas do not reach as far up as asked.
    """

    def __init__(
        self,
        split: PairSplit,
        view: Literal["query", "reference"],
        settings: ViewSettings = ViewSettings(),
        ground_view: GroundViewOf | None = None,
    ) -> None:
        if view == "reference" and settings.aerial_input != "mapped" and ground_view is None:
            raise ConfigError("nothing is given that makes ground views", where="aerial_input")
        self.view, self._ground_view = view, ground_view
        self.settings = settings
        self._entries: tuple[Query, ...] | tuple[Reference, ...] = (
            split.queries if view == "query" else split.references
        )
        self._frame = split.ground_frame
        self._elevation_deg = split.elevation_deg
        if settings.elevation_deg is not None:
            self._elevation_deg = settings.elevation_deg
        if self._frame is not None and self._frame.top_deg < self._elevation_deg - 0.1:
            raise ConfigError(
                f"panoramas of {split.dataset} reach ±{self._frame.top_deg:.1f}°, not ±{self._elevation_deg:.1f}°",
                remedy="choose a smaller elevation",
            )
        if view == "reference" and settings.use_polarmap:
            _require_polarmap(split)

    def __len__(self) -> int:
        """How many pictures this view has."""
        return len(self._entries)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Load one picture: (3, H, W) float32 in [0, 1], and its index.

        Raises:
            DatasetError: if the file is missing or damaged, an aerial image is not square, or a panorama is not
                of the shape its data set has.
        """
        index = range(len(self._entries))[index]
        entry = self._entries[index]
        return (self._panorama(entry) if isinstance(entry, Query) else self._aerial(entry)), index

    def labels(self, index: int) -> Tensor:
        """Class labels of a query in the same frame as its image: (H, W) int64.

        Raises:
            DatasetError: if the query has none, or they cannot be read.
        """
        entry = self._entries[index]
        if not isinstance(entry, Query) or entry.labels_path is None:
            raise DatasetError("there are no labels for this picture", where=entry.path)
        cropped = self._crop(load_labels(entry.labels_path), entry.labels_path, entry.heading_deg)
        return resize_labels(cropped, self.settings.height_px, self.settings.width_px)

    def _panorama(self, query: Query) -> Tensor:
        cropped = self._crop(load_image(query.path), query.path, query.heading_deg)
        return resize(cropped, self.settings.height_px, self.settings.width_px)

    def _crop(self, picture: Tensor, path: Path, heading_deg: float) -> Tensor:
        source = source_frame(picture.shape[-2], picture.shape[-1], self._frame, path)
        target = replace(source, top_deg=self._elevation_deg, bottom_deg=-self._elevation_deg)
        try:
            cropped = crop_elevation(picture, source, target)
        except GeometryError as error:
            raise DatasetError(error.what, where=path, remedy="choose a smaller elevation") from None
        return turn_panorama(cropped, -heading_deg) if heading_deg else cropped

    def _aerial(self, reference: Reference) -> Tensor:
        chosen = self.settings.aerial_input
        parts = [] if chosen == "ground_view" else [self._mapped(reference)]
        if chosen != "mapped":
            assert self._ground_view is not None  # the constructor has looked
            image = load_image(reference.path)
            require_square(image, reference.path)
            half_side_m = self.settings.half_side_m or reference.half_side_m
            parts.append(self._ground_view(image, 2.0 * half_side_m, reference.path))
        return torch.cat(parts)

    def _mapped(self, reference: Reference) -> Tensor:
        settings = self.settings
        if settings.use_polarmap:
            assert reference.polar_path is not None  # the constructor has looked
            polar = load_image(reference.polar_path)
            if polar.shape[-1] == polar.shape[-2]:
                raise DatasetError(
                    "this picture is square, so not a polar-mapped one",
                    where=reference.polar_path,
                    remedy="write the polarmap folder anew, or map on the fly",
                )
            return resize(polar, settings.height_px, settings.width_px)
        image = load_image(reference.path)
        require_square(image, reference.path)
        if settings.mapping == "none":
            return resize(image, settings.aerial_side_px, settings.aerial_side_px)
        size = (image.shape[-1], settings.height_px, settings.width_px)
        half_side_m = reference.half_side_m if settings.half_side_m is None else settings.half_side_m
        east, north = (one / half_side_m for one in settings.centre_m)
        if settings.mapping == "polar":  # depends on no metres, so one grid serves all
            grid = aerial_grid("polar", *size, centre=(east, north))
        else:
            heights = (settings.camera_height_m, settings.join_m, self._elevation_deg)
            grid = aerial_grid(settings.mapping, *size, half_side_m, *heights, centre=(east, north))
        return (map_aerial(image[None], grid)[0] / 255.0).clamp(0.0, 1.0)


def source_frame(height_px: int, width_px: int, published: PanoramaFrame | None, path: Path) -> PanoramaFrame:
    """The frame of a panorama file, from its published frame or, without one, from its shape.

    Raises:
        DatasetError: if the picture has another shape than published, or none that a 360° panorama can have.
    """
    if published is None:
        half_deg = 180.0 * height_px / width_px
        if half_deg > 91.0:
            raise DatasetError(
                f"a picture of {width_px}×{height_px} pixels is no 360° panorama",
                where=path,
                remedy="use equirectangular panoramas, at least twice as wide as high",
            )
        half_deg = min(half_deg, 90.0)
        return PanoramaFrame(height_px, width_px, half_deg, -half_deg)
    if abs(width_px * published.height_px / (height_px * published.width_px) - 1.0) > 0.02:
        raise DatasetError(
            f"the panorama has {width_px}×{height_px} pixels, not the shape of the published "
            f"{published.width_px}×{published.height_px}",
            where=path,
            remedy="use the pictures as published, not cropped ones",
        )
    return replace(published, height_px=height_px, width_px=width_px)


def _require_polarmap(split: PairSplit) -> None:
    paths = [one.polar_path for one in split.references if one.polar_path is not None]
    if len(paths) < len(split.references):
        raise DatasetError(
            f"the layout of {split.dataset} has no polarmap folder",
            where=split.listing,
            remedy="map on the fly",
        )
    missing = missing_files(paths)
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(paths)} polar-mapped pictures are missing, this one first",
            where=missing[0],
            remedy="complete the folder, or map on the fly, without use_polarmap",
        )
