"""What a height raster cannot show: near trees with trunks and gaps, cars, people, poles and wires.

Each thing is met by the columns that look at it, found from its azimuth; a column then tests all its rows at
the thing's distance. So the work grows with the columns a thing covers, not with things times pixels. What is
hit comes back as points with a depth, and the renderer keeps the nearest one of each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smdt.world.layers import Surface
from smdt.world.moment import Moment
from smdt.world.texture import cell_hash, noise_at


@dataclass(frozen=True)
class Eye:
    """Where the camera is and what its pixels look along.

    Attributes:
        east_m: in the place.
        north_m: in the place.
        height_m: elevation, from the level that the ground of things is measured from.
        above_m: height above the ground under it.
        azimuth: (W,) radians of each column.
        slope: (W, H) tangent of each pixel's elevation.
    """

    east_m: float
    north_m: float
    height_m: float
    above_m: float
    azimuth: Tensor
    slope: Tensor


@dataclass(frozen=True)
class Hits:
    """Points met by pixels.

    Attributes:
        pixel: (K,) int64, column·H + row.
        depth: (K,) metres, horizontal.
        colour: (K, 3) RGB in 0..255, lit.
        surface: (K,) uint8 of Surface.
    """

    pixel: Tensor
    depth: Tensor
    colour: Tensor
    surface: Tensor


def _meeting(eye: Eye, east: Tensor, north: Tensor, reach: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Things (N,) and columns that meet: indices (P,) of both, sideways offset u (P,) and distance (P,)."""
    dx, dy = east - eye.east_m, north - eye.north_m
    sine, cosine = torch.sin(eye.azimuth), torch.cos(eye.azimuth)
    forward = dx[:, None] * sine + dy[:, None] * cosine
    aside = (
        dy[:, None] * sine - dx[:, None] * cosine
    )  # how far the ray passes to the right of the thing's middle
    thing, column = torch.nonzero((forward > 0.4) & (aside.abs() < reach[:, None]), as_tuple=True)
    return thing, column, aside[thing, column], forward[thing, column]


def _height(eye: Eye, ground: Tensor, column: Tensor, depth: Tensor) -> Tensor:
    """Height (P, H) above the ground (P,) of things at a distance (P,) where the rows of columns (P,) pass them."""
    return (eye.height_m - ground)[:, None] + eye.slope[column] * depth[:, None]


def _gather(eye: Eye, hit: Tensor, column: Tensor, depth: Tensor, colour: Tensor, surface: int) -> Hits:
    """Hits where (P, H) is True; colour (P, H, 3), depth (P,) or (P, H)."""
    pair, row = torch.nonzero(hit, as_tuple=True)
    far = depth[pair, row] if depth.ndim == 2 else depth[pair]
    label = torch.full(pair.shape, surface, dtype=torch.uint8, device=pair.device)
    return Hits(column[pair] * eye.slope.shape[1] + row, far, colour[pair, row], label)


