"""The compact model: one network for both views, whose strip turns with the picture."""

from __future__ import annotations

import pytest
import torch

from smdt.errors import ModelError
from smdt.retrieval.compact import Compact, CompactConfig
from smdt.retrieval.models import load_model, save_model


def small(**settings: object) -> Compact:
    torch.manual_seed(0)
    config = CompactConfig(name="small", height_px=64, width_px=128, strip_channels=6, **settings)  # type: ignore[arg-type]
    return Compact(config).eval()


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 64, 128, generator=torch.Generator().manual_seed(1))


def test_a_strip_has_a_column_for_every_sixteen_pixels() -> None:
    model = small()
    with torch.inference_mode():
        assert model(pictures(), "ground").shape == (2, 6, 8)
    assert (model.channels, model.columns, model.finds_heading) == (6, 8, True)


def test_both_views_go_through_one_network() -> None:
    model, images = small(), pictures()
    with torch.inference_mode():
        assert torch.equal(model(images, "ground"), model(images, "aerial"))


def test_turning_a_picture_by_sixteen_columns_turns_the_strip_by_one() -> None:
    torch.manual_seed(0)
    model = Compact(CompactConfig(name="small", height_px=32, width_px=512, strip_channels=6)).eval()
    torch.nn.init.normal_(model.mix.weight, generator=torch.Generator().manual_seed(2))
    images = torch.rand(1, 3, 32, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        strip = model(images, "ground")
        turned = model(torch.roll(images, 16, dims=-1), "ground")
    assert torch.allclose(turned, torch.roll(strip, 1, dims=-1), atol=1e-4)
    assert not torch.allclose(turned, strip, atol=1e-2)


def test_a_new_model_has_no_neighbours_in_its_columns() -> None:
    model, images = small(), pictures()
    with torch.inference_mode():
        alone = model(images, "ground")
        model.mix = torch.nn.Conv1d(6, 6, 1)
        torch.nn.init.zeros_(model.mix.weight)
        torch.nn.init.zeros_(model.mix.bias)  # type: ignore[arg-type]
        object.__setattr__(model.config, "context", 1)
        assert torch.equal(alone, model(images, "ground"))


def test_a_saved_model_comes_back_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model, images = small(), pictures(1)
    save_model(model, tmp_path, {})
    back = load_model(str(tmp_path))
    assert isinstance(back, Compact)
    assert back.config == model.config
    with torch.inference_mode():
        assert torch.equal(back(images, "aerial"), model(images, "aerial"))


def test_blocks_begin_as_nothing_and_are_each_views_own() -> None:
    plain, model, images = small(), small(blocks=2), pictures()
    model.load_state_dict(plain.state_dict(), strict=False)
    with torch.inference_mode():
        before = plain(images, "ground")
        assert torch.equal(model(images, "ground"), before)
        assert model.blocks is not None
        torch.nn.init.normal_(model.blocks["ground"][1].narrow.weight)
        assert not torch.allclose(model(images, "ground"), before, atol=1e-3)
        assert torch.equal(model(images, "aerial"), before)


def test_a_strip_turns_with_the_picture_through_blocks_too() -> None:
    torch.manual_seed(0)
    model = Compact(
        CompactConfig(name="small", height_px=32, width_px=512, strip_channels=6, blocks=2)
    ).eval()
    assert model.blocks is not None
    for block in model.blocks["aerial"]:
        torch.nn.init.normal_(block.narrow.weight)
    images = torch.rand(1, 3, 32, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        strip, turned = (model(torch.roll(images, by, dims=-1), "aerial") for by in (0, 16))
    assert torch.allclose(
        turned, torch.roll(strip, 1, dims=-1), rtol=1e-3, atol=1e-3 * float(strip.abs().max())
    )


@pytest.mark.parametrize(
    "wrong", [{"context": 2}, {"context": 0}, {"blocks": -1}, {"blocks": 1, "mapping": "none"}]
)
def test_what_gives_no_strip_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        small(**wrong)
