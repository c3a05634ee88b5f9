"""The plan of a set of pairs: its settings, the places it is taken from, and where each camera stands.

It is drawn once and written into the set's folder, so that a writing that was stopped goes on with the same plan.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset

from smdt.errors import ConfigError, DatasetError, SmdtError
from smdt.files import write_text_whole
from smdt.geometry.mapping import DEFAULT_HALF_SIDE_M
from smdt.world.dataset import PairConfig
from smdt.world.layers import Place, Surface
from smdt.world.places import PlaceSource, place_fingerprint, spread_positions

PLAN_FILE = "plan.json"
_FORMAT = "smdt pairs 1"


@dataclass(frozen=True)
class PairSetConfig:
    """How a set of pairs is drawn.

    Attributes:
        count: pairs in all.
        seed: of positions, days and cameras.
        aerial_px: side of the aerial images.
        tile_side_m: the same on the ground; the CVUSA reader takes it to be 170 m.
        tile_factors: a pair's aerial image is larger on the ground by one of these, drawn for each.
        height_px: rows of the panoramas.
        width_px: columns of the panoramas; 5.5 times the rows, as CVUSA's.
        max_offset_m: the camera is off the aerial image's centre by up to this, east and north each.
        apart_m: least distance between two cameras.
        val_share: share of the places, or of the one place, whose pairs are for evaluation.
        dense: take the positions around each place's middle, so that neighbours are as near as they may be; else
            they are spread over the place.
        labels: write class maps and depths too.
    """

    count: int
    seed: int = 0
    aerial_px: int = 750
    tile_side_m: float = 2 * DEFAULT_HALF_SIDE_M
    height_px: int = 224
    width_px: int = 1232
    max_offset_m: float = 4.0
    apart_m: float = 5.0
    val_share: float = 0.2
    dense: bool = False
    labels: bool = True
    tile_factors: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Refuse sets that cannot be."""
        if self.count < 1:
            raise ConfigError(f"{self.count} pairs are no set", where="--count", remedy="give 1 or more")
        if self.aerial_px < 16 or not 10 <= self.tile_side_m <= 1000:
            raise ConfigError(
                f"an aerial image of {self.aerial_px} pixels and {self.tile_side_m:g} m is of no use",
                where="--aerial-px",
                remedy="CVUSA's have 750 pixels and 170 m",
            )
        if not self.tile_factors or not all(
            10 <= self.tile_side_m * one <= 1000 for one in self.tile_factors
        ):
            raise ConfigError(
                f"factors {', '.join(f'{one:g}' for one in self.tile_factors)} make no tiles of 10 to 1000 m",
                where="--tile-factors",
                remedy="give factors near 1, such as 0.8,1.0,1.1",
            )
        if min(self.height_px, self.width_px) < 16:
            raise ConfigError(
                f"panoramas of {self.width_px} × {self.height_px} pixels are of no use",
                where="--height-px",
                remedy="CVUSA's have 224 rows",
            )
        if not 1.0 <= self.apart_m <= 1000 or not 0 <= self.val_share <= 1:
            raise ConfigError(
                f"cameras {self.apart_m:g} m apart, a share of {self.val_share:g} for evaluation: not possible",
                where="--apart-m",
                remedy="give 1 m or more, and a share from 0 to 1",
            )

    def pair_config(self, tile_factor: float = 1.0) -> PairConfig:
        """How the pairs are rendered, with tiles larger by a factor."""
        return PairConfig(
            tile_side_m=self.tile_side_m * tile_factor,
            tile_px=self.aerial_px,
            height_px=self.height_px,
            width_px=self.width_px,
            max_offset_m=self.max_offset_m,
            random_heading=False,
        )


@dataclass(frozen=True)
class PlacePairs:
    """What one place gives to a set.

    Attributes:
        key: the place's key.
        name: its name.
        fingerprint: of its layers.
        attribution: whose data it was made from.
        first: number of its first pair, from 1.
        positions_m: east and north of each pair's camera.
    """

    key: str
    name: str
    fingerprint: str
    attribution: str
    first: int
    positions_m: tuple[tuple[float, float], ...]

    @property
    def numbers(self) -> range:
        """Numbers of its pairs."""
        return range(self.first, self.first + len(self.positions_m))


@dataclass(frozen=True)
class PairPlan:
    """Which pairs a set has.

    Attributes:
        places: what each place gives, in order.
        val_from: pairs of this number and above are for evaluation, those below for training.
    """

    places: tuple[PlacePairs, ...]
    val_from: int


def even_shares(count: int, room: Sequence[int]) -> list[int]:
    """How many each gives of ``count``: as even as their room allows; less in all if that is too little."""
    shares = [0] * len(room)
    by_room = sorted(range(len(room)), key=lambda i: (room[i], i))
    left = count
    for position, i in enumerate(by_room):
        even = left // (len(room) - position) + (left % (len(room) - position) > 0)
        shares[i] = min(room[i], even)
        left -= shares[i]
    return shares


Survey = tuple[str, str, str, str, npt.NDArray[np.float64]]
"""What a plan needs to know of a place: key, name, fingerprint, attribution, and (N, 2) positions in metres."""


