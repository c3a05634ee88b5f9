"""The method's seven classes of a ground image, their colours, and how other label sets merge into them.

A label map is (H, W) of :class:`SemanticClass`. Label sets that merge: Cityscapes' 19 train ids, ADE20K's 150
indices, CVUSA's four, and the :class:`~smdt.world.layers.Surface` of simulated places. They disagree on two things,
and each is merged as its makers meant it: Cityscapes counts grass as terrain, hence as ground, and the published
merging puts people with poles; elsewhere grass is vegetation (so are CVUSA's labels drawn, and the method's figure of
keep mode), and people are objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from pathlib import Path

import torch
from torch import Tensor

from smdt.data.transforms import load_labels
from smdt.errors import LabelError
from smdt.world.layers import Surface


class SemanticClass(IntEnum):
    """What a pixel of a ground image shows."""

    SKY = 0
    VEGETATION = 1
    ROAD = 2
    BUILDING = 3
    OBJECT = 4
    POLE = 5
    VOID = 6


SKY, VEGETATION, ROAD, BUILDING, OBJECT, POLE, VOID = SemanticClass

CLASS_NAMES = tuple(one.name.lower() for one in SemanticClass)
"""Names on the command line: sky, vegetation, road (all ground), building, object (vehicles, people), pole (and
signs), void."""

PALETTE = (
    (0, 200, 255),
    (0, 220, 40),
    (255, 160, 0),
    (150, 70, 60),
    (40, 60, 220),
    (250, 240, 60),
    (0, 0, 0),
)
"""RGB of each class; sky, vegetation and road are coloured as in the method's figure."""

_CITYSCAPES = (
    ROAD, ROAD, BUILDING, BUILDING, BUILDING, POLE, POLE, POLE, VEGETATION, ROAD, SKY, POLE, POLE, OBJECT, OBJECT,
    OBJECT, OBJECT, OBJECT, OBJECT,
)  # fmt: skip

_ADE20K_NAMES: Mapping[SemanticClass, Mapping[int, str]] = {
    SKY: {2: "sky"},
    VEGETATION: {
        4: "tree", 9: "grass", 16: "mountain", 17: "plant", 29: "field", 66: "flower", 68: "hill", 72: "palm",
    },
    ROAD: {
        3: "floor", 6: "road", 11: "sidewalk", 13: "earth", 46: "sand", 52: "path", 54: "runway", 91: "dirt track",
        94: "land",
    },
    BUILDING: {
        0: "wall", 1: "building", 8: "windowpane", 14: "door", 25: "house", 32: "fence", 38: "railing", 42: "column",
        48: "skyscraper", 51: "grandstand", 53: "stairs", 59: "stairway", 61: "bridge", 79: "hovel", 84: "tower",
        86: "awning", 88: "booth", 95: "bannister", 106: "canopy", 114: "tent", 121: "step",
    },
    OBJECT: {
        12: "person", 20: "car", 69: "bench", 76: "boat", 80: "bus", 83: "truck", 90: "airplane", 102: "van",
        103: "ship", 116: "minibike", 122: "tank", 126: "animal", 127: "bicycle", 138: "ashcan",
    },
    POLE: {
        43: "signboard", 82: "light", 87: "streetlight", 93: "pole", 100: "poster", 123: "trade name",
        136: "traffic light", 149: "flag",
    },
}  # fmt: skip
"""ADE20K's outdoor classes by index and name; the rest of its 150 are indoors or water, and void."""

_SURFACES = {
    Surface.GRASS: VEGETATION, Surface.ROAD: ROAD, Surface.PAVEMENT: ROAD, Surface.FIELD: VEGETATION,
    Surface.WATER: VOID, Surface.TREE: VEGETATION, Surface.BUILDING: BUILDING, Surface.PARKING: ROAD,
    Surface.SKY: SKY, Surface.VEHICLE: OBJECT, Surface.BARE: ROAD, Surface.FENCE: BUILDING, Surface.POLE: POLE,
    Surface.PERSON: OBJECT,
}  # fmt: skip

_CITYSCAPES_NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip


def _ade20k() -> tuple[SemanticClass, ...]:
    table = [VOID] * 150
    for merged, names in _ADE20K_NAMES.items():
        for index in names:
            table[index] = merged
    return tuple(table)


MERGINGS: Mapping[str, tuple[SemanticClass, ...]] = {
    "smdt": tuple(SemanticClass),
    "worlds": tuple(_SURFACES[surface] for surface in sorted(Surface)),
    "cvusa": (SKY, BUILDING, ROAD, VEGETATION),
    "cityscapes": _CITYSCAPES,
    "ade20k": _ade20k(),
}
"""Label sets by name: position i of a table is the class that label i merges into.

Source: Cityscapes' train ids and CVUSA's four as the method's authors merge them; ADE20K's index order is that of its
150-class benchmark.
"""

IGNORED_LABEL = 255
"""Not labelled, in every label set; merges into void."""


