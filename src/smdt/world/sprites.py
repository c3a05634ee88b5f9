"""What a height raster cannot show: near trees with trunks and gaps, cars, people, poles and wires.

Each thing is met by the columns that look at it, found from its azimuth; a column then tests the rows between the
thing's foot and its top there. So the work grows with the pixels a thing covers, not with things times pixels. Of what
is hit the nearest in each pixel is coloured; it comes back as points with a depth, of which the renderer again keeps
the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smdt.world.eye import Eye
from smdt.world.layers import Surface
from smdt.world.moment import Moment
from smdt.world.picture import Points, foremost
from smdt.world.texture import cell_hash, noise_at


def _meeting(eye: Eye, east: Tensor, north: Tensor, reach: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Things (N,) and columns that meet: indices (P,) of both, sideways offset u (P,) and distance (P,)."""
    dx, dy = (east - eye.east_m)[:, None], (north - eye.north_m)[:, None]
    # How far the ray passes to the right of the thing's middle.
    aside = dy * eye.sine - dx * eye.cosine
    meets = aside.abs() < reach[:, None]
    thing, column = torch.nonzero(meets & (dx * eye.sine + dy * eye.cosine > 0.4), as_tuple=True)
    sine, cosine = eye.sine[column], eye.cosine[column]
    dx, dy = dx[thing, 0], dy[thing, 0]
    return thing, column, dy * sine - dx * cosine, dx * sine + dy * cosine


@dataclass(frozen=True)
class _Cells:
    """Pixels that may show something, of pairs of a thing and a column.

    Attributes:
        pair: (K,) which of the P pairs.
        pixel: (K,) column·H + row.
        slope: (K,) tangent of the pixels' elevation.
    """

    pair: Tensor
    pixel: Tensor
    slope: Tensor

    @staticmethod
    def between(eye: Eye, column: Tensor, low: Tensor, high: Tensor) -> _Cells:
        """The pixels of pairs' columns (P,) that look between two slopes (P,), a little over each."""
        first = (eye.row_of(column, high) - 0.01).ceil().clamp_(0, eye.rows).int()
        last = (eye.row_of(column, low) + 0.01).floor().clamp_(-1, eye.rows - 1).int()
        count = (last - first + 1).clamp_min_(0)
        start = column * eye.rows + first - (count.cumsum(0) - count)
        pair = torch.repeat_interleave(count)
        pixel = torch.arange(len(pair), device=pair.device).add_(start.index_select(0, pair))
        return _Cells(pair, pixel, eye.slope.view(-1).index_select(0, pixel))

    def foremost(self, hit: Tensor, depth: Tensor, seen: Tensor) -> tuple[Tensor, _Cells]:
        """Those that are hit (K,) bool and the nearest in their pixel: their numbers, and themselves.

        Args:
            hit: which of them count.
            depth: (K,) metres to them.
            seen: (W·H,) metres to what the pixels show already.
        """
        at = torch.nonzero(hit)[:, 0]
        at = at.index_select(0, foremost(self.pixel.index_select(0, at), depth.index_select(0, at), seen))
        return at, _Cells(*(part.index_select(0, at) for part in (self.pair, self.pixel, self.slope)))

    def points(self, depth: Tensor, colour: Tensor, surface: int) -> Points:
        """These as points of a class, with depth (K,) and colour (3, K)."""
        return Points(self.pixel, depth, colour, torch.full_like(self.pixel, surface, dtype=torch.uint8))