class _Surveys(Dataset[Survey | SmdtError]):
    """A survey of each place; an item is the error instead where one cannot be used."""

    def __init__(
        self,
        places: Sequence[PlaceSource],
        config: PairSetConfig,
        check: Callable[[Place], None] | None,
    ) -> None:
        self.places, self.config, self.check = places, config, check

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Survey | SmdtError:
        source, config = self.places[number], self.config
        margin_m = config.tile_side_m * max(config.tile_factors) / 2 + config.max_offset_m + 2.0
        try:
            place = source.open()
            if self.check:
                self.check(place)
            rng = np.random.default_rng([config.seed, zlib.crc32(source.key.encode()), 1])
            found = spread_positions(place, config.apart_m, rng, margin_m=margin_m)
        except SmdtError as error:  # a loader's process would wrap it into a traceback
            return error
        if config.dense:  # around the middle
            found = found[np.argsort(np.abs(found - np.array(place.size_m) / 2).max(axis=1), kind="stable")]
        return source.key, place.name, place_fingerprint(place), place.attribution, found


def _as_it_is(survey: Any) -> Any:
    """An item as the loader found it: positions stay an array."""
    return survey


def draw_plan(
    places: Sequence[PlaceSource],
    config: PairSetConfig,
    check: Callable[[Place], None] | None,
    report: Callable[[str, int, int], None],
    workers: int = 0,
) -> PairPlan:
    """Open every place once and choose the cameras' positions; ``workers`` processes open them, if so many."""
    opened: list[tuple[str, str, str, str]] = []
    spots: list[npt.NDArray[np.float64]] = []
    report("opening places", 0, len(places))
    many = 1 < workers <= len(places)
    surveys: DataLoader[Survey | SmdtError] = DataLoader(
        _Surveys(places, config, check),
        batch_size=None,
        num_workers=workers if many else 0,
        collate_fn=_as_it_is,
    )
    for number, survey in enumerate(surveys, 1):
        if isinstance(survey, SmdtError):
            raise survey
        opened.append(survey[:4])
        spots.append(survey[4])
        report("opening places", number, len(places))
    shares = even_shares(config.count, [len(found) for found in spots])
    if sum(shares) < config.count:
        raise ConfigError(
            f"the places have room for {sum(shares)} pairs {config.apart_m:g} m apart, not for {config.count}",
            where="--count",
            remedy="name more or larger places, or let cameras be nearer to each other (--apart-m)",
        )
    parts, first = [], 1
    for facts, found, share in zip(opened, spots, shares, strict=True):
        chosen = sorted((round(float(east), 3), round(float(north), 3)) for east, north in found[:share])
        parts.append(PlacePairs(*facts, first, tuple(chosen)))
        first += share
    return PairPlan(tuple(parts), _first_of_val(parts, config))


def _first_of_val(parts: Sequence[PlacePairs], config: PairSetConfig) -> int:
    """Number of the first pair for evaluation: the last places' pairs, or those in the east of the only place."""
    if len(parts) == 1 or config.val_share in (0.0, 1.0):
        return 1 + config.count - round(config.val_share * config.count)
    kept = min(len(parts) - 1, max(1, round(config.val_share * len(parts))))
    return parts[len(parts) - kept].first


def _settings(keys: Sequence[str], config: PairSetConfig) -> dict[str, Any]:
    stored = asdict(config) | {"tile_factors": list(config.tile_factors)}
    if config.tile_factors == (1.0,):  # sets that were begun before there were factors go on
        del stored["tile_factors"]
    return {"format": _FORMAT, **stored, "places": list(keys)}


def read_plan(out: Path, keys: Sequence[str], config: PairSetConfig) -> PairPlan | None:
    """The plan of a set that was begun, if its settings are these."""
    path = out / PLAN_FILE
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise DatasetError(
                "this folder holds something else", where=out, remedy="name a new folder, or an empty one"
            )
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        settings = stored["settings"]
        places = [
            PlacePairs(**{**entry, "positions_m": tuple((e, n) for e, n in entry["positions_m"])})
            for entry in stored["places"]
        ]
        plan = PairPlan(tuple(places), int(stored["val_from"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"is damaged ({error})", where=path, remedy="write into a new folder") from None
    now = _settings(keys, config)
    for name in {**now, **settings}:
        if settings.get(name) != now.get(name):
            raise DatasetError(
                f"this set was begun with {name} = {settings.get(name)}, not {now.get(name)}",
                where=out,
                remedy="give the same options to go on with it, or another --out",
            )
    return plan


def write_plan(out: Path, keys: Sequence[str], config: PairSetConfig, plan: PairPlan) -> None:
    """Write the plan into the set's folder, with its settings and the numbers of the classes."""
    stored = {
        "settings": _settings(keys, config),
        "val_from": plan.val_from,
        "classes": {surface.name.lower(): int(surface) for surface in Surface},
        "places": [asdict(part) for part in plan.places],
    }
    write_text_whole(out / PLAN_FILE, json.dumps(stored) + "\n")
