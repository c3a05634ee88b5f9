import math

import numpy as np
import pytest
import torch

from smdt.world.aerial import aerial_view
from smdt.world.layers import Place
from smdt.world.light import light_layer, shadow, slope_light
from smdt.world.moment import Moment, Sensor, Sun
from smdt.world.render import RenderConfig, Renderer

from .test_render import plain


def tower(size: int = 200, pixel_m: float = 0.5, height_m: float = 10.0) -> torch.Tensor:
    """A 2 m wide tower in the middle of level ground."""
    height = torch.zeros(size, size)
    middle = size // 2
    half = round(1.0 / pixel_m)
    height[middle - half : middle + half, middle - half : middle + half] = height_m
    return height


@pytest.mark.parametrize(
    ("azimuth", "row_sign", "column_sign"),
    [(180.0, -1, 0), (90.0, 0, -1), (270.0, 0, 1), (0.0, 1, 0), (135.0, -1, -1)],
    ids=[
        "sun in the south: shadow north",
        "east: west",
        "west: east",
        "north: south",
        "south-east: north-west",
    ],
)
def test_convention_a_shadow_falls_away_from_the_sun(azimuth: float, row_sign: int, column_sign: int) -> None:
    moment = Moment(sun=Sun(azimuth, 45.0))
    dark = torch.nonzero(shadow(tower(), 0.5, moment) > 0.5).float().mean(0) - 99.5
    assert np.sign(round(float(dark[0]) / 4)) == row_sign
    assert np.sign(round(float(dark[1]) / 4)) == column_sign


@pytest.mark.parametrize("elevation", [30.0, 45.0, 60.0])
def test_a_shadow_is_as_long_as_height_over_tangent(elevation: float) -> None:
    cast = shadow(tower(), 0.5, Moment(sun=Sun(180.0, elevation)))
    rows = torch.nonzero(cast[:, 100] > 0.5)[:, 0]
    length_m = (98 - float(rows.min())) * 0.5  # from the tower's northern face
    assert length_m == pytest.approx(10.0 / math.tan(math.radians(elevation)), abs=1.0)


def test_roofs_facing_the_sun_are_brighter() -> None:
    east = torch.arange(60, dtype=torch.float32) * 0.5
    gable = 8.0 - 0.5 * (east - 15.0).abs()
    height = gable[None].expand(60, -1).contiguous()
    lit = slope_light(height, 0.5, Moment(sun=Sun(90.0, 40.0)))
    assert float(lit[30, 45]) > 1.1
    assert float(lit[30, 15]) < 0.9


def test_level_ground_is_lit_evenly() -> None:
    moment = Moment(sun=Sun(200.0, 30.0), direct=0.6)
    torch.testing.assert_close(light_layer(torch.zeros(40, 40), 0.5, moment), torch.ones(40, 40))


def test_both_views_of_a_moment_show_one_shadow() -> None:
    place: Place = plain()
    rows = place.surface.shape[0]
    place.height_m[rows - 468 : rows - 460, 396:404] = 8.0  # a tower 16 m north of the camera
    place.surface[rows - 468 : rows - 460, 396:404] = 6
    moment = Moment(sun=Sun(270.0, 45.0), direct=0.8, haze_m=1e6)  # its shadow falls east
    overhead = aerial_view(place, moment)[0]
    shaded = overhead[rows - 464, 404:432] < 0.6 * overhead[0, 0]
    assert float(shaded.float().mean()) > 0.9
    assert not bool((overhead[rows - 464, 330:390] < 0.9 * overhead[0, 0]).any())
    config = RenderConfig(steps=400, sensor=False)
    view, clear = (
        Renderer(place, RenderConfig(**{**config.__dict__, "shadows": on})).panorama(
            100.0, 100.0, moment=moment
        )
        for on in (True, False)
    )
    darker = (view.image.float().mean(0) < 0.7 * clear.image.float().mean(0)).any(0)
    columns = torch.nonzero(darker)[:, 0]
    # 16 m north, from 1 m to 9 m east: azimuths 3.6° to 29.4°, columns 261 to 298.
    assert 258 <= int(columns.min()) <= 264
    assert 292 <= int(columns.max()) <= 302


def test_a_neutral_sensor_changes_nothing_and_each_setting_something() -> None:
    image = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0)) * 255
    rng = np.random.default_rng
    assert torch.equal(Sensor().take(image, rng(0)), image.round().byte())
    for setting in (
        {"exposure": 1.2},
        {"white_balance": (1.1, 1.0, 0.9)},
        {"gamma": 1.3},
        {"saturation": 0.5},
        {"blur_px": 0.8},
        {"noise": 4.0},
        {"jpeg_quality": 50},
    ):
        sensor = Sensor(**setting)  # type: ignore[arg-type]
        assert not torch.equal(sensor.take(image, rng(0)), image.round().byte()), setting
        assert torch.equal(sensor.take(image, rng(0)), sensor.take(image, rng(0))), setting


def test_moments_differ_and_repeat() -> None:
    drawn = [Moment.draw(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
