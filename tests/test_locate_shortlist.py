"""When `smdt locate` scores a shortlist, and when all tiles."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smdt import locate as locating
from smdt.index.store import DescriptorIndex, IndexInfo
from smdt.locate import LocateConfig, locate
from smdt.retrieval.matching import normalise_references
from smdt.retrieval.siamese import Siamese

TILES = 30


@pytest.fixture
def index(tiny_model: Siamese) -> DescriptorIndex:
    """Tiles 30 m apart on a line to the north, with random strips."""
    shape = (TILES, tiny_model.channels, tiny_model.columns)
    strips = normalise_references(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    north = 45.0 + 30.0 / 111_132.0 * torch.arange(TILES, dtype=torch.float64)
    info = IndexInfo(1, "tiny", "", "polar", "", 60.0, 30.0, 64, (7.0, 45.0, 7.1, 45.1))
    return DescriptorIndex(info, strips.half(), north, torch.full((TILES,), 7.0).double(), torch.zeros(()))


@pytest.mark.parametrize(
    ("options", "scored"),
    [
        ({"shortlist": 4}, 4),
        ({"shortlist": 0}, TILES),
        ({"shortlist": 4, "heading_deg": 90.0}, TILES),
        ({"shortlist": 4, "panorama": False, "field_of_view_deg": 90.0}, TILES),
    ],
)
def test_panoramas_of_unknown_heading_in_large_indexes_are_scored_against_a_shortlist(
    options: dict[str, float],
    scored: int,
    index: DescriptorIndex,
    tiny_model: Siamese,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    config = LocateConfig(**{"panorama": True, "top": TILES} | options)  # type: ignore[arg-type]
    (small,) = locate([photo], index, tiny_model, config)
    assert len(small.candidates) == TILES
    monkeypatch.setattr(locating, "SHORTLIST_FROM", TILES - 1)
    (large,) = locate([photo], index, tiny_model, config)
    assert len(large.candidates) == scored
    assert 0.0 < large.confidence <= 1.0
    exact = {one.tile: one for one in small.candidates}
    for one in large.candidates:
        assert one.score == pytest.approx(exact[one.tile].score, abs=1e-3)
