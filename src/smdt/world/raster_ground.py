"""Estimate the ground under a surface model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter, maximum_filter, minimum_filter

Singles = npt.NDArray[np.float32]


def estimate_ground(surface_m: Singles, pixel_m: float, window_m: float) -> Singles:
    """The ground under a surface model: what is left when everything narrower than a window is taken away.

    On a grid of about 1 m: the lowest surface within half a window all round, then the highest of that again (a
    morphological opening), smoothed over a sixth of the window, and nowhere above the surface. A plane through the
    lowest points is taken off before and put back after, so slopes are kept up to the edges.

    Args:
        surface_m: (H, W), NaN where not known; known somewhere.
        pixel_m: metres per pixel.
        window_m: wider than the widest building.
    """
    block = max(1, round(1.0 / pixel_m))
    rows, columns = surface_m.shape
    padded = np.pad(surface_m, ((0, -rows % block), (0, -columns % block)), constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block)
    low = np.min(np.where(np.isfinite(blocks), blocks, np.inf), axis=(1, 3))
    hole = ~np.isfinite(low)
    if hole.any() and not hole.all():
        nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
        low = low[tuple(nearest)]
    size = max(3, round(window_m / (block * pixel_m)) | 1)
    slope = _slope(
        low, size
    )  # taken off before and put back after, so that the edges of a slope are right too
    level = low - slope
    opened = maximum_filter(minimum_filter(level, size, mode="nearest"), size, mode="nearest")
    smooth = np.minimum(gaussian_filter(opened, size / 6.0, mode="nearest"), level) + slope
    full = smooth.repeat(block, 0).repeat(block, 1)[:rows, :columns]
    return np.asarray(full, np.float32)


def _slope(low_m: Singles, size: int) -> Singles:
    """The plane through the lowest points of square cells of a surface, without its constant."""
    rows, columns = low_m.shape
    spots = []
    for top in range(0, rows, size):
        for left in range(0, columns, size):
            cell = low_m[top : top + size, left : left + size]
            row, column = np.unravel_index(int(cell.argmin()), cell.shape)
            spots.append((top + float(row), left + float(column), float(cell.min())))
    found = np.array(spots)
    if len(np.unique(found[:, 0])) < 3 or len(np.unique(found[:, 1])) < 3:
        return np.zeros_like(low_m)
    terms = np.column_stack([found[:, :2], np.ones(len(found))])
    down, right, _ = np.linalg.lstsq(terms, found[:, 2], rcond=None)[0]
    plane = down * np.arange(rows)[:, None] + right * np.arange(columns)
    return np.asarray(plane, np.float32)
