import pytest
import torch

from smdt.world.lookup import bilinear_at
from smdt.world.pyramid import Pyramid
from smdt.world.texture import cell_hash, smooth_noise, smooth_noise_at

LAYER = torch.tensor([[[1.0, 3.0], [5.0, 7.0]]])


def test_minus_one_and_one_are_a_layers_edges() -> None:
    x, y = torch.tensor([-0.5, 0.5, 0.0, -1.0]), torch.tensor([-0.5, -0.5, 0.0, 0.5])
    assert bilinear_at(LAYER, x, y, beyond="border")[0].tolist() == [1.0, 3.0, 4.0, 5.0]


def test_or_the_middles_of_its_outermost_pixels() -> None:
    x, y = torch.tensor([[-1.0], [0.0]]), torch.tensor([[1.0], [1.0]])
    assert bilinear_at(LAYER, x, y, pixels=True).tolist() == [[[5.0], [6.0]]]


def test_smooth_noise_wraps() -> None:
    tile = smooth_noise()
    u, v = torch.tensor([3.0, 515.0, -509.0, 511.5]), torch.tensor([7.0, 7.0, 519.0, 0.0])
    expected = [*[float(tile[7, 3])] * 3, float(tile[0, 511] + tile[0, 0]) / 2]
    assert smooth_noise_at(u, v).tolist() == pytest.approx(expected, abs=1e-5)


def test_one_number_for_all_hashes_as_many_equal_ones() -> None:
    cell = torch.arange(50)
    assert torch.equal(cell_hash(cell, 7, 3), cell_hash(cell, torch.full((50,), 7), torch.full((50,), 3.0)))


def test_a_pyramid_keeps_colours_apart_and_blends_between_pixels() -> None:
    colour = torch.tensor([[[10, 20, 30], [250, 0, 90]], [[10, 20, 30], [250, 0, 90]]], dtype=torch.uint8)
    pyramid = Pyramid(colour, 1.0, levels=2)
    at = pyramid.at(torch.tensor([0.5, 1.0, 1.5]), torch.full((3,), 0.5), torch.tensor([1.0, 1.0, 1.0]))
    assert at.t().tolist() == [[10, 20, 30], [130, 10, 60], [250, 0, 90]]
    assert pyramid.at(torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([2.0])).tolist() == [
        [130],
        [10],
        [60],
    ]
