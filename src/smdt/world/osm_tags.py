"""What OpenStreetMap tags mean on the ground: classes, widths, heights, colours; defaults where tags are silent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from smdt.world.layers import Surface
from smdt.world.osm_reading import Tags, number_in

Floats = npt.NDArray[np.float64]
Colour = tuple[float, float, float]

ATTRIBUTION = "© OpenStreetMap contributors, ODbL 1.0"

ROAD_WIDTH_M = {
    "motorway": 11.0, "trunk": 10.0, "primary": 10.0, "secondary": 9.0, "tertiary": 8.0, "unclassified": 6.5,
    "residential": 6.5, "living_street": 5.0, "service": 4.0, "road": 6.0, "busway": 7.0, "raceway": 10.0,
    "motorway_link": 6.0, "trunk_link": 6.0, "primary_link": 6.0, "secondary_link": 6.0, "tertiary_link": 5.5,
}  # fmt: skip
"""Carriageway of the ways that cars use, by ``highway``."""

PATH_WIDTH_M = {
    "footway": 2.2, "cycleway": 2.6, "pedestrian": 5.0, "path": 1.4, "track": 2.6, "bridleway": 1.8, "steps": 2.5,
    "trail": 1.4,
}  # fmt: skip
"""Width of the ways that they do not."""

IMPORTANCE = ("service", "living_street", "road", "residential", "unclassified", "busway", "tertiary", "secondary",
              "primary", "trunk", "motorway")  # fmt: skip
"""Later ones are painted over earlier ones, so that junctions take the larger road's surface."""

LANE_M = 3.3
STOREY_M = 3.0


@dataclass(frozen=True)
class Ground:
    """How a use of land looks: its class, its colour, how mottled it is, and how high it grows."""

    surface: Surface
    colour: Colour
    mottle: float = 0.12
    height_m: float = 0.0
    trees_per_ha: float = 0.0


_LAWN: Colour = (104.0, 116.0, 74.0)
_WOOD = Ground(Surface.GRASS, (64.0, 72.0, 46.0), 0.25, 0.0, 420.0)
_YARD = Ground(Surface.PAVEMENT, (136.0, 134.0, 130.0), 0.10)
_GRAVEL = Ground(Surface.BARE, (138.0, 130.0, 118.0), 0.14)
_SAND = Ground(Surface.BARE, (196.0, 182.0, 152.0), 0.08)
_SQUARE = Ground(Surface.PAVEMENT, (154.0, 148.0, 140.0), 0.07)
_GRASS = Ground(Surface.GRASS, _LAWN, 0.12)
_ROUGH = Ground(Surface.GRASS, (122.0, 120.0, 78.0), 0.20, 0.0, 8.0)
_SCRUB = Ground(Surface.TREE, (80.0, 94.0, 56.0), 0.35, 1.1)
_WATER = Ground(Surface.WATER, (52.0, 66.0, 66.0), 0.05)
_PARKING = Ground(Surface.PARKING, (104.0, 104.0, 106.0), 0.08)
_MEADOW = Ground(Surface.FIELD, (128.0, 128.0, 78.0), 0.16)
_FIELD = Ground(Surface.FIELD, (142.0, 126.0, 84.0), 0.10)

_OPEN_PARKING = ("surface", "lane", "street_side", "inline")
_GROUND_KEYS = (
    "amenity", "leisure", "highway", "railway", "aeroway", "man_made", "waterway", "natural", "landuse", "place",
)  # fmt: skip
"""In this order: a car park in a residential area is a car park."""

