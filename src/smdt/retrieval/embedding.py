"""Images → strips, in batches: what the index, the evaluation and a single photo all go through.

Where a model's config says ``mirrored``, each picture's mirror image is embedded as well, and its strip, the columns
put back in order, joins the picture's own as further channels: C is then twice the model's. A scene in a mirror is as
likely a scene, but a network errs on it in other ways, and what both say of a place is surer than what either says.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smdt.geometry.panorama import mirror_above_and_below, mirror_beyond
from smdt.retrieval.aerial_views import aerial_views
from smdt.retrieval.encoder import Encoder, EncoderConfig

DEFAULT_TILE_SIDE_M = 150.0
"""Side of the tiles for models trained on none in particular; CVUSA's are about 170 m, CVACT's about 145 m."""


def tile_side_m(model: Encoder) -> float:
    """The side of the aerial tiles a model wants, in metres."""
    return model.config.tile_side_m or DEFAULT_TILE_SIDE_M


def filled_beyond(config: EncoderConfig, panoramas: Tensor, seen: Tensor) -> Tensor:
    """Panoramas (…, H, W), black where photos show nothing, as a model wants them there (``beyond`` of its config).

    Args:
        config: of the model that will embed them.
        panoramas: of photos that all show the same columns; or features of these.
        seen: (W,) True for the columns in which they show something.
    """
    return mirror_beyond(panoramas, seen) if config.beyond == "mirror" else panoramas


def filled_photo(config: EncoderConfig, panorama: Tensor, shown: Tensor) -> Tensor:
    """A panorama (3, H, W), black where a photo shows nothing, as a model wants it above, below and beside the photo.

    Args:
        config: of the model that will embed it.
        panorama: the photo in the panorama's frame.
        shown: (H, W) True where it shows something.
    """
    if config.beyond == "mirror":
        panorama = mirror_above_and_below(panorama, shown)
    return filled_beyond(config, panorama, shown.any(0))


@torch.inference_mode()
def embed_ground(model: Encoder, panoramas: Tensor) -> Tensor:
    """Strips (B, C, W) float32, on the CPU, of panoramas (B, 3, H, W) in [0, 1]; the views' mean is still in them."""
    return _embed(model, panoramas, "ground")


@torch.inference_mode()
def embed_mapped(model: Encoder, mapped: Tensor) -> Tensor:
    """Strips (B, C, W) float32, on the CPU, of what the aerial branch reads, (B, 3 or 6, H, W) in [0, 1]."""
    return _embed(model, mapped, "aerial")


@torch.inference_mode()
def embed_aerial(
    model: Encoder, tiles: Tensor, side_m: float, centre_m: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    """Strips (B, C, W) float32, on the CPU, of square north-up tiles (B, 3, S, S) uint8 of a side in metres.

    They are of what is seen from ``centre_m``, metres east and north of the tiles' middle.
    """
    return _embed(model, aerial_views(model, tiles, side_m, centre_m), "aerial")


def _embed(model: Encoder, images: Tensor, view: str) -> Tensor:
    device = model.ground_mean.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast_bfloat16(device)):
        images = images.to(device)
        strips: Tensor = model(images, view)
        if model.config.mirrored:
            strips = torch.cat([strips, model(images.flip(-1), view).flip(-1)], dim=1)
    return strips.float().cpu()


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware there (on a CPU: AVX-512 BF16 or AMX); else it would be slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def centre_queries(model: Encoder, strips: Tensor, set_mean: Tensor | None = None) -> Tensor:
    """Remove the ground view's mean from query strips (Q, C, W), if the model wants that.

    Args:
        model: its config says whether, and it carries the mean for lone photos.
        strips: query strips.
        set_mean: the mean (C, W) or (C, 1) of a whole query set; the model's own (C,) unless given.
    """
    if not model.config.remove_mean:
        return strips
    if set_mean is None:
        own = model.ground_mean.cpu()[:, None]
        set_mean = own.repeat(strips.shape[1] // len(own), 1)  # of a picture and of its mirror image alike
    return strips - set_mean
