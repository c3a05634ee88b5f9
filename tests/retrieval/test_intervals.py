"""Intervals against resamples drawn one by one, by hand, and by how often they hold the truth."""

import numpy as np
import pytest
import torch

from smdt.errors import DatasetError
from smdt.retrieval import intervals
from smdt.retrieval.intervals import (
    Interval,
    error_intervals,
    mean_interval,
    median_interval,
    recall_intervals,
    share_interval,
)
from smdt.retrieval.metrics import error_summary, recall_at


def test_by_hand_two_queries_of_which_one_hits() -> None:
    # A resample of two holds 0, 1 or 2 hits, in 1/4, 1/2 and 1/4 of cases: 2.5 % lie at 0, 2.5 % at 100.
    assert share_interval(1, 2) == Interval(0.0, 100.0)
    # Of three with one hit, 19/27 of resamples hold a hit, and 1/27 = 3.7 % hold three.
    assert share_interval(1, 3) == Interval(0.0, 100.0)
    # Of four with one hit all four hit in 1/256 = 0.4 %, and three or more in 5 %: so 2.5 % lie at 75.
    assert share_interval(1, 4) == Interval(0.0, 75.0)


def test_where_all_agree_the_open_end_is_the_exact_bound() -> None:
    assert share_interval(10, 10).low == pytest.approx(69.15, abs=0.01)  # 0.025^(1/10)
    assert share_interval(10, 10).high == 100.0
    assert share_interval(0, 10) == Interval(0.0, pytest.approx(30.85, abs=0.01))


@pytest.mark.parametrize("share", [0.3, 0.8, 0.95])
def test_intervals_of_shares_hold_the_truth_in_about_95_percent(share: float) -> None:
    drawn = np.random.default_rng(3).binomial(400, share, 600)
    held = [
        (interval := share_interval(int(hits), 400, seed=i)).low <= 100 * share <= interval.high
        for i, hits in enumerate(drawn)
    ]
    assert 0.92 < np.mean(held) < 0.98


@pytest.mark.parametrize("count", [1, 2, 25, 40])
def test_medians_are_those_of_resamples_drawn_one_by_one(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 40_000)
    values = np.sort(np.random.default_rng(1).lognormal(2.0, 1.0, count))
    picked = np.random.default_rng(2).integers(0, count, (40_000, count))
    low, high = np.quantile(np.median(values[picked], axis=1), [0.025, 0.975])
    found = median_interval(values[::-1])
    gap = np.diff(values).max(initial=0.01)
    assert found.low == pytest.approx(low, abs=0.3 * gap)
    assert found.high == pytest.approx(high, abs=0.3 * gap)


def test_median_of_three_by_hand() -> None:
    # The middle of three is the smallest value in 7/27 of resamples, and the largest in as many.
    assert median_interval([5.0, 1.0, 3.0]) == Interval(1.0, 5.0)
    drawn = np.random.default_rng(0).beta(2, 2, 100_000)
    assert float(np.mean(drawn < 1 / 3)) == pytest.approx(7 / 27, abs=0.01)


def test_means_are_normal_where_queries_are_many() -> None:
    values = np.random.default_rng(4).exponential(10.0, 2500)
    found = mean_interval(values)
    deviation = values.std() / 50.0
    assert found.low == pytest.approx(values.mean() - 1.96 * deviation, abs=0.2 * deviation)
    assert found.high == pytest.approx(values.mean() + 1.96 * deviation, abs=0.2 * deviation)


def test_the_seed_decides_and_blocks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).exponential(10.0, 50)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1) != mean_interval(values, seed=2)
    assert share_interval(20, 50, seed=1) == share_interval(20, 50, seed=1)
    whole = mean_interval(values, seed=1)
    monkeypatch.setattr(intervals, "_DRAWS_AT_ONCE", 50 * 64)
    assert mean_interval(values, seed=1) == whole


def test_every_figure_has_its_interval_and_lies_in_it() -> None:
    ranks = torch.tensor([0, 0, 3, 7, 40, 0, 90, 1] * 20)
    recalls, found = recall_at(ranks, 200), recall_intervals(ranks, 200)
    assert recalls.keys() == found.keys()
    assert all(found[name].low < recalls[name] < found[name].high for name in recalls)
    errors = np.random.default_rng(6).exponential(20.0, 80)
    figures, spread = error_summary(errors, "m", (5, 25)), error_intervals(errors, "m", (5, 25))
    assert figures.keys() == spread.keys()
    assert all(spread[name].low < figures[name] < spread[name].high for name in figures)


def test_figures_of_nothing_have_no_interval() -> None:
    for make in (median_interval, mean_interval):
        with pytest.raises(DatasetError):
            make([])
    with pytest.raises(DatasetError):
        share_interval(0, 0)