def tree_points(eye: Eye, trees: dict[str, Tensor], moment: Moment, seen: Tensor) -> Points:
    """Trees: an ellipsoid or cone of leaves with ragged edge and gaps, on a trunk.

    Args:
        eye: the camera.
        trees: east, north, ground, radius, top, base (N,), colour (3, N), conifer (N,) bool, number (N,).
        moment: gives light, season and fullness.
        seen: (W·H,) metres to what the pixels show without them.
    """
    thing, column, aside, depth = _meeting(eye, trees["east"], trees["north"], trees["radius"] * 1.15)
    ground, radius, top, base, conifer, number = (
        trees[name].index_select(0, thing)
        for name in ("ground", "radius", "top", "base", "conifer", "number")
    )
    above, right = eye.height_m - ground, aside / radius
    middle, half = 0.5 * (top + base), (0.5 * (top - base)).clamp_min_(0.3)
    # By how much this ray meets the trunk's foot; how fast the trunk grows thinner.
    thick, taper = torch.where(base > 0.3, 0.05 + 0.05 * radius - aside.abs(), -1.0), 0.02 * radius / top
    # How far leaves may reach up and down from the crown's middle, in half heights.
    up = torch.where(conifer, 1 - right.abs() / 0.715, (1.22 - right**2).clamp_min_(0).sqrt_())
    down = torch.where(conifer, 1.0, up)
    foot = torch.where(thick > 0, 0.0, (middle - down * half).clamp_min_(0))
    cells = _Cells.between(eye, column, (foot - above) / depth, (middle + up * half - above) / depth)
    full = torch.where(conifer, 1.0, 0.25 + 0.75 * moment.leaf_density)
    rough_u, rough_v, fine_u = aside * 34 + 91 * number, 57.0 * number, aside * 120 + 13 * number
    of_pairs = [above, depth, middle, half, right, thick, taper, full, rough_u, rough_v, fine_u]
    above, far, middle, half, right, thick, taper, full, rough_u, rough_v, fine_u = torch.stack(
        of_pairs
    ).index_select(1, cells.pair)
    z = torch.addcmul(above, cells.slope, far)
    lift = (z - middle).div_(half)
    rough, fine = noise_at(rough_u, z * 34 + rough_v), noise_at(fine_u, z * 120)
    within = right**2 + lift**2 < 0.62 + 0.6 * rough
    if bool(conifer.any()):
        cone = (right.abs() < (0.55 - 0.55 * lift) * (0.6 + 0.7 * rough)) & (lift.abs() < 1)
        within = torch.where(conifer.index_select(0, cells.pair), cone, within)
    leaf = within & (fine < full) & (z > 0.05)
    trunk = (taper * z < thick) & (z > 0) & (lift < 0)
    at, cells = cells.foremost(leaf | trunk, far, seen)
    far, right, lift, rough, fine, leaf = (
        part.index_select(0, at) for part in (far, right, lift, rough, fine, leaf)
    )
    light = _crown_light(eye, column[cells.pair], right.clamp_(-1, 1), lift.clamp_(-1, 1), moment)
    tint = torch.tensor(moment.leaf_tint, device=light.device)[:, None]
    tone = torch.where(trees["conifer"], trees["colour"], trees["colour"] * tint)
    tone = tone.index_select(1, thing[cells.pair]) * (light * (0.55 + 0.5 * fine + 0.4 * rough))
    bark = torch.tensor([84.0, 72.0, 60.0], device=light.device)[:, None] * (0.5 + 0.35 * light)
    return cells.points(far, torch.where(leaf, tone, bark), Surface.TREE)


def _crown_light(eye: Eye, column: Tensor, right: Tensor, up: Tensor, moment: Moment) -> Tensor:
    """Light (K,) on a round crown, whose normal has a part to the right, one up and one towards the camera."""
    toward = (1 - right**2 - up**2).clamp_min_(0.05).sqrt_()
    sun_east, sun_north, sun_up = moment.sun.direction()
    sun_right = (eye.cosine * sun_east - eye.sine * sun_north)[column]
    sun_toward = -(eye.sine * sun_east + eye.cosine * sun_north)[column]
    facing = (right * sun_right + up * sun_up + toward * sun_toward).clamp_min_(0) / max(sun_up, 0.4)
    return (1 - moment.direct) * (0.72 + 0.28 * up) + moment.direct * facing.clamp_max_(1.3)


