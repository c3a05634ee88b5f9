"""Roads on the canvas: pavements, shoulders, carriageways with their wear, and markings that stop at junctions."""

from __future__ import annotations

import numpy as np

from smdt.world.canvas import Canvas, Floats, Frame, Masks, Rasters, member
from smdt.world.layers import Surface
from smdt.world.palette import Palette
from smdt.world.roads import Meeting, Road, find_meetings
from smdt.world.strips import Strip, strips

_WHITE = np.array([226.0, 226.0, 220.0])
_YELLOW = np.array([214.0, 172.0, 66.0])
_GROUND = (Surface.GRASS, Surface.FIELD, Surface.BARE, Surface.WATER, Surface.PAVEMENT)


def draw_roads(rng: np.random.Generator, canvas: Canvas, palette: Palette, roads: list[Road]) -> None:
    """Draw all roads, layer by layer, so that junctions join; note lamp posts, power poles and car spots."""
    meetings = find_meetings(roads)
    order = sorted(range(len(roads)), key=lambda index: roads[index].rank)
    for index in order:
        _draw_sides(canvas, palette, roads[index])
    seeds = rng.integers(0, 2**31, len(roads))
    for index in order:
        _draw_carriageway(np.random.default_rng(seeds[index]), canvas, palette, roads[index], meetings[index])
    for index in order:
        _draw_markings(canvas, palette, roads[index], meetings[index])
    for index in order:
        if roads[index].rail:
            _draw_rails(canvas, roads[index])
        _furnish(rng, canvas, roads[index], meetings[index])


def _draw_sides(canvas: Canvas, palette: Palette, road: Road) -> None:
    """Verge, kerb and pavement, or a gravel shoulder fading into the ground."""
    half = 0.5 * road.width_m
    bulb = road.bulb_m
    for strip in strips(canvas, road.points_m, road.half_m + 1.5 + road.mown_m, closed=road.closed):
        ground = strip.own & member(canvas.surface[strip.where], _GROUND)
        if road.urban:
            if road.verge_m > 0:
                cover = canvas.inside(strip.away - (half + road.verge_m + 0.1)) * ground
                tone = canvas.textured(strip.where, palette.lawn[0], 0.14)
                canvas.blend(strip.where, cover, tone, Surface.GRASS)
            inner = half + road.verge_m
            edge = canvas.inside(strip.away - (inner + road.pavement_m)) * canvas.inside(inner - strip.away)
            _pave(canvas, palette, strip, edge * ground)
            kerb = canvas.stripe(strip.away - (half + 0.1), 0.2) * ground
            canvas.blend(strip.where, kerb, palette.paving * 1.08, Surface.PAVEMENT)
        elif road.shoulder_m > 0:
            _verge(canvas, palette, road, strip, ground)
            ragged = half + road.shoulder_m * (1.0 + 0.35 * canvas.mottle[strip.where])
            cover = np.clip(0.5 - (strip.away - ragged) / 0.8, 0, 1) * ground
            tone = palette.sand if road.cover != "dirt" else 0.5 * (palette.sand + palette.soil)
            canvas.blend(
                strip.where, cover * 0.85, canvas.textured(strip.where, tone, 0.16, 0.06), Surface.BARE
            )
    if bulb:
        _disc(canvas, road.points_m[-1], bulb + road.pavement_m, palette.paving, Surface.PAVEMENT)


def _verge(canvas: Canvas, palette: Palette, road: Road, strip: Strip, ground: Masks) -> None:
    """Rough grass beside a country road, where no crop and few trees grow."""
    edge = 0.5 * road.width_m + road.shoulder_m + road.mown_m + 1.2 * canvas.drift[strip.where]
    dry = canvas.surface[strip.where] != Surface.WATER
    cover = np.clip(0.5 - (strip.away - edge) / 1.5, 0, 1) * (ground & dry)
    green = np.clip(0.45 + 0.5 * canvas.drift[strip.where], 0, 1)[..., None]
    tone = palette.meadow[1] + green * (palette.meadow[0] - palette.meadow[1])
    tone = tone * (1.0 + 0.12 * canvas.mottle[strip.where])[..., None]
    kind = Surface.BARE if palette.climate == "arid" else Surface.GRASS
    canvas.blend(strip.where, cover * (0.35 if palette.climate == "arid" else 0.8), tone, kind)
    canvas.note_use(strip.where, cover > 0.5, "verge")


