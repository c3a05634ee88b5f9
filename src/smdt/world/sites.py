"""What stands along roads besides homes: flats, shops with car parks, farmsteads, cabins, and whole city blocks."""

from __future__ import annotations

import math

import numpy as np

from smdt.world.buildings import Wing, draw_building, is_free
from smdt.world.canvas import USES, Canvas, Floats, Frame, convex_distance
from smdt.world.layers import Surface
from smdt.world.lots import build_home, frontage, yard_tone
from smdt.world.palette import Palette
from smdt.world.plan import Patch, Plan
from smdt.world.roads import Road, smooth
from smdt.world.strips import strips
from smdt.world.vegetation import add_tree

Random = np.random.Generator
_SOFT = (Surface.GRASS, Surface.BARE, Surface.FIELD)


def build_along_roads(rng: Random, canvas: Canvas, palette: Palette, plan: Plan) -> None:
    """Build up both sides of every road, wherever there is room."""
    for patch in plan.patches:
        if patch.block:
            build_block(rng, canvas, palette, patch, plan.roads)
        elif patch.use == "park":
            _park(rng, canvas, palette, patch.polygon_m)
    for road in plan.roads:
        if road.frontage == "none":
            continue
        for side in (-1.0, 1.0):
            _build_side(rng, canvas, palette, road, side)


def _build_side(rng: Random, canvas: Canvas, palette: Palette, road: Road, side: float) -> None:
    """Go along one side of a road, building wherever there is room."""
    rural = road.frontage in ("farm", "cabin")
    at = float(rng.uniform(10, 160) if rural else rng.uniform(8, 12))
    while (frame := frontage(road, side, at)) is not None:
        if rural:
            at += _farmstead(rng, canvas, palette, frame, road)
        else:
            use = USES[canvas.use_at(*frame.world(0.0, road.half_m + 14.0))]
            at += _urban(rng, canvas, palette, frame, road, use)


def _urban(rng: Random, canvas: Canvas, palette: Palette, frame: Frame, road: Road, use: str) -> float:
    """Build one lot by the use of its ground; the metres to go on."""
    if use == "flats":
        return _flats(rng, canvas, palette, frame, road)
    if use in ("shops", "yard"):
        return _shop(rng, canvas, palette, frame, road, use)
    if use in ("homes", "town"):
        width = palette.lot_m * rng.uniform(0.85, 1.25)
        if road.frontage == "town":
            width *= 0.85
        done = build_home(
            rng,
            canvas,
            palette,
            frame.moved(0.5 * width, 0),
            road,
            width,
            palette.lot_m * rng.uniform(1.3, 2.1),
        )
        return float(width if done else 0.35 * width)
    return 16.0


def _park(rng: Random, canvas: Canvas, palette: Palette, polygon: Floats) -> None:
    """Paths through a park, and sometimes a pitch."""
    middle = polygon.mean(0) + rng.normal(0, 5, 2)
    tone = palette.paving if rng.random() < 0.5 else palette.sand * 1.05
    if USES[canvas.use_at(*middle)] != "park":  # under water, or outside
        return
    for corner in polygon:
        half = 0.5 * (middle + corner) + rng.normal(0, 6, 2)
        for strip in strips(canvas, smooth(np.stack([corner, half, middle]), 8.0), 2.5):
            grass = canvas.surface[strip.where] == Surface.GRASS
            cover = canvas.inside(strip.away - 1.1) * (strip.own & grass)
            canvas.blend(strip.where, cover, canvas.textured(strip.where, tone, 0.06), Surface.PAVEMENT)
    reach = float(-convex_distance(polygon, middle[:1], middle[1:]).max())
    if reach < 26 or rng.random() < 0.4:
        return
    frame = Frame.turned(middle, rng.uniform(0, math.pi))
    hx, hy = 0.6 * reach, 0.4 * reach
    found = canvas.box(frame, (-hx, hx), (-hy, hy), 2.0)
    if found is None:
        return
    where, a, b = found
    edge = np.maximum(np.abs(a) - hx, np.abs(b) - hy)
    mown = palette.lawn[0] * (1.04 + 0.04 * np.sign(np.sin(a * 0.7)))[..., None]
    canvas.blend(where, canvas.inside(edge - 1.5) * 0.8, mown, Surface.GRASS)
    lines = np.maximum(canvas.stripe(edge, 0.13), canvas.stripe(a, 0.13) * (edge < 0))
    lines = np.maximum(lines, canvas.stripe(np.hypot(a, b) - 0.3 * hy, 0.13))
    canvas.blend(where, lines * 0.8, np.array([224.0, 226.0, 220.0]))
    canvas.note_use(where, edge < 2.0, "verge")


