"""What makes one region look unlike another: its climate, its colours, its habits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smdt.world.canvas import Floats

CLIMATES = ("temperate", "lush", "dry", "arid", "autumn", "boreal", "bare")


@dataclass(frozen=True)
class Palette:
    """Albedo colours (RGB in 0..255) and habits of a region.

    Attributes:
        climate: one of ``CLIMATES``.
        lawn: mown grass, green and dry: (2, 3).
        meadow: rough grass, green and dry: (2, 3).
        soil: ploughed earth.
        sand: dry open ground, gravel shoulders and tracks.
        undergrowth: ground of woods.
        crops: (K, 3) of fields.
        leaves: (K, 3) of broad-leaved trees.
        needles: (K, 3) of conifers.
        conifer_share: of trees.
        asphalt: of most roads.
        paving: of pavements and drives.
        walls: (K, 3).
        roofs: (K, 3) of pitched roofs.
        water: open water.
        yellow: centre lines are yellow.
        wear: 0 new to 1 worn roads.
        trees: factor on how many stand in towns.
        lot_m: typical width of a lot with a house.
        trailer_share: of homes.
        pool_share: of gardens.
    """

    climate: str
    lawn: Floats
    meadow: Floats
    soil: Floats
    sand: Floats
    undergrowth: Floats
    crops: Floats
    leaves: Floats
    needles: Floats
    conifer_share: float
    asphalt: Floats
    paving: Floats
    walls: Floats
    roofs: Floats
    water: Floats
    yellow: bool
    wear: float
    trees: float
    lot_m: float
    trailer_share: float
    pool_share: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Palette:
        """A region at random."""
        climate = str(rng.choice(CLIMATES, p=[0.27, 0.15, 0.15, 0.1, 0.15, 0.08, 0.1]))
        lawn, meadow, undergrowth = (np.array(part, np.float64) for part in _GROUND[climate])
        vivid = rng.uniform(0.6, 0.95)
        lawn, meadow, undergrowth = (muted(part, vivid) for part in (lawn, meadow, undergrowth))
        soil = _SOILS[rng.integers(len(_SOILS))] * rng.normal(1, 0.06) + rng.normal(0, 2, 3)
        leaves = muted(np.array(_LEAVES[climate], np.float64), vivid)
        shift = rng.normal(1, 0.07) * (1 + rng.normal(0, 0.02, 3))
        dry = climate in ("dry", "arid")
        pale = np.array([178.0, 158.0, 124.0]) if dry else np.array([160.0, 150.0, 132.0])
        crops = np.concatenate(
            [
                muted(
                    _CROPS * shift + rng.normal(0, 5, (len(_CROPS), 1)) + rng.normal(0, 2, _CROPS.shape),
                    vivid,
                ),
                [soil, soil * 1.1],
            ]
        )
        grey = rng.uniform(88, 150)
        return Palette(
            climate=climate,
            lawn=lawn * shift,
            meadow=meadow * shift,
            soil=soil,
            sand=0.55 * pale + 0.45 * soil + rng.normal(0, 5) + 12.0,
            undergrowth=undergrowth * shift,
            crops=crops,
            leaves=leaves * rng.normal(1, 0.1) + rng.normal(0, 1.2, 3),
            needles=muted(_NEEDLES, vivid) * rng.normal(1, 0.1) + rng.normal(0, 1.2, 3),
            conifer_share=float(np.clip({"boreal": 0.85, "arid": 0.1}.get(climate, rng.beta(1, 3)), 0, 1)),
            asphalt=np.array([0.995, 1.0, 1.0]) * grey + rng.normal(0, 0.8, 3),
            paving=np.array([168.0, 164.0, 156.0]) + rng.normal(0, 9),
            walls=_WALLS + rng.normal(0, 5, _WALLS.shape),
            roofs=_ROOFS[str(rng.choice(["grey", "brown", "tile", "mixed"], p=[0.4, 0.25, 0.08, 0.27]))]
            + rng.normal(0, 4, 3),
            water=_WATERS[rng.integers(len(_WATERS))] + rng.normal(0, 2.5, 3),
            yellow=bool(rng.random() < 0.75),
            wear=float(rng.beta(1.6, 1.6)),
            trees=float(rng.uniform(0.4, 2.4) * (0.5 if climate == "arid" else 1.0)),
            lot_m=float(rng.uniform(15, 25)),
            trailer_share=float(rng.random() < 0.15) * 0.7,
            pool_share=float(rng.uniform(0.1, 0.4) if dry else rng.uniform(0, 0.12)),
        )


def muted(colours: Floats, saturation: float) -> Floats:
    """Colours moved towards their own grey, as haze and old cameras do."""
    grey = colours.mean(-1, keepdims=True)
    result: Floats = grey + saturation * (colours - grey)
    return result


# Lawn and meadow, each green and dry, and the ground of woods.
_GROUND = {
    "temperate": (((92, 110, 66), (128, 126, 84)), ((98, 108, 68), (142, 132, 92)), (70, 74, 48)),
    "lush": (((84, 116, 60), (106, 124, 72)), ((90, 116, 64), (120, 128, 78)), (58, 70, 42)),
    "dry": (((112, 114, 72), (158, 140, 100)), ((140, 126, 84), (172, 152, 110)), (108, 96, 66)),
    "arid": (((124, 116, 78), (172, 148, 108)), ((164, 138, 96), (184, 158, 116)), (140, 118, 82)),
    "autumn": (((106, 112, 66), (142, 126, 82)), ((122, 112, 70), (150, 126, 86)), (104, 86, 60)),
    "boreal": (((88, 104, 72), (116, 116, 84)), ((96, 106, 76), (130, 124, 96)), (74, 80, 64)),
    "bare": (((112, 106, 80), (134, 118, 92)), ((128, 116, 88), (148, 130, 102)), (112, 98, 78)),
}
_LEAVES = {
    "temperate": ((62, 80, 44), (74, 92, 50), (54, 72, 44), (86, 98, 58), (68, 82, 56)),
    "lush": ((56, 84, 38), (68, 96, 44), (50, 74, 38), (80, 104, 52), (62, 86, 48)),
    "dry": ((88, 92, 60), (76, 84, 54), (98, 98, 68), (82, 88, 66), (70, 80, 48)),
    "arid": ((98, 96, 66), (88, 90, 62), (108, 104, 78), (80, 84, 54), (96, 88, 58)),
    "autumn": ((92, 94, 48), (136, 96, 52), (146, 82, 46), (112, 102, 56), (78, 88, 46), (156, 118, 62)),
    "boreal": ((76, 92, 58), (88, 98, 62), (64, 82, 54), (96, 104, 66)),
    "bare": ((112, 102, 82), (100, 92, 74), (118, 108, 84), (88, 88, 64), (122, 106, 78)),
}
_NEEDLES = np.array([(50, 66, 48), (58, 74, 52), (48, 64, 54), (62, 74, 50)], np.float64)
_SOILS = np.array(
    [(138, 108, 84), (122, 104, 86), (148, 122, 92), (140, 96, 72), (104, 92, 78), (162, 140, 112)],
    np.float64,
)
_CROPS = np.array(
    [
        (100, 118, 78),
        (122, 134, 94),
        (88, 106, 70),
        (172, 158, 122),
        (184, 170, 136),
        (152, 140, 94),
        (132, 122, 82),
        (108, 124, 84),
    ],
    np.float64,
)
_WALLS = np.array(
    [
        (214, 206, 190),
        (170, 114, 92),
        (226, 222, 214),
        (160, 150, 140),
        (198, 176, 134),
        (140, 156, 164),
        (150, 96, 76),
        (186, 184, 176),
        (206, 196, 160),
        (120, 112, 100),
    ],
    np.float64,
)
_GREYS = [(118, 114, 110), (96, 94, 94), (140, 136, 130), (84, 84, 90), (160, 156, 150)]
_BROWNS = [(122, 104, 88), (104, 90, 78), (142, 122, 102), (94, 82, 74)]
_TILES = [(160, 96, 72), (172, 112, 84), (146, 84, 64), (178, 130, 100)]
_ROOFS = {
    "grey": np.array(_GREYS, np.float64),
    "brown": np.array(_BROWNS + _GREYS[:2], np.float64),
    "tile": np.array(_TILES + _BROWNS[:1], np.float64),
    "mixed": np.array(_GREYS + _BROWNS + _TILES[:2], np.float64),
}
_WATERS = np.array([(58, 76, 78), (66, 84, 76), (58, 72, 78), (82, 88, 70)], np.float64)
