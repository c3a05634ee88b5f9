"""Bilinear sampling of images at pixel coordinates, precise and fast.

Coordinates are pixel indices: (0, 0) is the centre of the first pixel. A sample whose neighbours lie outside
the image takes zero for them, as the published polar code does. Weights are computed in float64 before they
meet the image, so that large images lose nothing: float32 coordinates of ``grid_sample`` are off by up to
1e-4 pixel at 1200 pixels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smdt.errors import GeometryError


def corner_weights(row_px: Tensor, column_px: Tensor, height_px: int, width_px: int) -> tuple[Tensor, Tensor]:
    """The four neighbours of each coordinate and their bilinear weights.

    Args:
        row_px: (...) float coordinates; NaN or infinite ones count as outside.
        column_px: the same shape.
        height_px: rows of the image to be sampled.
        width_px: columns of the image to be sampled.

    Returns:
        Flat pixel indices (..., 4) int64, and weights (..., 4), which carry gradients and are zero for
        neighbours outside.
    """
    finite = torch.isfinite(row_px) & torch.isfinite(column_px)
    row = torch.where(finite, row_px, torch.full_like(row_px, -2.0)).clamp(-2.0, height_px + 1.0)
    column = torch.where(finite, column_px, torch.full_like(column_px, -2.0)).clamp(-2.0, width_px + 1.0)
    row_floor, column_floor = row.detach().floor(), column.detach().floor()
    row_fraction, column_fraction = row - row_floor, column - column_floor
    indices, weights = [], []
    for row_step in (0, 1):
        for column_step in (0, 1):
            r, c = row_floor.long() + row_step, column_floor.long() + column_step
            inside = (r >= 0) & (r < height_px) & (c >= 0) & (c < width_px)
            weight = (row_fraction if row_step else 1.0 - row_fraction) * (
                column_fraction if column_step else 1.0 - column_fraction
            )
            indices.append(torch.where(inside, r * width_px + c, torch.zeros_like(r)))
            weights.append(torch.where(inside, weight, torch.zeros_like(weight)))
    return torch.stack(indices, dim=-1), torch.stack(weights, dim=-1)


def bilinear(image: Tensor, row_px: Tensor, column_px: Tensor) -> Tensor:
    """Sample images at coordinates; differentiable in the image and in the coordinates.

    Args:
        image: (B, C, H, W) floating point.
        row_px: (h, w) row coordinates, shared by the batch.
        column_px: (h, w) column coordinates.

    Returns:
        (B, C, h, w) in the image's dtype; zero outside.

    Raises:
        GeometryError: if the image is not floating point, where the weights would all become zero.
    """
    if not image.is_floating_point():
        raise GeometryError(f"an image of {image.dtype} cannot be sampled", remedy="convert it with .float()")
    indices, weights = corner_weights(row_px, column_px, image.shape[-2], image.shape[-1])
    flat = image.flatten(2)
    weights = weights.to(image.dtype)
    sampled = torch.zeros_like(flat[:, :, :1]).expand(-1, -1, row_px.numel())
    for corner in range(4):
        picked = flat.index_select(2, indices[..., corner].reshape(-1))
        sampled = sampled + picked * weights[..., corner].reshape(-1)
    return sampled.reshape(*sampled.shape[:2], *row_px.shape)


@dataclass(frozen=True)
class SamplingGrid:
    """Where each output pixel looks in the source image: a fixed grid, applied to many images.

    Attributes:
        row_px: (h, w) float64 source rows; NaN where nothing is seen.
        column_px: (h, w) float64 source columns.
        source_height_px: rows of the source image.
        source_width_px: columns of the source image.
    """

    row_px: Tensor
    column_px: Tensor
    source_height_px: int
    source_width_px: int
    _matrix: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def matrix(self, device: torch.device | str = "cpu") -> Tensor:
        """The grid as a sparse matrix (h·w, H·W), float32, four weights a row; built once for a device."""
        key = str(device)
        if key not in self._matrix:
            indices, weights = corner_weights(
                self.row_px, self.column_px, self.source_height_px, self.source_width_px
            )
            starts = torch.arange(0, indices.numel() + 1, 4, dtype=torch.int32)
            with warnings.catch_warnings():  # torch announces that its CSR support is in beta
                warnings.simplefilter("ignore", UserWarning)
                self._matrix[key] = torch.sparse_csr_tensor(
                    starts,
                    indices.reshape(-1).int(),
                    weights.reshape(-1).float(),
                    size=(self.row_px.numel(), self.source_height_px * self.source_width_px),
                    device=device,
                )
        return self._matrix[key]

    def apply(self, images: Tensor) -> Tensor:
        """Sample a batch of images with this grid: a sparse product, the fast way for mapping many images.

        Args:
            images: (B, C, H, W), uint8 or float. Channels-last memory, as image files decode to, is fastest.

        Returns:
            (B, C, h, w) float32, in the units of the input; zero outside.

        Raises:
            GeometryError: if the images are not of the size the grid was made for.
        """
        if images.ndim != 4 or tuple(images.shape[-2:]) != (self.source_height_px, self.source_width_px):
            raise GeometryError(
                f"images of shape {tuple(images.shape)} do not fit a mapping made for "
                f"(B, C, {self.source_height_px}, {self.source_width_px})"
            )
        batch, channels = images.shape[:2]
        height, width = self.row_px.shape
        matrix = self.matrix(images.device)
        pixels = images.permute(0, 2, 3, 1)
        if pixels.requires_grad:
            mapped = torch.stack([matrix @ one.reshape(-1, channels).float() for one in pixels])
        else:
            mapped = torch.empty(batch, height * width, channels, device=images.device)
            for one, out in zip(pixels, mapped, strict=True):
                torch.mm(matrix, one.reshape(-1, channels).float(), out=out)
        return mapped.view(batch, height, width, channels).permute(0, 3, 1, 2)


def bilinear_reference(
    image: npt.NDArray[np.floating], row_px: npt.NDArray[np.float64], column_px: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """NumPy reference of :func:`bilinear` for one image (H, W, C), in float64: the yardstick of the tests."""
    height, width = image.shape[:2]
    row_floor = np.floor(row_px).astype(np.int64)
    column_floor = np.floor(column_px).astype(np.int64)
    sampled = np.zeros((*row_px.shape, image.shape[2]), dtype=np.float64)
    for row_step in (0, 1):
        for column_step in (0, 1):
            rows, columns = row_floor + row_step, column_floor + column_step
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            weight = (1.0 - np.abs(row_px - rows)) * (1.0 - np.abs(column_px - columns))
            sampled[inside] += weight[inside, None] * image[rows[inside], columns[inside]]
    return sampled