def post_points(eye: Eye, posts: dict[str, Tensor], moment: Moment, seen: Tensor) -> Points:
    """Poles and people.

    Args:
        eye: the camera.
        posts: east, north, ground, half_width, top (N,), colour (3, N), person (N,) bool.
        moment: gives the light.
        seen: (W·H,) metres to what the pixels show without them.
    """
    thing, column, aside, depth = _meeting(eye, posts["east"], posts["north"], posts["half_width"] + 0.02)
    above = eye.height_m - posts["ground"]
    low, high = -above[thing] / depth, (posts["top"] - above)[thing] / depth
    cells = _Cells.between(eye, column, low, high)
    thing, u, far = thing[cells.pair], aside[cells.pair], depth[cells.pair]
    half, person = posts["half_width"][thing], posts["person"][thing]
    lifted = torch.addcmul(above[thing], cells.slope, far) / posts["top"][thing]
    shape = torch.where(lifted > 0.86, 0.42, torch.where(lifted > 0.45, 1.0, 0.75))  # head, shoulders, legs
    shape = torch.where(person, shape, 1.0)
    at, cells = cells.foremost((lifted > 0) & (lifted < 1) & (u.abs() < half * shape), far, seen)
    thing, lifted, person = thing[at], lifted[at], person[at]
    light = 0.55 + 0.35 * moment.direct * (1 + u[at] / half[at].clamp_min(0.02)).clamp_(0, 2) / 2
    skin = torch.tensor([190.0, 150.0, 126.0], device=light.device)[:, None]
    dimmed = torch.where(person & (lifted < 0.45), 0.55, 1.0)
    colour = torch.where(person & (lifted > 0.86), skin, posts["colour"].index_select(1, thing) * dimmed)
    surface = torch.where(person, int(Surface.PERSON), int(Surface.POLE)).byte()
    return Points(cells.pixel, far[at], colour * light, surface)


def box_points(eye: Eye, boxes: dict[str, Tensor], moment: Moment, seen: Tensor) -> Points:
    """Cars: two boxes each, body and cabin, met on their sides and on their tops, tilted lengthwise with the ground.

    Args:
        eye: the camera.
        boxes: east, north, ground, tilt (rise of the ground along their length), angle, half_length, half_width,
            bottom, top (N,), colour (3, N), cabin (N,) bool.
        moment: gives the light.
        seen: (W·H,) metres to what the pixels show without them.
    """
    reach = torch.hypot(boxes["half_length"], boxes["half_width"])
    thing, column, _, _ = _meeting(eye, boxes["east"], boxes["north"], reach)
    turn_cos, turn_sin = torch.cos(boxes["angle"])[thing], torch.sin(boxes["angle"])[thing]
    dx, dy = (eye.east_m - boxes["east"])[thing], (eye.north_m - boxes["north"])[thing]
    sine, cosine = eye.sine[column], eye.cosine[column]
    start = torch.stack([dx * turn_cos + dy * turn_sin, dy * turn_cos - dx * turn_sin])
    ray = torch.stack([sine * turn_cos + cosine * turn_sin, cosine * turn_cos - sine * turn_sin])
    ray = torch.where(ray.abs() < 1e-6, 1e-6, ray)
    half = torch.stack([boxes["half_length"][thing], boxes["half_width"][thing]])
    first, second = (-half - start) / ray, (half - start) / ray
    enters, leaves = torch.minimum(first, second), torch.maximum(first, second)
    near, far = torch.maximum(*enters), torch.minimum(*leaves)
    met = torch.nonzero((near < far) & (near > 0.3))[:, 0]
    thing, column, near, far = thing[met], column[met], near[met], far[met]
    along, start_along = ray[0][met], start[0][met]
    on_end, x = (enters[0] > enters[1])[met], (start_along + near * along).abs()
    # In the box's own frame the ground is level: a ray has the slope that it has against the tilted ground.
    tilt = boxes["tilt"][thing]
    level = eye.height_m - boxes["ground"][thing] - tilt * start_along
    bottom, top = boxes["bottom"][thing], boxes["top"][thing]
    highest = torch.maximum((top - level) / near, (top - level) / far)
    cells = _Cells.between(eye, column, (bottom - level) / near + tilt * along, highest + tilt * along)
    of = cells.pair
    slope, top, bottom = cells.slope - (tilt * along)[of], top[of], bottom[of]
    z_near, z_far = level[of] + slope * near[of], level[of] + slope * far[of]
    side = (z_near >= bottom) & (z_near <= top)
    roof = (z_near > top) & (z_far < top)
    depth = torch.where(roof, (top - level[of]) / slope.clamp_max(-1e-4), near[of])
    at, cells = cells.foremost(side | roof, depth, seen)
    of, depth, side, roof = cells.pair, depth[at], side[at], roof[at]
    z_near, bottom, top = z_near[at], bottom[at], top[at]
    thing, on_end = thing[of], on_end[of]
    cabin, length = boxes["cabin"][thing], boxes["half_length"][thing]
    glass = cabin & side & (z_near > bottom + 0.08) & (z_near < top - 0.1)
    wheel = ~cabin & side & ~on_end & (z_near < 0.55) & ((x[of] - 0.62 * length).abs() < 0.32)
    shade = torch.where(on_end, 0.8, 1.0) * torch.where(roof, 1.12, 0.9 - 0.25 * moment.direct)
    colour = boxes["colour"].index_select(1, thing) * shade
    colour = torch.where(glass, torch.tensor([44.0, 52.0, 60.0], device=shade.device)[:, None], colour)
    colour = torch.where(wheel, 28.0, colour)
    return cells.points(depth, colour, Surface.VEHICLE)


