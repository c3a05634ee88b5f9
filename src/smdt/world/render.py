"""Street panoramas of a place, by walking outwards over its height raster.

For each azimuth column the height profile is read at log-spaced distances. The running maximum of the slope
(height - camera) / distance along that profile says how high the horizon of everything nearer stands; the
first distance at which it reaches a pixel row's slope is what that row sees. So one ``cummax`` and one
``searchsorted`` give first hits with exact occlusion and no ray loop. Labels and depth come with the picture,
from the same hits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smdt.geometry.panorama import PanoramaFrame
from smdt.world.layers import Place, Surface

_WALL_RISE_M = 0.7


@dataclass(frozen=True)
class RenderConfig:
    """How panoramas are rendered.

    Attributes:
        height_px: rows.
        width_px: columns, 360°.
        near_m: where the walk begins.
        far_m: where it ends; beyond is sky.
        steps: distances looked at for each column.
    """

    height_px: int = 128
    width_px: int = 512
    near_m: float = 1.0
    far_m: float = 260.0
    steps: int = 320


@dataclass(frozen=True)
class Weather:
    """What differs between two days: the light and the sky of a ground picture.

    Attributes:
        zenith: sky colour overhead, RGB in 0..255.
        horizon: sky colour at the horizon.
        clouds: 0 clear to 1 overcast.
        exposure: factor on the finished picture.
        tint: factor for each channel.
        haze_m: distance at which the air's colour hides two thirds.
        cloud_phase: shifts the clouds.
    """

    zenith: tuple[float, float, float] = (96.0, 142.0, 205.0)
    horizon: tuple[float, float, float] = (202.0, 218.0, 232.0)
    clouds: float = 0.4
    exposure: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    haze_m: float = 900.0
    cloud_phase: float = 0.0

    @staticmethod
    def draw(rng: np.random.Generator) -> Weather:
        """A day at random."""
        grey = rng.uniform(0, 1)
        zenith = np.array([96.0, 142.0, 205.0]) * (1 - grey) + np.array([190.0, 195.0, 202.0]) * grey
        horizon = np.array([205.0, 220.0, 234.0]) + rng.normal(0, 8, 3)
        zenith, tint = zenith + rng.normal(0, 10, 3), rng.normal(1, 0.05, 3)
        return Weather(
            zenith=(float(zenith[0]), float(zenith[1]), float(zenith[2])),
            horizon=(float(horizon[0]), float(horizon[1]), float(horizon[2])),
            clouds=float(rng.uniform(0, 1)),
            exposure=float(rng.uniform(0.75, 1.25)),
            tint=(float(tint[0]), float(tint[1]), float(tint[2])),
            haze_m=float(rng.uniform(300, 2000)),
            cloud_phase=float(rng.uniform(0, 100)),
        )


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
    """Renders panoramas of one place. Same inputs, same bytes.

    Args:
        place: the layers.
        config: size and reach.
        device: where to compute.
    """

    def __init__(
        self, place: Place, config: RenderConfig | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.place, self.config, self.device = place, config or RenderConfig(), torch.device(device)
        self._height = torch.from_numpy(place.height_m).reshape(-1).to(self.device)
        self._surface = torch.from_numpy(place.surface).reshape(-1).to(self.device)
        self._colour = torch.from_numpy(place.colour).reshape(-1, 3).to(self.device)
        self._object = torch.from_numpy(place.object_id).reshape(-1).to(self.device)
        table = place.buildings
        columns = [table.centre_m, table.half_size_m, table.angle_rad[:, None], table.facade]
        rows = np.concatenate([*columns, table.storey_m[:, None]], axis=1).astype(np.float32)
        self._buildings = torch.from_numpy(np.concatenate([np.zeros((1, 9), np.float32), rows])).to(
            self.device
        )
        frame = PanoramaFrame(self.config.height_px, self.config.width_px)
        self._row_slope = torch.tan(torch.deg2rad(frame.row_elevation_deg())).float().to(self.device)
        self._azimuth = torch.deg2rad(frame.column_azimuth_deg()).float().to(self.device)
        steps = torch.linspace(0, 1, self.config.steps, dtype=torch.float64)
        self._radius = (self.config.near_m * (self.config.far_m / self.config.near_m) ** steps).float()
        self._radius = self._radius.to(self.device)

    def ground_height_m(self, east_m: float, north_m: float) -> float:
        """Height of the surface at a position (0 on open ground)."""
        index = self._index(torch.tensor([east_m]), torch.tensor([north_m]))
        return float(self._height[index[0]])

    def _index(self, east: Tensor, north: Tensor) -> Tensor:
        """Flat raster index of positions, clamped to the place's edge."""
        rows, columns = self.place.surface.shape
        column = (east / self.place.pixel_m).floor().long().clamp(0, columns - 1)
        row = (rows - 1 - (north / self.place.pixel_m).floor().long()).clamp(0, rows - 1)
        index: Tensor = row * columns + column
        return index

    def panorama(
        self,
        east_m: float,
        north_m: float,
        heading_deg: float = 0.0,
        camera_height_m: float = 2.5,
        weather: Weather | None = None,
    ) -> View:
        """Render what a 360° camera sees.

        Args:
            east_m: camera position, metres from the place's south-west corner.
            north_m: camera position.
            heading_deg: azimuth of the centre column.
            camera_height_m: above the ground.
            weather: light and sky; a mild day unless given.
        """
        weather = weather or Weather()
        azimuth = self._azimuth + float(np.deg2rad(heading_deg))
        sine, cosine = torch.sin(azimuth)[:, None], torch.cos(azimuth)[:, None]
        index = self._index(east_m + self._radius * sine, north_m + self._radius * cosine)  # (W, N)
        height = self._height[index]
        slope = (height - camera_height_m) / self._radius
        rows = self._row_slope.expand(len(azimuth), -1).contiguous()
        hit = torch.searchsorted(slope.cummax(dim=1).values, rows)  # (W, H): first step that rises to the row
        sky = hit >= self.config.steps
        hit = hit.clamp_max(self.config.steps - 1)
        before = (hit - 1).clamp_min(0)
        top, below = height.gather(1, hit), height.gather(1, before)
        far, near = self._radius[hit], self._radius[before]
        wall = (top - below > _WALL_RISE_M) & (camera_height_m + rows * far < top - 0.15)
        level = ((top - camera_height_m) / rows).nan_to_num(0.0, 0.0, 0.0)  # where the ray meets that height
        depth = torch.where(wall, 0.5 * (near + far), level.clamp(near, far))
        east, north = east_m + depth * sine, north_m + depth * cosine
        at = torch.where(wall, index.gather(1, hit), self._index(east, north))
        surface = self._surface[at]
        colour = self._colour[at].float()
        z = camera_height_m + rows * depth
        building = wall & (surface == Surface.BUILDING)
        colour = torch.where(building[..., None], self._facade(at, east, north, z, sine, cosine), colour)
        tree = (surface == Surface.TREE)[..., None]
        shade = (0.45 + 0.75 * (z / top.clamp_min(0.5)).clamp(0, 1)) * (0.8 + 0.4 * _hash(east, north, z))
        colour = torch.where(tree, colour * shade[..., None], colour)
        colour = self._air(colour, depth, sky, azimuth, rows, weather)
        surface = torch.where(sky, torch.full_like(surface, Surface.SKY), surface)
        depth = torch.where(sky, torch.full_like(depth, torch.inf), depth)
        image = colour.clamp(0, 255).byte().permute(2, 1, 0).contiguous()
        return View(image, surface.t().contiguous(), depth.t().contiguous())

    def _facade(
        self, at: Tensor, east: Tensor, north: Tensor, z: Tensor, sine: Tensor, cosine: Tensor
    ) -> Tensor:
        """Wall colours (W, H, 3): a facade with rows of windows, lit by how it faces."""
        row = self._buildings[self._object[at].long()]
        turn_cos, turn_sin = torch.cos(row[..., 4]), torch.sin(row[..., 4])
        da, db = east - row[..., 0], north - row[..., 1]
        a, b = da * turn_cos + db * turn_sin, db * turn_cos - da * turn_sin
        on_end = (a.abs() - row[..., 2]) > (b.abs() - row[..., 3])
        along = torch.where(on_end, b, a)
        storey = row[..., 8].clamp_min(1.0)
        window = (torch.remainder(along, 2.4) - 1.2).abs() < 0.55
        level = torch.remainder(z, storey)
        window &= (level > 0.9) & (level < 2.2)
        towards_a = sine * turn_cos + cosine * turn_sin
        facing = torch.where(on_end, towards_a.abs(), (1 - towards_a**2).clamp_min(0).sqrt())
        light = 0.7 + 0.3 * facing
        glass = torch.tensor([62.0, 72.0, 84.0], device=z.device) + 50.0 * facing[..., None]
        return torch.where(window[..., None], glass, row[..., 5:8] * light[..., None])

    def _air(
        self, colour: Tensor, depth: Tensor, sky: Tensor, azimuth: Tensor, rows: Tensor, weather: Weather
    ) -> Tensor:
        """Add haze, sky and clouds, then the day's exposure and tint."""
        horizon = torch.tensor(weather.horizon, device=colour.device)
        zenith = torch.tensor(weather.zenith, device=colour.device)
        clear = torch.exp(-depth / weather.haze_m)[..., None]
        colour = colour * clear + horizon * (1 - clear)
        lift = rows.clamp(0.02, 1.0)
        heaven = horizon + (zenith - horizon) * (lift / 0.6).clamp(0, 1).sqrt()[..., None]
        u, v = torch.sin(azimuth)[:, None] / lift, torch.cos(azimuth)[:, None] / lift
        phase = weather.cloud_phase
        waves = (
            torch.sin(1.1 * u + phase) + torch.sin(1.3 * v + 2.1 * phase) + torch.sin(0.7 * (u + v) - phase)
        )
        waves = waves + 0.5 * torch.sin(2.9 * u - 1.7 * v + phase) + 0.4 * torch.sin(2.3 * v + 3.1 * u)
        cover = torch.sigmoid(2.0 * (waves - 2.0 + 4.0 * weather.clouds))[..., None] * 0.8
        heaven = heaven * (1 - cover) + 238.0 * cover
        colour = torch.where(sky[..., None], heaven, colour)
        return colour * weather.exposure * torch.tensor(weather.tint, device=colour.device)


