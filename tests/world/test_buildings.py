import numpy as np
import pytest

from smdt.world.buildings import Wing, draw_building, is_free
from smdt.world.canvas import Canvas, Frame
from smdt.world.layers import Surface

TONE = np.full(3, 120.0)


def wing(roof: str, x: tuple[float, float] = (-8.0, 8.0), y: tuple[float, float] = (-5.0, 5.0)) -> Wing:
    return Wing(x, y, 3.0, roof, 0.5, TONE, TONE, 3.0)


@pytest.fixture
def canvas() -> Canvas:
    return Canvas.blank(np.random.default_rng(0), 60.0, 0.25)


def frame(angle_rad: float = 0.0) -> Frame:
    return Frame.turned(np.array([30.0, 30.0]), angle_rad)


def height(canvas: Canvas, at: np.ndarray) -> float:
    return float(canvas.height_m[canvas.size_px - 1 - int(at[1] / 0.25), int(at[0] / 0.25)])


def draw(canvas: Canvas, *wings: Wing, angle_rad: float = 0.0, seed: int = 0) -> Frame:
    draw_building(np.random.default_rng(seed), canvas, frame(angle_rad), wings)
    return frame(angle_rad)


@pytest.mark.parametrize(
    ("roof", "ridge", "gable_end", "eave"),
    [
        ("gable", 5.5, 5.5, 3.0),  # 3 m + 0.5 · 5 m along the whole ridge
        ("hip", 5.5, 3.0, 3.0),  # the ridge falls to the short ends
    ],
)
def test_roofs_rise_as_their_form_says(roof: str, ridge: float, gable_end: float, eave: float) -> None:
    canvas = Canvas.blank(np.random.default_rng(0), 60.0, 0.25)
    at = draw(canvas, wing(roof), angle_rad=0.6, seed=11)
    assert height(canvas, at.world(0.3, 0.0)) == pytest.approx(ridge, abs=0.15)
    assert height(canvas, at.world(7.8, 0.0)) == pytest.approx(gable_end, abs=0.2)
    assert height(canvas, at.world(0.3, 4.8)) == pytest.approx(eave, abs=0.2)


def test_a_flat_roof_has_a_parapet(canvas: Canvas) -> None:
    at = draw(canvas, wing("flat", (-3.5, 3.5), (-3.5, 3.5)))
    assert height(canvas, at.world(0.0, 3.2)) == pytest.approx(3.35)
    assert height(canvas, at.world(0.0, 0.0)) == pytest.approx(3.0)


def test_two_wings_make_an_l_and_the_higher_shows(canvas: Canvas) -> None:
    low, high = wing("flat"), Wing((4.0, 8.0), (-5.0, 14.0), 9.0, "flat", 0.0, TONE, TONE, 3.0)
    at = draw(canvas, high, low)
    assert len(canvas.buildings) == 2
    assert height(canvas, at.world(6.0, 0.1)) >= 9.0
    assert height(canvas, at.world(6.0, 12.0)) >= 9.0
    assert height(canvas, at.world(-6.0, 0.1)) < 6.0
    assert canvas.surface_at(*at.world(-6.0, 12.0)) == Surface.GRASS


def test_the_table_gives_the_long_axis(canvas: Canvas) -> None:
    draw(canvas, wing("gable", (-3.0, 3.0), (0.0, 16.0)), angle_rad=0.3)
    table = canvas.building_table()
    np.testing.assert_allclose(table.half_size_m[0], [8.0, 3.0])
    np.testing.assert_allclose(table.angle_rad[0], 0.3 + np.pi / 2, rtol=1e-6)
    np.testing.assert_allclose(table.centre_m[0], [30 - 8 * np.sin(0.3), 30 + 8 * np.cos(0.3)], rtol=1e-6)


def test_nothing_is_built_on_roads_or_off_the_place(canvas: Canvas) -> None:
    assert is_free(canvas, frame(), [wing("flat")])
    canvas.surface[:, 152:160] = Surface.ROAD  # east 38 .. 40: half a metre from the wall
    assert not is_free(canvas, frame(), [wing("flat")], 1.0)
    assert is_free(canvas, frame(), [wing("flat", (-8.0, 6.0))], 1.0)
    assert not is_free(canvas, Frame.turned(np.array([500.0, 0.0]), 0.0), [wing("flat")])