def car_boxes(spots: Tensor, moment: Moment, among: Tensor | None = None) -> dict[str, Tensor]:
    """The bodies and cabins of the cars that stand at spots (N, 3) at this moment, for :func:`box_points`.

    Args:
        spots: east, north and direction.
        moment: says who is there.
        among: (K,) numbers of the spots asked for; all unless given. Who stands where depends on the moment alone.
    """
    number = torch.arange(len(spots), device=spots.device) if among is None else among
    draw = torch.arange(moment.seed, moment.seed + 3, device=spots.device)[:, None]
    drawn = cell_hash(number, draw)
    there = drawn[0] < moment.traffic
    spots, drawn = spots[number[there]], drawn[:, there]
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
    pick = (drawn[1] * 6.999).long()
    van = drawn[2] < 0.15
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
        "colour": paint[pick].t(),
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
    return {name: torch.cat([body[name], cabin[name]], -1) for name in body}


def wire_points(eye: Eye, wires: dict[str, Tensor], reach_m: float) -> Points:
    """Wires between neighbouring poles, sagging; three on each pair, one pixel wide, since they are thin.

    Args:
        eye: the camera.
        wires: start and end (N, 2), top, the elevation of the start, and climb, how much higher the end is (N,).
        reach_m: how far wires are seen.
    """
    along = (wires["end"] - wires["start"])[:, :, None]
    to_start = (wires["start"] - wires["start"].new_tensor([eye.east_m, eye.north_m]))[:, :, None]
    cross = eye.sine * along[:, 1] - eye.cosine * along[:, 0]
    cross = torch.where(cross.abs() < 1e-6, 1e-6, cross)
    depth = (to_start[:, 0] * along[:, 1] - to_start[:, 1] * along[:, 0]) / cross
    share = (to_start[:, 0] * eye.cosine - to_start[:, 1] * eye.sine) / cross
    wire, column = torch.nonzero(
        (depth > 1.5) & (depth < reach_m) & (share >= 0) & (share <= 1), as_tuple=True
    )
    depth, share = depth[wire, column], share[wire, column]
    hang = wires["top"][wire] + share * wires["climb"][wire] - 3.6 * share * (1 - share)
    pixels, depths = [], []
    for drop in (0.25, 0.7, 1.5):
        row = (eye.row_of(column, (hang - drop - eye.height_m) / depth) + 0.5).floor().long()
        inside = (row >= 0) & (row < eye.rows)
        pixels.append((column * eye.rows + row)[inside])
        depths.append(depth[inside])
    pixel, depth = torch.cat(pixels), torch.cat(depths)
    colour = torch.full((3, len(pixel)), 58.0, device=pixel.device)
    return Points(pixel, depth, colour, torch.full_like(pixel, int(Surface.POLE), dtype=torch.uint8))
