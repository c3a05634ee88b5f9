"""One moment of a place: the sun, the season, the sky, and the sensor that looks.

The aerial and the ground view of a pair are of different moments, as in life: other light and leaves, other
cars, another camera.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Sun:
    """Where the sun stands.

    Attributes:
        azimuth_deg: clockwise from north.
        elevation_deg: above the horizon.
    """

    azimuth_deg: float = 180.0
    elevation_deg: float = 45.0

    def direction(self) -> tuple[float, float, float]:
        """Unit vector towards the sun: east, north, up."""
        azimuth, elevation = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        flat = math.cos(elevation)
        return flat * math.sin(azimuth), flat * math.cos(azimuth), math.sin(elevation)


@dataclass(frozen=True)
class Sensor:
    """A camera's habits.

    Attributes:
        exposure: factor on the light.
        white_balance: factor for each channel.
        gamma: exponent on the values in 0..1; above 1 darkens the middle.
        saturation: 0 grey, 1 as it is.
        blur_px: deviation of a Gaussian blur.
        noise: deviation of Gaussian noise, in 0..255.
        jpeg_quality: 0 for none.
    """

    exposure: float = 1.0
    white_balance: Rgb = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    saturation: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 0

    @staticmethod
    def draw(rng: np.random.Generator) -> Sensor:
        """A camera at random."""
        balance = rng.normal(1, 0.03, 3)
        return Sensor(
            exposure=float(rng.uniform(0.78, 1.12)),
            white_balance=(float(balance[0]), float(balance[1]), float(balance[2])),
            gamma=float(rng.uniform(0.8, 1.25)),
            saturation=float(rng.uniform(0.6, 1.15)),
            blur_px=float(rng.uniform(0, 0.8)),
            noise=float(rng.uniform(0, 5)),
            jpeg_quality=int(rng.integers(55, 96)),
        )

    def take(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """What the camera makes of an image (3, H, W) in 0..255: uint8, on the image's device.

        Args:
            image: float, linear in the sense of the renderer.
            rng: of the noise.
        """
        balance = torch.tensor(self.white_balance, device=image.device)[:, None, None]
        pixels = image.float() * (self.exposure * balance)
        grey = pixels.mean(0, keepdim=True)
        pixels.sub_(grey).mul_(self.saturation).add_(grey).clamp_(0, 255)
        # Twice as fast as a power.
        pixels.div_(255.0).log_().mul_(self.gamma).exp_().mul_(255.0)
        if self.blur_px > 0.2:
            pixels = _blurred(pixels, self.blur_px)
        if self.noise > 0:
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            grain = torch.randn(pixels.shape, generator=generator).to(pixels.device)
            pixels = pixels.add_(grain, alpha=self.noise)
        shot = pixels.round_().clamp_(0, 255).byte()
        if not self.jpeg_quality:
            return shot
        coded = io.BytesIO()
        Image.fromarray(shot.permute(1, 2, 0).contiguous().cpu().numpy()).save(
            coded, "JPEG", quality=self.jpeg_quality
        )
        decoded = np.asarray(Image.open(coded))
        return torch.from_numpy(decoded.copy()).permute(2, 0, 1).contiguous().to(image.device)


def _blurred(pixels: Tensor, sigma_px: float) -> Tensor:
    """An image (3, H, W) under a Gaussian of five taps each way; sums of shifted images beat a convolution on a CPU."""
    taps = [math.exp(-0.5 * (at / sigma_px) ** 2) for at in range(3)]
    total = taps[0] + 2 * (taps[1] + taps[2])
    for axis, edges in ((1, (0, 0, 2, 2)), (2, (2, 2, 0, 0))):
        count = pixels.shape[axis]
        padded = F.pad(pixels, edges, mode="replicate")
        shifted = [padded.narrow(axis, start, count) for start in range(5)]
        pixels = shifted[2] * (taps[0] / total)
        for far, tap in ((1, taps[1] / total), (2, taps[2] / total)):
            pixels.add_(shifted[2 - far], alpha=tap).add_(shifted[2 + far], alpha=tap)
    return pixels


@dataclass(frozen=True)
class Moment:
    """One moment: light, season, sky, traffic and sensor.

    Attributes:
        sun: where it stands.
        direct: share of the light that comes from the sun and casts shadows; the rest comes from the whole sky.
        leaf_tint: factor on the colour of leaves.
        leaf_density: how full crowns are, 0 bare to 1.
        grass_tint: factor on grass and fields.
        zenith: sky colour overhead, RGB in 0..255.
        horizon: sky colour at the horizon.
        clouds: 0 clear to 1 overcast.
        haze_m: distance at which the air's colour hides two thirds.
        traffic: share of car spots that are taken.
        crowd: people on each hectare of pavement and road.
        lean: metres an object's top leans outwards in the aerial image for each metre of height, east and north.
        sensor: the camera.
        seed: of clouds, cars, people and noise.
    """

    sun: Sun = Sun()
    direct: float = 0.6
    leaf_tint: Rgb = (1.0, 1.0, 1.0)
    leaf_density: float = 0.9
    grass_tint: Rgb = (1.0, 1.0, 1.0)
    zenith: Rgb = (92.0, 140.0, 205.0)
    horizon: Rgb = (202.0, 218.0, 232.0)
    clouds: float = 0.4
    haze_m: float = 1200.0
    traffic: float = 0.4
    crowd: float = 4.0
    lean: tuple[float, float] = (0.0, 0.0)
    sensor: Sensor = Sensor()
    seed: int = 0

    @staticmethod
    def draw(rng: np.random.Generator, variety: float = 1.0) -> Moment:
        """A moment at random, seen by a camera at random.

        Args:
            rng: where the randomness comes from.
            variety: 1 for all seasons, skies and cameras; towards 0 the season, the lean and the camera come closer to
                a mild summer's day and a good camera. Sun, cars and people differ at any variety.
        """
        overcast = float(rng.random() ** 1.5)
        blue = np.array([90.0, 138.0, 205.0]) + rng.normal(0, 10, 3)
        zenith = blue * (1 - overcast) + np.array([182.0, 188.0, 196.0]) * overcast
        horizon = np.array([205.0, 218.0, 230.0]) + rng.normal(0, 8, 3)
        season = rng.choice(["summer", "spring", "autumn", "winter"], p=[0.45, 0.2, 0.25, 0.1])
        leaf = {
            "summer": (1.0, 1.0, 1.0),
            "spring": (1.08, 1.14, 0.9),
            "autumn": (1.3, 1.0, 0.7),
            "winter": (1.08, 0.96, 0.88),
        }[season]
        grass = {
            "summer": (1.0, 1.0, 1.0),
            "spring": (0.95, 1.1, 0.85),
            "autumn": (1.12, 1.02, 0.85),
            "winter": (1.1, 0.98, 0.85),
        }[season]
        full = {"summer": (0.85, 1.0), "spring": (0.7, 1.0), "autumn": (0.5, 0.95), "winter": (0.3, 0.6)}[
            season
        ]
        jitter = rng.normal(1, 0.035, 6)
        moment = Moment(
            sun=Sun(float(rng.uniform(80, 280)), float(rng.uniform(25, 65))),
            direct=float(0.15 + 0.5 * (1 - overcast)),
            leaf_tint=(leaf[0] * float(jitter[0]), leaf[1] * float(jitter[1]), leaf[2] * float(jitter[2])),
            leaf_density=float(rng.uniform(*full)),
            grass_tint=(
                grass[0] * float(jitter[3]),
                grass[1] * float(jitter[4]),
                grass[2] * float(jitter[5]),
            ),
            zenith=(float(zenith[0]), float(zenith[1]), float(zenith[2])),
            horizon=(float(horizon[0]), float(horizon[1]), float(horizon[2])),
            clouds=float(np.clip(overcast + rng.normal(0, 0.15), 0, 1)),
            haze_m=float(np.exp(rng.uniform(math.log(350), math.log(4000)))),
            traffic=float(rng.uniform(0.1, 0.7)),
            crowd=float(rng.uniform(0, 8)),
            lean=(float(rng.normal(0, 0.08)), float(rng.normal(0, 0.08))),
            sensor=Sensor.draw(rng),
            seed=int(rng.integers(2**31)),
        )
        return moment if variety == 1.0 else moment.tamed(variety)

    def tamed(self, variety: float) -> Moment:
        """This moment with season, lean and camera drawn towards a mild day's by what ``variety`` lacks to 1."""

        def towards(values: Rgb) -> Rgb:
            red, green, blue = (1.0 + (value - 1.0) * variety for value in values)
            return red, green, blue

        sensor = replace(
            self.sensor,
            exposure=1.0 + (self.sensor.exposure - 1.0) * variety,
            white_balance=towards(self.sensor.white_balance),
            gamma=1.0 + (self.sensor.gamma - 1.0) * variety,
            saturation=1.0 + (self.sensor.saturation - 1.0) * variety,
            blur_px=self.sensor.blur_px * variety,
            noise=self.sensor.noise * variety,
        )
        return replace(
            self,
            leaf_tint=towards(self.leaf_tint),
            leaf_density=1.0 - (1.0 - self.leaf_density) * variety,
            grass_tint=towards(self.grass_tint),
            lean=(self.lean[0] * variety, self.lean[1] * variety),
            sensor=sensor,
        )
