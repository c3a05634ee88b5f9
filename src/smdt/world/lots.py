"""Homes lot by lot: house, garage, drive, path, lawn, fence, hedge, pool, shed and garden trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smdt.world.buildings import Wing, draw_building, is_free
from smdt.world.canvas import Canvas, Floats, Frame, Masks, Rasters, Window, box_distance
from smdt.world.layers import Surface
from smdt.world.palette import Palette
from smdt.world.roads import Road
from smdt.world.vegetation import add_hedge, add_tree

Random = np.random.Generator
_SOFT = (Surface.GRASS, Surface.BARE, Surface.FIELD)


def frontage(road: Road, side: float, at_m: float) -> Frame | None:
    """The frame at a distance along a road, y pointing away on one side (1 left, -1 right); None beyond its end."""
    stations = road.stations()
    if at_m >= stations[-1]:
        return None
    piece = int(np.searchsorted(stations, at_m, side="right")) - 1
    step = road.points_m[piece + 1] - road.points_m[piece]
    unit = step / max(float(np.hypot(*step)), 1e-6)
    away = side * np.array([-unit[1], unit[0]])
    return Frame(road.points_m[piece] + unit * (at_m - stations[piece]), unit, away)


def claim(
    canvas: Canvas, frame: Frame, x: tuple[float, float], y: tuple[float, float], least: float
) -> tuple[Window, Rasters, Rasters, Masks] | None:
    """Take the free grass of a box as a lot, if enough of it is free.

    Returns:
        Its window, local coordinates, and which pixels are the lot's.
    """
    found = canvas.box(frame, x, y, 0.5)
    if found is None:
        return None
    where, a, b = found
    inside = box_distance(a, b, x, y) <= 0
    surface = canvas.surface[where]
    own = inside & ~canvas.claimed[where] & ((surface == Surface.GRASS) | (surface == Surface.BARE))
    area_px = (x[1] - x[0]) * (y[1] - y[0]) / canvas.pixel_m**2
    if own.sum() < least * area_px:
        return None
    canvas.claimed[where] |= own
    return where, a, b, own


@dataclass(frozen=True)
class _House:
    """A house's wings, and where its garage door stands."""

    wings: list[Wing]
    door_x: float
    drive_x: float
    drive_half: float
    front: float
    back: float


def _plan_house(rng: Random, palette: Palette, width: float, front: float) -> _House:
    """A house of one of several forms, to stand at y = front in a lot |x| < width / 2."""
    tone = palette.roofs[rng.integers(len(palette.roofs))] + rng.normal(0, 9) + rng.normal(0, 3, 3)
    facade = palette.walls[rng.integers(len(palette.walls))] + rng.normal(0, 9) + rng.normal(0, 4, 3)
    side = float(rng.choice([-1.0, 1.0]))
    storey = float(rng.uniform(2.7, 3.2))
    if rng.random() < palette.trailer_share:
        pale = np.array([188.0, 186.0, 180.0]) * rng.uniform(0.55, 1.15)
        half, depth = rng.uniform(6.0, 9.5), rng.uniform(4.2, 5.4)
        half = min(half, 0.5 * width - 1.5)
        wing = Wing((-half, half), (front, front + depth), 3.2, "gable", 0.18, pale, facade, 3.2)
        return _House([wing], 0.0, side * (0.5 * width - 2.5), 1.6, front + 2.0, front + depth)
    pitch = float(rng.uniform(0.35, 0.85))
    storeys = int(rng.choice([1, 2], p=[0.6, 0.4]))
    roof = str(rng.choice(["gable", "hip", "flat"], p=[0.52, 0.42, 0.06]))
    half = float(min(rng.uniform(5.0, 8.5), 0.5 * width - 2.2))
    depth = float(rng.uniform(7.5, 11.0))
    eaves = storeys * storey + float(rng.uniform(0.2, 0.6))

    def part(x: tuple[float, float], y: tuple[float, float], walls: float, kind: str) -> Wing:
        return Wing((min(x), max(x)), y, walls, kind, pitch, tone, facade, storey)

    wings = [part((-half, half), (front, front + depth), eaves, roof)]
    form = rng.random()
    drive_half = float(rng.choice([1.5, 2.6], p=[0.4, 0.6]))
    drive_x, door = side * (half - drive_half - 0.2), front
    if form < 0.4 and half > 4.5:  # a wing to the street, with the garage in it: an L
        reach = float(rng.uniform(2.5, 5.5))
        wings.append(
            part((side * half, side * (half - 6.2)), (front - reach, front + 0.5 * depth), eaves, roof)
        )
        drive_x, door = side * (half - 3.1), front - reach
    elif form < 0.6:  # a wing to the garden
        wings.append(
            part((-side * half, side * (5.5 - half)), (front + 0.4 * depth, front + depth + 4.0), eaves, roof)
        )
    elif form < 0.8 and 0.5 * width - half > 1.5:  # a lower garage at the side
        outer = min(half + 5.6, 0.5 * width - 0.6)
        low = 2.8 if storeys == 1 else storey
        wings.append(part((side * (half - 0.4), side * outer), (front + 1.0, front + 7.0), low, roof))
        drive_x, door = side * 0.5 * (half + outer), front + 1.0
    elif form < 0.9 and width > 2 * half + 7:  # a garage of its own behind
        x = side * (0.5 * width - 2.7)
        wings.append(part((x - 1.9, x + 1.9), (front + depth + 2.5, front + depth + 8.5), 2.7, "gable"))
        drive_x, door, drive_half = x, front + depth + 2.5, 1.5
    back = max(one.y[1] for one in wings)
    return _House(wings, -side * 0.35 * half, drive_x, drive_half, door, back)