_GROUNDS: dict[str, dict[str, Ground]] = {
    "landuse": {
        "residential": Ground(Surface.GRASS, (106.0, 112.0, 76.0), 0.18), "grass": _GRASS, "village_green": _GRASS,
        "recreation_ground": _GRASS, "greenfield": _ROUGH, "forest": _WOOD, "meadow": _MEADOW, "farmland": _FIELD,
        "farmyard": _GRAVEL, "orchard": Ground(Surface.GRASS, _LAWN, 0.15, 0.0, 200.0), "vineyard": _FIELD,
        "allotments": Ground(Surface.GRASS, (112.0, 108.0, 76.0), 0.30, 0.0, 40.0),
        "cemetery": Ground(Surface.GRASS, _LAWN, 0.16, 0.0, 60.0),
        "flowerbed": Ground(Surface.GRASS, (128.0, 96.0, 84.0), 0.4),
        "industrial": _YARD, "commercial": _YARD, "retail": _YARD, "garages": _YARD, "railway": _GRAVEL,
        "construction": _GRAVEL, "brownfield": _GRAVEL, "quarry": _SAND, "landfill": _GRAVEL, "basin": _WATER,
        "reservoir": _WATER, "pond": _WATER, "plant_nursery": _FIELD, "greenhouse_horticulture": _YARD,
    },
    "natural": {
        "wood": _WOOD, "scrub": _SCRUB, "heath": _ROUGH, "grassland": _ROUGH, "water": _WATER, "sand": _SAND,
        "beach": _SAND, "bare_rock": Ground(Surface.BARE, (150.0, 142.0, 134.0), 0.14), "shingle": _GRAVEL,
        "scree": _GRAVEL, "wetland": Ground(Surface.GRASS, (110.0, 114.0, 70.0), 0.3, 0.5), "bay": _WATER,
        "shrubbery": _SCRUB,
    },
    "leisure": {
        "park": Ground(Surface.GRASS, _LAWN, 0.14), "garden": _GRASS, "golf_course": _GRASS, "common": _GRASS,
        "pitch": Ground(Surface.GRASS, (96.0, 124.0, 74.0), 0.05), "playground": _SAND, "track": _GRAVEL,
        "swimming_pool": Ground(Surface.WATER, (110.0, 176.0, 190.0), 0.03), "dog_park": _ROUGH, "marina": _WATER,
    },
    "amenity": {
        "parking": _PARKING, "parking_space": _PARKING, "bicycle_parking": _YARD, "marketplace": _SQUARE,
        "grave_yard": Ground(Surface.GRASS, _LAWN, 0.16, 0.0, 60.0), "fuel": _YARD, "school": _YARD,
        "fountain": _WATER,
    },
    "waterway": {"riverbank": _WATER, "dock": _WATER, "canal": _WATER},
    "place": {"square": _SQUARE, "islet": _GRASS, "island": _GRASS},
    "man_made": {"pier": Ground(Surface.PAVEMENT, (148.0, 136.0, 118.0), 0.08), "bridge": _YARD,
    "breakwater": _GRAVEL},
    "highway": {
        "pedestrian": _SQUARE, "footway": _SQUARE, "platform": _SQUARE, "service": _PARKING, "rest_area": _PARKING,
        "cycleway": _YARD, "path": _GRAVEL, "steps": _SQUARE,
    },
    "railway": {"platform": Ground(Surface.PAVEMENT, (150.0, 148.0, 144.0), 0.05)},
    "aeroway": {"apron": _YARD, "runway": _PARKING, "taxiway": _PARKING, "helipad": _YARD},
}  # fmt: skip

_SURFACE_COLOURS: dict[str, Colour] = {
    "sett": (136.0, 128.0, 122.0), "cobblestone": (134.0, 127.0, 121.0), "unhewn_cobblestone": (128.0, 122.0, 116.0),
    "paving_stones": (156.0, 151.0, 144.0), "concrete": (164.0, 161.0, 154.0),
    "concrete:plates": (164.0, 161.0, 154.0),
    "gravel": (158.0, 148.0, 132.0), "fine_gravel": (170.0, 158.0, 138.0), "compacted": (164.0, 150.0, 128.0),
    "unpaved": (160.0, 146.0, 122.0), "dirt": (132.0, 112.0, 88.0), "ground": (128.0, 112.0, 88.0),
    "earth": (128.0, 112.0, 88.0), "sand": (196.0, 182.0, 152.0), "wood": (146.0, 130.0, 108.0),
    "grass": (108.0, 118.0, 78.0), "artificial_turf": (84.0, 128.0, 82.0), "tartan": (156.0, 84.0, 70.0),
    "clay": (170.0, 102.0, 76.0),
}  # fmt: skip
UNPAVED = {"gravel", "fine_gravel", "compacted", "unpaved", "dirt", "ground", "earth", "sand"}