def _pave(canvas: Canvas, palette: Palette, strip: Strip, cover: Rasters) -> None:
    """Paving with joints every slab."""
    tone = canvas.textured(strip.where, palette.paving, 0.06, 0.05)
    joint = canvas.stripe(np.mod(strip.along, 1.8) - 0.9, 0.05)
    canvas.blend(strip.where, cover, tone * (1.0 - 0.12 * joint[..., None]), Surface.PAVEMENT)


def _disc(canvas: Canvas, centre: Floats, radius_m: float, tone: Floats, surface: Surface) -> None:
    found = canvas.window(centre[:1], centre[1:], radius_m + 0.5)
    if found is None:
        return
    where, east, north = found
    cover = canvas.inside(np.hypot(east - float(centre[0]), north - float(centre[1])) - radius_m)
    cover = cover * (canvas.surface[where] != Surface.ROAD)
    canvas.blend(where, cover, canvas.textured(where, tone, 0.06), surface)


def surface_tone(palette: Palette, road: Road) -> Floats:
    """Colour of a road's carriageway."""
    worn = palette.asphalt + (150.0 - palette.asphalt) * 0.4 * road.wear
    tone = {
        "concrete": np.array([176.0, 172.0, 163.0]),
        "gravel": 0.4 * palette.sand + np.array([104.0, 101.0, 94.0]),
        "dirt": 0.7 * palette.sand + 0.35 * palette.soil,
    }.get(road.cover, worn)
    result: Floats = tone * road.tone
    return result


def _draw_carriageway(
    rng: np.random.Generator, canvas: Canvas, palette: Palette, road: Road, meetings: list[Meeting]
) -> None:
    """The road's surface, wider where its kerbs turn into a junction."""
    tone = surface_tone(palette, road)
    phase, half = rng.uniform(0, 100, 4), 0.5 * road.width_m
    loose = road.cover in ("gravel", "dirt")
    flare = 1.2 if road.urban else 3.0
    for strip in strips(canvas, road.points_m, half + flare + 1.0, closed=road.closed):
        edge = np.full_like(strip.away, half)
        for meeting in meetings:
            if meeting.ends:
                near = np.clip(1 - (np.abs(strip.along - meeting.along_m) - meeting.clear_m) / 5.0, 0, 1)
                edge = np.maximum(edge, half + flare * near * near)
        if loose:
            edge = edge + 0.5 * canvas.mottle[strip.where]
        cover = np.clip(0.5 - (strip.away - edge) / (1.0 if loose else canvas.pixel_m), 0, 1) * strip.own
        paint = canvas.textured(strip.where, tone, 0.08 if loose else 0.045, 0.06)
        paint *= _wear(canvas, road, strip, phase)[..., None]
        canvas.blend(strip.where, cover, paint, Surface.ROAD)
    if road.bulb_m:
        _turning(canvas, road, tone)


def _turning(canvas: Canvas, road: Road, tone: Floats) -> None:
    """The circle at a dead end."""
    centre = road.points_m[-1]
    found = canvas.window(centre[:1], centre[1:], road.bulb_m + 1)
    if found is not None:
        where, east, north = found
        cover = canvas.inside(np.hypot(east - float(centre[0]), north - float(centre[1])) - road.bulb_m)
        canvas.blend(where, cover, canvas.textured(where, tone, 0.05, 0.05), Surface.ROAD)