def build_home(
    rng: Random, canvas: Canvas, palette: Palette, frame: Frame, road: Road, width: float, depth: float
) -> bool:
    """Build a home on a lot whose middle faces the frame; False if there is no room."""
    kerb = 0.5 * road.width_m + road.verge_m + road.pavement_m
    front = kerb + rng.uniform(3.0, 9.0) + (0.0 if road.urban else 3.0)
    house = _plan_house(rng, palette, width, front)
    turned = Frame.turned(frame.origin, frame.angle_rad + rng.normal(0, 0.012))
    turned = Frame(turned.origin, turned.along, turned.away * np.sign(turned.away @ frame.away))
    if not is_free(canvas, turned, house.wings, 1.2):
        return False
    x, y = (-0.5 * width, 0.5 * width), (kerb, kerb + depth)
    lot = claim(canvas, frame, x, y, 0.55)
    if lot is None:
        return False
    where, a, b, own = lot
    tint = 1 + rng.normal(0, 0.07) + rng.normal(0, 0.02, 3)
    dry = np.clip(rng.beta(1.2, 2.2) + 0.35 * canvas.drift[where], 0, 1)[..., None]
    lawn = palette.lawn[0] * tint + dry * (palette.lawn[1] - palette.lawn[0])
    lawn = lawn * (1 + 0.10 * canvas.mottle[where])[..., None]
    if rng.random() < 0.35:  # mown in stripes
        lawn = lawn * (1 + 0.035 * np.sin((a if rng.random() < 0.5 else b) * 4.2))[..., None]
    soft = canvas.inside(box_distance(a, b, x, y)) * own
    canvas.blend(where, soft * 0.85, lawn)
    canvas.surface[where][own] = Surface.GRASS
    draw_building(rng, canvas, turned, house.wings)
    _drive(rng, canvas, palette, frame, road, house, kerb)
    _garden(rng, canvas, palette, frame, house, lot, width, kerb, depth)
    return True


def _drive(
    rng: Random, canvas: Canvas, palette: Palette, frame: Frame, road: Road, house: _House, kerb: float
) -> None:
    """The drive to the garage and the path to the door, with places for cars."""
    loose = road.cover in ("gravel", "dirt") or rng.random() < 0.1
    tone = (palette.sand if loose else palette.paving * rng.choice([1.05, 1.0, 0.68])) + rng.normal(0, 4)
    over = (*_SOFT, Surface.PAVEMENT)
    x = (house.drive_x - house.drive_half, house.drive_x + house.drive_half)
    start = 0.5 * road.width_m
    kind = Surface.BARE if loose else Surface.PARKING
    canvas.fill(frame, x, (start, house.front), tone, kind, over=over, mottle=0.14 if loose else 0.05)
    room = house.front - kerb
    for bay in (-1.0, 1.0) if house.drive_half > 2 else (0.0,):
        if room > 4.8:
            spot = frame.world(house.drive_x + bay * 1.3, house.front - 2.9 - rng.uniform(0, 0.5))
            away = float(np.arctan2(*frame.away[::-1]))
            if canvas.surface_at(*spot) in (Surface.PARKING, Surface.BARE):
                canvas.car_spots.append((float(spot[0]), float(spot[1]), away))
    path = (house.door_x - 0.55, house.door_x + 0.55)
    front = house.wings[0].y[0]
    if rng.random() < 0.7:
        canvas.fill(frame, path, (kerb - 0.1, front), palette.paving, Surface.PAVEMENT, over=_SOFT)


