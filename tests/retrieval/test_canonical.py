"""The head in closed form: against plain canonical correlation, and on views that share what is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smdt.errors import TrainingError
from smdt.retrieval.canonical import ColumnMoments, set_head
from smdt.retrieval.compact import Compact, CompactConfig

ROWS, FEATURES, COLUMNS = 2, 5, 8


def _views(pairs: int = 300, shared: float = 3.0) -> tuple[Tensor, Tensor]:
    """Features whose channel 1 both views share, and whose channel 3 is loud and each view's own."""
    generator = torch.Generator().manual_seed(0)
    ground, aerial = (torch.randn(pairs, FEATURES, ROWS, COLUMNS, generator=generator) for _ in range(2))
    common = shared * torch.randn(pairs, ROWS, COLUMNS, generator=generator)
    for view in (ground, aerial):
        view[:, 1] += common
        view[:, 3] *= 20.0
    return ground, aerial + 7.0


def _moments(ground: Tensor, aerial: Tensor) -> ColumnMoments:
    moments = ColumnMoments(FEATURES * ROWS)
    moments.add(ground, aerial)
    return moments


def test_the_head_looks_at_what_the_views_share_and_not_at_what_is_loud() -> None:
    head = _moments(*_views()).head(2, shrinkage=1e-3)
    weight = head.weight.view(2, FEATURES, ROWS).abs()
    spread = weight.sum((0, 2))  # over channels of the projection and rows
    assert int(spread.argmax()) == 1
    assert float(spread[3]) < 0.01 * float(spread[1])
    assert float(head.correlations[0]) == pytest.approx(
        0.9, abs=0.02
    )  # 9 of 10 parts of the variance are shared
    assert float(head.correlations[1]) == pytest.approx(0.9, abs=0.02)


def test_the_correlations_are_those_of_the_projected_columns() -> None:
    ground, aerial = _views()
    head = _moments(ground, aerial).head(FEATURES * ROWS, shrinkage=1e-9)
    x, y = (
        (view.flatten(1, 2) - view.flatten(1, 2).mean((0, 2))[:, None]).transpose(1, 2).flatten(0, 1)
        @ head.weight.T
        for view in (ground, aerial)
    )
    between, pooled = (x.T @ y + y.T @ x) / 2 / len(x), (x.T @ x + y.T @ y) / 2 / len(x)
    kept = head.correlations > 0
    torch.testing.assert_close(pooled.diagonal()[kept], head.correlations[kept], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(between.diagonal()[kept], head.correlations[kept] ** 2, rtol=1e-3, atol=1e-4)
    off = between - torch.diag(between.diagonal())
    assert float(off.abs().max()) < 1e-3
    assert torch.equal(head.correlations, head.correlations.sort(descending=True).values)
    torch.testing.assert_close(head.ground_mean, ground.flatten(1, 2).mean((0, 2)), rtol=1e-4, atol=1e-4)


def test_full_shrinkage_keeps_all_scales_as_they_are() -> None:
    head = _moments(*_views()).head(2, shrinkage=1.0)
    assert float(head.weight.view(2, FEATURES, ROWS)[:, 3].abs().max()) > 0.0
    assert float(head.correlations[0]) < 0.2  # judged against the loud channel's variance


def test_parts_make_the_whole() -> None:
    ground, aerial = _views()
    whole = _moments(ground, aerial).head(3)
    parts = ColumnMoments.merged([_moments(ground[:100], aerial[:100]), _moments(ground[100:], aerial[100:])])
    assert parts.count == 300 * COLUMNS
    torch.testing.assert_close(parts.head(3).correlations, whole.correlations)
    torch.testing.assert_close(parts.head(3).weight.abs(), whole.weight.abs(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, float("nan"), None])
def test_features_that_say_nothing_are_refused(value: float | None) -> None:
    moments = ColumnMoments(FEATURES * ROWS)
    if value is not None:
        still = torch.full((4, FEATURES, ROWS, COLUMNS), value)
        moments.add(still, still)
    with pytest.raises(TrainingError, match="head_pairs"):
        moments.head(2)


def test_a_model_with_such_a_head_gives_the_projection_of_its_features() -> None:
    torch.manual_seed(0)
    model = Compact(
        CompactConfig(
            name="small", height_px=32, width_px=128, strip_channels=6, backbone="test_efficientnet"
        )
    ).eval()
    images = torch.rand(6, 3, 32, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = model.features(images)
        moments = ColumnMoments(model.fold.weight[0].numel())
        moments.add(features, features.flip(0))
        head = moments.head(6)
        set_head(model, head)
        wanted = torch.einsum("kd,bdl->bkl", head.weight, features.flatten(1, 2))
        strips = model(images, "ground")
    torch.testing.assert_close(strips, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.ground_mean, wanted.mean((0, 2)), rtol=1e-3, atol=1e-3)