def tree_hits(eye: Eye, trees: dict[str, Tensor], moment: Moment) -> Hits:
    """Trees: an ellipsoid or cone of leaves with ragged edge and gaps, on a trunk.

    Args:
        eye: the camera.
        trees: east, north, ground, radius, top, base (N,), colour (N, 3), conifer (N,) bool, number (N,).
        moment: gives light, season and fullness.
    """
    thing, column, aside, depth = _meeting(eye, trees["east"], trees["north"], trees["radius"] * 1.15)
    radius, top, base = (trees[name][thing][:, None] for name in ("radius", "top", "base"))
    conifer, number = trees["conifer"][thing][:, None], trees["number"][thing][:, None]
    u = aside[:, None]
    z = _height(eye, trees["ground"][thing], column, depth)
    middle, half = 0.5 * (top + base), (0.5 * (top - base)).clamp_min(0.3)
    rough = noise_at(u * 34 + 91 * number, z * 34 + 57 * number)
    fine = noise_at(u * 120 + 13 * number, z * 120)
    lift = (z - middle) / half
    round_edge = (u / radius) ** 2 + lift**2 < 0.62 + 0.6 * rough
    cone_edge = (u.abs() < radius * (0.55 - 0.55 * lift) * (0.6 + 0.7 * rough)) & (lift.abs() < 1)
    full = 0.25 + 0.75 * torch.where(conifer, torch.ones_like(u), torch.full_like(u, moment.leaf_density))
    leaf = torch.where(conifer, cone_edge, round_edge) & (fine < full) & (z > 0.05)
    trunk = (u.abs() < 0.05 + 0.05 * radius * (1 - 0.4 * (z / top))) & (z > 0) & (z < middle) & (base > 0.3)
    # Light on a round crown: its normal has a part to the right, one up and one towards the camera.
    right, up = (u / radius).clamp(-1, 1), lift.clamp(-1, 1)
    toward = (1 - right**2 - up**2).clamp_min(0.05).sqrt()
    sun_east, sun_north, sun_up = moment.sun.direction()
    sine, cosine = torch.sin(eye.azimuth)[column][:, None], torch.cos(eye.azimuth)[column][:, None]
    sun_right, sun_toward = cosine * sun_east - sine * sun_north, -(sine * sun_east + cosine * sun_north)
    facing = (right * sun_right + up * sun_up + toward * sun_toward).clamp_min(0) / max(sun_up, 0.4)
    light = (1 - moment.direct) * (0.72 + 0.28 * up) + moment.direct * facing.clamp_max(1.3)
    tint = torch.tensor(moment.leaf_tint, device=u.device)
    tone = trees["colour"][thing]
    tone = torch.where(conifer, tone, tone * tint)
    mottle = 0.55 + 0.5 * fine + 0.4 * rough
    leaves = tone[:, None, :] * (light * mottle)[..., None]
    bark = torch.tensor([84.0, 72.0, 60.0], device=u.device) * (0.5 + 0.35 * light)[..., None]
    colour = torch.where(leaf[..., None], leaves, bark)
    return _gather(eye, leaf | trunk, column, depth, colour, Surface.TREE)


def post_hits(eye: Eye, posts: dict[str, Tensor], moment: Moment, surface: int) -> Hits:
    """Upright thin things: east, north, ground, half_width, top (N,), colour (N, 3), round (N,) bool, for people."""
    thing, column, aside, depth = _meeting(
        eye, posts["east"], posts["north"], posts["half_width"] * 1.0 + 0.02
    )
    top, half = posts["top"][thing][:, None], posts["half_width"][thing][:, None]
    u, z = aside[:, None], _height(eye, posts["ground"][thing], column, depth)
    body = (z > 0) & (z < top)
    lifted = z / top
    shape = torch.where(lifted > 0.86, 0.42, torch.where(lifted > 0.45, 1.0, 0.75))  # head, shoulders, legs
    body &= torch.where(posts["round"][thing][:, None], u.abs() < half * shape, u.abs() < half + 0.5 * 0.0)
    light = 0.55 + 0.35 * moment.direct * (1 + u / half.clamp_min(0.02)).clamp(0, 2) / 2
    colour = (
        posts["colour"][thing][:, None, :]
        * torch.where(posts["round"][thing][:, None] & (lifted < 0.45), 0.55, 1.0)[..., None]
    )
    skin = torch.tensor([190.0, 150.0, 126.0], device=u.device)
    head = posts["round"][thing][:, None] & (lifted > 0.86)
    colour = torch.where(head[..., None], skin, colour) * light[..., None]
    return _gather(eye, body, column, depth, colour, surface)


