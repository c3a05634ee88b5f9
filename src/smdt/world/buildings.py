"""Buildings of one or several wings, with flat, gabled, hipped and shed roofs and what stands on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smdt.world.canvas import Canvas, Floats, Frame, Rasters, Window, box_distance, member
from smdt.world.layers import Surface

_TAKEN = (Surface.ROAD, Surface.PAVEMENT, Surface.BUILDING, Surface.WATER, Surface.PARKING)
_TAKEN_IN_CITY = (Surface.ROAD, Surface.BUILDING, Surface.WATER)
_PANEL = np.array([44.0, 50.0, 66.0])


@dataclass(frozen=True)
class Wing:
    """One box of a building in its frame.

    Attributes:
        x: from, to along the frame.
        y: from, to away from it.
        eaves_m: height of the walls.
        roof: flat, gable, hip or shed.
        pitch: rise of a sloped roof in metres for each metre.
        tone: roof colour.
        facade: wall colour.
        storey_m: height of a storey.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    eaves_m: float
    roof: str
    pitch: float
    tone: Floats
    facade: Floats
    storey_m: float


def is_free(
    canvas: Canvas, frame: Frame, wings: Sequence[Wing], pad_m: float = 1.0, *, city: bool = False
) -> bool:
    """Whether nothing stands where a building would, nor a road within a pad, and at least part of it is visible."""
    seen = False
    for wing in wings:
        found = canvas.box(frame, wing.x, wing.y, pad_m)
        if found is None:
            continue
        where, a, b = found
        distance = box_distance(a, b, wing.x, wing.y)
        taken = member(canvas.surface[where], _TAKEN_IN_CITY if city else _TAKEN)
        if (taken & (distance <= pad_m)).any():
            return False
        seen = seen or bool((distance <= 0).any())
    return seen


def draw_building(rng: np.random.Generator, canvas: Canvas, frame: Frame, wings: Sequence[Wing]) -> None:
    """Draw the wings of a building; where they overlap the higher shows."""
    for wing in wings:
        found = canvas.box(frame, wing.x, wing.y, 1.0)
        if found is not None:
            _draw_wing(rng, canvas, frame, wing, *found)


def _draw_wing(
    rng: np.random.Generator, canvas: Canvas, frame: Frame, wing: Wing, where: Window, a: Rasters, b: Rasters
) -> None:
    middle = frame.world(0.5 * (wing.x[0] + wing.x[1]), 0.5 * (wing.y[0] + wing.y[1]))
    half = (0.5 * (wing.x[1] - wing.x[0]), 0.5 * (wing.y[1] - wing.y[0]))
    a, b = a - 0.5 * (wing.x[0] + wing.x[1]), b - 0.5 * (wing.y[0] + wing.y[1])
    turned = half[1] > half[0]
    if turned:
        a, b, half = b, a, (half[1], half[0])
    cover = canvas.inside(np.maximum(np.abs(a) - half[0], np.abs(b) - half[1]))
    if wing.roof == "flat":
        height, paint = _flat(rng, canvas, wing, where, a, b, half)
    else:
        height, paint = _pitched(rng, canvas, wing, where, a, b, half)
    inside = (cover > 0.5) & ~(
        (canvas.surface[where] == Surface.BUILDING) & (canvas.height_m[where] > height)
    )
    if not inside.any():
        return
    covered = (canvas.surface[where] == Surface.BUILDING) & ~inside
    angle = frame.angle_rad + (0.5 * np.pi if turned else 0.0)
    canvas.buildings.append((middle, half, angle, np.clip(wing.facade, 40, 250), wing.storey_m))
    canvas.blend(where, cover * ~covered, paint)
    canvas.surface[where][inside] = Surface.BUILDING
    canvas.height_m[where][inside] = height[inside]
    canvas.object_id[where][inside] = len(canvas.buildings)


