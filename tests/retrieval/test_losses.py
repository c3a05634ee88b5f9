import math

import pytest
import torch
from torch.nn import functional as F

from smdt.errors import ConfigError
from smdt.retrieval.losses import (
    MAX_SCALE,
    Temperature,
    centred,
    contrast_loss,
    soft_margin_triplet,
    symmetric_info_nce,
)

_QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
_REFERENCES = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
# cosines, queries down, references across: [[0.6, 0.0], [0.8, 1.0]]; so d = [[0.8, 2.0], [0.4, 0.0]]


def test_soft_margin_triplet_by_hand() -> None:
    def term(positive: float, negative: float) -> float:
        return math.log(1 + math.exp(10 * (positive - negative)))

    to_references = 2 * term(0, 0) + term(0.8, 2.0) + term(0.0, 0.4)
    to_queries = 2 * term(0, 0) + term(0.8, 0.4) + term(0.0, 2.0)
    expected = (to_references + to_queries) / 2 / (2 * 1)
    assert float(soft_margin_triplet(_QUERIES, _REFERENCES)) == pytest.approx(expected, rel=1e-6)


def test_soft_margin_triplet_survives_a_large_scale() -> None:
    assert float(soft_margin_triplet(_QUERIES, _REFERENCES, 1e4)) == pytest.approx(1e4 * 0.4 / 4, rel=1e-3)


def test_soft_margin_triplet_needs_two_pairs() -> None:
    with pytest.raises(ConfigError, match="nothing to contrast"):
        soft_margin_triplet(_QUERIES[:1], _REFERENCES[:1])


def test_info_nce_by_hand_with_and_without_smoothing() -> None:
    def entropy(own: float, other: float, smoothing: float) -> float:
        total = math.log(math.exp(5 * own) + math.exp(5 * other))
        return total - 5 * own * (1 - smoothing / 2) - 5 * other * smoothing / 2

    for smoothing in (0.0, 0.1):
        there = (entropy(0.6, 0.0, smoothing) + entropy(1.0, 0.8, smoothing)) / 2
        back = (entropy(0.6, 0.8, smoothing) + entropy(1.0, 0.0, smoothing)) / 2
        found = symmetric_info_nce(_QUERIES, _REFERENCES, 5.0, smoothing=smoothing)
        assert float(found) == pytest.approx((there + back) / 2, rel=1e-6)


def test_neutral_references_neither_pull_nor_push() -> None:
    neutral = torch.tensor([[True, False], [True, False]])  # the first shows the second query's place, too
    there = (math.log(math.exp(3) + math.exp(0)) - 3 + 0.0) / 2
    back = (0.0 + math.log(math.exp(5) + math.exp(0)) - 5) / 2  # the first reference sees its own query alone
    found = symmetric_info_nce(_QUERIES, _REFERENCES, 5.0, neutral=neutral)
    assert float(found) == pytest.approx((there + back) / 2, rel=1e-5)


def test_a_temperature_learns_and_stays_below_its_bound() -> None:
    temperature = Temperature(20.0)
    assert float(temperature().detach()) == pytest.approx(20.0)
    symmetric_info_nce(_QUERIES, _REFERENCES, temperature()).backward()
    assert temperature.log_scale.grad is not None
    assert float(temperature.log_scale.grad) != 0
    with torch.no_grad():
        temperature.log_scale.fill_(50.0)
    assert float(temperature().detach()) == MAX_SCALE
    with pytest.raises(ConfigError, match="scale"):
        Temperature(0.0)


def test_contrast_falls_to_nothing_for_perfect_strips_and_not_for_a_wrong_heading() -> None:
    references = F.normalize(torch.randn(6, 16 * 32, generator=torch.Generator().manual_seed(0)))
    references = references.view(6, 16, 32)
    turns = torch.tensor([0, 4, 9, 13, 20, 31])
    queries = torch.stack([torch.roll(r, -int(t), dims=-1) for r, t in zip(references, turns, strict=True)])
    heading, scale = turns * 360.0 / 32, torch.tensor(60.0)
    assert float(contrast_loss(queries, references, heading, scale)) < 0.01
    assert float(contrast_loss(queries, references, heading + 90.0, scale)) > 10.0
    assert float(contrast_loss(queries, references.roll(1, 0), heading, scale)) > 10.0


def test_contrast_by_hand_shares_the_target_between_two_columns() -> None:
    # one place, two columns: the query is the reference, so its scores are 1 as it is and 0 turned by 180°
    strip = torch.tensor([[[1.0, 0.0]]])
    straight, turned = math.log(1 + math.exp(-3)), math.log(1 + math.exp(3))
    for heading_deg, share in ((0.0, 0.0), (45.0, 0.25), (180.0, 1.0), (270.0, 0.5)):
        found = contrast_loss(strip, strip, torch.tensor([heading_deg]), 3.0)
        assert float(found) == pytest.approx((1 - share) * straight + share * turned, rel=1e-5)


def test_contrast_of_one_column_is_symmetric_info_nce() -> None:
    heading = torch.tensor([10.0, 350.0])
    found = contrast_loss(_QUERIES[..., None], _REFERENCES[..., None], heading, 7.0)
    assert float(found) == pytest.approx(float(symmetric_info_nce(_QUERIES, _REFERENCES, 7.0)), rel=1e-5)


def test_centring_removes_the_mean_of_what_is_seen() -> None:
    strips = torch.tensor([[[1.0, 3.0]], [[5.0, 100.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    less, mean = centred(strips, mask)
    assert mean.tolist() == [3.0]
    assert less[:, 0].tolist() == [[-2.0, 0.0], [2.0, 97.0]]
    assert centred(strips)[1].tolist() == [27.25]