def _flat_tone(rng: Random) -> Floats:
    tones = np.array(
        [(176, 174, 170), (206, 204, 200), (128, 124, 120), (150, 142, 132), (104, 102, 102)], np.float64
    )
    result: Floats = tones[rng.integers(len(tones))] + rng.normal(0, 8)
    return result


def _facade(rng: Random, palette: Palette) -> Floats:
    result: Floats = palette.walls[rng.integers(len(palette.walls))] + rng.normal(0, 9) + rng.normal(0, 4, 3)
    return result


def _flats(rng: Random, canvas: Canvas, palette: Palette, frame: Frame, road: Road) -> float:
    """A block of flats with bays behind or at its side."""
    half, depth = rng.uniform(8, 19), rng.uniform(10, 14)
    storeys, storey = int(rng.integers(2, 7)), float(rng.uniform(2.8, 3.3))
    front = road.half_m + rng.uniform(1.5, 6)
    flat = storeys > 3 or rng.random() < 0.4
    tone = _flat_tone(rng) if flat else palette.roofs[rng.integers(len(palette.roofs))] + rng.normal(0, 8)
    walls = _facade(rng, palette)
    roof = "flat" if flat else str(rng.choice(["gable", "hip"]))
    wings = [
        Wing((-half, half), (front, front + depth), storeys * storey + 0.4, roof, 0.5, tone, walls, storey)
    ]
    if rng.random() < 0.3:
        edge = half - depth
        wings.append(
            Wing((edge, half), (front + depth - 3, front + depth + 12), storeys * storey + 0.4, roof, 0.5, tone,
                 walls, storey)
        )  # fmt: skip
    frame = frame.moved(half, 0)
    if not is_free(canvas, frame, wings, 1.0):
        return 9.0
    draw_building(rng, canvas, frame, wings)
    if rng.random() < 0.6:
        draw_parking(rng, canvas, palette, frame, (-half, half), (front + depth + 4, front + depth + 21))
    return float(2 * half + rng.uniform(3, 14))


def _shop(rng: Random, canvas: Canvas, palette: Palette, frame: Frame, road: Road, use: str) -> float:
    """A large low hall, its car park before it; or sheds in a yard."""
    half, depth = rng.uniform(9, 24), rng.uniform(14, 30)
    bays = float(rng.choice([0.0, 18.0, 35.0])) if use == "shops" else 0.0
    front = road.half_m + 3.0 + bays
    tone = _flat_tone(rng) + 14.0
    low = float(rng.uniform(4.5, 8.5))
    roof = "flat" if use == "shops" or rng.random() < 0.4 else "gable"
    wing = Wing((-half, half), (front, front + depth), low, roof, 0.2, tone, _facade(rng, palette), low)
    frame = frame.moved(half, 0)
    if not is_free(canvas, frame, [wing], 2.0):
        return 12.0
    draw_building(rng, canvas, frame, [wing])
    over = (*_SOFT, Surface.PAVEMENT)
    drive = (-half + 2.0, -half + 8.0)
    if bays:
        draw_parking(rng, canvas, palette, frame, (-half, half), (road.half_m + 1.5, front - 1.0))
    pave = palette.asphalt * 1.05 if use == "shops" else yard_tone(palette)
    kind = Surface.PARKING if use == "shops" else Surface.BARE
    canvas.fill(frame, drive, (0.5 * road.width_m, front), pave, kind, over=over)
    return float(2 * half + rng.uniform(6, 16))


