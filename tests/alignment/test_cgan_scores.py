import math

import pytest
import torch

from smdt.alignment.cgan_scores import Floors, ScoreSum, colour_kl, sharpness_difference_db
from smdt.alignment.labels import BUILDING, ROAD, SKY, VOID


def test_sharpness_difference_by_hand() -> None:
    real = torch.zeros(1, 1, 3, 3)
    real[0, 0, 1:, 1:] = torch.tensor(
        [[0.5, 0.5], [0.5, 0.5]]
    )  # gradients 1.0, 0.5, 0.5, 0.0 at the inner four
    flat = torch.zeros_like(real)
    assert math.isclose(float(sharpness_difference_db(flat, real)), -10 * math.log10(2.0 / 4), rel_tol=1e-6)
    assert math.isinf(float(sharpness_difference_db(real, real)))


def test_colour_divergence_by_hand() -> None:
    real, made = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    made[:, :, 0] = 1.0  # half black, half white, against all black; one count added to each of 512 bins
    black, white = 5 / 516 * math.log(5 / 3), 1 / 516 * math.log(1 / 3)
    assert math.isclose(float(colour_kl(made, real)), black + white, rel_tol=1e-6)
    assert float(colour_kl(real, real)) == 0.0


def test_psnr_and_ssim_are_each_images_own_mean() -> None:
    real = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5
    made = real.clone()
    made[0] += 0.1
    made[1] += 0.01
    total = ScoreSum()
    total.add(made[:1], real[:1])
    total.add(made[1:], real[1:])
    result = total.result()
    assert result.pairs == 2
    assert math.isclose(result.psnr_db, (20.0 + 40.0) / 2, rel_tol=1e-4)
    assert 0.5 < result.ssim < 1.0
    assert math.isnan(result.label_miou)


def test_label_iou_counts_over_all_pixels_and_leaves_void_out() -> None:
    real = torch.tensor([[[SKY, SKY, ROAD, ROAD], [BUILDING, VOID, VOID, SKY]]], dtype=torch.uint8)
    made = torch.tensor([[[SKY, ROAD, ROAD, ROAD], [SKY, SKY, ROAD, SKY]]], dtype=torch.uint8)
    total = ScoreSum()
    total.add(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), made, real)
    assert total.iou() == {SKY: pytest.approx(50.0), ROAD: pytest.approx(200 / 3), BUILDING: 0.0}
    assert math.isclose(total.result().label_miou, (50 + 200 / 3) / 3, rel_tol=1e-9)


def test_floors_are_the_mean_image_the_commonest_class_of_a_row_and_the_nearest_class_colour() -> None:
    sky, road = torch.full((3, 1, 2), 0.8), torch.full((3, 1, 2), 0.2)
    image = torch.cat([sky, road], dim=1)
    labels = torch.tensor([[SKY, SKY], [ROAD, ROAD]], dtype=torch.uint8)
    other = torch.tensor([[SKY, ROAD], [SKY, ROAD]], dtype=torch.uint8)
    floors = Floors.of([(image, labels), (image, labels), (torch.zeros_like(image), other)])
    assert torch.allclose(floors.mean_image[0], torch.tensor([[1.6, 1.6], [0.4, 0.4]]) / 3)
    assert floors.row_labels.tolist() == [[SKY, SKY], [ROAD, ROAD]]
    assert math.isclose(float(floors.class_colours[SKY, 0]), 4 * 0.8 / 6, rel_tol=1e-6)
    nearest = floors.nearest_class(torch.tensor([0.6, 0.1])[None, None, None].expand(1, 3, 1, 2))
    assert nearest.tolist() == [[[SKY, ROAD]]]
