"""The things near a camera that are met one by one: trees, cars, people, poles and wires, each on its ground."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from smdt.world import sprites
from smdt.world.hills import Hills
from smdt.world.layers import Place, Surface
from smdt.world.moment import Moment
from smdt.world.texture import cell_hash

_MOST_TREES = 220


def ground_under(hills: Hills | None, east: Tensor, north: Tensor) -> Tensor:
    """Elevation of the ground (N,) at positions; 0 in flat places, whatever their level."""
    return torch.zeros_like(east) if hills is None else hills.at(*hills.fold(east, north))


def flat_index(place: Place, east: Tensor, north: Tensor) -> Tensor:
    """Flat raster index of positions, clamped to the place's edge."""
    rows, columns = place.surface.shape
    column = (east / place.pixel_m).floor().long().clamp(0, columns - 1)
    row = (rows - 1 - (north / place.pixel_m).floor().long()).clamp(0, rows - 1)
    index: Tensor = row * columns + column
    return index


class NearThings:
    """The tables of a place on the device.

    Args:
        place: whose tables.
        hills: its ground; None where it is flat.
        surface: its class layer on the device.
    """

    def __init__(self, place: Place, hills: Hills | None, surface: Tensor) -> None:
        self.device, self._place, self._hills, self._surface = surface.device, place, hills, surface
        trees = place.trees
        columns_of_trees = {
            "east": trees.centre_m[:, 0],
            "north": trees.centre_m[:, 1],
            "radius": trees.radius_m,
            "top": trees.top_m,
            "base": trees.crown_base_m,
            "colour": trees.colour,
            "conifer": trees.conifer,
            "number": np.arange(len(trees.radius_m)),
        }
        self._trees = {
            name: torch.from_numpy(np.ascontiguousarray(v)).to(self.device)
            for name, v in columns_of_trees.items()
        }
        self._trees["ground"] = ground_under(hills, self._trees["east"], self._trees["north"])
        self._cars = torch.from_numpy(place.car_spots).to(self.device)
        self._poles = torch.from_numpy(place.poles).to(self.device)
        self._pole_ground = ground_under(hills, self._poles[:, 0], self._poles[:, 1])

    def hits(
        self,
        eye: sprites.Eye,
        moment: Moment,
        reach: float,
        frame_deg: tuple[float, float],
        tilt_deg: Tensor,
    ) -> list[sprites.Hits]:
        """What the camera's pixels meet.

        Args:
            eye: the camera.
            moment: light, season, and who is there.
            reach: of trees, in metres.
            frame_deg: elevation of the picture's upper and lower edge.
            tilt_deg: (W,) how much higher each column looks.
        """
        found = []
        away = torch.hypot(self._trees["east"] - eye.east_m, self._trees["north"] - eye.north_m)
        near = torch.nonzero(away < reach)[:, 0]
        if len(near) > _MOST_TREES:
            near = near[away[near].argsort()[:_MOST_TREES]]
        if len(near):
            found.append(sprites.tree_hits(eye, {n: v[near] for n, v in self._trees.items()}, moment))
        cars = self._cars
        away = torch.hypot(cars[:, 0] - eye.east_m, cars[:, 1] - eye.north_m)
        boxes = sprites.car_boxes(cars, moment)  # all, so that who stands where depends on the moment alone
        kept = torch.hypot(boxes["east"] - eye.east_m, boxes["north"] - eye.north_m)
        kept = (kept < 70.0) & (kept > 4.8)  # nobody parks on the camera
        if bool(kept.any()):
            near_boxes = self._on_ground({n: v[kept] for n, v in boxes.items()})
            found.append(sprites.box_hits(eye, near_boxes, moment))
        posts = self._posts(eye)
        if len(posts["east"]):
            found.append(sprites.post_hits(eye, posts, moment, int(Surface.POLE)))
        if len(self._poles) > 1:
            row_deg = (frame_deg[0] - frame_deg[1]) / eye.slope.shape[1]
            found.append(
                sprites.wire_hits(eye, self._poles, self._pole_ground, frame_deg[0], row_deg, tilt_deg)
            )
        people = self._people(eye, moment)
        if len(people["east"]):
            found.append(sprites.post_hits(eye, people, moment, int(Surface.PERSON)))
        return found

    def _on_ground(self, boxes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Boxes of cars with the elevation of the ground under them, and its rise along their length."""
        ground = ground_under(self._hills, boxes["east"], boxes["north"])
        tilt = torch.zeros_like(ground)
        if self._hills is not None:
            slope = self._hills.slope_at(*self._hills.fold(boxes["east"], boxes["north"]))
            tilt = slope[0] * torch.cos(boxes["angle"]) + slope[1] * torch.sin(boxes["angle"])
        return boxes | {"ground": ground, "tilt": tilt}

    def _posts(self, eye: sprites.Eye) -> dict[str, Tensor]:
        """The poles near the camera, grey or of wood by their height."""
        away = torch.hypot(self._poles[:, 0] - eye.east_m, self._poles[:, 1] - eye.north_m)
        near = (away < 90.0) & (away > 1.0)
        poles = self._poles[near]
        wood = (poles[:, 2] > 7.5)[:, None]
        grey = torch.tensor([[128.0, 130.0, 132.0]], device=self.device)
        brown = torch.tensor([[104.0, 88.0, 70.0]], device=self.device)
        return {
            "east": poles[:, 0],
            "north": poles[:, 1],
            "ground": self._pole_ground[near],
            "half_width": torch.where(wood[:, 0], 0.14, 0.07),
            "top": poles[:, 2],
            "colour": torch.where(wood, brown, grey),
            "round": torch.zeros(len(poles), dtype=torch.bool, device=self.device),
        }

    def _people(self, eye: sprites.Eye, moment: Moment) -> dict[str, Tensor]:
        """People on pavements and roads within 40 m, others at each moment."""
        count = round(moment.crowd * 0.64 * 4)
        number = torch.arange(count, device=self.device)
        seed = torch.full_like(number, moment.seed % 100_003)
        spread = [cell_hash(number, seed, torch.full_like(number, k)) for k in range(3)]
        east, north = eye.east_m + 80 * (spread[0] - 0.5), eye.north_m + 80 * (spread[1] - 0.5)
        surface = self._surface.reshape(-1)[flat_index(self._place, east, north)]
        there = (surface == Surface.PAVEMENT) | ((surface == Surface.ROAD) & (spread[2] < 0.08))
        there &= torch.hypot(east - eye.east_m, north - eye.north_m) > 2.5
        cloth = torch.stack(
            [40 + 170 * cell_hash(number, seed, torch.full_like(number, k)) for k in (4, 5, 6)], -1
        )
        return {
            "east": east[there],
            "north": north[there],
            "ground": ground_under(self._hills, east[there], north[there]),
            "half_width": torch.full_like(east[there], 0.27),
            "top": 1.55 + 0.3 * spread[2][there],
            "colour": cloth[there],
            "round": torch.ones_like(there[there]),
        }