def _garden(
    rng: Random,
    canvas: Canvas,
    palette: Palette,
    frame: Frame,
    house: _House,
    lot: tuple[Window, Rasters, Rasters, Masks],
    width: float,
    kerb: float,
    depth: float,
) -> None:
    """What stands behind and before a house."""
    where, a, b, own = lot
    half, back, end = 0.5 * width, house.back, kerb + depth
    room = end - back
    if rng.random() < 0.5:
        _fence(rng, canvas, where, own, a, b, half, 0.5 * (house.wings[0].y[0] + back), end)
    elif rng.random() < 0.35:
        side = rng.choice([-1.0, 1.0])
        corners = frame.world(side * (half - 0.7), kerb + 1), frame.world(side * (half - 0.7), end - 1)
        add_hedge(rng, canvas, palette, *corners, float(rng.uniform(1.2, 2.4)))
    if rng.random() < 0.15:
        add_hedge(
            rng, canvas, palette, frame.world(-half + 1, kerb + 0.8), frame.world(half - 1, kerb + 0.8), 1.1
        )
    if rng.random() < 0.5 and room > 3:  # a terrace
        x = rng.uniform(-0.5, 0.2) * half
        tone = (
            palette.paving * rng.uniform(0.8, 1.05) if rng.random() < 0.6 else np.array([142.0, 118.0, 94.0])
        )
        canvas.fill(frame, (x, x + rng.uniform(3, 6)), (house.wings[0].y[1], back + 2.5), tone, Surface.PAVEMENT,
                    over=_SOFT)  # fmt: skip
    if room > 9 and rng.random() < palette.pool_share:
        _pool(rng, canvas, palette, frame, float(rng.uniform(-0.3, 0.3) * half), back + 5.0)
    elif room > 7 and rng.random() < 0.4:
        x, y = rng.choice([-1.0, 1.0]) * (half - 2.8), end - rng.uniform(2.5, 3.5)
        tone = palette.roofs[rng.integers(len(palette.roofs))] * rng.uniform(0.8, 1.3)
        shed = Wing((x - rng.uniform(1.2, 2.2), x + 1.5), (y - 1.5, y + 1.2), 2.6, "gable", 0.4, tone,
                    np.array([150.0, 132.0, 110.0]), 2.6)  # fmt: skip
        if is_free(canvas, frame, [shed], 0.6):
            draw_building(rng, canvas, frame, [shed])
    if room > 8 and rng.random() < 0.12:  # a vegetable patch
        x = rng.uniform(-0.6, 0.2) * half
        canvas.fill(frame, (x, x + rng.uniform(3, 6)), (back + 4, back + 4 + rng.uniform(2, 5)), palette.soil,
                    Surface.BARE, over=(Surface.GRASS,), mottle=0.3)  # fmt: skip
    for _ in range(int(rng.poisson(1.6 * palette.trees))):
        behind = rng.random() < 0.62
        y = rng.uniform(back + 2, end - 1) if behind and room > 4 else rng.uniform(kerb + 1.0, kerb + 3.0)
        spot, radius = (
            frame.world(float(rng.uniform(-0.9, 0.9) * half), float(y)),
            5.4 * rng.beta(1.6, 2.0) + 0.6,
        )
        if canvas.surface_at(*spot) == Surface.GRASS:
            add_tree(rng, canvas, palette, spot, float(radius if behind else 0.8 * radius))
    for _ in range(int(rng.poisson(2.0))):  # bushes at the walls
        spot = frame.world(float(rng.uniform(-0.8, 0.8) * half), house.wings[0].y[0] - 0.9)
        if canvas.surface_at(*spot) == Surface.GRASS:
            add_tree(rng, canvas, palette, spot, float(rng.uniform(0.4, 0.9)))


def _fence(
    rng: Random,
    canvas: Canvas,
    where: Window,
    own: Masks,
    a: Rasters,
    b: Rasters,
    half: float,
    start: float,
    end: float,
) -> None:
    """Round the garden, on the lot's own ground."""
    outline = np.maximum(np.abs(a) - (half - 0.15), np.maximum(b - (end - 0.15), start - b))
    width = max(0.16, canvas.pixel_m)
    cover = canvas.stripe(outline, width) * own * (canvas.surface[where] == Surface.GRASS)
    tone = rng.choice([214.0, 150.0, 118.0]) * np.array([1.0, 0.95, 0.87])
    canvas.blend(where, cover * 0.8, tone)
    fence = cover > 0.4
    canvas.surface[where][fence] = Surface.FENCE
    canvas.height_m[where][fence] = rng.uniform(1.0, 1.9)


def _pool(rng: Random, canvas: Canvas, palette: Palette, frame: Frame, x: float, y: float) -> None:
    """Water in a paved rim; rectangular or rounded."""
    wide, deep = rng.uniform(2.5, 4.8), rng.uniform(1.6, 2.6)
    corner = float(rng.choice([0.2, 1.4]))
    canvas.fill(frame, (x - wide - 1.2, x + wide + 1.2), (y - deep - 1.2, y + deep + 1.2), palette.paving * 1.08,
                Surface.PAVEMENT, over=(Surface.GRASS,), round_m=0.6)  # fmt: skip
    tone = np.array([112.0, 158.0, 168.0]) + rng.normal(0, 7, 3)
    canvas.fill(frame, (x - wide, x + wide), (y - deep, y + deep), tone, Surface.WATER,
                over=(Surface.PAVEMENT,), round_m=corner)  # fmt: skip


def yard_tone(palette: Palette) -> Floats:
    """Colour of a trodden yard."""
    result: Floats = 0.6 * palette.sand + 0.4 * palette.meadow[1]
    return result