def draw_parking(
    rng: Random,
    canvas: Canvas,
    palette: Palette,
    frame: Frame,
    x: tuple[float, float],
    y: tuple[float, float],
) -> None:
    """Asphalt with marked bays in double rows, and islands with trees, where the ground is soft; notes the bays."""
    found = canvas.box(frame, x, y)
    if found is None or x[1] - x[0] < 8 or y[1] - y[0] < 8:
        return
    where, a, b = found
    soft = np.isin(canvas.surface[where], [int(one) for one in (*_SOFT, Surface.PAVEMENT)])
    distance = np.maximum(np.abs(a - 0.5 * (x[0] + x[1])) - 0.5 * (x[1] - x[0]),
                          np.abs(b - 0.5 * (y[0] + y[1])) - 0.5 * (y[1] - y[0]))  # fmt: skip
    cover = canvas.inside(distance) * soft
    tone = palette.asphalt * rng.uniform(0.85, 1.15)
    canvas.blend(where, cover, canvas.textured(where, tone, 0.05, 0.09), Surface.PARKING)
    bay, deep = 2.6, 5.0
    pitch = 2 * deep + 6.5
    row = np.mod(b - y[0] - 0.3, pitch)
    in_bay = (row < deep) | (row > pitch - deep)
    lines = canvas.stripe(np.mod(a - x[0] - 1.0 + 0.5 * bay, bay) - 0.5 * bay, 0.11)
    lines = np.maximum(lines * in_bay, canvas.stripe(row, 0.11) * (b > y[0] + 3))
    canvas.blend(where, lines * cover * (distance < -0.8) * 0.75, np.array([222.0, 222.0, 216.0]))
    for level in np.arange(y[0] + 0.3, y[1], pitch):
        for shift, turn in ((0.5 * deep, -1.0), (pitch - 0.5 * deep, 1.0)):
            for at in np.arange(x[0] + 1.0 + 0.5 * bay, x[1] - 1.2, bay):
                spot = frame.world(float(at), float(level + shift))
                if level + shift + 0.5 * deep < y[1] and canvas.surface_at(*spot) == Surface.PARKING:
                    away = turn * frame.away
                    canvas.car_spots.append((float(spot[0]), float(spot[1]), math.atan2(away[1], away[0])))
        if rng.random() < 0.4:
            end = x[0] + 1.0
            canvas.fill(frame, (end - 1.0, end + 1.6), (level - deep + 1, level + deep - 1), palette.lawn[0],
                        Surface.GRASS, over=(Surface.PARKING,))  # fmt: skip
            add_tree(rng, canvas, palette, frame.world(end + 0.3, float(level)), float(rng.uniform(0.9, 2.0)))


def _farmstead(rng: Random, canvas: Canvas, palette: Palette, frame: Frame, road: Road) -> float:
    """A drive to a yard with a house, barns, sheds and trees; or a cabin in the woods."""
    cabin = road.frontage == "cabin"
    apart = float(rng.uniform(120, 400) * (1.4 if cabin else 1.0))
    if USES[canvas.use_at(*frame.world(0, road.half_m + 40))] == "water":
        return apart
    back = road.half_m + float(rng.uniform(12, 45))
    wide, deep = (float(rng.uniform(10, 14)), float(rng.uniform(16, 24))) if cabin else (
        float(rng.uniform(18, 32)), float(rng.uniform(30, 48)))  # fmt: skip
    found = canvas.box(frame, (-wide, wide), (back, back + deep), 6.0)
    if found is None:
        return 30.0
    where, a, b = found
    if np.isin(canvas.surface[where], [Surface.ROAD, Surface.BUILDING, Surface.WATER]).any():
        return 30.0
    away = np.hypot(a / (wide + 3), (b - back - 0.5 * deep) / (0.5 * deep + 3)) - 1.0
    soft = np.clip(0.5 - (away + 0.18 * canvas.drift[where]) / 0.15, 0, 1).astype(np.float32)
    lawn = canvas.textured(where, palette.lawn[int(rng.random() < 0.4)], 0.14, 0.1)
    canvas.blend(where, soft, lawn, Surface.GRASS)
    yard = np.clip(0.5 - (away + 0.45 + 0.25 * canvas.drift[where]) / 0.25, 0, 1).astype(np.float32)
    canvas.blend(where, yard, canvas.textured(where, yard_tone(palette), 0.14, 0.08), Surface.BARE)
    canvas.note_use(where, soft > 0.5, "homes")
    bend = float(rng.uniform(-4, 4))
    canvas.fill(frame, (bend - 1.6, bend + 1.6), (0.5 * road.width_m, back + 0.5 * deep), palette.sand,
                Surface.BARE, over=_SOFT, mottle=0.16)  # fmt: skip
    for _ in range(3):
        spot = frame.world(bend + float(rng.uniform(-6, 6)), back + float(rng.uniform(0.3, 0.6)) * deep)
        canvas.car_spots.append((float(spot[0]), float(spot[1]), float(rng.uniform(0, 6.28))))
    _farm_buildings(rng, canvas, palette, frame, wide, back, deep, cabin)
    return apart + 2 * wide


