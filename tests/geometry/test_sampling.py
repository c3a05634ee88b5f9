"""Bilinear sampling: by hand, gradients, and the fast sparse product against the plain way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from smdt.errors import GeometryError
from smdt.geometry.sampling import SamplingGrid, bilinear, bilinear_reference

IMAGE = torch.tensor([[[[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]]]])


def coordinates(*pairs: tuple[float, float]) -> tuple[Tensor, Tensor]:
    table = torch.tensor(pairs, dtype=torch.float64)
    return table[None, :, 0], table[None, :, 1]


def random_grid(height: int, width: int, seed: int) -> SamplingGrid:
    """7×9 places in and around an image: some outside, some on whole pixels, one nowhere."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.rand(7, 9, generator=generator, dtype=torch.float64) * (height + 3) - 2
    column = torch.rand(7, 9, generator=generator, dtype=torch.float64) * (width + 3) - 2
    row[0], column[:, 0] = row[0].round(), column[:, 0].round()
    row[3, 3] = torch.nan
    return SamplingGrid(row, column, height, width)


def test_bilinear_by_hand() -> None:
    row, column = coordinates((0, 0), (1, 2), (0.5, 0), (0, 0.25), (0.5, 1.5))
    # Pixels as they are, halfway down, a quarter across, and the mean of 20, 30, 50, 60.
    assert bilinear(IMAGE, row, column)[0, 0, 0].tolist() == pytest.approx([10.0, 60.0, 25.0, 12.5, 40.0])


def test_outside_counts_as_zero() -> None:
    row, column = coordinates(
        (-0.5, 0), (1.25, 2), (0, -0.75), (-0.5, -0.5), (-1, 1), (2, 1), (0, 3), (-50, 1e9)
    )
    # Half of 10; three quarters of 60; a quarter of 10; a quarter of 10; and a pixel or more outside: nothing.
    expected = [5.0, 45.0, 2.5, 2.5, 0.0, 0.0, 0.0, 0.0]
    assert bilinear(IMAGE, row, column)[0, 0, 0].tolist() == pytest.approx(expected)
    grid = SamplingGrid(row, column, 2, 3)
    assert grid.apply(IMAGE)[0, 0, 0].tolist() == pytest.approx(expected)


def test_nowhere_is_empty() -> None:
    row, column = coordinates((math.nan, 0), (0, math.nan), (math.inf, 0), (0, -math.inf))
    assert bilinear(IMAGE, row, column)[0, 0, 0].tolist() == [0.0] * 4


def test_bilinear_passes_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    # Away from whole pixels, where the slope changes; partly and wholly outside as well.
    row = torch.tensor([[0.3, 3.6, -0.4], [4.7, 2.2, 7.5]], dtype=torch.float64, requires_grad=True)
    column = torch.tensor([[1.4, -0.6, 5.2], [2.5, 4.9, 1.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bilinear, (image, row, column))


def test_gradient_of_a_coordinate_by_hand() -> None:
    row, column = coordinates((0.5, 0.25))
    row.requires_grad_()
    column.requires_grad_()
    bilinear(IMAGE.double(), row, column).sum().backward()
    assert row.grad is not None
    assert row.grad.item() == pytest.approx(30.0)  # down by one row
    assert column.grad is not None
    assert column.grad.item() == pytest.approx(10.0)  # right by one column


@pytest.mark.parametrize(("height", "width"), [(11, 11), (5, 13)])
def test_apply_equals_bilinear_and_the_reference(height: int, width: int) -> None:
    grid = random_grid(height, width, seed=1)
    images = torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(2))
    expected = bilinear(images.double(), grid.row_px, grid.column_px)
    seen = torch.isfinite(grid.row_px)
    for image, one in zip(images, expected, strict=True):
        reference = bilinear_reference(
            image.permute(1, 2, 0).numpy().astype(float),
            grid.row_px.nan_to_num(-9.0).numpy(),
            grid.column_px.numpy(),
        )
        assert torch.allclose(torch.from_numpy(reference).permute(2, 0, 1), one, rtol=0, atol=1e-10)
    assert 0.2 < (expected[0, 0] == 0).double().mean() < 0.8  # some outside, some inside
    assert not bool(expected[..., ~seen].any())
    planar = images.to(torch.uint8)
    for given in (
        planar,
        planar.contiguous(memory_format=torch.channels_last),
        images.float(),
        images.double(),
    ):
        mapped = grid.apply(given)
        assert mapped.dtype == torch.float32
        assert mapped.shape == (2, 3, 7, 9)
        assert (mapped - expected).abs().max().item() < 1e-4


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradient_of_apply_equals_that_of_bilinear(memory_format: torch.memory_format) -> None:
    grid = random_grid(6, 8, seed=3)
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(2, 3, 6, 8, generator=generator).contiguous(memory_format=memory_format)
    weights = torch.rand(2, 3, 7, 9, generator=generator)
    gradients = []
    for sample in (grid.apply, lambda image: bilinear(image, grid.row_px, grid.column_px)):
        leaf = images.clone().requires_grad_()
        sampled = sample(leaf)
        (sampled * weights).sum().backward()
        assert leaf.grad is not None
        gradients.append((sampled.detach(), leaf.grad))
    assert torch.allclose(gradients[0][0], gradients[1][0], atol=1e-6)
    assert torch.allclose(gradients[0][1], gradients[1][1], atol=1e-6)
    assert float(gradients[0][1].abs().sum()) > 1.0


def test_the_matrix_is_built_once() -> None:
    grid = random_grid(6, 8, seed=5)
    assert grid.matrix() is grid.matrix(torch.device("cpu"))


def test_no_images_give_no_images() -> None:
    assert random_grid(6, 8, seed=6).apply(torch.zeros(0, 3, 6, 8)).shape == (0, 3, 7, 9)


@pytest.mark.parametrize("shape", [(1, 3, 8, 6), (3, 6, 8), (1, 3, 6, 9)])
def test_images_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match=r"do not fit a mapping made for \(B, C, 6, 8\)"):
        random_grid(6, 8, seed=7).apply(torch.zeros(shape))


def test_whole_numbers_cannot_be_sampled_by_bilinear() -> None:
    # Weights of 0.5 would become 0 in the image's own type, and the picture black.
    row, column = coordinates((0.5, 0.5))
    with pytest.raises(GeometryError, match=r"image of torch\.uint8 cannot be sampled; convert it"):
        bilinear(IMAGE.to(torch.uint8), row, column)