def _hash(east: Tensor, north: Tensor, z: Tensor) -> Tensor:
    """A repeatable value in 0..1 for each cell of half a metre: the mottle of leaves."""
    cells = (east * 2).floor() * 12.9898 + (north * 2).floor() * 78.233 + (z * 2).floor() * 37.719
    return torch.frac(torch.sin(cells) * 43758.5453).abs()


def street_positions(
    place: Place, count: int, rng: np.random.Generator, *, margin_m: float = 60.0
) -> npt.NDArray[np.float64]:
    """Random camera positions on a place's streets, (count, 2) east and north in metres, on open ground.

    Args:
        place: the place; it must have streets.
        count: how many.
        rng: where the randomness comes from.
        margin_m: distance kept from the place's edge.
    """
    lengths = np.array([np.hypot(*np.diff(s.points_m, axis=0).T).sum() for s in place.streets])
    positions: list[npt.NDArray[np.float64]] = []
    width, height = place.size_m
    rows, columns = place.surface.shape
    while len(positions) < count:
        street = place.streets[int(rng.choice(len(lengths), p=lengths / lengths.sum()))]
        piece = int(rng.integers(len(street.points_m) - 1))
        start, end = street.points_m[piece], street.points_m[piece + 1]
        step = end - start
        across = np.array([-step[1], step[0]]) / max(float(np.hypot(*step)), 1e-9)
        spot = start + rng.uniform() * step + across * rng.uniform(-0.35, 0.35) * street.width_m
        if not (margin_m <= spot[0] <= width - margin_m and margin_m <= spot[1] <= height - margin_m):
            continue
        row = min(rows - 1, rows - 1 - int(spot[1] / place.pixel_m))
        column = min(columns - 1, int(spot[0] / place.pixel_m))
        if place.surface[row, column] == Surface.ROAD and place.height_m[row, column] < 0.3:
            positions.append(spot)
    return np.array(positions)
