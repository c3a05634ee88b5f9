import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from smdt.world.layers import Place, Surface, TreeTable
from smdt.world.moment import Moment
from smdt.world.render import RenderConfig, Renderer, View

from .test_render import DEGREES_PER_ROW, plain

CONFIG = RenderConfig(height_px=128, width_px=512, steps=300, sensor=False)
CALM = Moment(crowd=0.0, traffic=1.0, leaf_density=1.0)


def seen(place: Place, moment: Moment = CALM, **camera: float) -> View:
    return Renderer(place, CONFIG).panorama(100.0, 100.0, moment=moment, **camera)


def one_tree(east: float, north: float, *, conifer: bool = False) -> Place:
    def column(value: float) -> np.ndarray:  # type: ignore[type-arg]
        return np.array([value], np.float32)

    tree = TreeTable(
        np.array([[east, north]], np.float32),
        column(2.0),
        column(8.0),
        column(3.0),
        np.array([[60, 90, 50]], np.float32),
        np.array([conifer]),
    )
    return replace(plain(), trees=tree)


def rows_deg(mask: torch.Tensor) -> tuple[float, float]:
    """Elevation of the lower and upper edge of the rows where a mask (H,) is True."""
    rows = torch.nonzero(mask)[:, 0]
    return (64 - (int(rows.max()) + 1)) * DEGREES_PER_ROW, (64 - int(rows.min())) * DEGREES_PER_ROW


@pytest.mark.parametrize(("east", "north", "column"), [(100, 112, 256), (88, 100, 128), (112, 100, 384)])
def test_a_tree_stands_at_its_azimuth(east: float, north: float, column: int) -> None:
    columns = torch.nonzero((seen(one_tree(east, north)).surface == Surface.TREE).any(0))[:, 0].float()
    assert abs(float(columns.mean()) - column) <= 2.0
    half = math.degrees(math.asin(2.0 / 12.0)) / 360 * 512
    assert abs((float(columns.max()) - float(columns.min())) / 2 - half) <= 4.0


def test_a_tree_has_a_trunk_and_room_beside_it() -> None:
    tree = seen(one_tree(100.0, 112.0)).surface == Surface.TREE
    foot, top = rows_deg(tree[:, 256])
    assert foot == pytest.approx(math.degrees(math.atan(-2.5 / 12)), abs=1.0)  # the trunk reaches the ground
    assert top == pytest.approx(math.degrees(math.atan(5.5 / 12)), abs=3.0)
    beside = tree[:, 256 + 14]
    assert bool(beside.any())
    assert rows_deg(beside)[0] > math.degrees(math.atan(0.5 / 12)) - 1.0  # under the crown one sees through


def test_a_bare_tree_shows_less_than_a_full_one() -> None:
    place = one_tree(100.0, 112.0)
    full, bare = (
        int((seen(place, replace(CALM, leaf_density=density)).surface == Surface.TREE).sum())
        for density in (1.0, 0.2)
    )
    assert bare < 0.75 * full


def test_a_near_tree_hides_a_far_one_and_not_the_other_way_round() -> None:
    place = one_tree(100.0, 110.0)
    rows = place.surface.shape[0]
    place.height_m[rows - 500 : rows - 490, 360:440] = 20.0  # a wall 22.5 m to the north
    place.surface[rows - 500 : rows - 490, 360:440] = Surface.BUILDING
    near = seen(place)
    assert int((near.surface[:, 240:273] == Surface.TREE).sum()) > 200
    behind = replace(place, trees=one_tree(100.0, 130.0).trees)
    assert not bool((seen(behind).surface == Surface.TREE).any())


def test_a_car_stands_where_its_spot_is_with_its_height_and_depth() -> None:
    place = replace(plain(), car_spots=np.array([[100.0, 110.0, 0.0]], np.float32))  # broadside, 10 m north
    view = seen(place)
    car = view.surface == Surface.VEHICLE
    columns = torch.nonzero(car.any(0))[:, 0].float()
    assert abs(float(columns.mean()) - 256) <= 3
    assert float(view.depth_m[car].min()) == pytest.approx(10.0 - 0.88, abs=0.05)
    foot, top = rows_deg(car[:, 256])
    assert foot == pytest.approx(math.degrees(math.atan((0.2 - 2.5) / 9.12)), abs=0.6)
    assert top < 0.0  # a car is lower than the camera


def test_cars_come_and_go_with_the_moment() -> None:
    spots = np.array(
        [[100 + 12 * math.sin(a), 100 + 12 * math.cos(a), a] for a in np.arange(0, 6, 0.5)], np.float32
    )
    place = replace(plain(), car_spots=spots)
    there = [seen(place, replace(CALM, traffic=0.5, seed=seed)).surface == Surface.VEHICLE for seed in (1, 2)]
    assert bool(there[0].any())
    assert not torch.equal(there[0], there[1])
    assert not bool((seen(place, replace(CALM, traffic=0.0)).surface == Surface.VEHICLE).any())


def test_poles_carry_wires_that_the_aerial_layers_do_not_know() -> None:
    poles = np.array([[85.0, 115.0, 9.0], [115.0, 115.0, 9.0]], np.float32)
    pole = seen(replace(plain(), poles=poles)).surface == Surface.POLE
    for column in (256 - 64, 256 + 64):  # north-west and north-east
        assert int(pole[:, column - 2 : column + 3].sum()) > 30
    assert int(pole[:64, 256].sum()) >= 2  # wires overhead to the north
    assert not bool(pole[60:, 230:280].any())


def test_people_walk_on_pavements_only() -> None:
    place = plain()
    place.surface[:] = Surface.PAVEMENT
    crowd = replace(CALM, crowd=20.0, seed=4)
    assert bool((seen(place, crowd).surface == Surface.PERSON).any())
    place.surface[:] = Surface.GRASS
    assert not bool((seen(place, crowd).surface == Surface.PERSON).any())


def test_pitch_lifts_and_roll_leans_the_horizon() -> None:
    def horizon(view: View, column: int) -> int:
        return int((view.surface[:, column] == Surface.SKY).sum())

    level, up, rolled = (seen(plain(), **tilt) for tilt in ({}, {"pitch_deg": 5.0}, {"roll_deg": 5.0}))
    rows = 5.0 / DEGREES_PER_ROW
    assert horizon(up, 256) - horizon(level, 256) == pytest.approx(rows, abs=1.5)
    assert horizon(level, 0) - horizon(up, 0) == pytest.approx(rows, abs=1.5)
    assert horizon(level, 384) - horizon(rolled, 384) == pytest.approx(rows, abs=1.5)