def _wear(canvas: Canvas, road: Road, strip: Strip, phase: Floats) -> Rasters:
    """Factor on the surface: wheel tracks, patches, sealed cracks, joints, and the loose middle of a track."""
    lane = road.width_m / road.lanes
    across = np.mod(strip.lateral + 0.5 * road.width_m, lane) - 0.5 * lane
    wheel = np.exp(-(((np.abs(across) - 0.85) / 0.35) ** 2))
    if road.cover in ("gravel", "dirt"):
        return np.asarray(1.0 + 0.10 * wheel - 0.09 * np.exp(-((across / 0.4) ** 2)), np.float32)
    factor = 1.0 + (0.06 - 0.10 * road.wear) * wheel - 0.05 * np.exp(-((across / 0.3) ** 2))
    if road.cover == "concrete":
        joint = canvas.stripe(np.mod(strip.along + float(phase[0]), 5.0) - 2.5, 0.06)
        factor = factor - 0.2 * np.maximum(joint, canvas.stripe(strip.lateral, 0.06))
    cell = np.floor((strip.along + float(phase[1])) / 9.0)
    roll = _hash(cell, float(phase[2]))
    side = np.sign(strip.lateral) * np.where(roll > 0.5, 1, -1)
    patch = (roll * 7 % 1 < 0.12 * road.wear) & (side > 0)
    patch &= np.abs(np.mod(strip.along + float(phase[1]), 9.0) - 4.5) < 1.5 + 2.5 * (roll * 13 % 1)
    factor = factor - 0.09 * patch
    wobble = 0.5 * np.sin(strip.lateral * 1.9 + roll * 40) + 0.25 * canvas.mottle[strip.where]
    crack = canvas.stripe(np.mod(strip.along + float(phase[1]), 9.0) - 4.5 + (roll - 0.5) * 7 + wobble, 0.07)
    crack *= roll * 3 % 1 < road.wear
    seam = canvas.stripe(across - 0.5 * lane + 0.5 + 0.3 * canvas.drift[strip.where], 0.06)
    factor = factor - 0.3 * crack - 0.22 * seam * (roll * 5 % 1 < 0.6 * road.wear)
    return np.asarray(factor, np.float32)


def _hash(cell: Rasters, salt: float) -> Rasters:
    """A repeatable number in 0..1 for each whole number."""
    mixed = np.sin(cell * np.float32(12.9898) + np.float32(salt)) * np.float32(437.585)
    return np.asarray(mixed - np.floor(mixed), np.float32)


def _draw_markings(canvas: Canvas, palette: Palette, road: Road, meetings: list[Meeting]) -> None:
    """Centre, lane and edge lines, stop lines and crosswalks."""
    marked = road.centre != "none" or road.edge_lines or road.lanes > 2
    if not marked or road.cover in ("gravel", "dirt"):
        return
    length = float(road.stations()[-1])
    fade = 1.0 - 0.4 * road.wear
    for strip in strips(canvas, road.points_m, 0.5 * road.width_m + 1.0, closed=road.closed):
        clear = strip.own & (strip.along > 0) & (strip.along < length)
        middle, edges = clear.astype(np.float32), clear.astype(np.float32)
        stops = np.zeros_like(middle)
        for meeting in meetings:
            gap = np.abs(strip.along - meeting.along_m) - meeting.clear_m
            edges *= np.clip((gap - 2.0) / canvas.pixel_m + 0.5, 0, 1)
            if meeting.minor:
                continue
            back = 5.2 if road.urban and meeting.count > 3 else 2.2
            middle *= np.clip((gap - back) / canvas.pixel_m + 0.5, 0, 1)
            stops = np.maximum(stops, _stop(canvas, road, strip, gap, meeting))
        worn = fade * (0.8 + 0.2 * np.clip(canvas.mottle[strip.where] + 0.6, 0, 1))
        colour = _YELLOW if palette.yellow and road.cover != "none" else _WHITE
        canvas.blend(strip.where, _centre(canvas, road, strip) * middle * worn, colour)
        white = np.maximum(_lanes(canvas, road, strip) * middle, _edges(canvas, road, strip) * edges)
        canvas.blend(strip.where, np.maximum(white, stops * clear) * worn, _WHITE)
        if road.one_way and palette.yellow:
            left = canvas.stripe(strip.lateral - (0.5 * road.width_m - 1.1), 0.15)
            canvas.blend(strip.where, left * edges * worn, _YELLOW)


