"""Straight pieces of a polyline, each with the pixels that are its own: what roads and rivers are drawn by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smdt.world.canvas import Canvas, Floats, Masks, Rasters, Window


@dataclass(frozen=True)
class Strip:
    """One straight piece of a polyline.

    Attributes:
        where: window on the canvas.
        own: which of its pixels belong to this piece.
        lateral: metres to the left of the line.
        away: metres from the line, round its open ends.
        along: metres from the line's start.
    """

    where: Window
    own: Masks
    lateral: Rasters
    away: Rasters
    along: Rasters


def strips(canvas: Canvas, points: Floats, margin_m: float, *, closed: bool = False) -> Iterator[Strip]:
    """The pieces of a polyline; pixels are shared out at the joints' bisectors, and open ends are round.

    Args:
        canvas: where to draw.
        points: (N, 2) east, north.
        margin_m: how far from the line to look.
        closed: the line ends where it began.
    """
    steps = np.diff(points, axis=0)
    lengths = np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-6)
    units = steps / lengths[:, None]
    joints = units.copy()
    joints[1:] += units[:-1]
    joints = np.concatenate([joints, units[-1:]])
    if closed:
        joints[0] = joints[-1] = units[0] + units[-1]
    stations = np.concatenate([[0.0], np.cumsum(lengths)])
    for index, (start, unit, length) in enumerate(zip(points[:-1], units, lengths, strict=True)):
        found = canvas.window(points[index : index + 2, 0], points[index : index + 2, 1], margin_m)
        if found is None:
            continue
        where, east, north = found
        de, dn = east - float(start[0]), north - float(start[1])
        u = de * float(unit[0]) + dn * float(unit[1])
        lateral = dn * float(unit[0]) - de * float(unit[1])
        away = np.abs(lateral)
        first, last = index == 0 and not closed, index == len(units) - 1 and not closed
        if first:
            away = np.where(u < 0, np.hypot(u, lateral), away)
            own = np.ones_like(u, np.bool_)
        else:
            own = de * float(joints[index, 0]) + dn * float(joints[index, 1]) >= 0
        if last:
            away = np.where(u > float(length), np.hypot(u - float(length), lateral), away)
        else:
            normal, end = joints[index + 1], points[index + 1]
            own &= (east - float(end[0])) * float(normal[0]) + (north - float(end[1])) * float(normal[1]) < 0
        yield Strip(where, own, lateral, away, u + float(stations[index]))
