"""Walls of buildings: materials, windows, doors and ground floors, by position on the wall."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.world.layers import BuildingTable
from smdt.world.moment import Moment
from smdt.world.texture import cell_hash, noise_at


def building_rows(table: BuildingTable, device: torch.device) -> Tensor:
    """What :func:`wall_colour` takes of buildings, (13, 1 + N) by raster number; the first is of none.

    Rows: centre east, north; half length, depth; angle; facade RGB; storey; and what varies from building to building,
    each in 0..1: kind, width of windows, whether there is a shop, material.
    """
    parts = [
        table.centre_m,
        table.half_size_m,
        table.angle_rad[:, None],
        table.facade,
        table.storey_m[:, None],
    ]
    known = torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32)).T.to(device)
    number = torch.arange(1 + known.shape[1], device=device)
    return torch.cat([F.pad(known, (1, 0)), *(cell_hash(number, varied)[None] for varied in (1, 2, 3, 5))])


def wall_colour(
    row: Tensor, number: Tensor, east: Tensor, north: Tensor, z: Tensor, depth: Tensor, moment: Moment
) -> Tensor:
    """Colour of wall points.

    Args:
        row: (13, K) of :func:`building_rows`, of each point's building.
        number: (K,) the building's number, for what varies between buildings.
        east: (K,) metres in the place.
        north: (K,) metres in the place.
        z: (K,) metres above the ground.
        depth: (K,) metres from the camera: what is far is drawn without detail.
        moment: gives the light.

    Returns:
        (3, K) RGB in 0..255, lit.
    """
    turn_cos, turn_sin = torch.cos(row[4]), torch.sin(row[4])
    da, db = east - row[0], north - row[1]
    a, b = da * turn_cos + db * turn_sin, db * turn_cos - da * turn_sin
    on_end = (a.abs() - row[2]) > (b.abs() - row[3])
    along = torch.where(on_end, b, a)
    half = torch.where(on_end, row[3], row[2]).clamp_min(0.5)
    side = torch.where(on_end, a, b).sign()
    kind, wide, trade, material = row[9:]
    colour = _material(row[5:8], material, number, along, z, depth)
    storey = row[8].clamp_min(2.2)
    floor = (z / storey).floor()
    level = z - floor * storey
    spacing = 1.7 + 1.9 * kind
    bays = (2 * half / spacing).floor().clamp_min(1)
    place = (along + half) / (2 * half) * bays
    bay = place.floor()
    off = (place - bay - 0.5) * (2 * half / bays)  # metres from the bay's middle
    width = 0.34 + 0.22 * wide
    sill, head = 0.75 + 0.35 * (1 - kind), 2.05 + 0.25 * kind
    window = (
        (off.abs() < width * (1 + 0.6 * (kind > 0.7)))
        & (level > sill)
        & (level < head)
        & (off.abs() < 0.4 * spacing)
    )
    frame = window & (
        ((off.abs() - width).abs() < 0.06)
        | (level < sill + 0.07)
        | (level > head - 0.07)
        | (off.abs() < 0.03)
    )
    blank = cell_hash(number * 7 + on_end.long() * 2 + (side > 0).long(), bay, floor) < 0.12
    shop = (trade < 0.25) & (row[2] > 7) & (floor == 0)
    window = torch.where(shop, (level > 0.45) & (level < 2.5) & (off.abs() < 0.42 * spacing), window & ~blank)
    frame = frame & window & ~shop
    door_bay = (cell_hash(number, side.long() + 2, on_end.long()) * bays).floor()
    door = (floor == 0) & (bay == door_bay) & (off.abs() < 0.52) & (level < 2.1)
    seen = depth < 90.0
    curtain = cell_hash(number, bay + 13 * floor, on_end.long() * 2 + (side > 0).long())
    glass = torch.stack([38 + 60 * curtain, 46 + 58 * curtain, 56 + 52 * curtain])
    wood = torch.stack([70 + 90 * kind, 52 + 60 * curtain * 0 + 40 * kind, 42 + 30 * (1 - kind)])
    colour = torch.where(window & seen, glass, colour)
    colour = torch.where(frame & seen & (depth < 35), 216.0, colour)
    colour = torch.where(door & seen, wood, colour)
    plinth = (z < 0.35) & (kind > 0.3)
    # The wall's outward normal: along +a or -a on ends, +b or -b on long sides.
    normal_east = torch.where(on_end, turn_cos, -turn_sin) * side
    normal_north = torch.where(on_end, turn_sin, turn_cos) * side
    sun_east, sun_north, sun_up = moment.sun.direction()
    facing = (normal_east * sun_east + normal_north * sun_north).clamp_min(0) / max(sun_up, 0.35)
    light = (1 - moment.direct) * 0.85 + moment.direct * facing.clamp_max(1.2)
    return colour * (light * torch.where(plinth, 0.7, 1.0))


def _material(
    base: Tensor, choice: Tensor, number: Tensor, along: Tensor, z: Tensor, depth: Tensor
) -> Tensor:
    """Brick courses, boards, render or panels, faint enough to vanish with distance."""
    brick_row = (z / 0.16).floor()
    brick = cell_hash(number, ((along + 0.12 * (brick_row % 2)) / 0.36).floor(), brick_row) - 0.5
    board = (torch.remainder(z, 0.22) < 0.05).float() - 0.2
    stain = noise_at(along * 9 + 31 * number, z * 9) - 0.5
    panel = ((torch.remainder(along, 1.4) < 0.05) | (torch.remainder(z, 1.5) < 0.05)).float()
    near = torch.exp(-depth / 22.0)
    pattern = torch.where(
        choice < 0.35,
        0.28 * brick,
        torch.where(choice < 0.6, -0.16 * board, torch.where(choice < 0.85, 0.0, -0.2 * panel)),
    )
    return base * (1 + near * pattern + 0.10 * stain)
