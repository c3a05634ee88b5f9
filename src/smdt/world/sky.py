"""The sky of a moment: colour from horizon to zenith, clouds, and glare around the sun; and the air before things."""

from __future__ import annotations

import torch
from torch import Tensor

from smdt.world.moment import Moment, Rgb
from smdt.world.texture import cell_hash, smooth_noise_at

_CLOUD_SCALE = 42.0


def sky_colour(sine: Tensor, cosine: Tensor, slope: Tensor, moment: Moment) -> Tensor:
    """Sky colours.

    Args:
        sine: (K,) of the azimuths, which run from north, clockwise.
        cosine: (K,) of the azimuths.
        slope: (K,) tangent of the elevation, 0 at the horizon.
        moment: gives sun, clouds and colours.

    Returns:
        (3, K) RGB in 0..255, up to 300 in the glare.
    """
    device = slope.device
    lift = slope.clamp_min(0.0)
    flat = torch.rsqrt(1 + lift**2)
    height = lift * flat
    blue = (height / 0.75).clamp_max_(1).pow_(0.55)
    scale = _CLOUD_SCALE / (lift + 0.09)
    phase = float(cell_hash(torch.tensor(moment.seed), 3)) * 400
    u, v = torch.add(phase, sine * scale), torch.add(2 * phase, cosine * scale)
    puff = smooth_noise_at(u, v)
    fine = smooth_noise_at(u * 3.1 + 17, v * 3.1)
    mass = torch.lerp(puff, fine, 0.25)
    cover = (mass - (1.05 - 1.05 * moment.clouds)).mul_(5.0).clamp_(0, 1)
    cover *= 0.35 + 0.65 * (lift / 0.25).clamp_max_(1)
    under = 236.0 - 70.0 * moment.clouds * (mass - 0.3).clamp_(0, 1) * fine
    east, north, up = moment.sun.direction()
    towards = flat * (sine * east + cosine * north) + height * up
    glare = torch.exp((towards - 1) * 18.0) * (85.0 * moment.direct / 0.65) * (1 - 0.8 * cover)
    horizon, zenith = _rgb(moment.horizon, device), _rgb(moment.zenith, device)
    return torch.lerp(horizon, zenith, blue).lerp_(under, cover).add_(glare)


def put_in_air(colour: Tensor, depth_m: Tensor, moment: Moment) -> None:
    """Make colours (3, K) what is seen of them through the air over a distance (K,), in place."""
    clear = torch.exp(depth_m / -moment.haze_m)
    colour.mul_(clear).add_(_rgb(moment.horizon, colour.device) * (0.92 * (1 - clear)))


def _rgb(colour: Rgb, device: torch.device) -> Tensor:
    """A colour as (3, 1)."""
    return torch.tensor(colour, device=device)[:, None]
