"""Set the buildings of an OpenStreetMap extract: footprints, roofs of several forms, façade colours."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter

from smdt.world.layers import BuildingTable, Surface
from smdt.world.osm_canvas import Canvas, Window
from smdt.world.osm_reading import OsmFeatures, Tags, number_in, ring_area_m2
from smdt.world.osm_tags import STOREY_M, building_height_m, tagged_colour
from smdt.world.rectangle import Rectangle, smallest_rectangle

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_FORMS = {
    "flat": "flat", "gabled": "gabled", "saltbox": "gabled", "gambrel": "gabled", "half-hipped": "hipped",
    "hipped": "hipped", "mansard": "mansard", "pyramidal": "hipped", "cone": "hipped", "conical": "hipped",
    "skillion": "skillion", "shed": "skillion", "dome": "dome", "onion": "dome", "round": "round",
}  # fmt: skip
_ROOF_TONES = np.array(
    [
        (140, 90, 76),  # tiles, red sheet
        (120, 80, 70),
        (94, 88, 84),
        (74, 75, 78),
        (116, 112, 106),
        (148, 147, 142),
        (106, 126, 114),  # copper
        (62, 62, 64),
    ],
    np.float64,
)
_PITCHED_ODDS = (0.24, 0.16, 0.18, 0.16, 0.10, 0.06, 0.05, 0.05)
_FLAT_TONES = np.array(
    [(92, 92, 94), (124, 122, 118), (150, 146, 140), (72, 72, 74), (174, 171, 166)], np.float64
)
_WALLS = np.array(
    [
        (222, 206, 168),  # plaster
        (206, 182, 132),
        (196, 170, 140),
        (226, 220, 208),
        (168, 104, 82),  # brick
        (190, 178, 164),
        (152, 148, 142),  # concrete
        (204, 160, 132),
        (176, 84, 66),
    ],
    np.float64,
)


def place_buildings(canvas: Canvas, features: OsmFeatures, rng: np.random.Generator) -> BuildingTable:
    """Draw all buildings, then the parts that stand on them; returns their table.

    Args:
        canvas: painted on.
        features: of the extract.
        rng: for what tags do not say.
    """
    rows: list[tuple[Rectangle, Floats, float]] = []
    whole = [area for area in features.areas if area.tags.get("building", "no") not in ("no", "entrance")]
    canopies = [
        area
        for area in features.areas
        if area.tags.get("man_made") == "canopy" and "building" not in area.tags
    ]
    parts = [
        area
        for area in features.areas
        if area.tags.get("building:part", "no") != "no" and "building" not in area.tags
    ]
    for number, areas in enumerate((whole, canopies, parts)):
        for area in areas:
            tags = {"building": "roof", **area.tags} if number == 1 else area.tags
            own = np.random.default_rng(rng.integers(2**63))
            for rings in area.polygons:
                if len(rings[0]) >= 4:
                    row = _draw_building(canvas, rings, tags, len(rows) + 1, own, part=number == 2)
                    if row is not None:
                        rows.append(row)
    return BuildingTable(
        centre_m=np.array([row[0].centre_m for row in rows], np.float32).reshape(-1, 2),
        half_size_m=np.array([row[0].half_m for row in rows], np.float32).reshape(-1, 2),
        angle_rad=np.array([row[0].angle_rad for row in rows], np.float32),
        facade=np.array([row[1] for row in rows], np.float32).reshape(-1, 3),
        storey_m=np.array([row[2] for row in rows], np.float32),
    )


def _draw_building(
    canvas: Canvas,
    rings: tuple[Floats, ...],
    tags: Tags,
    number: int,
    rng: np.random.Generator,
    *,
    part: bool,
) -> tuple[Rectangle, Floats, float] | None:
    """Draw one building; None if it covers no pixel."""
    outer = rings[0]
    margin = 2 * canvas.grid.pixel_m
    low, high = outer.min(axis=0) - margin, outer.max(axis=0) + margin
    where = canvas.window(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    if where is None:
        return None
    polygon = {"type": "Polygon", "coordinates": [ring.tolist() for ring in rings if len(ring) >= 4]}
    cover, _ = canvas.cover(where, [(polygon, 1)])
    inside = cover >= 0.5
    if not inside.any():
        return None
    rectangle = smallest_rectangle(outer)
    area = max(ring_area_m2(outer) - sum(ring_area_m2(hole) for hole in rings[1:]), 1.0)
    form = _roof_form(tags, rectangle, area, rng)
    roof = _Roof(canvas, where, inside, rectangle, form, rng)
    height, is_top = building_height_m(tags, area, rng)
    rise = number_in(tags, "roof:height", number_in(tags, "roof:levels", -1.0) * STOREY_M)
    shape = roof.shape(rise if 0.0 < rise < 100.0 else None)
    eaves = max(height - float(shape[inside].max()), min(height, 2.2)) if is_top else height
    raised = eaves + shape
    if part:  # a part never digs into the building it stands on
        raised = np.maximum(raised, np.where(canvas.object_id[where] > 0, canvas.height_m[where], 0.0))
    tone = _roof_tone(tags, form, area, rng)
    shade, extra = roof.details(eaves, area)
    colour = tone * (shade * (1 + 0.07 * canvas.noise(where)))[..., None]
    canvas.height_m[where][inside] = (raised + extra)[inside]
    canvas.surface[where][inside] = Surface.BUILDING
    canvas.object_id[where][inside] = number
    edge = np.nonzero(cover)
    canvas.blend(where, (edge[0], edge[1]), colour[edge], cover[edge])
    walls = tagged_colour(tags, "building")
    if walls is None:
        walls = _WALLS[rng.integers(len(_WALLS))]
    walls = np.clip(walls + rng.normal(0, 7) + rng.normal(0, 4, 3), 40, 245)
    return rectangle, walls, _storey_m(tags, eaves, rng)


def _storey_m(tags: Tags, eaves_m: float, rng: np.random.Generator) -> float:
    levels = number_in(tags, "building:levels", 0.0)
    if levels >= 1.0 and 2.2 <= eaves_m / levels <= 6.0:
        return eaves_m / levels
    return float(rng.uniform(2.8, 3.4))


def _roof_form(tags: Tags, rectangle: Rectangle, area_m2: float, rng: np.random.Generator) -> str:
    """The roof's form: tagged, or seeded by the building's kind and size."""
    tagged = _FORMS.get(tags.get("roof:shape", "").lower())
    if tagged is not None:
        return tagged
    kind = tags.get("building", tags.get("building:part", "yes"))
    filled = area_m2 / max(4.0 * rectangle.half_m[0] * rectangle.half_m[1], 1e-6)
    if (
        kind in ("roof", "carport", "garages", "garage", "kiosk", "parking", "supermarket", "retail")
        or area_m2 < 18.0
    ):
        return "flat"
    if kind in ("industrial", "warehouse", "commercial", "office") or area_m2 > 4000.0:
        return "flat" if rng.random() < 0.85 else "hipped"
    if kind in ("church", "cathedral", "barn", "farm"):
        return "gabled" if filled > 0.8 else "hipped"
    if filled > 0.8 and area_m2 < 600.0:
        return str(rng.choice(["gabled", "hipped", "flat"], p=[0.68, 0.16, 0.16]))
    return str(rng.choice(["hipped", "mansard", "flat"], p=[0.55, 0.15, 0.30]))


def _roof_tone(tags: Tags, form: str, area_m2: float, rng: np.random.Generator) -> Floats:
    tagged = tagged_colour(tags, "roof")
    if tagged is not None:
        return tagged + rng.normal(0, 4)
    if form == "flat":
        tone = _FLAT_TONES[rng.integers(len(_FLAT_TONES))]
    elif form == "dome":
        tone = np.array([112.0, 148.0, 128.0])
    else:
        tone = _ROOF_TONES[rng.choice(len(_ROOF_TONES), p=_PITCHED_ODDS)]
    worn = tone + rng.normal(0, 9) + rng.normal(0, 2, 3)
    return np.asarray(np.clip(worn, 30, 235), np.float64)


class _Roof:
    """The shape of one roof over a window of the canvas, and the small things on it."""

    def __init__(
        self,
        canvas: Canvas,
        where: Window,
        inside: Bools,
        rectangle: Rectangle,
        form: str,
        rng: np.random.Generator,
    ) -> None:
        east, north = canvas.centres(where)
        self.inside, self.rectangle, self.form, self.rng = inside, rectangle, form, rng
        self.along, self.across = rectangle.along_and_across(east, north)
        step = canvas.grid.pixel_m
        self.from_edge = np.asarray(distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1] * step, np.float32)
        self.widest = float(self.from_edge.max())

    def shape(self, rise_m: float | None) -> Floats:
        """Height above the eaves; ``rise_m`` is the tagged height of the roof, or None."""
        half_depth, widest = max(self.rectangle.half_m[1], 0.1), max(self.widest, 0.1)
        pitch = float(self.rng.uniform(0.38, 0.75))
        across = np.abs(self.across) / half_depth
        inward = gaussian_filter(np.asarray(self.from_edge, np.float64), 2.0) / widest  # slopes without steps
        if self.form == "gabled":
            fall, usual = 1.0 - across, min(half_depth * pitch, 6.0)
        elif self.form == "skillion":
            fall, usual = 0.5 + self.across / (2 * half_depth), min(2 * half_depth * 0.2, 3.0)
        elif self.form == "hipped":  # up from every edge: ridges run along the wings, hips along the corners
            fall, usual = inward, min(widest * pitch, 5.0)
        elif self.form == "mansard":  # steep to three quarters of its height, then shallow
            fall, usual = (
                0.75 * np.minimum(inward * widest / 1.4, 1.0) + 0.25 * inward,
                min(3.0, 1.6 * widest),
            )
        elif self.form == "dome":
            fall, usual = np.sqrt(np.clip(1.0 - (1.0 - inward) ** 2, 0, 1)), widest
        elif self.form == "round":
            fall, usual = np.sqrt(np.clip(1.0 - across**2, 0, 1)), 0.6 * half_depth
        else:
            fall, usual = np.zeros_like(inward), 0.0
        raised = np.clip(fall, 0.0, 1.0) * float(usual if rise_m is None else rise_m)
        return np.asarray(raised, np.float64)

    def details(self, eaves_m: float, area_m2: float) -> tuple[Floats, Floats]:
        """Brightness and extra height: parapets and plant on flat roofs, ridges, chimneys and skylights on others."""
        shade, extra = np.ones(self.inside.shape), np.zeros(self.inside.shape)
        edge = self.from_edge
        if self.form == "flat":
            if area_m2 > 40.0:
                rim = edge < 0.45
                shade[rim] *= self.rng.choice([0.8, 1.25])
                extra[rim] = 0.3
            for _ in range(min(int(area_m2 / 160.0 * (eaves_m > 5.0)), 24)):
                self._box(shade, extra, (0.6, 2.6), (0.8, 2.4), float(self.rng.choice([0.75, 1.2, 1.4])), 2.2)
        elif self.form in ("gabled", "hipped", "mansard"):
            ridge = np.abs(self.across) < 0.2 if self.form == "gabled" else edge > self.widest - 0.2
            shade[ridge] *= 0.88
            shade[edge < 0.3] *= 0.85
            shade *= self._weathering()
            for _ in range(min(1 + int(area_m2 / 120.0), 20)):
                self._box(shade, extra, (0.3, 0.6), (0.8, 1.4), 0.72, 0.8)
            for _ in range(int(self.rng.integers(0, 3 + min(int(area_m2 / 90.0), 20)))):
                self._box(shade, extra, (0.35, 0.6), (0.0, 0.0), 0.45, 1.0)
        return shade, extra

    def _weathering(self) -> Floats:
        """Brightness by the way each slope faces: roofs age unlike on their sides."""
        wear = float(self.rng.uniform(0.0, 0.10))
        if self.form == "gabled":
            return np.asarray(np.where(self.across > 0, 1.0 - wear, 1.0), np.float64)
        if min(self.from_edge.shape) < 2:
            return np.ones(self.from_edge.shape)
        down, right = np.gradient(np.asarray(self.from_edge, np.float64))
        facing = np.arctan2(-down, right) - float(self.rng.uniform(0, 2 * math.pi))
        return np.asarray(1.0 - wear * (0.5 + 0.5 * np.sign(np.cos(facing))), np.float64)

    def _box(
        self,
        shade: Floats,
        extra: Floats,
        half_m: tuple[float, float],
        height_m: tuple[float, float],
        factor: float,
        from_edge_m: float,
    ) -> None:
        """A small thing somewhere on the roof, away from its edge."""
        rows, columns = np.nonzero(self.from_edge > from_edge_m)
        if not len(rows):
            return
        pick = int(self.rng.integers(len(rows)))
        a, b = self.along[rows[pick], columns[pick]], self.across[rows[pick], columns[pick]]
        length, depth = self.rng.uniform(*half_m, 2)
        mask = (np.abs(self.along - a) < length) & (np.abs(self.across - b) < depth) & self.inside
        shade[mask] = factor
        extra[mask] = self.rng.uniform(*height_m)
