"""Picture files to tensors: decoding, squareness, resizing, normalisation, and class labels.

Everything read here is whole and of the kind asked for, or a :class:`~smdt.errors.DatasetError` names the file.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from smdt.errors import DatasetError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of the red, green and blue channels in [0, 1] that ImageNet backbones were trained with."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of the same."""

_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow raises on files that are cut off or overwritten, depending on the format and the place."""


def _decode(path: Path) -> Image.Image:
    """Read a picture file whole, upright as its EXIF orientation says, in the mode it is stored in."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large aerial pictures are meant
            with Image.open(path) as picture:
                picture.load()
                ImageOps.exif_transpose(picture, in_place=True)
                return picture
    except FileNotFoundError:
        raise DatasetError(
            "there is no such picture", where=path, remedy="check the path, or copy the file there"
        ) from None
    except UnidentifiedImageError:
        raise DatasetError(
            "this is not a picture that can be read", where=path, remedy="replace it by a JPEG or PNG file"
        ) from None
    except Image.DecompressionBombError:
        raise DatasetError(
            "the picture has more than 178 million pixels", where=path, remedy="crop it or make it smaller"
        ) from None
    except _DAMAGED as error:
        raise DatasetError(
            f"the picture is truncated or damaged ({error})", where=path, remedy="copy or download it again"
        ) from None


def load_image(path: Path) -> Tensor:
    """Read a picture as 8-bit RGB.

    Grey pictures get three equal channels, transparency is dropped, and an EXIF orientation is applied.

    Args:
        path: a picture file of a format Pillow reads, up to 178 million pixels.

    Returns:
        (3, H, W) uint8, channels last in memory.

    Raises:
        DatasetError: if the file is missing, truncated, damaged, no picture, or has more than 8 bits a channel.
    """
    picture = _decode(path)
    if picture.mode in {"I", "F"} or picture.mode.startswith("I;"):
        raise DatasetError(
            f"the picture has more than 8 bits a channel (mode {picture.mode})",
            where=path,
            remedy="convert it to 8-bit RGB",
        )
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def load_labels(path: Path) -> Tensor:
    """Read a label picture as class indices, from its grey values or its palette indices.

    Returns:
        (H, W) int64.

    Raises:
        DatasetError: if the file is missing, damaged, or in colour, where no class index can be told.
    """
    picture = _decode(path)
    if picture.mode not in {"L", "P"}:
        raise DatasetError(
            f"a label picture holds class indices, grey or with a palette, but this one has mode {picture.mode}",
            where=path,
            remedy="convert its colours to class indices and save it as an 8-bit grey PNG",
        )
    return torch.from_numpy(np.array(picture)).long()


def require_square(image: Tensor, path: Path) -> None:
    """Refuse an aerial image (C, H, W) that is not square: its centre would not be the camera.

    Raises:
        DatasetError: naming the file and its size.
    """
    height, width = image.shape[-2:]
    if height != width:
        raise DatasetError(
            f"the aerial image of {width}×{height} pixels is not square",
            where=path,
            remedy="crop it to a square centred on the camera",
        )


def resize(image: Tensor, height_px: int, width_px: int) -> Tensor:
    """Resize an image (C, h, w) with bilinear interpolation, antialiased.

    Args:
        image: uint8 in 0..255 or floating point in [0, 1].
        height_px: rows of the result.
        width_px: columns of the result.

    Returns:
        (C, H, W) float32 in [0, 1].
    """
    scaled = image.float() / 255.0 if image.dtype == torch.uint8 else image.float()
    if scaled.shape[-2:] == (height_px, width_px):
        return scaled.contiguous()
    resized = F.interpolate(
        scaled[None].contiguous(), (height_px, width_px), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].clamp(0.0, 1.0)  # the weights add up to one only within rounding


def resize_labels(labels: Tensor, height_px: int, width_px: int) -> Tensor:
    """Resize class indices (h, w) to (H, W) by the nearest pixel; no new classes arise."""
    wide = labels[None, None].double()
    return F.interpolate(wide, (height_px, width_px), mode="nearest-exact")[0, 0].to(labels.dtype)


def normalise(images: Tensor) -> Tensor:
    """Bring RGB images (…, 3, H, W) in [0, 1] to the mean and deviation of ImageNet."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=images.dtype, device=images.device)[:, None, None]
    deviation = torch.tensor(IMAGENET_STD, dtype=images.dtype, device=images.device)[:, None, None]
    return (images - mean) / deviation
