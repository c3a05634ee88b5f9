"""Tiles seen from several points: for cameras that may stand well off a tile's centre.

A polar image is true of one point. A few metres beside it, what stands near is seen under other azimuths, and a model
can either learn to overlook that, and much else with it, or be given the tile unrolled about a point nearer to the
camera. So a tile may be embedded round a grid of points, as one reference of several strips, of which a soft maximum
counts.
"""

from __future__ import annotations

import math

from smdt.errors import ConfigError
from smdt.retrieval.encoder import EncoderConfig

MOST_A_SIDE = 8
"""Points along a side of the grid, at most."""


def points_a_side(config: EncoderConfig, off_m: float) -> int:
    """How many points along a side bring every camera as near to one as cameras were in training.

    Args:
        config: of the model; one that does not say how near that was, or reads no mapped tiles, gets one point.
        off_m: how far off a tile's centre cameras may stand, east and north each.
    """
    if config.camera_within_m <= 0 or config.mapping == "none" or config.aerial_input != "mapped":
        return 1
    return min(MOST_A_SIDE, max(1, math.ceil(off_m / config.camera_within_m - 1e-9)))


def centres_m(side: int, off_m: float) -> list[tuple[float, float]]:
    """Points that cover a square evenly, metres east and north of its middle: (0, 0) alone for one a side.

    Args:
        side: points along a side.
        off_m: half the side of the square.

    Raises:
        ConfigError: if there are less than one or too many points, or ``off_m`` is negative.
    """
    if not 1 <= side <= MOST_A_SIDE or not 0 <= off_m < math.inf:
        raise ConfigError(
            f"{side} × {side} points within {off_m} m cannot be had",
            where="--centres/--off-centre-m",
            remedy=f"give 1 to {MOST_A_SIDE} points a side, and a distance that is not negative",
        )
    along = [off_m * ((2 * number + 1) / side - 1.0) for number in range(side)]
    return [(east, north) for north in along for east in along]