def box_hits(eye: Eye, boxes: dict[str, Tensor], moment: Moment) -> Hits:
    """Cars: two boxes each, body and cabin, met on their sides and on their tops, tilted lengthwise with the ground.

    Args:
        eye: the camera.
        boxes: east, north, ground, tilt (rise of the ground along their length), angle, half_length, half_width,
            bottom, top (N,), colour (N, 3), cabin (N,) bool.
        moment: gives the light.
    """
    reach = torch.hypot(boxes["half_length"], boxes["half_width"])
    thing, column, _, _ = _meeting(eye, boxes["east"], boxes["north"], reach)
    turn_cos, turn_sin = torch.cos(boxes["angle"][thing]), torch.sin(boxes["angle"][thing])
    dx, dy = eye.east_m - boxes["east"][thing], eye.north_m - boxes["north"][thing]
    sine, cosine = torch.sin(eye.azimuth)[column], torch.cos(eye.azimuth)[column]
    start = torch.stack([dx * turn_cos + dy * turn_sin, dy * turn_cos - dx * turn_sin])
    ray = torch.stack([sine * turn_cos + cosine * turn_sin, cosine * turn_cos - sine * turn_sin])
    ray = torch.where(ray.abs() < 1e-6, torch.full_like(ray, 1e-6), ray)
    half = torch.stack([boxes["half_length"][thing], boxes["half_width"][thing]])
    first, second = (-half - start) / ray, (half - start) / ray
    enters, leaves = torch.minimum(first, second), torch.maximum(first, second)
    near, far = enters.max(0).values, leaves.min(0).values
    met = (near < far) & (near > 0.3)
    thing, column, near, far = thing[met], column[met], near[met], far[met]
    on_end = (enters[0] > enters[1])[met]
    x = start[0][met] + near * ray[0][met]
    # In the box's own frame the ground is level: a ray has the slope that it has against the tilted ground.
    tilt = boxes["tilt"][thing]
    slope = eye.slope[column] - (tilt * ray[0][met])[:, None]
    level = (eye.height_m - boxes["ground"][thing] - tilt * start[0][met])[:, None]
    z_near, z_far = level + slope * near[:, None], level + slope * far[:, None]
    bottom, top = boxes["bottom"][thing][:, None], boxes["top"][thing][:, None]
    side = (z_near >= bottom) & (z_near <= top)
    roof = (z_near > top) & (z_far < top)
    depth = torch.where(roof, (top - level) / slope.clamp_max(-1e-4), near[:, None].expand_as(slope))
    cabin, length = boxes["cabin"][thing][:, None], boxes["half_length"][thing][:, None]
    glass = cabin & side & (z_near > bottom + 0.08) & (z_near < top - 0.1)
    wheel = (
        ~cabin & side & ~on_end[:, None] & (z_near < 0.55) & ((x[:, None].abs() - 0.62 * length).abs() < 0.32)
    )
    shade = torch.where(on_end, 0.8, 1.0)[:, None] * torch.where(roof, 1.12, 0.9 - 0.25 * moment.direct)
    colour = boxes["colour"][thing][:, None, :] * shade[..., None]
    colour = torch.where(glass[..., None], torch.tensor([44.0, 52.0, 60.0], device=slope.device), colour)
    colour = torch.where(wheel[..., None], torch.full_like(colour, 28.0), colour)
    return _gather(eye, side | roof, column, depth, colour, Surface.VEHICLE)


