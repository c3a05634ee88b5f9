import numpy as np
import pytest

from smdt.world.canvas import CODE, Canvas, Frame, box_distance, convex_distance
from smdt.world.layers import Surface

SQUARE = np.array([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)])


@pytest.fixture
def canvas() -> Canvas:
    return Canvas.blank(np.random.default_rng(0), 40.0, 0.5)


def test_convention_row_zero_is_north(canvas: Canvas) -> None:
    found = canvas.window(np.array([10.0]), np.array([39.0]), 0.4)
    assert found is not None
    where, east, north = found
    assert where[0].start == 0
    assert north[0, 0] == 39.75
    assert (np.diff(north[:, 0]) < 0).all()
    assert east[0, 0] == 9.75


def test_a_window_off_the_canvas_is_none(canvas: Canvas) -> None:
    assert canvas.window(np.array([-30.0]), np.array([10.0]), 5.0) is None


def test_coverage_is_the_share_of_the_pixel(canvas: Canvas) -> None:
    distance = np.array([[-1.0, -0.25, -0.125, 0.0, 0.125, 0.25, 1.0]])
    np.testing.assert_allclose(canvas.inside(distance)[0], [1, 1, 0.75, 0.5, 0.25, 0, 0])


def test_a_thin_line_covers_its_width_wherever_it_lies(canvas: Canvas) -> None:
    centres = np.arange(-3, 4) * 0.5
    for shift in (0.0, 0.1, 0.2, 0.25):
        cover = canvas.stripe(centres - shift, 0.12)
        assert cover.max() <= 0.12 / 0.5 + 1e-6
        assert cover.sum() * 0.5 == pytest.approx(0.12, abs=1e-6)


def test_distances_are_metres_and_negative_inside() -> None:
    east, north = np.array([[5.0, 12.0, 1.0]]), np.array([[5.0]])
    np.testing.assert_allclose(convex_distance(SQUARE, east, north), [[-5.0, 2.0, -1.0]])
    np.testing.assert_allclose(convex_distance(SQUARE[::-1], east, north), [[-5.0, 2.0, -1.0]])
    np.testing.assert_allclose(box_distance(east, north, (0.0, 10.0), (0.0, 10.0)), [[-5.0, 2.0, -1.0]])
    corner = box_distance(np.array([[13.0]]), np.array([[14.0]]), (0.0, 10.0), (0.0, 10.0), 1.0)
    np.testing.assert_allclose(corner, [[np.hypot(4.0, 5.0) - 1.0]])


def test_a_frame_turns_anticlockwise_from_east() -> None:
    frame = Frame.turned(np.array([3.0, 4.0]), np.pi / 2)
    np.testing.assert_allclose(frame.world(2.0, 0.0), [3.0, 6.0], atol=1e-12)
    np.testing.assert_allclose(frame.world(0.0, 2.0), [1.0, 4.0], atol=1e-12)
    x, y = frame.local(np.array([1.0]), np.array([6.0]))
    np.testing.assert_allclose([x[0], y[0]], [2.0, 2.0], atol=1e-12)


def test_a_fill_paints_soft_edges_and_only_over_what_it_may(canvas: Canvas) -> None:
    canvas.surface[:, 40:] = Surface.ROAD
    frame = Frame.turned(np.array([0.0, 0.0]), 0.0)
    canvas.fill(frame, (10.125, 30.0), (10.0, 12.0), np.full(3, 200.0), Surface.PAVEMENT,
                over=(Surface.GRASS,), mottle=0.0)  # fmt: skip
    row = len(canvas.surface) - 1 - 21  # north 10.5 .. 11
    np.testing.assert_allclose(canvas.colour[row, 19:23, 0], [0.0, 150.0, 200.0, 200.0], atol=1e-3)
    assert canvas.surface[row, 21] == Surface.PAVEMENT
    assert (canvas.surface[:, 40:] == Surface.ROAD).all()
    assert canvas.colour[:, 40:].max() == 0


def test_uses_are_noted_from_the_south(canvas: Canvas) -> None:
    found = canvas.window(np.array([5.2]), np.array([30.2]), 0.1)
    assert found is not None
    canvas.note_use(found[0], np.ones((found[2].shape[0], found[1].shape[1]), np.bool_), "park")
    assert canvas.use_at(5.2, 30.2) == CODE["park"]
    assert canvas.use_at(5.2, 9.8) == 0
    assert canvas.use_at(-1.0, 5.0) == 0