def _farm_buildings(
    rng: Random,
    canvas: Canvas,
    palette: Palette,
    frame: Frame,
    wide: float,
    back: float,
    deep: float,
    cabin: bool,
) -> None:
    side = float(rng.choice([-1.0, 1.0]))
    tone = palette.roofs[rng.integers(len(palette.roofs))] + rng.normal(0, 9)
    x, half = side * 0.55 * wide, float(rng.uniform(4.5, 7.5))
    y = back + 0.25 * deep
    eaves = float(rng.choice([3.2, 5.9]))
    house = [Wing((x - half, x + half), (y, y + 8.5), eaves, str(rng.choice(["gable", "hip"])), 0.6, tone,
                  _facade(rng, palette), 2.9)]  # fmt: skip
    if rng.random() < 0.5:
        house.append(
            Wing((x - 2.5, x + 2.5), (y - 4, y + 5), eaves, "gable", 0.6, tone, house[0].facade, 2.9)
        )
    groups = [house]
    metal = np.array(
        [(190, 190, 186), (150, 152, 154), (134, 84, 70), (120, 116, 108), (206, 206, 204)], np.float64
    )
    for _ in range(1 if cabin else int(rng.integers(1, 5))):
        big = not cabin and rng.random() < 0.6
        length, depth = (
            (rng.uniform(8, 16), rng.uniform(9, 15)) if big else (rng.uniform(2, 4), rng.uniform(3, 6))
        )
        at, start = float(rng.uniform(-0.8, 0.8) * wide), back + float(rng.uniform(0.05, 0.75)) * deep
        walls = float(rng.uniform(4, 6.5)) if big else 2.7
        barn = metal[rng.integers(len(metal))] + rng.normal(0, 6)
        paint = np.array([(140, 70, 58), (180, 176, 168), (150, 140, 124)], np.float64)[rng.integers(3)]
        groups.append([Wing((at - length, at + length), (start, start + depth), walls, "gable", 0.35, barn, paint,
                            walls)])  # fmt: skip
    for wings in groups:
        turned = (
            frame if rng.random() < 0.7 else Frame.turned(frame.origin, frame.angle_rad + rng.normal(0, 0.15))
        )
        turned = Frame(turned.origin, turned.along, turned.away * np.sign(turned.away @ frame.away))
        if is_free(canvas, turned, wings, 1.5):
            draw_building(rng, canvas, turned, wings)
    for _ in range(int(rng.integers(5, 16))):
        angle = rng.uniform(0, 2 * math.pi)
        spot = frame.world(
            math.cos(angle) * (wide + 2), back + 0.5 * deep + math.sin(angle) * (0.5 * deep + 2)
        )
        if canvas.surface_at(*spot) in (Surface.GRASS, Surface.FIELD):
            add_tree(rng, canvas, palette, spot, float(5.0 * rng.beta(2, 2) + 0.6))


def build_block(rng: Random, canvas: Canvas, palette: Palette, patch: Patch, roads: list[Road]) -> None:
    """Fill a city block: a perimeter with a court, towers, slabs, a hall, a car park, a plaza or a park."""
    polygon = patch.polygon_m
    middle = polygon.mean(0)
    edge = 0.5 * (polygon[1] + polygon[2] - polygon[0] - polygon[3])
    frame = Frame.turned(middle, math.atan2(edge[1], edge[0]))
    half = _inner_box(polygon, frame, 15.5)
    if min(half) < 9:
        return
    hx, hy = half
    if patch.use == "parking":
        draw_parking(rng, canvas, palette, frame, (-hx, hx), (-hy, hy))
    elif patch.use == "perimeter":
        _perimeter(rng, canvas, palette, frame, hx, hy)
    elif patch.use == "plaza":
        tone = palette.paving * np.array([1.03, 1.0, 0.96])
        canvas.fill(frame, (-hx, hx), (-hy, hy), tone, Surface.PAVEMENT, over=(Surface.PAVEMENT,))
        for _ in range(3):
            x, y = rng.uniform(-0.7, 0.3) * hx, rng.uniform(-0.7, 0.3) * hy
            canvas.fill(frame, (x, x + 0.4 * hx), (y, y + 0.4 * hy), palette.lawn[0], Surface.GRASS,
                        over=(Surface.PAVEMENT,), mottle=0.12, round_m=2.0)  # fmt: skip
    elif patch.use in ("towers", "slabs", "hall"):
        _free_standing(rng, canvas, palette, frame, hx, hy, patch.use)


def _inner_box(polygon: Floats, frame: Frame, inset_m: float) -> tuple[float, float]:
    """Half sizes of the largest box in the frame that stays within a polygon by a distance."""
    local = (polygon - frame.origin) @ np.stack([frame.along, frame.away], 1)
    half = np.abs(local).max(0)
    for _ in range(40):
        corners = np.array([frame.world(x * half[0], y * half[1]) for x in (-1, 1) for y in (-1, 1)])
        if float(convex_distance(polygon, corners[:, 0], corners[:, 1]).max()) <= -inset_m:
            return float(half[0]), float(half[1])
        half = half - 1.5
        if half.min() < 5:
            break
    return 0.0, 0.0


