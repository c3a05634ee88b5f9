from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from smdt.retrieval.losses import Temperature, contrast_loss, soft_margin_triplet, symmetric_info_nce
from smdt.training.accumulation import backward_in_parts

_CPU = torch.device("cpu")
_HEADING = torch.arange(8) * 41.0


def _contrast(queries: Tensor, references: Tensor, scale: Tensor) -> Tensor:
    return contrast_loss(queries.view(-1, 2, 4), references.view(-1, 2, 4), _HEADING, scale)


def _triplet(queries: Tensor, references: Tensor, _: Tensor) -> Tensor:
    return soft_margin_triplet(
        nn.functional.normalize(queries, dim=1), nn.functional.normalize(references, dim=1)
    )


class _Model(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.ground = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 8))
        self.aerial = nn.Linear(5, 8)
        self.temperature = Temperature(5.0)


def _gradients(
    parts: int, dropout: float, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    model = _Model(dropout)
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(2, 8, 5, generator=generator)
    size = 8 // parts
    torch.manual_seed(2)

    def embed(part: int) -> tuple[Tensor, ...]:
        rows = slice(part * size, (part + 1) * size)
        return model.ground(views[0, rows]), model.aerial(views[1, rows])

    backward_in_parts(
        parts, embed, lambda both: loss(*both, model.temperature()), lambda one: one.backward(), _CPU
    )
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, torch.rand(1)


@pytest.mark.parametrize("loss", [_contrast, _triplet, symmetric_info_nce])
@pytest.mark.parametrize("parts", [2, 8])
def test_gradients_in_parts_are_those_of_the_whole_batch(
    parts: int, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> None:
    whole, _ = _gradients(1, 0.0, loss)
    cached, _ = _gradients(parts, 0.0, loss)
    assert whole.keys() == cached.keys()
    assert len(whole) >= 6
    for name, gradient in whole.items():
        assert float(gradient.abs().max()) > 1e-4
        assert torch.allclose(cached[name], gradient, rtol=0, atol=1e-6)


def test_both_passes_drop_the_same_features() -> None:
    model = _Model(0.5)
    views = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    parts = [(model.ground(views[0, i : i + 2]), model.aerial(views[1, i : i + 2])) for i in range(0, 8, 2)]
    queries, references = (torch.cat(column) for column in zip(*parts, strict=True))
    _contrast(queries, references, model.temperature()).backward()
    after = torch.rand(1)
    cached, after_cached = _gradients(4, 0.5, _contrast)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(cached[name], parameter.grad, rtol=0, atol=1e-6)
    assert torch.equal(after, after_cached)
