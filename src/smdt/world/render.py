"""Street panoramas of a place, by walking outwards over its ground and height rasters.

For each azimuth column the profile of ground and height is read at log-spaced distances. The running maximum of the
slope (surface - camera) / distance along that profile says how high the horizon of everything nearer stands; the
first distance at which it reaches a pixel row's slope is what that row sees. So one ``cummax`` and one
``searchsorted`` give first hits with exact occlusion and no ray loop. Near trees, cars, people, poles and
wires are met one by one (``sprites.py``). Labels and depth come with the picture, from the same hits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.errors import ConfigError
from smdt.geometry.panorama import PanoramaFrame
from smdt.world import sprites
from smdt.world.facade import wall_colour
from smdt.world.hills import Hills
from smdt.world.layers import Place, Surface
from smdt.world.light import shadow
from smdt.world.moment import Moment
from smdt.world.near_things import NearThings, flat_index, ground_under
from smdt.world.pyramid import Pyramid, fill_holes
from smdt.world.sky import sky_colour, through_air, tilt_rad
from smdt.world.texture import noise_at

_WALL_RISE_M = 0.7
_SHADOW_REACH_M = 64.0
_SHADOW_PIXEL_M = 0.5


@dataclass(frozen=True)
class RenderConfig:
    """How panoramas are rendered.

    Attributes:
        height_px: rows.
        width_px: columns, 360°.
        near_m: where the walk begins.
        far_m: where it ends; beyond is sky, or the skyline of hilly places.
        steps: distances looked at for each column.
        supersample: rays to a pixel, each way; 2 smooths outlines and costs about four times as much.
        single_m: trees, cars and people are drawn one by one up to this distance; beyond, trees are solid.
        shadows: cast shadows on the ground.
        sprites: trees, cars, people, poles and wires one by one.
        sensor: apply the moment's camera (exposure, blur, noise, JPEG).
    """

    height_px: int = 128
    width_px: int = 512
    near_m: float = 1.0
    far_m: float = 320.0
    steps: int = 288
    supersample: int = 1
    single_m: float = 45.0
    shadows: bool = True
    sprites: bool = True
    sensor: bool = True


@dataclass(frozen=True)
class View:
    """A rendered panorama and what is exactly known of it.

    Attributes:
        image: (3, H, W) uint8 RGB.
        surface: (H, W) uint8 of :class:`Surface`.
        depth_m: (H, W) float32 horizontal distance; infinite for sky.
    """

    image: Tensor
    surface: Tensor
    depth_m: Tensor


@dataclass
class _Hit:
    """What each pixel of a (W, H) panorama sees, filled step by step."""

    colour: Tensor
    surface: Tensor
    depth: Tensor


@dataclass
class _Met:
    """Where the rays of a (W, H) panorama first meet the layers.

    Attributes:
        sky: they meet nothing within reach.
        wall: they meet something upright.
        depth: metres, horizontal.
        east: metres, in the place.
        north: metres, in the place.
        index: flat raster index of what is met.
        z: height above the ground there.
        top: height above the ground of what is met.
        steeper: in hilly places, how much more the surface rises than the ray does, for each metre.
    """

    sky: Tensor
    wall: Tensor
    depth: Tensor
    east: Tensor
    north: Tensor
    index: Tensor
    z: Tensor
    top: Tensor
    steeper: Tensor | None


class Renderer:
    """Renders panoramas of one place. Same inputs, same bytes on one device.

    Args:
        place: the layers.
        config: size, reach and effects.
        device: where to compute.
    """

    def __init__(
        self, place: Place, config: RenderConfig | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.place, self.config, self.device = place, config or RenderConfig(), torch.device(device)
        scale = self.config.supersample
        self._frame = PanoramaFrame(self.config.height_px * scale, self.config.width_px * scale)
        self._elevation = torch.deg2rad(self._frame.row_elevation_deg()).float().to(self.device)
        column = (torch.arange(self._frame.width_px, dtype=torch.float64) + 0.5) / scale - 0.5
        self._azimuth = (2 * math.pi * (column / self.config.width_px - 0.5)).float().to(self.device)
        steps = torch.linspace(0, 1, self.config.steps, dtype=torch.float64)
        radius = self.config.near_m * (self.config.far_m / self.config.near_m) ** steps
        self._radius = radius.float().to(self.device)
        self._load(place)

    def _load(self, place: Place) -> None:
        """Bring the layers to the device, with what is derived from them once."""
        height = torch.from_numpy(place.height_m).to(self.device)
        surface = torch.from_numpy(place.surface).to(self.device)
        colour = torch.from_numpy(place.colour).to(self.device)
        self._height, self._surface = height, surface
        self._hills = None if place.is_flat else Hills(place, self.device)
        self._near = NearThings(place, self._hills, surface)
        self._object = torch.from_numpy(place.object_id).reshape(-1).to(self.device)
        single = len(place.trees.radius_m) > 0 and self.config.sprites
        crown = surface == Surface.TREE
        # Where trees are drawn one by one, the near ground is what lies under them.
        self._bare = torch.where(crown, torch.zeros_like(height), height).reshape(-1) if single else None
        under = fill_holes(colour, crown) if single else colour
        self._pyramid = Pyramid(colour, place.pixel_m)
        self._ground = Pyramid(under, place.pixel_m) if single else self._pyramid
        coarse = max(1, round(_SHADOW_PIXEL_M / place.pixel_m))
        self._blocks = F.max_pool2d(height[None, None], coarse, ceil_mode=True)[0, 0]
        self._block_m = place.pixel_m * coarse
        table = place.buildings
        columns = [table.centre_m, table.half_size_m, table.angle_rad[:, None], table.facade]
        rows = np.concatenate([*columns, table.storey_m[:, None]], axis=1).astype(np.float32)
        self._buildings = torch.from_numpy(np.concatenate([np.zeros((1, 9), np.float32), rows])).to(
            self.device
        )

    def ground_height_m(self, east_m: float, north_m: float) -> float:
        """Height of the surface above the ground at a position (0 on open ground)."""
        index = self._index(torch.tensor([east_m]), torch.tensor([north_m]))
        return float(self._height.reshape(-1)[index[0]])

    def _index(self, east: Tensor, north: Tensor) -> Tensor:
        """Flat raster index of positions, clamped to the place's edge."""
        return flat_index(self.place, east, north)

    def panorama(
        self,
        east_m: float,
        north_m: float,
        heading_deg: float = 0.0,
        camera_height_m: float = 2.5,
        moment: Moment | None = None,
        *,
        roll_deg: float = 0.0,
        pitch_deg: float = 0.0,
    ) -> View:
        """Render what a 360° camera sees.

        Args:
            east_m: camera position, metres from the place's south-west corner.
            north_m: camera position.
            heading_deg: azimuth of the centre column.
            camera_height_m: above the ground at its position.
            moment: light, season, sky, traffic and sensor; a mild day unless given.
            roll_deg: the camera leans to its right.
            pitch_deg: the centre of the picture looks up.
        """
        moment = moment or Moment()
        azimuth = self._azimuth + math.radians(heading_deg)
        tilt = tilt_rad(self._azimuth, roll_deg, pitch_deg)
        slope = torch.tan((self._elevation[None] + tilt[:, None]).clamp(-1.5, 1.5))
        at = torch.tensor([[float(east_m)], [float(north_m)]], device=self.device)
        elevation = camera_height_m + float(ground_under(self._hills, *at)[0])
        eye = sprites.Eye(float(east_m), float(north_m), elevation, camera_height_m, azimuth, slope)
        hit = self._walk(eye, moment)
        if self.config.sprites:
            frame_deg = self._frame.top_deg, self._frame.bottom_deg
            for hits in self._near.hits(eye, moment, self.config.single_m, frame_deg, torch.rad2deg(tilt)):
                _keep_nearest(hit, hits)
        sky = torch.isinf(hit.depth)
        image = through_air(hit.colour, hit.depth.nan_to_num(posinf=1e9), moment)
        image = torch.where(
            sky[..., None], sky_colour(azimuth[:, None].expand_as(slope), slope, moment), image
        )
        return self._develop(image, hit, moment)

    def _develop(self, image: Tensor, hit: _Hit, moment: Moment) -> View:
        """Average the rays of each pixel and let the camera take the picture."""
        scale = self.config.supersample
        picture = image.permute(2, 1, 0).clamp(0, 255)
        if scale > 1:
            picture = F.avg_pool2d(picture, scale)
        if self.config.sensor:
            taken = moment.sensor.take(picture, np.random.default_rng([moment.seed, 5]))
        else:
            taken = picture.round().byte()
        middle = slice(scale // 2, None, scale)
        return View(
            taken.contiguous(),
            hit.surface.t()[middle, middle].contiguous(),
            hit.depth.t()[middle, middle].contiguous(),
        )

    def _walk(self, eye: sprites.Eye, moment: Moment) -> _Hit:
        """First hits on ground, roofs, walls and, far away, crowns; and what lies beyond hilly places."""
        met = self._first_hits(eye)
        surface = _read(self._surface, met.index)
        tree = surface == Surface.TREE
        if self._bare is not None:
            under = tree & (met.depth < self.config.single_m)
            surface = torch.where(under, torch.full_like(surface, int(Surface.GRASS)), surface)
            tree = tree & ~under
        colour = self._surface_colour(eye, met, surface, moment)
        shade = (1 - moment.direct) * (
            0.55 + 0.45 * (met.z / met.top.clamp_min(0.5)).clamp(0, 1)
        ) + moment.direct * 0.8
        around = (eye.azimuth[:, None] * met.depth)[
            tree
        ]  # metres along the crown, so that its mottle is not drawn out
        up = met.z[tree]
        speckle = 0.45 + 0.5 * noise_at(around * 34, up * 34) + 0.5 * noise_at(around * 110, up * 110)
        leaf = torch.tensor(moment.leaf_tint, device=self.device)
        colour[tree] = colour[tree] * leaf * (shade[tree] * speckle)[..., None]
        wall_seen = met.wall & (surface == Surface.BUILDING)
        if bool(wall_seen.any()):
            number = self._object[met.index[wall_seen]].long()
            colour[wall_seen] = wall_colour(
                self._buildings[number], number, met.east[wall_seen], met.north[wall_seen], met.z[wall_seen],
                met.depth[wall_seen], moment,
            )  # fmt: skip
        surface = torch.where(met.sky, torch.full_like(surface, int(Surface.SKY)), surface)
        depth = torch.where(met.sky, torch.full_like(met.depth, torch.inf), met.depth)
        if self._hills is not None:
            land = self._hills.beyond(
                eye.azimuth, eye.slope, met.sky, eye.height_m, self.config.far_m, moment
            )
            seen = land.column, land.row
            colour[seen], depth[seen], surface[seen] = land.colour, land.depth, land.surface
        return _Hit(colour, surface, depth)

    def _first_hits(self, eye: sprites.Eye) -> _Met:
        """Where each ray first meets ground, roof, wall or far crown."""
        sine, cosine = torch.sin(eye.azimuth)[:, None], torch.cos(eye.azimuth)[:, None]
        outwards = eye.east_m + self._radius * sine, eye.north_m + self._radius * cosine  # (W, N)
        if self._hills is not None:
            outwards = self._hills.fold(*outwards)
        index = self._index(*outwards)
        height = _read(self._height, index)
        if self._bare is not None:
            single = self._radius < self.config.single_m
            height[:, single] = _read(self._bare, index[:, single])
        ground = None if self._hills is None else self._hills.at(*outwards)
        profile = height if ground is None else height + ground
        rise = (profile - eye.height_m) / self._radius
        step = torch.searchsorted(rise.cummax(dim=1).values, eye.slope.contiguous())  # (W, H)
        sky = step >= self.config.steps
        step = step.clamp_max(self.config.steps - 1)
        before = (step - 1).clamp_min(0)
        top, below = height.gather(1, step), height.gather(1, before)
        far, near = _read(self._radius, step), _read(self._radius, before)
        steeper = None
        if ground is None:
            wall = (top - below > _WALL_RISE_M) & (eye.height_m + eye.slope * far < top - 0.15)
            level = ((top - eye.height_m) / eye.slope).nan_to_num(
                0.0, 0.0, 0.0
            )  # where the ray meets that height
            depth = torch.where(wall, 0.5 * (near + far), level.clamp(near, far))
        else:
            wall, depth, steeper = _meet(eye, profile, (step, before), (near, far), top - below)
        east, north = eye.east_m + depth * sine, eye.north_m + depth * cosine
        z = eye.height_m + eye.slope * depth
        if self._hills is not None and ground is not None:
            east, north = self._hills.fold(east, north)
            z -= ground.gather(1, step)
        at = torch.where(wall, index.gather(1, step), self._index(east, north))
        return _Met(sky, wall, depth, east, north, at, z, top, steeper)

    def _surface_colour(self, eye: sprites.Eye, met: _Met, surface: Tensor, moment: Moment) -> Tensor:
        """Colour of ground and roofs (W, H, 3): the layer at the pixel's footprint, in this moment's light."""
        east, north, depth = met.east, met.north, met.depth
        row = float(self._elevation[0] - self._elevation[1])
        if met.steeper is None:
            footprint = depth**2 / max(eye.above_m, 0.5) * row
        else:
            footprint = depth * row / met.steeper.clamp_min(0.004)
        colour = self._ground.at(east, north, torch.maximum(footprint * 0.4, depth * 0.012))
        grown = (surface == Surface.GRASS) | (surface == Surface.FIELD)
        tint = torch.tensor(moment.grass_tint, device=self.device)
        blades = 0.82 + 0.36 * noise_at(east * 60, north * 60)
        grain = torch.where(grown, blades, 0.94 + 0.12 * noise_at(east * 90, north * 90))
        grain = 1 + (grain - 1) * torch.exp(-depth / 14.0)
        colour = torch.where(grown[..., None], colour * tint, colour) * grain[..., None]
        dark = self._shadow_at(eye, east, north, moment) if self.config.shadows else None
        if self._hills is not None:
            slope = self._hills.slope_at(east, north)
            z = eye.height_m + eye.slope * depth
            lit, rough = self._hills.light_at(slope, depth, eye.azimuth[:, None] * depth, z, moment)
            sun = lit if dark is None else lit * (1 - dark)
            return colour * ((1 - moment.direct + moment.direct * sun) * rough)[..., None]
        return colour if dark is None else colour * (1 - moment.direct * dark)[..., None]

    def _shadow_at(self, eye: sprites.Eye, east: Tensor, north: Tensor, moment: Moment) -> Tensor:
        """Cast shadow at positions, bilinear, from a window around the camera; what lies beyond is lit."""
        reach = round(_SHADOW_REACH_M / self._block_m)
        rows = self._blocks.shape[0]
        column, row = int(eye.east_m / self._block_m), rows - 1 - int(eye.north_m / self._block_m)
        left, top = max(0, column - reach), max(0, row - reach)
        window = self._blocks[top : row + reach, left : column + reach]
        cast = shadow(window, self._block_m, moment)
        x = (east / self._block_m - left) / window.shape[1] * 2 - 1
        y = (rows - north / self._block_m - top) / window.shape[0] * 2 - 1
        return F.grid_sample(cast[None, None], torch.stack([x, y], -1)[None], align_corners=False)[0, 0]


def _read(layer: Tensor, index: Tensor) -> Tensor:
    """A layer's values at flat indices, of their shape; quicker than indexing."""
    return layer.reshape(-1).index_select(0, index.reshape(-1)).view(index.shape)


def _meet(
    eye: sprites.Eye, profile: Tensor, step: tuple[Tensor, Tensor], reach: tuple[Tensor, Tensor], jump: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays meet a profile between the sample that hides them and the one before it, all (W, H).

    Args:
        eye: the camera.
        profile: (W, N) elevation of the surface.
        step: number of that sample and of the one before.
        reach: distance of the one before, and of that sample.
        jump: how much higher things stand above their ground at that sample.

    Returns:
        Whether it is a wall; the distance, for slopes where the line between the samples is met; and how much more
        the surface rises than the ray does, for each metre.
    """
    near, far = reach
    high, low = profile.gather(1, step[0]), profile.gather(1, step[1])
    clear = eye.height_m + eye.slope * near - low
    under = high - eye.height_m - eye.slope * far
    wall = (jump > _WALL_RISE_M) & (under > 0.15)
    share = (clear / (clear + under).clamp_min(1e-6)).clamp(0, 1)
    depth = torch.where(jump > _WALL_RISE_M, far, near + share * (far - near))
    depth = torch.where(wall, 0.5 * (near + far), depth)
    return wall, depth, (clear + under) / (far - near).clamp_min(1e-6)


def _keep_nearest(hit: _Hit, hits: sprites.Hits) -> None:
    """Write points into the picture where they are nearer than what it shows, the nearest of each pixel."""
    depth = hit.depth.reshape(-1)
    nearer = hits.depth < depth[hits.pixel]
    pixel, far = hits.pixel[nearer], hits.depth[nearer]
    if not len(pixel):
        return
    depth.scatter_reduce_(0, pixel, far, "amin")
    # Several points may share the least depth: the last of them in order wins, on every device alike.
    order = torch.arange(len(pixel), device=pixel.device)
    order = torch.where(far == depth[pixel], order, torch.full_like(order, -1))
    winner = torch.full((len(depth),), -1, dtype=torch.int64, device=pixel.device)
    winner.scatter_reduce_(0, pixel, order, "amax")
    won = torch.nonzero(winner >= 0)[:, 0]
    chosen = torch.nonzero(nearer)[:, 0][winner[won]]
    hit.depth = depth.view_as(hit.depth)
    hit.colour.view(-1, 3)[won] = hits.colour[chosen]
    hit.surface.view(-1)[won] = hits.surface[chosen]


def street_positions(
    place: Place, count: int, rng: np.random.Generator, *, margin_m: float = 60.0
) -> npt.NDArray[np.float64]:
    """Random camera positions on a place's streets, (count, 2) east and north in metres, on open road.

    Args:
        place: the place; it must have streets.
        count: how many.
        rng: where the randomness comes from.
        margin_m: distance kept from the place's edge.

    Raises:
        ConfigError: if no street has open road inside the margin.
    """
    starts = np.concatenate([street.points_m[:-1] for street in place.streets] or [np.zeros((0, 2))])
    ends = np.concatenate([street.points_m[1:] for street in place.streets] or [np.zeros((0, 2))])
    widths = np.concatenate([np.full(len(s.points_m) - 1, s.width_m) for s in place.streets] or [np.zeros(0)])
    size = np.array(place.size_m)
    middle = (starts + ends) / 2
    lengths = np.hypot(*(ends - starts).T)
    # Segments that lie wholly outside are never drawn: few places have all their streets inside the margin.
    reach = (lengths + widths)[:, None] / 2
    lengths = np.where(
        ((middle > margin_m - reach) & (middle < size - margin_m + reach)).all(1), lengths, 0.0
    )
    found = np.zeros((0, 2))
    rows, columns = place.surface.shape
    for attempt in range(200):
        if lengths.sum() == 0 or (attempt >= 20 and not len(found)):
            break
        piece = rng.choice(len(lengths), 4 * count + 64, p=lengths / lengths.sum())
        step = ends[piece] - starts[piece]
        across = np.stack([-step[:, 1], step[:, 0]], 1) / np.hypot(*step.T)[:, None]
        aside = rng.uniform(-0.35, 0.35, len(piece)) * widths[piece]
        spots = starts[piece] + rng.uniform(size=(len(piece), 1)) * step + aside[:, None] * across
        spots = spots[((spots >= margin_m) & (spots <= size - margin_m)).all(1)]
        row = np.clip(rows - 1 - (spots[:, 1] / place.pixel_m).astype(int), 0, rows - 1)
        column = np.clip((spots[:, 0] / place.pixel_m).astype(int), 0, columns - 1)
        is_open = (place.surface[row, column] == Surface.ROAD) & (place.height_m[row, column] < 0.3)
        found = np.concatenate([found, spots[is_open]])
        if len(found) >= count:
            return found[:count]
    raise ConfigError(
        f"{place.name} has no open road to stand on {margin_m:g} m inside its edge",
        remedy="choose another seed, or a larger place",
    )