def _centre(canvas: Canvas, road: Road, strip: Strip) -> Rasters:
    """Coverage of the line between the directions."""
    if road.centre == "dashed":
        return canvas.stripe(strip.lateral, 0.15) * canvas.inside(np.abs(np.mod(strip.along, 12.0) - 6) - 1.5)
    if road.centre == "solid":
        return canvas.stripe(strip.lateral, 0.14)
    if road.centre == "double":
        return canvas.stripe(np.abs(strip.lateral) - 0.17, 0.15)
    return np.zeros_like(strip.lateral)


def _lanes(canvas: Canvas, road: Road, strip: Strip) -> Rasters:
    """Coverage of the dashed lines between lanes of one direction."""
    if road.lanes <= 2 and not road.one_way:
        return np.zeros_like(strip.lateral)
    lane = (road.width_m - (3.3 if road.one_way else 0.6)) / road.lanes
    across = strip.lateral - (0.55 if road.one_way and road.lanes == 2 else 0.0)
    line = canvas.stripe(np.mod(across + 0.5 * lane, lane) - 0.5 * lane, 0.14)
    line = line * (np.abs(across) < (0.5 * road.lanes - 0.5) * lane)
    if not road.one_way:
        line = line * (np.abs(across) > 0.5 * lane)
    result: Rasters = line * canvas.inside(np.abs(np.mod(strip.along, 12.0) - 6) - 1.5)
    return result


def _edges(canvas: Canvas, road: Road, strip: Strip) -> Rasters:
    """Coverage of the edge lines; the left one of a one-way road is painted by the caller."""
    if not road.edge_lines:
        return np.zeros_like(strip.lateral)
    if road.one_way:
        return canvas.stripe(strip.lateral + (0.5 * road.width_m - 2.2), 0.15)
    return canvas.stripe(np.abs(strip.lateral) - (0.5 * road.width_m - 0.28), 0.15)


def _stop(canvas: Canvas, road: Road, strip: Strip, gap: Rasters, meeting: Meeting) -> Rasters:
    """Coverage of the stop line, and in towns of the crosswalk, on this arm of a junction."""
    inside = canvas.inside(strip.away - (0.5 * road.width_m - 0.25))
    if road.urban and meeting.count > 3:
        bars = canvas.inside(np.abs(gap - 2.3) - 1.2)
        bars = bars * canvas.inside(np.abs(np.mod(strip.lateral, 1.2) - 0.6) - 0.3)
        line = canvas.stripe(gap - 4.4, 0.4)
    elif meeting.ends and road.centre != "none":
        bars, line = np.zeros_like(gap), canvas.stripe(gap - 1.6, 0.4)
    else:
        return np.zeros_like(gap)
    coming = (strip.along < meeting.along_m) == (strip.lateral < 0)
    result: Rasters = np.maximum(bars, line * coming) * inside
    return result


def _draw_rails(canvas: Canvas, road: Road) -> None:
    """Guard rails on some stretches, beside the shoulder."""
    width = max(0.3, canvas.pixel_m)
    for strip in strips(canvas, road.points_m, road.half_m + 1.0):
        soft = member(canvas.surface[strip.where], (Surface.GRASS, Surface.BARE))
        cover = canvas.stripe(strip.away - (0.5 * road.width_m + 0.8), width) * (strip.own & soft)
        cover = cover * (np.mod(strip.along, 260.0) < 170.0)
        canvas.blend(strip.where, cover, np.array([158.0, 158.0, 154.0]))
        rail = cover > 0.4
        canvas.surface[strip.where][rail] = Surface.FENCE
        canvas.height_m[strip.where][rail] = 0.75