def _pitched(
    rng: np.random.Generator,
    canvas: Canvas,
    wing: Wing,
    where: Window,
    a: Rasters,
    b: Rasters,
    half: tuple[float, float],
) -> tuple[Rasters, Rasters]:
    """Height and colour of a sloped roof: courses, a ridge, a chimney, sometimes panels or skylights."""
    rise_b, rise_a = half[1] - np.abs(b), half[0] - np.abs(a)
    if wing.roof == "hip":
        height = wing.eaves_m + wing.pitch * np.maximum(np.minimum(rise_a, rise_b), 0)
    elif wing.roof == "shed":
        height = wing.eaves_m + 0.5 * wing.pitch * np.clip(half[1] + b, 0, None) + 0 * a
    else:
        height = wing.eaves_m + wing.pitch * np.maximum(rise_b, 0) + 0 * a
    course = (
        0.02 * np.sin(b * (2 * np.pi / 0.9)) if rng.random() < 0.7 else 0.03 * np.sin(a * (2 * np.pi / 1.3))
    )
    factor = 1.0 + course + 0.06 * canvas.mottle[where] + 0.05 * canvas.drift[where]
    if wing.roof != "shed":
        factor = factor * (1.0 - 0.08 * canvas.stripe(b, 0.35))
    factor = factor * (1 + rng.normal(0, 0.03) * np.sign(b))
    paint = np.asarray(factor[..., None] * wing.tone, np.float32)
    home = wing.eaves_m < 9 and half[0] > 4
    if home and rng.random() < 0.13:
        x = rng.uniform(-0.5, 0.2) * half[0]
        panel = box_distance(a, b, (x - 2.5, x + 2.5), (0.25 * half[1], 0.85 * half[1]))
        cover = canvas.inside(panel)[..., None]
        grid = canvas.stripe(np.mod(a - x, 1.05) - 0.5, 0.06) + canvas.stripe(np.mod(b, 1.7) - 0.8, 0.06)
        paint += cover * (_PANEL.astype(np.float32) * (1 + 0.5 * grid[..., None]) - paint)
    elif home and rng.random() < 0.2:
        x, y = rng.uniform(-0.6, 0.6) * half[0], -0.5 * half[1]
        cover = canvas.inside(box_distance(a, b, (x - 0.5, x + 0.5), (y - 0.6, y + 0.6)))[..., None]
        paint += cover * (np.float32(92.0) - paint)
    if home and wing.roof != "shed" and rng.random() < 0.6:
        x, y = rng.uniform(-0.7, 0.7) * half[0], rng.uniform(-0.3, 0.3) * half[1]
        cover = canvas.inside(box_distance(a, b, (x - 0.4, x + 0.4), (y - 0.4, y + 0.4)))
        height = np.where(cover > 0.5, wing.eaves_m + wing.pitch * half[1] + 0.7, height)
        brick = np.array([128.0, 88.0, 74.0], np.float32)
        paint += cover[..., None] * (brick - paint)
    return np.asarray(height, np.float32), paint


def _flat(
    rng: np.random.Generator,
    canvas: Canvas,
    wing: Wing,
    where: Window,
    a: Rasters,
    b: Rasters,
    half: tuple[float, float],
) -> tuple[Rasters, Rasters]:
    """Height and colour of a flat roof: parapet, seams and stains, lift houses, plant, skylights."""
    edge = np.maximum(np.abs(a) - half[0], np.abs(b) - half[1])
    parapet = edge > -1.0  # wider than it is painted, so that no ray from afar steps over it
    height = np.where(parapet, wing.eaves_m + 0.35, wing.eaves_m).astype(np.float32)
    seam = canvas.stripe(np.mod(a, 6.0) - 3.0, 0.12)
    factor = 1.0 + 0.05 * canvas.mottle[where] + 0.11 * canvas.drift[where] - 0.07 * seam
    paint = np.asarray(factor[..., None] * wing.tone, np.float32)
    rim = canvas.inside(-0.45 - edge)[..., None]
    paint += rim * (np.asarray(wing.tone * 0.6 + 62.0, np.float32) - paint)
    count = int(np.clip(half[0] * half[1] / 45.0, 0, 9)) if half[1] > 4 else 0
    for _ in range(count):
        size = rng.uniform(0.7, 2.2, 2)
        if rng.random() < 0.15:
            size = size * 1.8
        x, y = (rng.uniform(-1, 1, 2) * (np.array(half) - 1.2 - size)).tolist()
        distance = np.maximum(np.abs(a - x) - float(size[0]), np.abs(b - y) - float(size[1]))
        cover = canvas.inside(distance)
        grey = rng.choice([205.0, 168.0, 130.0, 104.0]) + rng.normal(0, 8)
        paint += cover[..., None] * (np.float32(grey) - paint)
        if grey < 190:
            height = np.where(cover > 0.5, wing.eaves_m + np.float32(rng.uniform(0.8, 2.6)), height)
    if half[1] > 5 and rng.random() < 0.09:
        rows = (
            canvas.inside(edge + 2.0) * (np.mod(b, 2.4) < 1.5) * (a > float(rng.uniform(-0.5, 0.3)) * half[0])
        )
        paint += rows[..., None].astype(np.float32) * (_PANEL.astype(np.float32) * 1.2 - paint)
    return height, paint