def merge_labels(labels: Tensor, label_set: str, where: str | Path | None = None) -> Tensor:
    """Bring the labels of another set to the method's classes.

    Args:
        labels: (…, H, W) whole numbers; 255 is not labelled.
        label_set: one of ``MERGINGS``.
        where: the file they come from, for messages.

    Returns:
        (…, H, W) uint8 of :class:`SemanticClass`.

    Raises:
        LabelError: if there is no such label set, the labels are no whole numbers, or one is not of the set.
    """
    table = merging_of(label_set)
    if labels.is_floating_point() or labels.is_complex():
        raise LabelError(
            f"labels of type {labels.dtype} are no class indices", where=where, remedy="give whole numbers"
        )
    lookup = torch.full((256,), -1, dtype=torch.int16)
    lookup[: len(table)] = torch.tensor(table, dtype=torch.int16)
    lookup[IGNORED_LABEL] = int(VOID)
    wide = labels.to(torch.int64)
    outside = (wide < 0) | (wide > 255)
    merged = lookup.to(labels.device)[wide.clamp(0, 255)]
    wrong = outside | (merged < 0)
    if bool(wrong.any()):
        raise LabelError(
            f"label {int(wide[wrong][0])} is none of {label_set}'s, which run from 0 to {len(table) - 1}",
            where=where,
            remedy=f"name the set it is of ({', '.join(MERGINGS)}), or mend the label picture",
        )
    return merged.to(torch.uint8)


def merging_of(label_set: str) -> tuple[SemanticClass, ...]:
    """The table of a label set.

    Raises:
        LabelError: if there is none of that name.
    """
    if label_set not in MERGINGS:
        raise LabelError(
            f"there is no label set '{label_set}'",
            where="label_set",
            remedy=f"use one of {', '.join(MERGINGS)}",
        )
    return MERGINGS[label_set]


def read_label_map(path: Path, label_set: str, size_px: tuple[int, int] | None = None) -> Tensor:
    """Read a label picture as the method's classes.

    Args:
        path: an 8-bit picture of class indices, grey or with a palette.
        label_set: one of ``MERGINGS``.
        size_px: rows and columns of the image it belongs to; checked where given.

    Returns:
        (H, W) uint8 of :class:`SemanticClass`.

    Raises:
        DatasetError: if the file cannot be read, or is in colour where no index can be told.
        LabelError: if it holds labels of another set, or is of another size than its image.
    """
    labels = merge_labels(load_labels(path), label_set, path)
    if size_px is not None and tuple(labels.shape) != tuple(size_px):
        raise LabelError(
            f"the label map has {labels.shape[1]}×{labels.shape[0]} pixels, its image {size_px[1]}×{size_px[0]}",
            where=path,
            remedy="give the labels of this image, uncropped and unscaled",
        )
    return labels


def parse_classes(names: str | Iterable[str]) -> tuple[SemanticClass, ...]:
    """Classes from names, ``sky,road`` or a sequence; in the order given, each once.

    Raises:
        LabelError: if a name is unknown, or there is none.
    """
    parts = names.split(",") if isinstance(names, str) else list(names)
    found: list[SemanticClass] = []
    for part in (part.strip().lower() for part in parts):
        if part not in CLASS_NAMES:
            raise LabelError(
                f"there is no class '{part}'", where="--classes", remedy=f"use {', '.join(CLASS_NAMES)}"
            )
        chosen = SemanticClass(CLASS_NAMES.index(part))
        if chosen not in found:
            found.append(chosen)
    if not found:
        raise LabelError("no class is named", where="--classes", remedy=f"use {', '.join(CLASS_NAMES)}")
    return tuple(found)


def merging_by_name(names: Iterable[str], where: str | None = None) -> tuple[SemanticClass, ...]:
    """The merging of a model that says its classes by name; Cityscapes' 19 in their order merge as published.

    Args:
        names: the model's classes in order.
        where: the model, for messages.

    Returns:
        For each, the class it merges into; void for names that are none of Cityscapes', ADE20K's or our own.

    Raises:
        LabelError: if none of the names is known: the model segments something else.
    """
    plain = [name.strip().lower().split(",")[0].split(";")[0].strip() for name in names]
    if tuple(plain) == _CITYSCAPES_NAMES:
        return _CITYSCAPES
    known = dict(zip(_CITYSCAPES_NAMES, _CITYSCAPES, strict=True))
    known |= {name: merged for merged, group in _ADE20K_NAMES.items() for name in group.values()}
    known |= dict(zip(CLASS_NAMES, SemanticClass, strict=True))
    merged = tuple(known.get(name, VOID) for name in plain)
    if all(one is VOID for one in merged):
        raise LabelError(
            f"its classes ({', '.join(plain[:4])} …) are not of street scenes",
            where=where,
            remedy="use a model trained on Cityscapes or ADE20K, or one with their class names",
        )
    return merged


def colourise(labels: Tensor) -> Tensor:
    """A label map (…, H, W) as a picture (…, 3, H, W) uint8, by the palette.

    Raises:
        LabelError: if a label is none of :class:`SemanticClass`.
    """
    wide = labels.to(torch.int64)
    if wide.numel() and not 0 <= int(wide.min()) <= int(wide.max()) < len(PALETTE):
        raise LabelError(
            f"labels from {int(wide.min())} to {int(wide.max())} are not of the {len(PALETTE)} classes",
            remedy="merge them first, with merge_labels",
        )
    colours = torch.tensor(PALETTE, dtype=torch.uint8, device=labels.device)
    return colours[wide].movedim(-1, -3)
