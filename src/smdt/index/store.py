"""An index on disk: one folder with descriptors, coordinates, and what made them.

``index.json`` names the model, its fingerprint, the mapping and the tiles; ``arrays.safetensors`` holds the
strips in 16 bit, latitudes, longitudes and the gallery's mean. The folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from smdt.errors import DescriptorIndexError
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.matching import (
    aligned_scores,
    best_turn,
    between_columns,
    circular_scores,
    held_within,
    normalise_references,
    turn_mask,
    turn_strips,
    turns_within,
)
from smdt.retrieval.models import fingerprint
from smdt.retrieval.rotation_key import RotationKeys, turned_pairs

FORMAT = 1
_INFO_FILE, _ARRAYS_FILE = "index.json", "arrays.safetensors"
_CHUNK_ELEMENTS = 8_000_000


@dataclass(frozen=True)
class IndexInfo:
    """What made an index.

    Attributes:
        format: layout of the folder.
        model: name of the model.
        fingerprint: of its config and weights.
        mapping: aerial mapping.
        imagery: path of the imagery as given.
        tile_side_m: side of a tile.
        stride_m: distance of neighbouring tiles' centres.
        tile_px: pixels a tile was read with.
        bounds: west, south, east, north of the imagery in degrees.
    """

    format: int
    model: str
    fingerprint: str
    mapping: str
    imagery: str
    tile_side_m: float
    stride_m: float
    tile_px: int
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True)
class DescriptorIndex:
    """Tiles and their strips, ready to search.

    Attributes:
        info: what made it.
        strips: (N, C, W) float16 of unit norm, the gallery's mean removed if the model wants that.
        latitude_deg: (N,) float64 of the tiles' centres.
        longitude_deg: (N,) float64.
        gallery_mean: (C, W) float32 that was removed; zero if none was.
    """

    info: IndexInfo
    strips: Tensor
    latitude_deg: Tensor
    longitude_deg: Tensor
    gallery_mean: Tensor

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.strips)

    def check_model(self, model: Encoder, where: Path) -> None:
        """Refuse a model whose descriptors cannot be compared with these.

        Raises:
            DescriptorIndexError: if the index was made by another model or other weights.
        """
        if self.info.fingerprint != fingerprint(model):
            own, other = self.info.model, model.config.name
            if own == other:
                what = f"was made by another '{own}' than this one, of other weights or settings"
                remedy = "build the index again, or name with --model the folder it was made by"
            else:
                what = f"was made by model '{own}', not by '{other}'"
                remedy = f"locate with --model {own}, or build the index again"
            raise DescriptorIndexError(what, where=where, remedy=remedy)

    @cached_property
    def rotation_keys(self) -> RotationKeys:
        """The tiles' rotation-free keys, made when they are first asked for."""
        return RotationKeys(self.strips, centred=False)

    def search(
        self,
        queries: Tensor,
        mask: Tensor | None = None,
        heading_deg: Tensor | None = None,
        shortlist: int = 0,
        within_deg: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score every tile for every query: exact, in chunks of bounded memory.

        Args:
            queries: (Q, C, W) of unit norm over what they see.
            mask: (Q, W), True where a query sees.
            heading_deg: (Q,) known headings; found by circular correlation unless given.
            shortlist: for queries that see the whole circle and whose heading is not known, score only so many tiles,
                those of the nearest rotation-free keys; the others get -inf. 0 scores all.
            within_deg: how far off the known headings may be: the best turn within that is found by correlation. None:
                they are exact.

        Returns:
            Scores (Q, N) and headings (Q, N) in degrees.
        """
        whole = mask is None or bool(mask.all())
        if heading_deg is None and whole and 0 < shortlist < len(self):
            return self._search_shortlist(queries, shortlist)
        scores, headings = [], []
        exact = heading_deg if within_deg is None else None
        if exact is not None:
            queries = turn_strips(queries, exact)
            mask = None if mask is None else turn_mask(mask, exact)
        step = max(1, _CHUNK_ELEMENTS // (self.strips.shape[1] * self.strips.shape[2] + 128 * len(queries)))
        for part in torch.split(self.strips, step):
            if exact is not None:
                score = aligned_scores(queries, part, mask)
                heading = exact[:, None].expand_as(score)
            else:
                turns = between_columns(circular_scores(queries, part, mask))
                score, heading = _best_turn(turns, heading_deg, within_deg)
            scores.append(score)
            headings.append(heading)
        return torch.cat(scores, dim=1), torch.cat(headings, dim=1)

    def _search_shortlist(self, queries: Tensor, shortlist: int) -> tuple[Tensor, Tensor]:
        scores = torch.full((len(queries), len(self)), -torch.inf)
        headings = torch.zeros_like(scores)
        chosen = self.rotation_keys.nearest(self.rotation_keys.of(queries), shortlist)
        for number, tiles in enumerate(chosen):
            strips = normalise_references(self.strips[tiles].float())
            turns = turned_pairs(queries[number : number + 1], strips[None])[0]
            scores[number, tiles], headings[number, tiles] = best_turn(between_columns(turns))
        return scores, headings


def _best_turn(turns: Tensor, heading_deg: Tensor | None, within_deg: float | None) -> tuple[Tensor, Tensor]:
    """The best of scores (Q, N, W) at every turn, and its heading; near headings (Q,) where these are known so well."""
    if heading_deg is None or within_deg is None:
        return best_turn(turns)
    score, found = best_turn(turns, turns_within(heading_deg, within_deg, turns.shape[-1])[:, None])
    return score, held_within(found, heading_deg[:, None], within_deg)


def save_index(index: DescriptorIndex, folder: Path, *, overwrite: bool = False) -> None:
    """Write an index; the folder appears whole or not at all.

    Raises:
        DescriptorIndexError: if the folder exists and may not be replaced, or is not an index.
    """
    if folder.exists():
        if not overwrite:
            raise DescriptorIndexError(
                "exists already", where=folder, remedy="choose another --out, or give --overwrite"
            )
        if not (folder / _INFO_FILE).is_file():
            raise DescriptorIndexError(
                "exists and is no index, so it is not replaced", where=folder, remedy="choose another --out"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        arrays = {
            "strips": index.strips.half().contiguous(),
            "latitude_deg": index.latitude_deg.double(),
            "longitude_deg": index.longitude_deg.double(),
            "gallery_mean": index.gallery_mean.float().contiguous(),
        }
        save_file(arrays, fresh / _ARRAYS_FILE)
        (fresh / _INFO_FILE).write_text(json.dumps(asdict(index.info), indent=2) + "\n")
        fresh.chmod(0o755)
        old = fresh.with_name(fresh.name + ".old")
        if folder.exists():
            folder.replace(old)
        fresh.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_info(folder: Path) -> IndexInfo:
    """What made an index, without its arrays.

    Raises:
        DescriptorIndexError: if there is no index, or it is of another format or damaged.
    """
    path = folder / _INFO_FILE
    if not path.is_file():
        raise DescriptorIndexError(
            "is not an index (no index.json)" if folder.is_dir() else "there is no such index",
            where=folder,
            remedy="make one with `smdt index build IMAGERY --out FOLDER`",
        )
    try:
        stored = json.loads(path.read_text())
        if stored.get("format") != FORMAT:
            raise DescriptorIndexError(
                f"has format {stored.get('format')}, this version reads {FORMAT}",
                where=folder,
                remedy="build it again",
            )
        info = IndexInfo(**{entry.name: stored[entry.name] for entry in fields(IndexInfo)})
        info = replace(info, bounds=tuple(stored["bounds"]))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DescriptorIndexError("index.json is damaged", where=folder, remedy="build it again") from error
    return info


def open_index(folder: Path) -> DescriptorIndex:
    """Open an index.

    Raises:
        DescriptorIndexError: if it is missing, damaged or of another format.
    """
    info = read_info(folder)
    try:
        arrays = load_file(folder / _ARRAYS_FILE)
        index = DescriptorIndex(
            info,
            arrays["strips"],
            arrays["latitude_deg"],
            arrays["longitude_deg"],
            arrays["gallery_mean"],
        )
    except (OSError, KeyError, SafetensorError) as error:
        raise DescriptorIndexError(
            f"{_ARRAYS_FILE} is missing or damaged", where=folder, remedy="build the index again"
        ) from error
    if not len(index.strips) == len(index.latitude_deg) == len(index.longitude_deg) > 0:
        raise DescriptorIndexError("its arrays do not fit together", where=folder, remedy="build it again")
    return index