def _furnish(rng: np.random.Generator, canvas: Canvas, road: Road, meetings: list[Meeting]) -> None:
    """Cars' places, lamp posts, power poles and signs along a road."""
    stations = road.stations()
    turn = rng.choice([-1.0, 1.0])
    next_lamp, next_pole, gap = rng.uniform(5, 25), rng.uniform(5, 40), rng.uniform(24, 34)
    next_car, next_parked = rng.uniform(3, 20, 2), rng.uniform(4, 9, 2)
    next_sign = rng.uniform(20, 200)
    half = 0.5 * road.width_m
    lane = half - 1.7 if road.lanes == 2 and not road.kerb_parking else 1.7
    lanes = (-1.33, 2.43) if road.one_way and road.lanes == 2 else (-lane, lane)
    last_segment = len(stations) - 2
    for along in np.arange(2.0, stations[-1] - 2.0, 1.0):
        segment = min(int(np.searchsorted(stations, along, side="right")) - 1, last_segment)
        step = road.points_m[segment + 1] - road.points_m[segment]
        unit = step / max(float(np.hypot(*step)), 1e-6)
        frame = Frame(
            road.points_m[segment] + unit * (along - stations[segment]), unit, np.array([-unit[1], unit[0]])
        )
        near = any(abs(along - meeting.along_m) < meeting.clear_m + 6 for meeting in meetings)
        for side in (0, 1):
            sign = -1.0 if side == 0 else 1.0  # right-hand traffic: rightwards goes along the points
            heading = frame.angle_rad + (np.pi if side and not road.one_way else 0.0)
            if along >= next_car[side]:
                outer = 3.3 if road.lanes >= 4 and rng.random() < 0.5 else 0.0
                _spot(canvas, frame.world(0.0, lanes[side] + sign * outer), heading)
                next_car[side] = along + rng.uniform(14, 55)
            if road.kerb_parking and along >= next_parked[side] and not near:
                _spot(canvas, frame.world(0.0, sign * (half - 1.15)), heading)
                next_parked[side] = along + rng.uniform(5.6, 9)
        if road.poles == "lamps" and along >= next_lamp and not near:
            _pole(canvas, frame.world(0.0, turn * (half + 0.5)), rng.uniform(5.0, 8.0))
            next_lamp, turn = along + gap, -turn
        if road.poles == "power" and along >= next_pole and not near:
            _pole(canvas, frame.world(0.0, turn * (half + 4.0)), rng.uniform(8.5, 11.0))
            next_pole = along + 1.5 * gap
        if not road.urban and along >= next_sign and not near:
            _pole(canvas, frame.world(0.0, -turn * (half + 1.8)), 2.3)
            next_sign = along + rng.uniform(90, 300)
    if road.centre != "none":
        _stop_signs(canvas, road, meetings)


def _stop_signs(canvas: Canvas, road: Road, meetings: list[Meeting]) -> None:
    """A sign on the right wherever the road ends at another."""
    half, last_segment = 0.5 * road.width_m, len(road.points_m) - 2
    for meeting in meetings:
        if meeting.ends:
            forward = meeting.along_m > 1.0
            segment = last_segment if forward else 0
            step = road.points_m[segment + 1] - road.points_m[segment]
            unit = step / max(float(np.hypot(*step)), 1e-6) * (1.0 if forward else -1.0)
            end = road.points_m[-1 if forward else 0]
            spot = end - unit * (meeting.clear_m + 2.5) + np.array([unit[1], -unit[0]]) * (half + 0.9)
            _pole(canvas, spot, 2.4)


def _spot(canvas: Canvas, at: Floats, heading_rad: float) -> None:
    if canvas.surface_at(at[0], at[1]) == Surface.ROAD:
        canvas.car_spots.append((float(at[0]), float(at[1]), float(heading_rad)))


def _pole(canvas: Canvas, at: Floats, height_m: float) -> None:
    free = (Surface.GRASS, Surface.PAVEMENT, Surface.BARE, Surface.FIELD)
    if canvas.surface_at(at[0], at[1]) in free:
        canvas.poles.append((float(at[0]), float(at[1]), float(height_m)))
