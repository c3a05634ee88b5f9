"""A contact sheet of simulated pairs: what the worlds look like, on one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from smdt.app.tables import console, progress_bar
from smdt.errors import ConfigError
from smdt.files import write_whole
from smdt.world.aerial import aerial_square, aerial_view
from smdt.world.moment import Moment
from smdt.world.render import RenderConfig, Renderer, street_positions
from smdt.world.town import STYLES, TownConfig, build_town

_CONFIG = RenderConfig(height_px=224, width_px=1232, steps=500, supersample=2)
_GAP_PX = 6


def write_sheet(out: Path, rows: int, seed: int, side_m: float) -> None:
    """Write a sheet of aerial and ground pictures, one pair a row, the styles in turn.

    Args:
        out: picture to write (.png or .jpg).
        rows: pairs.
        seed: of places, positions and moments.
        side_m: side of the aerial tiles.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ConfigError(f"cannot write '{out.suffix}' pictures", where="--out", remedy="use .png or .jpg")
    styles = [style for style in STYLES if style != "mixed"]
    side = _CONFIG.height_px
    sheet = Image.new("RGB", (side + _GAP_PX + _CONFIG.width_px, rows * (side + _GAP_PX) - _GAP_PX), "white")
    with progress_bar("rendering") as advance:
        for row in range(rows):
            rng = np.random.default_rng([seed, row])
            place = build_town(
                TownConfig(seed=1000 * seed + row, side_m=320.0, style=styles[row % len(styles)])
            )
            overhead = Moment.draw(rng)
            east, north = street_positions(place, 1, rng)[0]
            tile = aerial_square(aerial_view(place, overhead), place.pixel_m, east, north, side_m, side)
            view = Renderer(place, _CONFIG).panorama(east, north, 0.0, 2.4, Moment.draw(rng))
            top = row * (side + _GAP_PX)
            sheet.paste(_picture(overhead.sensor.take(tile, rng)), (0, top))
            sheet.paste(_picture(view.image), (side + _GAP_PX, top))
            advance(row + 1, rows)
    write_whole(out, sheet.save)
    console().print(f"{out}: {rows} pairs; the centre of each panorama looks north, the tile's upper edge")


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())
