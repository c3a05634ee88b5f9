"""Write pairs of simulated views as a data set in CVUSA's layout, which every CVUSA reader reads unchanged.

``bingmap/19/ID.jpg`` (aerial, north up), ``streetview/panos/ID.jpg`` (centre column north),
``streetview/annotations/ID.png`` (CVUSA's four classes) and ``splits/{train,val}-19zl.csv`` are CVUSA's. Beside them
lie ``smdt/classes/ID.png`` (:class:`Surface`), ``smdt/depth/ID.png`` (16 bit, horizontal distance in centimetres, 0
for sky and beyond 655 m), ``smdt/pairs/ID.json`` and, of all pairs, ``metadata.csv``; ``plan.json`` says how the
set is made, and ``ATTRIBUTION.txt`` whose map data are in it, where any are.

A pair's ``json`` is written after its pictures, so what has one is complete, and a writing that was stopped goes on
where it was. The same settings and seed give the same bytes, with any number of workers.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from smdt.errors import ConfigError, DatasetError, SmdtError
from smdt.files import write_text_whole, write_whole
from smdt.world.dataset import PairBatch, PairSource
from smdt.world.layers import Place, Surface
from smdt.world.pair_plan import (
    PLAN_FILE,
    PairPlan,
    PairSetConfig,
    PlacePairs,
    draw_plan,
    read_plan,
    write_plan,
)
from smdt.world.places import PlaceSource, kind_of_place, place_fingerprint
from smdt.world.render import Renderer

METADATA_FILE, ATTRIBUTION_FILE = "metadata.csv", "ATTRIBUTION.txt"
_JPEG_QUALITY = 92
_VIEWS_TO_WARM = 8

CVUSA_CLASSES = ("sky", "building", "road", "vegetation")
_MAN_MADE = (Surface.BUILDING, Surface.FENCE, Surface.VEHICLE, Surface.POLE, Surface.PERSON)
_GROWING = (Surface.TREE, Surface.GRASS, Surface.FIELD)


def write_pairs(
    out: Path,
    places: Sequence[PlaceSource],
    config: PairSetConfig,
    *,
    workers: int = 0,
    check: Callable[[Place], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> PairPlan:
    """Write a set of pairs, or what is missing of it.

    Every place gives an even share of the pairs; what one has no room for, the others give.

    Args:
        out: the set's folder.
        places: where the pairs are taken.
        config: how many and of what kind.
        workers: processes that open places and render; 0 does it in this one. With a place for each, or more, every
            process takes whole ones; else all render pairs of one place.
        check: called with each place when it is first opened; raises if it may not be used.
        progress: called with what is done, how much of it, and how much there is.

    Raises:
        ConfigError: if there is no place, one is named twice, or they have too little room.
        DatasetError: if the folder holds a set of other settings, or a place has changed since it was begun.
        SmdtError: if a file cannot be written, or a place not opened.
    """
    keys = [place.key for place in places]
    if not keys or len(set(keys)) < len(keys):
        raise ConfigError(
            "a place is named twice" if keys else "no place is given",
            where="--town-seeds/--place",
            remedy="name each place once, and one at least",
        )
    report = progress or (lambda _what, _done, _total: None)
    plan = read_plan(out, keys, config)
    if plan is None:
        plan = draw_plan(places, config, check, report, workers)
        write_plan(out, keys, config, plan)
    begun = _missing_pairs(out, places, plan, config)
    there = config.count - sum(len(one.numbers) for one in begun)
    report("rendering pairs", there, config.count)
    by_place = 1 < workers <= len(begun)
    for some in [begun] if by_place else [[one] for one in begun]:
        for _ in _written(some, workers, by_place):
            there += 1
            report("rendering pairs", there, config.count)
    _finish(out, plan)
    return plan


@dataclass(frozen=True)
class _PlaceToDo:
    """What is to be written of one place.

    Attributes:
        out: the set's folder.
        source: opens the place.
        part: what it gives to the set.
        val_from: pairs of this number and above are for evaluation.
        config: of the set.
        numbers: of the pairs that are missing.
    """

    out: Path
    source: PlaceSource
    part: PlacePairs
    val_from: int
    config: PairSetConfig
    numbers: Sequence[int]

    def writer(self) -> _PairWriter:
        """What writes them; it opens the place."""
        place = _reopen(self.source, self.part, self.out)
        return _PairWriter(self.out, place, self.part, self.val_from, self.config, self.numbers)


def _missing_pairs(
    out: Path, places: Sequence[PlaceSource], plan: PairPlan, config: PairSetConfig
) -> list[_PlaceToDo]:
    """The places of which pairs are missing."""
    found = []
    for source, part in zip(places, plan.places, strict=True):
        missing = [number for number in part.numbers if not pair_is_there(out, number, config)]
        if missing:
            found.append(_PlaceToDo(out, source, part, plan.val_from, config, missing))
    return found


def _written(places: Sequence[_PlaceToDo], workers: int, by_place: bool) -> Iterator[None]:
    """Render and write what is missing of places, each process whole ones or all together pairs of the only one.

    Nothing is kept of a place when all of it is written.
    """
    pairs: _WholePlaces | _PairWriter
    if by_place:
        pairs = _WholePlaces(places)
    else:
        pairs = places[0].writer()
        pairs.warm()
    for problem in DataLoader(pairs, batch_size=None, num_workers=workers):
        if problem is not None:
            raise problem
        yield
    del pairs
    gc.collect()  # a place's renderer and its views refer to each other: garbage by the gigabyte


class _WholePlaces(IterableDataset[Exception | None]):
    """Writes places one after the other, every loader's process its share of them; an item for each pair."""

    def __init__(self, places: Sequence[_PlaceToDo]) -> None:
        self.places = places

    def __iter__(self) -> Iterator[Exception | None]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for one in self.places[first::step]:
            try:
                writer = one.writer()
            except SmdtError as error:  # a loader's process would wrap it into a traceback
                yield error
                return
            for index in range(len(writer)):
                yield writer[index]
            del writer
            gc.collect()


