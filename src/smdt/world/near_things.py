"""The things near a camera that are met one by one: trees, cars, people, poles and wires, each on its ground."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from smdt.world import sprites
from smdt.world.eye import Eye
from smdt.world.hills import Hills
from smdt.world.layers import Place, Surface
from smdt.world.moment import Moment
from smdt.world.picture import Points
from smdt.world.texture import cell_hash

_MOST_TREES = 220
_CARS_WITHIN_M = 70.0
_POLES_WITHIN_M = 90.0
_WIRES_WITHIN_M = 120.0
_LONGEST_WIRE_M = 75.0


def ground_under(hills: Hills | None, east: Tensor, north: Tensor) -> Tensor:
    """Elevation of the ground (N,) at positions; 0 in flat places, whatever their level."""
    return torch.zeros_like(east) if hills is None else hills.at(*hills.fold(east, north))


def flat_index(place: Place, east: Tensor, north: Tensor) -> Tensor:
    """Flat raster index of positions, clamped to the place's edge."""
    rows, columns = place.surface.shape
    column = (east / place.pixel_m).clamp_(0, columns - 1).int()
    from_south = (north / place.pixel_m).clamp_(0, rows - 1).int()
    return column.add_((rows - 1) * columns).sub_(from_south, alpha=columns)


class NearThings:
    """The tables of a place on the device.

    Args:
        place: whose tables.
        hills: its ground; None where it is flat.
        surface: its class layer on the device.
    """

    def __init__(self, place: Place, hills: Hills | None, surface: Tensor) -> None:
        self.device, self._place, self._hills = surface.device, place, hills
        self._surface = surface.view(-1)
        trees = place.trees
        columns_of_trees = {
            "east": trees.centre_m[:, 0],
            "north": trees.centre_m[:, 1],
            "radius": trees.radius_m,
            "top": trees.top_m,
            "base": trees.crown_base_m,
            "colour": trees.colour.T,
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
        self._posts, self._wires = self._standing(), self._strung()

    def _standing(self) -> dict[str, Tensor]:
        """The poles of the place as posts, grey or of wood by their height."""
        wood = self._poles[:, 2] > 7.5
        grey = torch.tensor([128.0, 130.0, 132.0], device=self.device)[:, None]
        brown = torch.tensor([104.0, 88.0, 70.0], device=self.device)[:, None]
        return {
            "east": self._poles[:, 0].contiguous(),
            "north": self._poles[:, 1].contiguous(),
            "ground": self._pole_ground,
            "half_width": torch.where(wood, 0.14, 0.07),
            "top": self._poles[:, 2].contiguous(),
            "colour": torch.where(wood, brown, grey),
            "person": torch.zeros_like(wood),
        }

    def _strung(self) -> dict[str, Tensor]:
        """The wires of the place, between tall poles that follow each other in the table."""
        start, end = self._poles[:-1], self._poles[1:]
        span = torch.hypot(*(end - start)[:, :2].T)
        strung = (span > 15) & (span < _LONGEST_WIRE_M) & (start[:, 2] > 7) & (end[:, 2] > 7)
        top = self._poles[:, 2] + self._pole_ground
        return {
            "start": start[strung, :2],
            "end": end[strung, :2],
            "top": top[:-1][strung],
            "climb": (top[1:] - top[:-1])[strung],
        }

    def points(self, eye: Eye, moment: Moment, reach: float, seen: Tensor) -> Points | None:
        """What the camera's pixels meet; None where there is nothing near.

        Args:
            eye: the camera.
            moment: light, season, and who is there.
            reach: of trees, in metres.
            seen: (W·H,) metres to what the pixels show without all this.
        """
        found = []
        away = _away(eye, self._trees)
        near = torch.nonzero(away < reach)[:, 0]
        if len(near) > _MOST_TREES:
            near = near[away[near].argsort()[:_MOST_TREES]]
        if len(near):
            found.append(sprites.tree_points(eye, _chosen(self._trees, near), moment, seen))
        away = torch.hypot(self._cars[:, 0] - eye.east_m, self._cars[:, 1] - eye.north_m)
        among = torch.nonzero(away < _CARS_WITHIN_M + 1.0)[:, 0]
        boxes = sprites.car_boxes(self._cars, moment, among)
        away = _away(eye, boxes)
        near = torch.nonzero((away < _CARS_WITHIN_M) & (away > 4.8))[:, 0]  # nobody parks on the camera
        if len(near):
            found.append(sprites.box_points(eye, self._on_ground(_chosen(boxes, near)), moment, seen))
        away = _away(eye, self._posts)
        poles = _chosen(self._posts, torch.nonzero((away < _POLES_WITHIN_M) & (away > 1.0))[:, 0])
        people = self._people(eye, moment)
        posts = {name: torch.cat([poles[name], people[name]], -1) for name in poles}
        if len(posts["east"]):
            found.append(sprites.post_points(eye, posts, moment, seen))
        away = torch.hypot(*(self._wires["start"] - seen.new_tensor([eye.east_m, eye.north_m])).T)
        near = torch.nonzero(away < _WIRES_WITHIN_M + _LONGEST_WIRE_M)[:, 0]
        if len(near):
            wires = {name: values.index_select(0, near) for name, values in self._wires.items()}
            found.append(sprites.wire_points(eye, wires, _WIRES_WITHIN_M))
        return Points.together(found) if found else None

    def _on_ground(self, boxes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Boxes of cars with the elevation of the ground under them, and its rise along their length."""
        ground = ground_under(self._hills, boxes["east"], boxes["north"])
        tilt = torch.zeros_like(ground)
        if self._hills is not None:
            slope = self._hills.slope_at(*self._hills.fold(boxes["east"], boxes["north"]))
            tilt = slope[0] * torch.cos(boxes["angle"]) + slope[1] * torch.sin(boxes["angle"])
        return boxes | {"ground": ground, "tilt": tilt}

    def _people(self, eye: Eye, moment: Moment) -> dict[str, Tensor]:
        """People on pavements and roads within 40 m, others at each moment."""
        number = torch.arange(round(moment.crowd * 0.64 * 4), device=self.device)
        draw = torch.arange(7, device=self.device)[:, None]
        drawn = cell_hash(number, moment.seed % 100_003, draw)
        east, north = eye.east_m + 80 * (drawn[0] - 0.5), eye.north_m + 80 * (drawn[1] - 0.5)
        surface = self._surface.index_select(0, flat_index(self._place, east, north))
        there = (surface == Surface.PAVEMENT) | ((surface == Surface.ROAD) & (drawn[2] < 0.08))
        there &= torch.hypot(east - eye.east_m, north - eye.north_m) > 2.5
        east, north, drawn = east[there], north[there], drawn[:, there]
        return {
            "east": east,
            "north": north,
            "ground": ground_under(self._hills, east, north),
            "half_width": torch.full_like(east, 0.27),
            "top": 1.55 + 0.3 * drawn[2],
            "colour": 40 + 170 * drawn[4:],
            "person": torch.ones_like(east, dtype=torch.bool),
        }


def _away(eye: Eye, things: dict[str, Tensor]) -> Tensor:
    """Metres from the camera to things (N,)."""
    return torch.hypot(things["east"] - eye.east_m, things["north"] - eye.north_m)


def _chosen(things: dict[str, Tensor], at: Tensor) -> dict[str, Tensor]:
    """The rows of a table that are chosen by number (M,)."""
    return {name: values.index_select(-1, at) for name, values in things.items()}
