"""Photo → ranked places: the main job of this software."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smdt.errors import ConfigError, ImageryError
from smdt.geometry.geodesy import offset_position
from smdt.geometry.panorama import PanoramaFrame, turn_panorama
from smdt.imagery.photo import Photo, load_photo, photo_to_frame
from smdt.index.store import DescriptorIndex
from smdt.retrieval.embedding import centre_queries, embed_ground, filled_photo
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.matching import normalise_queries

_METRES_PER_DEGREE = 111_320.0
HEADINGS_TRIED = 16
"""A model with one global descriptor cannot find a heading by matching; photos are then embedded at this many."""

SHORTLIST_FROM = 20_000
"""In smaller indexes a photo is scored against all tiles, whatever the shortlist."""


@dataclass(frozen=True)
class Candidate:
    """One place a photo may have been taken.

    Attributes:
        rank: 1 for the best.
        latitude_deg: WGS84.
        longitude_deg: WGS84.
        heading_deg: azimuth the photo's centre column looks along, clockwise from north.
        score: similarity of photo and tile, at most 1.
        tile: number of the tile in the index.
    """

    rank: int
    latitude_deg: float
    longitude_deg: float
    heading_deg: float
    score: float
    tile: int


@dataclass(frozen=True)
class Located:
    """What was found for one photo: candidates, best first, and how sure the answer is.

    Attributes:
        photo: the photo's file.
        candidates: ranked places, best first, at least ``LocateConfig.apart_m`` apart.
        confidence: in [0, 1]: the share of the model's belief that lies around the best place.
        field_of_view_deg: how wide the photo is; 360 for a panorama.
    """

    photo: Path
    candidates: tuple[Candidate, ...]
    confidence: float
    field_of_view_deg: float = 360.0


@dataclass(frozen=True)
class Truth:
    """Where a photo was really taken, where that is known."""

    latitude_deg: float
    longitude_deg: float
    heading_deg: float | None = None


@dataclass(frozen=True)
class LocateConfig:
    """How photos are located.

    Attributes:
        heading_deg: azimuth of the photos' centre, if it is known; found otherwise.
        heading_within_deg: how far off that may be, as a compass is; the heading is then found within it. Without
            ``heading_deg`` it says so of the azimuth that each photo notes (EXIF). None: ``heading_deg`` is exact.
        field_of_view_deg: of flat photos; from EXIF unless given.
        panorama: whether photos are 360° panoramas; told from the file unless given.
        pitch_deg: elevation of flat photos' optical axis.
        top: candidates to give.
        apart_m: least distance between two candidates.
        shortlist: in an index of more than ``SHORTLIST_FROM`` tiles, how many of them a panorama of unknown heading is
            scored against at every turn: those of the nearest rotation-free keys. 0 scores all, which is exact.
    """

    heading_deg: float | None = None
    heading_within_deg: float | None = None
    field_of_view_deg: float | None = None
    panorama: bool | None = None
    pitch_deg: float = 0.0
    top: int = 5
    apart_m: float = 25.0
    shortlist: int = 0

    def __post_init__(self) -> None:
        """Refuse what no heading can be within."""
        if self.heading_within_deg is not None and not 0.0 <= self.heading_within_deg <= 180.0:
            raise ConfigError(
                f"a heading cannot lie within {self.heading_within_deg:g}° of another",
                where="--heading-within-deg",
                remedy="give 0 to 180",
            )


def locate(
    photos: Sequence[Path],
    index: DescriptorIndex,
    model: Encoder,
    config: LocateConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Located]:
    """Find where photos were taken.

    Args:
        photos: panoramas or flat photos.
        index: of the area they may lie in, made by the same model.
        model: embeds the photos.
        config: what is known of them, and how many candidates to give.
        progress: called with photos done and photos in all.

    Raises:
        ImageryError: if a photo cannot be read, a flat one's field of view is not known, or one notes no azimuth whose
            nearness is to be searched.
    """
    config = config or LocateConfig()
    found = []
    for number, photo in enumerate(photos, start=1):
        scores, headings, field_of_view = score_tiles(photo, index, model, config)
        candidates = rank_places(index, scores, headings, model.config.scale, config)
        sure = confidence(index, scores, candidates[0], model, config)
        found.append(Located(photo, candidates, sure, field_of_view))
        if progress:
            progress(number, len(photos))
    return found


def score_tiles(
    photo: Path, index: DescriptorIndex, model: Encoder, config: LocateConfig
) -> tuple[Tensor, Tensor, float]:
    """Scores (N,) of all tiles for a photo, the heading (N,) in degrees of each, and the photo's field of view."""
    frame = PanoramaFrame(model.config.height_px, model.config.width_px)
    loaded = load_photo(photo)
    placed = photo_to_frame(
        loaded,
        frame,
        fov_deg=config.field_of_view_deg,
        panorama=config.panorama,
        pitch_deg=config.pitch_deg,
    )
    heading_deg = heading_of(loaded, config)
    heading = None if heading_deg is None else torch.tensor([heading_deg])
    seen = placed.mask.any(0)
    image = filled_photo(model.config, placed.image, placed.mask)
    if not model.finds_heading:
        scores, headings = _score_turned(image, index, model, heading, config.heading_within_deg)
        return scores, headings, placed.field_of_view_deg
    strip = embed_ground(model, image[None])
    columns = seen.view(model.columns, -1).float().mean(1) > 0.5
    strip = normalise_queries(centre_queries(model, strip), columns[None])
    shortlist = config.shortlist if len(index) > SHORTLIST_FROM else 0
    scores, headings = index.search(strip, columns[None], heading, shortlist, config.heading_within_deg)
    return scores[0], headings[0], placed.field_of_view_deg


