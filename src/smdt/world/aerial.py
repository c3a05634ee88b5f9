"""The aerial view of one moment: the colour layer in its light, with its cars, leaning buildings, season and
sensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.imagery.raster_writing import write_geotiff
from smdt.world.layers import Place, Surface
from smdt.world.light import light_layer
from smdt.world.moment import Moment
from smdt.world.sprites import car_boxes

_LEAN_STEP_M = 1.5


def aerial_view(place: Place, moment: Moment, device: torch.device | str = "cpu") -> Tensor:
    """What an aircraft sees of a place, before its sensor: (3, H, W) float in 0..255, north up.

    Args:
        place: the layers.
        moment: light, season, traffic and lean.
        device: where to compute.
    """
    height = torch.from_numpy(place.height_m).to(device)
    surface = torch.from_numpy(place.surface).to(device)
    colour = torch.from_numpy(place.colour).to(device).float()
    grown = (surface == Surface.GRASS) | (surface == Surface.FIELD)
    leaf = surface == Surface.TREE
    for where, tint in ((grown, moment.grass_tint), (leaf, moment.leaf_tint)):
        colour = torch.where(where[..., None], colour * torch.tensor(tint, device=colour.device), colour)
    ground = None if place.is_flat else torch.from_numpy(place.ground_m).to(device)
    light = light_layer(height, place.pixel_m, moment, ground)
    colour = colour * light[..., None]
    _draw_cars(colour, light, place, moment)
    return _lean(colour, height, place.pixel_m, moment).permute(2, 0, 1).clamp(0, 255)


def _draw_cars(colour: Tensor, light: Tensor, place: Place, moment: Moment) -> None:
    """Paint the cars of the moment and the shade beside them, in place."""
    spots = torch.from_numpy(place.car_spots)
    if not len(spots):
        return
    boxes = {name: values.cpu().numpy() for name, values in car_boxes(spots, moment).items()}
    rows, columns = place.surface.shape
    sun_east, sun_north, sun_up = moment.sun.direction()
    for i in range(len(boxes["east"])):
        paint = colour.new_tensor(
            boxes["colour"][:, i] if not boxes["cabin"][i] else boxes["colour"][:, i] * 0.85 + 15
        )
        drop = float(boxes["top"][i]) / max(sun_up, 0.3)
        shifts = [(-sun_east * drop * 0.6, -sun_north * drop * 0.6, None), (0.0, 0.0, paint)]
        for east_shift, north_shift, tone in shifts if not boxes["cabin"][i] else shifts[1:]:
            east, north = float(boxes["east"][i]) + east_shift, float(boxes["north"][i]) + north_shift
            reach = float(boxes["half_length"][i]) + 0.5
            left, right = int((east - reach) / place.pixel_m), int((east + reach) / place.pixel_m) + 2
            top, bottom = (
                rows - int((north + reach) / place.pixel_m) - 2,
                rows - int((north - reach) / place.pixel_m),
            )
            if left < 0 or top < 0 or right > columns or bottom > rows:
                continue
            x = (torch.arange(left, right, device=colour.device) + 0.5)[None] * place.pixel_m - east
            y = (rows - torch.arange(top, bottom, device=colour.device) - 0.5)[
                :, None
            ] * place.pixel_m - north
            turn_cos, turn_sin = float(np.cos(boxes["angle"][i])), float(np.sin(boxes["angle"][i]))
            a, b = (x * turn_cos + y * turn_sin).abs(), (y * turn_cos - x * turn_sin).abs()
            cover = ((float(boxes["half_length"][i]) - a) / place.pixel_m + 0.5).clamp(0, 1)
            cover = cover * ((float(boxes["half_width"][i]) - b) / place.pixel_m + 0.5).clamp(0, 1)
            window = colour[top:bottom, left:right]
            if tone is None:
                window *= (1 - 0.8 * moment.direct * cover)[..., None]
            else:
                lit = light[top:bottom, left:right, None]
                window.copy_(window * (1 - cover[..., None]) + tone * lit * cover[..., None])


def _lean(colour: Tensor, height: Tensor, pixel_m: float, moment: Moment) -> Tensor:
    """Shift what is high outwards, as a camera that does not look straight down sees it; low things first."""
    if max(abs(moment.lean[0]), abs(moment.lean[1])) * float(height.max()) < 0.5 * pixel_m:
        return colour
    leaned = colour.clone()
    step_m = max(
        _LEAN_STEP_M, pixel_m / max(abs(moment.lean[0]), abs(moment.lean[1]))
    )  # a pixel's shift at least
    levels = int(float(height.max()) / step_m) + 1
    for level in range(1, levels + 1):
        columns = round(level * step_m * moment.lean[0] / pixel_m)
        rows = -round(level * step_m * moment.lean[1] / pixel_m)
        high = torch.roll(height >= (level - 0.5) * step_m, (rows, columns), (0, 1))
        leaned = torch.where(high[..., None], torch.roll(colour, (rows, columns), (0, 1)), leaned)
    return leaned


def write_aerial(place: Place, path: Path, moment: Moment) -> None:
    """Write the aerial view of a moment, as its sensor takes it, as an RGB GeoTIFF in Web Mercator."""
    shot = moment.sensor.take(aerial_view(place, moment), np.random.default_rng([moment.seed, 11]))
    west, north = place.mercator_corner_m()
    write_geotiff(path, shot, west, north, place.pixel_m * place.mercator_scale)


def aerial_square(
    view: Tensor, pixel_m: float, east_m: float, north_m: float, side_m: float, side_px: int
) -> Tensor:
    """The square of an aerial view around a position, (3, side_px, side_px) float; black beyond the edge.

    Args:
        view: (3, H, W) in 0..255, of :func:`aerial_view`.
        pixel_m: metres per pixel of the view.
        east_m: centre, metres from the view's south-west corner.
        north_m: centre.
        side_m: side in metres.
        side_px: pixels of the result.
    """
    half = round(side_m / pixel_m / 2)
    rows = view.shape[1]
    column, row = round(east_m / pixel_m), rows - round(north_m / pixel_m)
    top, left = max(0, row - half), max(0, column - half)
    window = view[:, top : max(0, row + half), left : max(0, column + half)].float()
    image = torch.zeros(3, 2 * half, 2 * half, device=view.device)
    r, c = top - (row - half), left - (column - half)
    image[:, r : r + window.shape[1], c : c + window.shape[2]] = window
    return F.interpolate(image[None], (side_px, side_px), mode="bilinear", antialias=True)[0]
