"""Street panoramas of a place: its layers walked over, near things drawn before them, the sky behind, the air between.

The stages stand in files of their own: where rays meet the layers (``walk.py``), the colour of ground, roofs and walls
there (``ground.py``, ``facade.py``), trees, cars, people, poles and wires, met one by one (``near_things.py``,
``sprites.py``), and ``sky.py``. Labels and depth come with the picture, from the same hits. Colours are three planes
throughout, and what is worked out is worked out for the pixels that show it alone: both save most of the time.
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
from smdt.world.eye import Eye, tilt_rad
from smdt.world.facade import building_rows, wall_colour
from smdt.world.ground import Ground
from smdt.world.hills import Hills
from smdt.world.layers import Place, Surface
from smdt.world.moment import Moment
from smdt.world.near_things import NearThings, flat_index, ground_under
from smdt.world.picture import Picture, Points
from smdt.world.pyramid import fill_holes
from smdt.world.sky import put_in_air, sky_colour
from smdt.world.texture import noise_at
from smdt.world.walk import Met, Walk


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
        column = (torch.arange(self._frame.width_px, dtype=torch.float64) + 0.5) / scale - 0.5
        self._azimuth = (2 * math.pi * (column / self.config.width_px - 0.5)).float().to(self.device)
        self._load(place)

    def _load(self, place: Place) -> None:
        """Bring the layers to the device, with what is derived from them once."""
        height = torch.from_numpy(place.height_m).to(self.device)
        surface = torch.from_numpy(place.surface).to(self.device)
        colour = torch.from_numpy(place.colour).to(self.device)
        self._height, self._surface = height.view(-1), surface.view(-1)
        self._hills = None if place.is_flat else Hills(place, self.device)
        self._near = NearThings(place, self._hills, surface)
        self._object = torch.from_numpy(place.object_id).view(-1).to(self.device)
        bare = height
        self._single_m = self.config.single_m if len(place.trees.radius_m) and self.config.sprites else 0.0
        if self._single_m:
            # Where trees are drawn one by one, the near ground is what lies under them.
            crown = surface == Surface.TREE
            bare, colour = height.masked_fill(crown, 0.0), fill_holes(colour, crown)
        self._ground = Ground(place, colour, height, self._hills, shadows=self.config.shadows)
        steps = torch.linspace(0, 1, self.config.steps, dtype=torch.float64)
        radius = self.config.near_m * (self.config.far_m / self.config.near_m) ** steps
        self._walk = Walk(place, height, bare, self._single_m, radius.float().to(self.device), self._hills)
        self._buildings = building_rows(place.buildings, self.device)

    def ground_height_m(self, east_m: float, north_m: float) -> float:
        """Height of the surface above the ground at a position (0 on open ground)."""
        index = flat_index(self.place, torch.tensor([east_m]), torch.tensor([north_m]))
        return float(self._height[index[0]])

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
        tilt = tilt_rad(self._azimuth, roll_deg, pitch_deg)
        at = torch.tensor([[float(east_m)], [float(north_m)]], device=self.device)
        row_rad = math.radians(self._frame.top_deg - self._frame.bottom_deg) / self._frame.height_px
        eye = Eye(
            east_m=float(east_m),
            north_m=float(north_m),
            height_m=camera_height_m + float(ground_under(self._hills, *at)[0]),
            above_m=camera_height_m,
            azimuth=self._azimuth + math.radians(heading_deg),
            tilt=tilt,
            rows=self._frame.height_px,
            top_rad=math.radians(self._frame.top_deg) - row_rad / 2,
            row_rad=row_rad,
        )
        picture = Picture.blank(eye.slope.numel(), int(Surface.SKY), self.device)
        picture.paint(self._layers(eye, moment))
        if self._hills is not None:
            empty = torch.isinf(picture.depth)
            picture.paint(self._hills.beyond(eye, empty, self.config.far_m, moment))
        if self.config.sprites:
            near = self._near.points(eye, moment, self._single_m, picture.depth)
            if near is not None:
                picture.paint_nearest(near)
        put_in_air(picture.colour, picture.depth, moment)
        self._paint_sky(picture, eye, moment)
        return self._develop(picture, moment)

    def _layers(self, eye: Eye, moment: Moment) -> Points:
        """Ground, roofs, walls and, far away, crowns."""
        met = self._walk.first_hits(eye)
        surface = self._surface.index_select(0, met.index)
        tree = surface == Surface.TREE
        under = tree & (met.depth < self._single_m)
        surface.masked_fill_(under, int(Surface.GRASS))
        colour = self._ground.colour(eye, met, surface, moment)
        crowns = torch.nonzero(tree & ~under)[:, 0]
        if len(crowns):
            leaf = torch.tensor(moment.leaf_tint, device=self.device)[:, None]
            lit = colour.index_select(1, crowns) * leaf * _leaf_light(met, crowns, moment)
            colour.scatter_(1, crowns.expand(3, -1), lit)
        walls = torch.nonzero(met.wall & (surface == Surface.BUILDING))[:, 0]
        if len(walls):
            number = self._object.index_select(0, met.index.index_select(0, walls))
            east, north, z, depth = (
                part.index_select(0, walls) for part in (met.east, met.north, met.z, met.depth)
            )
            building = self._buildings.index_select(1, number)
            painted = wall_colour(building, number, east, north, z, depth, moment)
            colour.scatter_(1, walls.expand(3, -1), painted)
        return Points(met.pixel, met.depth, colour, surface)

    def _paint_sky(self, picture: Picture, eye: Eye, moment: Moment) -> None:
        """Fill the pixels that show nothing."""
        column, row = torch.nonzero(torch.isinf(picture.depth).view(eye.slope.shape), as_tuple=True)
        pixel = column * eye.rows + row
        slope = eye.slope.view(-1).index_select(0, pixel)
        sine, cosine = eye.sine.index_select(0, column), eye.cosine.index_select(0, column)
        picture.paint_colour(pixel, sky_colour(sine, cosine, slope, moment))

    def _develop(self, picture: Picture, moment: Moment) -> View:
        """Average the rays of each pixel and let the camera take the picture."""
        scale, columns = self.config.supersample, self._frame.width_px
        image = picture.colour.view(3, columns, -1).transpose(1, 2).clamp(0, 255)
        if scale > 1:
            image = F.avg_pool2d(image, scale)
        if self.config.sensor:
            taken = moment.sensor.take(image.contiguous(), np.random.default_rng([moment.seed, 5]))
        else:
            taken = image.round().byte()
        middle = slice(scale // 2, None, scale)
        surface, depth = picture.surface.view(columns, -1).t(), picture.depth.view(columns, -1).t()
        return View(
            taken.contiguous(), surface[middle, middle].contiguous(), depth[middle, middle].contiguous()
        )


def _leaf_light(met: Met, at: Tensor, moment: Moment) -> Tensor:
    """Light (M,) on solid crowns, met at some (M,) of the meetings: darker below, and mottled."""
    depth, z, top = (part.index_select(0, at) for part in (met.depth, met.z, met.top))
    shade = (1 - moment.direct) * (0.55 + 0.45 * (z / top.clamp_min(0.5)).clamp(0, 1)) + moment.direct * 0.8
    around = met.azimuth.index_select(0, at) * depth  # metres, so that the mottle is not drawn out
    return shade * (0.45 + 0.5 * noise_at(around * 34, z * 34) + 0.5 * noise_at(around * 110, z * 110))


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