def _perimeter(rng: Random, canvas: Canvas, palette: Palette, frame: Frame, hx: float, hy: float) -> None:
    """Houses wall to wall around a court, of unlike height and colour."""
    deep = float(min(rng.uniform(11, 15), 0.42 * hx, 0.42 * hy))
    court = palette.lawn[0] if rng.random() < 0.5 else palette.paving * 0.8
    kind = Surface.GRASS if court is palette.lawn[0] else Surface.PAVEMENT
    canvas.fill(frame, (deep - hx, hx - deep), (deep - hy, hy - deep), court, kind, over=(Surface.PAVEMENT,))
    storeys = int(rng.integers(4, 9))
    flat = rng.random() < 0.65
    for side in range(4):
        long, reach = (hx, hy) if side % 2 == 0 else (hy, hx)
        start = -long if side % 2 == 0 else deep - long
        stop = long if side % 2 == 0 else long - deep
        while stop - start > 4:
            end = min(stop, start + float(rng.uniform(12, 34)))
            end = stop if stop - end < 8 else end
            level = storeys + int(rng.integers(-1, 2))
            storey = float(rng.uniform(3.0, 3.6))
            tone = (
                _flat_tone(rng)
                if flat
                else palette.roofs[rng.integers(len(palette.roofs))] + rng.normal(0, 7)
            )
            x, y = (start, end), (reach - deep, reach)
            y = y if side < 2 else (-reach, deep - reach)
            box = (x, y) if side % 2 == 0 else (y, x)
            wing = Wing(
                *box, level * storey, "flat" if flat else "gable", 0.6, tone, _facade(rng, palette), storey
            )
            if rng.random() < 0.93 and is_free(canvas, frame, [wing], -0.3, city=True):
                draw_building(rng, canvas, frame, [wing])
            start = end
    for _ in range(int(rng.integers(2, 9))):
        add_tree(rng, canvas, palette, frame.world(*(rng.uniform(-1, 1, 2) * (hx - deep - 2, hy - deep - 2))),
                 float(rng.uniform(1.4, 3.6)))  # fmt: skip


def _free_standing(
    rng: Random, canvas: Canvas, palette: Palette, frame: Frame, hx: float, hy: float, use: str
) -> None:
    """Towers on podiums, slabs in rows on grass, or one large hall."""
    if use == "slabs":
        canvas.fill(
            frame, (-hx, hx), (-hy, hy), palette.lawn[0], Surface.GRASS, over=(Surface.PAVEMENT,), mottle=0.12
        )
        boxes = [((-hx + 2, hx - rng.uniform(2, 14)), (y, y + 12.0)) for y in np.arange(-hy, hy - 11, 29.0)]
        levels = [int(rng.integers(5, 12))] * len(boxes)
    elif use == "hall":
        cut, back = float(rng.uniform(-0.4, 0.4) * hx), float(rng.uniform(-0.2, 0.9) * hy)
        boxes = [((-0.94 * hx, cut), (-0.94 * hy, 0.94 * hy)), ((cut - 0.5, 0.94 * hx), (-0.94 * hy, back))]
        boxes.append(((cut + 4.0, 0.6 * hx + 6.0), (-0.6 * hy, back - 5.0)))
        boxes = [box for box in boxes if box[0][1] - box[0][0] > 6 and box[1][1] - box[1][0] > 6]
        levels = [int(level) for level in rng.integers(2, 9, len(boxes))]
    else:
        boxes, levels = [((-0.94 * hx, 0.94 * hx), (-0.94 * hy, 0.94 * hy))], [int(rng.integers(1, 4))]
        if rng.random() < 0.3:
            boxes, levels = [], []
        for _ in range(int(rng.integers(1, 4))):
            size = rng.uniform(8, 14, 2)
            x, y = (rng.uniform(-1, 1, 2) * np.maximum(0, np.array([hx, hy]) * 0.9 - size)).tolist()
            boxes.append(((x - size[0], x + size[0]), (y - size[1], y + size[1])))
            levels.append(int(rng.integers(8, 26)))
    for (x, y), level in zip(boxes, levels, strict=True):
        storey = float(rng.uniform(3.0, 3.8))
        wing = Wing((float(x[0]), float(x[1])), (float(y[0]), float(y[1])), level * storey, "flat", 0.0,
                    _flat_tone(rng), _facade(rng, palette), storey)  # fmt: skip
        draw_building(rng, canvas, frame, [wing])