def heading_of(photo: Photo, config: LocateConfig) -> float | None:
    """The azimuth that a photo is known to look along, or about: the config's, or the one it notes; None for neither.

    Raises:
        ImageryError: if it should note one and does not.
    """
    if config.heading_deg is not None or config.heading_within_deg is None:
        return config.heading_deg
    if photo.heading_deg is None:
        raise ImageryError(
            "notes no azimuth (EXIF GPSImgDirection) that its heading could be near",
            where=photo.path,
            remedy="give --heading-deg, or leave --heading-within-deg out",
        )
    return photo.heading_deg


def _score_turned(
    image: Tensor,
    index: DescriptorIndex,
    model: Encoder,
    heading_deg: Tensor | None,
    within_deg: float | None,
) -> tuple[Tensor, Tensor]:
    """Scores and headings (N,) by a model of one global descriptor: the photo turned north by each heading tried."""
    if heading_deg is None:
        heading_deg = torch.arange(HEADINGS_TRIED) * (360.0 / HEADINGS_TRIED)
    elif within_deg:
        tried = 2 * math.ceil(within_deg * HEADINGS_TRIED / 360.0) + 1
        heading_deg = torch.remainder(heading_deg + torch.linspace(-within_deg, within_deg, tried), 360.0)
    turned = torch.stack([turn_panorama(image, -float(heading)) for heading in heading_deg])
    strips = normalise_queries(centre_queries(model, embed_ground(model, turned)))
    scores, best = index.search(strips, None, torch.zeros(len(strips)))[0].max(dim=0)
    return scores, heading_deg[best]


def rank_places(
    index: DescriptorIndex, scores: Tensor, headings: Tensor, scale: float, config: LocateConfig
) -> tuple[Candidate, ...]:
    """The best places, each at least ``apart_m`` from the better ones, refined between neighbouring tiles.

    A place's position is the mean of the tiles within one and a half strides around its best tile, weighted by
    exp(scale·score), so that it may lie between tile centres.
    """
    candidates: list[Candidate] = []
    open_scores = scores.clone()
    while len(candidates) < config.top and bool(torch.isfinite(open_scores).any()):
        best = int(open_scores.argmax())
        east, north = offsets_m(index, best)
        away = torch.hypot(east, north)
        around = away < 1.5 * index.info.stride_m
        weight = torch.softmax(scale * scores[around].double(), 0)
        latitude, longitude = offset_position(
            float(index.latitude_deg[best]),
            float(index.longitude_deg[best]),
            float((weight * east[around]).sum()),
            float((weight * north[around]).sum()),
        )
        candidates.append(
            Candidate(
                rank=len(candidates) + 1,
                latitude_deg=float(latitude),
                longitude_deg=float(longitude),
                heading_deg=float(headings[best]) % 360.0,
                score=float(scores[best]),
                tile=best,
            )
        )
        open_scores[away < config.apart_m] = -torch.inf
    return tuple(candidates)


def confidence(
    index: DescriptorIndex, scores: Tensor, best: Candidate, model: Encoder, config: LocateConfig
) -> float:
    """Share of softmax(scale·score) over all tiles that lies within ``apart_m`` of the best place."""
    belief = torch.softmax(model.config.scale * scores.double(), 0)
    east, north = offsets_m(index, best.tile)
    return float(belief[torch.hypot(east, north) < config.apart_m].sum())


def offsets_m(index: DescriptorIndex, tile: int) -> tuple[Tensor, Tensor]:
    """Metres east and north of every tile from one, in the plane around it (good to 0.1 % over some kilometres)."""
    latitude = index.latitude_deg[tile]
    north = (index.latitude_deg - latitude) * _METRES_PER_DEGREE
    shrink = float(np.cos(np.deg2rad(float(latitude))))
    east = torch.remainder(index.longitude_deg - index.longitude_deg[tile] + 180.0, 360.0) - 180.0
    return east * _METRES_PER_DEGREE * shrink, north
