"""The sky of a moment: colour from horizon to zenith, clouds, and glare around the sun."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smdt.world.moment import Moment
from smdt.world.texture import cell_hash, smooth_noise_at

_CLOUD_SCALE = 42.0


def sky_colour(azimuth_rad: Tensor, slope: Tensor, moment: Moment) -> Tensor:
    """Sky colours.

    Args:
        azimuth_rad: (...) from north, clockwise.
        slope: (...) tangent of the elevation, 0 at the horizon.
        moment: gives sun, clouds and colours.

    Returns:
        (..., 3) RGB in 0..255, up to 300 in the glare.
    """
    device = slope.device
    horizon = torch.tensor(moment.horizon, device=device)
    zenith = torch.tensor(moment.zenith, device=device)
    lift = slope.clamp_min(0.0)
    height = (lift / torch.sqrt(1 + lift**2)).clamp(0, 1)
    colour = horizon + (zenith - horizon) * (height / 0.75).clamp(0, 1).pow(0.55)[..., None]
    far = lift + 0.09
    phase = cell_hash(torch.tensor(moment.seed, device=device), torch.tensor(3, device=device)) * 400
    u = torch.sin(azimuth_rad) / far * _CLOUD_SCALE + phase
    v = torch.cos(azimuth_rad) / far * _CLOUD_SCALE + 2 * phase
    puff = smooth_noise_at(u, v)
    fine = smooth_noise_at(u * 3.1 + 17, v * 3.1)
    mass = 0.75 * puff + 0.25 * fine
    cover = ((mass - (1.05 - 1.05 * moment.clouds)) * 5.0).clamp(0, 1) * (
        0.35 + 0.65 * (lift / 0.25).clamp(0, 1)
    )
    under = 236.0 - 70.0 * moment.clouds * (mass - 0.3).clamp(0, 1) * fine
    colour = colour * (1 - cover[..., None]) + under[..., None] * cover[..., None]
    east, north, up = moment.sun.direction()
    flat = torch.rsqrt(1 + lift**2)
    towards = flat * (torch.sin(azimuth_rad) * east + torch.cos(azimuth_rad) * north) + height * up
    glare = torch.exp((towards - 1) * 18.0) * moment.direct / 0.65 * (1 - 0.8 * cover)
    return colour + 85.0 * glare[..., None]


def through_air(colour: Tensor, depth_m: Tensor, moment: Moment) -> Tensor:
    """Colours (..., 3) seen through the air over a distance (...)."""
    clear = torch.exp(-depth_m.clamp_max(10_000.0) / moment.haze_m)[..., None]
    return colour * clear + torch.tensor(moment.horizon, device=colour.device) * (0.92 * (1 - clear))


def tilt_rad(relative_azimuth_rad: Tensor, roll_deg: float, pitch_deg: float) -> Tensor:
    """How much higher each column looks if the camera is pitched up and rolled clockwise, for small angles."""
    return math.radians(pitch_deg) * torch.cos(relative_azimuth_rad) - math.radians(roll_deg) * torch.sin(
        relative_azimuth_rad
    )