def pair_id(number: int) -> str:
    """A pair's name from its number: seven digits, as in CVUSA."""
    return f"{number:07d}"


def pair_files(out: Path, number: int, *, labels: bool) -> dict[str, Path]:
    """A pair's files by what they hold: ``aerial``, ``ground``, ``annotations``, ``classes``, ``depth``, ``facts``."""
    name = pair_id(number)
    files = {
        "aerial": out / "bingmap" / "19" / f"{name}.jpg",
        "ground": out / "streetview" / "panos" / f"{name}.jpg",
    }
    if labels:
        files["annotations"] = out / "streetview" / "annotations" / f"{name}.png"
        files["classes"] = out / "smdt" / "classes" / f"{name}.png"
        files["depth"] = out / "smdt" / "depth" / f"{name}.png"
    return files | {"facts": out / "smdt" / "pairs" / f"{name}.json"}


def pair_is_there(out: Path, number: int, config: PairSetConfig) -> bool:
    """Whether all files of a pair are there."""
    return all(path.is_file() for path in pair_files(out, number, labels=config.labels).values())


def read_pair_facts(out: Path, plan: PairPlan) -> list[dict[str, Any]]:
    """What is known of every pair, in order: the rows of ``metadata.csv``.

    Raises:
        DatasetError: if a pair's file is missing or damaged.
    """
    found = []
    for part in plan.places:
        for number in part.numbers:
            path = pair_files(out, number, labels=False)["facts"]
            try:
                found.append(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                raise DatasetError(
                    "this pair is incomplete",
                    where=path,
                    remedy="write the set again: it goes on where it was",
                ) from None
    return found


def to_cvusa_classes(surface: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """CVUSA's four classes of a map of :class:`Surface`, as its own labels have them.

    0 sky; 1 buildings and whatever else people have made to stand or move; 2 ground without plants; 3 plants, lawns and
    fields among them.
    """
    table = np.full(256, 2, np.uint8)
    table[Surface.SKY] = 0
    table[list(_MAN_MADE)] = 1
    table[list(_GROWING)] = 3
    return table[surface]


def _reopen(source: PlaceSource, part: PlacePairs, out: Path) -> Place:
    place = source.open()
    if place_fingerprint(place) != part.fingerprint:
        raise DatasetError(
            f"'{part.key}' is not the place it was when this set was begun",
            where=out / PLAN_FILE,
            remedy="write the set into a new folder",
        )
    return place


class _PairWriter(Dataset[Exception | None]):
    """Renders and writes the missing pairs of one place; an item is None, or the error that kept it from being."""

    def __init__(
        self,
        out: Path,
        place: Place,
        part: PlacePairs,
        val_from: int,
        config: PairSetConfig,
        numbers: Sequence[int],
    ) -> None:
        self.out, self.part, self.val_from, self.config, self.numbers = out, part, val_from, config, numbers
        self.pairs = [config.pair_config(factor) for factor in config.tile_factors]
        self.renderer = Renderer(place, self.pairs[0].render_config())
        self._sources: list[PairSource] | None = None

    def warm(self) -> None:
        """Make the place's aerial views, before processes part."""
        for seed in range(_VIEWS_TO_WARM):
            self._draw(self.part.positions_m[0], np.random.default_rng(seed), 0)

    def __getstate__(self) -> dict[str, Any]:
        """What goes to a process that is not forked: all but the sources, which cannot be sent."""
        return self.__dict__ | {"_sources": None}

    def _draw(self, position_m: tuple[float, float], rng: np.random.Generator, choice: int) -> PairBatch:
        """A pair with a tile of the factor of this number."""
        if self._sources is None:
            first = PairSource((0,), config=self.pairs[0])  # its towns are never built: the place is given
            self._sources = [first.with_config(config) for config in self.pairs]
        return self._sources[choice].batch_of(self.renderer, np.array([position_m]), rng)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Exception | None:
        number = range(len(self.numbers))[index]
        try:
            self._write(self.numbers[number])
        except SmdtError as error:  # a loader's process would wrap it into a traceback
            return error
        return None

    def _write(self, number: int) -> None:
        position = self.part.positions_m[number - self.part.first]
        words = [self.config.seed, zlib.crc32(self.part.key.encode()), 2, number]
        choice = int(np.random.default_rng([*words, 1]).integers(len(self.pairs)))
        batch = self._draw(position, np.random.default_rng(words), choice)
        surface = batch.surface[0].cpu().numpy()
        pictures = {"aerial": _picture(batch.aerial[0]), "ground": _picture(batch.ground[0])}
        if self.config.labels:
            pictures["annotations"] = Image.fromarray(to_cvusa_classes(surface))
            pictures["classes"] = Image.fromarray(surface)
            centimetres = (batch.depth_m[0].cpu().numpy() * 100.0).round()
            centimetres[~(centimetres <= 65535)] = 0
            pictures["depth"] = Image.fromarray(centimetres.astype(np.uint16))
        files = pair_files(self.out, number, labels=self.config.labels)
        for kind, picture in pictures.items():
            quality = {"quality": _JPEG_QUALITY} if files[kind].suffix == ".jpg" else {}
            write_whole(files[kind], lambda path, one=picture, how=quality: one.save(path, **how))  # type: ignore[misc]
        offset_m = (float(batch.offset_m[0, 0]), float(batch.offset_m[0, 1]))
        facts = self._facts(number, position, float(batch.heading_deg[0]), offset_m, choice)
        write_text_whole(files["facts"], json.dumps(facts) + "\n")

    def _facts(
        self,
        number: int,
        position_m: tuple[float, float],
        heading_deg: float,
        offset_m: tuple[float, float],
        choice: int,
    ) -> dict[str, Any]:
        """What is exactly known of a pair."""
        place, (east, north) = self.renderer.place, position_m
        latitude, longitude = place.to_position([east, east - offset_m[0]], [north, north - offset_m[1]])
        return {
            "id": pair_id(number),
            "split": "val" if number >= self.val_from else "train",
            "latitude_deg": float(latitude[0]),
            "longitude_deg": float(longitude[0]),
            "heading_deg": heading_deg,
            "aerial_latitude_deg": float(latitude[1]),
            "aerial_longitude_deg": float(longitude[1]),
            "ground_sampling_distance_m": self.pairs[choice].tile_side_m / self.config.aerial_px,
            "offset_east_m": round(offset_m[0], 3),
            "offset_north_m": round(offset_m[1], 3),
            "place": self.part.key,
            "east_m": east,
            "north_m": north,
            "kind": kind_of_place(place, east, north),
            "seed": self.config.seed,
        }


def _picture(image: Tensor) -> Image.Image:
    """A picture of (3, H, W), uint8 or in [0, 1]."""
    pixels = (image * 255.0).round().clamp(0, 255).byte() if image.is_floating_point() else image
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def _finish(out: Path, plan: PairPlan) -> None:
    """Write what is made of all pairs: the lists, the table, the attribution."""
    facts = read_pair_facts(out, plan)
    for split in ("train", "val"):
        lines = [
            f"bingmap/19/{one['id']}.jpg,streetview/panos/{one['id']}.jpg,streetview/annotations/{one['id']}.png\n"
            for one in facts
            if one["split"] == split
        ]
        write_text_whole(out / "splits" / f"{split}-19zl.csv", "".join(lines))
    table = io.StringIO()
    writer = csv.DictWriter(table, list(facts[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(facts)
    write_text_whole(out / METADATA_FILE, table.getvalue())
    owners = dict.fromkeys(part.attribution for part in plan.places if part.attribution)
    if owners:
        write_text_whole(out / ATTRIBUTION_FILE, "\n".join(owners) + "\n")