_NAMED_COLOURS: dict[str, Colour] = {
    "black": (48.0, 48.0, 50.0), "grey": (128.0, 128.0, 128.0), "gray": (128.0, 128.0, 128.0),
    "silver": (180.0, 182.0, 184.0),
    "white": (226.0, 224.0, 218.0), "red": (152.0, 68.0, 56.0), "brown": (118.0, 82.0, 62.0),
    "maroon": (108.0, 50.0, 44.0),
    "green": (112.0, 150.0, 124.0), "blue": (92.0, 112.0, 148.0), "yellow": (216.0, 188.0, 112.0),
    "beige": (214.0, 200.0, 168.0),
    "orange": (196.0, 120.0, 72.0), "tan": (196.0, 168.0, 128.0), "lightgrey": (188.0, 188.0, 186.0),
    "darkgrey": (84.0, 84.0, 86.0),
    "darkgray": (84.0, 84.0, 86.0), "lightgray": (188.0, 188.0, 186.0), "pink": (214.0, 164.0, 156.0),
}  # fmt: skip
_MATERIAL_COLOURS: dict[str, Colour] = {
    "brick": (150.0, 88.0, 68.0), "roof_tiles": (160.0, 88.0, 64.0), "tile": (160.0, 88.0, 64.0),
    "metal": (120.0, 122.0, 124.0),
    "copper": (122.0, 160.0, 136.0), "slate": (84.0, 86.0, 92.0), "tar_paper": (74.0, 74.0, 76.0),
    "concrete": (168.0, 164.0, 156.0),
    "glass": (110.0, 134.0, 146.0), "grass": (106.0, 118.0, 76.0), "gravel": (150.0, 146.0, 138.0),
    "wood": (156.0, 124.0, 92.0),
    "plaster": (222.0, 208.0, 178.0), "stone": (178.0, 168.0, 152.0), "sandstone": (198.0, 176.0, 138.0),
    "asphalt": (84.0, 84.0, 86.0), "eternit": (140.0, 138.0, 134.0), "thatch": (138.0, 116.0, 84.0),
    "zinc": (146.0, 150.0, 154.0),
}  # fmt: skip


_USUAL_HEIGHT_M = {
    "garage": 2.6, "garages": 2.6, "shed": 2.5, "carport": 2.5, "hut": 2.5, "kiosk": 3.0, "roof": 4.0,
    "greenhouse": 3.5,
    "church": 14.0, "cathedral": 20.0, "tower": 24.0, "industrial": 7.0, "warehouse": 8.0, "supermarket": 6.0,
    "retail": 5.5, "school": 8.0, "barn": 6.0, "farm_auxiliary": 5.0, "bungalow": 3.0, "service": 3.0,
    "utility": 3.0,
    "cabin": 2.8, "terrace": 5.8, "house": 5.0, "detached": 5.0,
}  # fmt: skip
"""Eaves by `building`, where neither height nor storeys are tagged."""


def ground_of(tags: Tags) -> Ground | None:
    """How an area looks, or None if its tags say nothing about the ground."""
    if tags.get("building", "no") != "no" or "building:part" in tags:
        return None
    if "area:highway" in tags:
        return _SQUARE if tags["area:highway"] in ("footway", "pedestrian", "cycleway") else _PARKING
    closed_way = "highway" in tags and tags.get("area") != "yes" and tags.get("type") != "multipolygon"
    if closed_way or (
        tags.get("amenity") == "parking" and tags.get("parking", "surface") not in _OPEN_PARKING
    ):
        return None
    for key in _GROUND_KEYS:
        ground = _GROUNDS[key].get(tags.get(key, ""))
        if ground is not None:
            return _surfaced(ground, tags.get("surface", ""))
    return None


def _surfaced(ground: Ground, surface: str) -> Ground:
    """A use of land with the surface it is tagged with."""
    tint = _SURFACE_COLOURS.get(surface)
    if tint is None or ground.surface in (Surface.WATER, Surface.TREE):
        return ground
    if surface in ("grass", "artificial_turf"):
        return replace(ground, surface=Surface.GRASS, colour=tint)
    kind = Surface.BARE if ground.surface is Surface.GRASS else ground.surface
    return replace(ground, surface=kind, colour=tint)


