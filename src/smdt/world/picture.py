"""A panorama while it is painted: three planes of colour, class and depth, and what comes before what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Points:
    """What some pixels may show.

    Attributes:
        pixel: (K,) int64, column·H + row.
        depth: (K,) metres, horizontal.
        colour: (3, K) RGB in 0..255, lit.
        surface: (K,) uint8 of Surface.
    """

    pixel: Tensor
    depth: Tensor
    colour: Tensor
    surface: Tensor

    @staticmethod
    def together(parts: list[Points]) -> Points:
        """All of several."""
        return Points(
            torch.cat([part.pixel for part in parts]),
            torch.cat([part.depth for part in parts]),
            torch.cat([part.colour for part in parts], 1),
            torch.cat([part.surface for part in parts]),
        )


@dataclass(frozen=True)
class Picture:
    """What each of the W·H pixels shows, painted step by step.

    Attributes:
        colour: (3, W·H) RGB in 0..255.
        surface: (W·H,) uint8 of Surface.
        depth: (W·H,) metres, horizontal; infinite where nothing is met.
    """

    colour: Tensor
    surface: Tensor
    depth: Tensor

    @staticmethod
    def blank(pixels: int, surface: int, device: torch.device) -> Picture:
        """One that shows nothing but a class, infinitely far away."""
        return Picture(
            torch.zeros(3, pixels, device=device),
            torch.full((pixels,), surface, dtype=torch.uint8, device=device),
            torch.full((pixels,), torch.inf, device=device),
        )

    def paint(self, points: Points) -> None:
        """Show points, each in a pixel of its own."""
        self.paint_colour(points.pixel, points.colour)
        self.surface.scatter_(0, points.pixel, points.surface)
        self.depth.scatter_(0, points.pixel, points.depth)

    def paint_colour(self, pixel: Tensor, colour: Tensor) -> None:
        """Show colours (3, K), each in a pixel of its own (K,)."""
        self.colour.scatter_(1, pixel.expand(3, -1), colour)

    def paint_nearest(self, points: Points) -> None:
        """Show the nearest point of each pixel where it is nearer than what is shown; the first of equals."""
        won = foremost(points.pixel, points.depth, self.depth)
        self.paint(
            Points(
                points.pixel.index_select(0, won),
                points.depth.index_select(0, won),
                points.colour.index_select(1, won),
                points.surface.index_select(0, won),
            )
        )


def foremost(pixel: Tensor, depth: Tensor, shown: Tensor) -> Tensor:
    """Which points are the nearest in their pixel, and nearer than what it shows; the first of equals.

    Args:
        pixel: (K,) of the points.
        depth: (K,) of them, positive.
        shown: (W·H,) depth of what the pixels show.

    Returns:
        (M,) int64, numbers of points, rising.
    """
    order = torch.arange(len(pixel), device=pixel.device)
    # The bits of a positive float order as the float does; below them stands the order, so that no two are equal.
    rank = (depth.view(torch.int32).long() << 32) + order
    least = shown.view(torch.int32).long() << 32
    least.scatter_reduce_(0, pixel, rank, "amin")
    return torch.nonzero(least.index_select(0, pixel) == rank)[:, 0]