def car_boxes(spots: Tensor, moment: Moment) -> dict[str, Tensor]:
    """The bodies and cabins of the cars that stand at spots (N, 3) at this moment."""
    number = torch.arange(len(spots), device=spots.device)
    there = cell_hash(number, torch.full_like(number, moment.seed)) < moment.traffic
    spots, number = spots[there], number[there]
    paint = torch.tensor(
        [
            [228, 228, 226],
            [30, 31, 34],
            [120, 124, 128],
            [176, 180, 184],
            [128, 28, 30],
            [34, 58, 104],
            [96, 92, 80],
        ],
        dtype=torch.float32,
        device=spots.device,
    )
    pick = (cell_hash(number, torch.full_like(number, moment.seed + 1)) * 6.999).long()
    van = cell_hash(number, torch.full_like(number, moment.seed + 2)) < 0.15
    long, tall = torch.where(van, 2.6, 2.15), torch.where(van, 2.2, 1.45)
    shift = torch.where(van, 0.1, -0.25)
    turn_cos, turn_sin = torch.cos(spots[:, 2]), torch.sin(spots[:, 2])
    body = {
        "east": spots[:, 0],
        "north": spots[:, 1],
        "angle": spots[:, 2],
        "half_length": long,
        "half_width": torch.full_like(long, 0.88),
        "bottom": torch.full_like(long, 0.2),
        "top": torch.full_like(long, 0.86),
        "colour": paint[pick],
        "cabin": torch.zeros_like(van),
    }
    cabin = body | {
        "east": spots[:, 0] + shift * turn_cos,
        "north": spots[:, 1] + shift * turn_sin,
        "half_length": torch.where(van, 2.3, 1.15),
        "half_width": torch.full_like(long, 0.76),
        "bottom": torch.full_like(long, 0.86),
        "top": tall,
        "cabin": torch.ones_like(van),
    }
    return {name: torch.cat([body[name], cabin[name]]) for name in body}


def wire_hits(
    eye: Eye, poles: Tensor, ground: Tensor, top_deg: float, row_deg: float, tilt_deg: Tensor
) -> Hits:
    """Wires between neighbouring tall poles of the table, sagging; one pixel wide, since they are thin.

    Args:
        eye: the camera.
        poles: (N, 3) east, north, height, in the order they stand along their line.
        ground: (N,) elevation of their feet.
        top_deg: elevation of the frame's upper edge.
        row_deg: degrees a row.
        tilt_deg: (W,) how much higher each column looks.
    """
    start, end = poles[:-1], poles[1:]
    span = torch.hypot(*(end - start)[:, :2].T)
    strung = (span > 15) & (span < 75) & (start[:, 2] > 7) & (end[:, 2] > 7)
    start, end = start[strung], end[strung]
    foot, climb = ground[:-1][strung], (ground[1:] - ground[:-1])[strung]
    east, north = torch.sin(eye.azimuth)[None], torch.cos(eye.azimuth)[None]
    along = end - start
    to_start = start[:, :2] - torch.tensor([eye.east_m, eye.north_m], device=poles.device)
    cross = east * along[:, 1:2] - north * along[:, 0:1]
    cross = torch.where(cross.abs() < 1e-6, torch.full_like(cross, 1e-6), cross)
    depth = (to_start[:, 0:1] * along[:, 1:2] - to_start[:, 1:2] * along[:, 0:1]) / cross
    share = (to_start[:, 0:1] * north - to_start[:, 1:2] * east) / cross
    wire, column = torch.nonzero((depth > 1.5) & (depth < 120) & (share >= 0) & (share <= 1), as_tuple=True)
    depth, share = depth[wire, column], share[wire, column]
    hang = start[wire, 2] + share * along[wire, 2] - 4 * share * (1 - share) * 0.9
    hang = hang + foot[wire] + share * climb[wire]
    pixels, depths = [], []
    for drop in (0.25, 0.7, 1.5):
        elevation = torch.rad2deg(torch.atan2(hang - drop - eye.height_m, depth))
        row = ((top_deg - elevation + tilt_deg[column]) / row_deg).floor().long()
        inside = (row >= 0) & (row < eye.slope.shape[1])
        pixels.append((column * eye.slope.shape[1] + row)[inside])
        depths.append(depth[inside])
    pixel, depth = torch.cat(pixels), torch.cat(depths)
    colour = torch.full((len(pixel), 3), 58.0, device=poles.device)
    return Hits(pixel, depth, colour, torch.full_like(pixel, int(Surface.POLE), dtype=torch.uint8))