def is_drivable(tags: Tags) -> bool:
    """Whether cars use a way."""
    return tags.get("highway", "") in ROAD_WIDTH_M and tags.get("area") != "yes"


def road_width_m(tags: Tags) -> float:
    """Carriageway: its tag, else its lanes, else what its class usually has; one-way roads are narrower."""
    width = number_in(tags, "width", number_in(tags, "est_width", 0.0))
    kind = tags["highway"]
    if not 2.0 <= width <= 40.0:
        usual = ROAD_WIDTH_M[kind]
        lanes = number_in(tags, "lanes", 0.0)
        one_way = tags.get("oneway") in ("yes", "1", "-1") and kind not in (
            "service",
            "motorway",
            "motorway_link",
        )
        width = lanes * LANE_M + 0.6 if 1 <= lanes <= 10 else usual * (0.75 if one_way else 1.0)
        if kind == "service" and tags.get("service") in ("driveway", "alley", "parking_aisle"):
            width = 3.0 if tags.get("service") == "driveway" else 4.0
        parked = ("parking:lane:both", 4.2), ("parking:lane:left", 2.1), ("parking:lane:right", 2.1)
        width += sum(extra for key, extra in parked if tags.get(key) == "parallel")
    return width


def path_width_m(tags: Tags) -> float:
    """Width of a footway, cycleway or track."""
    width = number_in(tags, "width", 0.0)
    return width if 0.5 <= width <= 20.0 else PATH_WIDTH_M[tags["highway"]]


def way_colour(tags: Tags, default: Colour) -> Floats:
    """Colour of a way's surface."""
    return np.array(_SURFACE_COLOURS.get(tags.get("surface", ""), default))


def importance(tags: Tags) -> tuple[float, int]:
    """Order in which roads are painted: by layer, then by class."""
    kind = tags["highway"].removesuffix("_link")
    return number_in(tags, "layer", 0.0), IMPORTANCE.index(kind) if kind in IMPORTANCE else 0


def tagged_colour(tags: Tags, part: str) -> Floats | None:
    """Colour of a building's ``roof`` or ``building``, by its colour or material tag."""
    named = tags.get(f"{part}:colour", tags.get(f"{part}:color", "")).lower().strip()
    if named.startswith("#") and len(named) in (4, 7):
        digits = named[1:] if len(named) == 7 else "".join(2 * digit for digit in named[1:])
        try:
            raw = np.array([int(digits[at : at + 2], 16) for at in (0, 2, 4)], np.float64)
        except ValueError:
            return None
        return 24.0 + raw * 0.86  # paint in daylight is never as pure as a screen's
    found = _NAMED_COLOURS.get(named.replace("_", "")) or _MATERIAL_COLOURS.get(
        tags.get(f"{part}:material", "")
    )
    return None if found is None else np.array(found)


def building_height_m(tags: Tags, area_m2: float, rng: np.random.Generator) -> tuple[float, bool]:
    """Height of a building's eaves or top as tagged, by its storeys, or plausible for its kind and size.

    Args:
        tags: of the building or building part.
        area_m2: of its footprint.
        rng: where tags are silent.

    Returns:
        Metres, and whether the number is the roof's top (a ``height`` tag) rather than the eaves.
    """
    height = number_in(tags, "height", number_in(tags, "building:height", 0.0))
    if 0.5 <= height <= 700.0:
        return height, True
    levels = number_in(tags, "building:levels", 0.0)
    if 1.0 <= levels <= 200.0:
        return levels * STOREY_M + 0.5, False
    kind = tags.get("building", tags.get("building:part", "yes"))
    usual = _USUAL_HEIGHT_M.get(kind)
    if usual is not None:
        return usual * float(rng.uniform(0.9, 1.15)), False
    if kind == "apartments":
        storeys = float(rng.integers(3, 8))
    elif area_m2 < 40.0:
        storeys = float(rng.uniform(0.6, 0.8))
    elif area_m2 < 350.0:
        storeys = float(rng.choice([1.0, 1.5, 2.0], p=[0.5, 0.2, 0.3]))
    else:
        storeys = float(rng.integers(2, 6 if area_m2 < 2500.0 else 4))
    return STOREY_M * storeys + 0.5, False
