"""What a camera sees of a panorama before it is embedded: turned, narrowed, turned back."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from smdt.retrieval.encoder import EncoderConfig
from smdt.retrieval.set_embedding import Loading, embed_queries, narrow_panoramas, turn_panoramas

WIDTH = 12


class Columns(nn.Module):
    """A model whose strips are the pictures."""

    def __init__(self, beyond: str) -> None:
        super().__init__()
        self.register_buffer("ground_mean", torch.zeros(3))
        self.config = EncoderConfig("columns", beyond=beyond)

    def forward(self, images: Tensor, view: str) -> Tensor:
        assert view == "ground"
        return images.flatten(1, 2)


class Panoramas(Dataset[tuple[Tensor, int]]):
    """Panoramas whose columns are numbered from 1, times their own number."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return (index + 1.0) * torch.arange(1.0, WIDTH + 1).expand(3, 1, WIDTH), index


def embedded(
    turns: list[int], field_of_view_deg: float, *, north_up: bool = False, beyond: str = "black"
) -> list[list[float]]:
    steps: list[tuple[str, int, int]] = []
    loading = Loading(batch=2, progress=lambda *step: steps.append(step))
    strips = embed_queries(
        Columns(beyond),  # type: ignore[arg-type]
        Panoramas(),
        np.array(turns),
        field_of_view_deg,
        loading,
        north_up=north_up,
    )
    assert steps == [("panoramas", 2, 3), ("panoramas", 3, 3)]
    assert strips.shape == (3, 3, WIDTH)
    rows: list[list[float]] = strips[:, 0].tolist()
    return rows


def test_convention_a_heading_of_a_quarter_brings_the_east_to_the_centre() -> None:
    turned = embedded([0, 3, 11], 360.0)
    assert turned[0] == list(range(1, 13))
    assert turned[1][WIDTH // 2] == 2 * (WIDTH * 3 // 4 + 1)  # column 3W/4 looks east
    assert turned[2] == [3.0 * n for n in (12, *range(1, 12))]


def test_a_narrow_view_is_seen_around_the_heading() -> None:
    assert embedded([0, 3, 0], 90.0)[1] == [0, 0, 0, 0, 0, 18, 20, 22, 0, 0, 0, 0]


def test_a_narrow_view_goes_on_as_its_mirror_image_where_the_model_wants_that() -> None:
    row = embedded([0, 3, 0], 90.0, beyond="mirror")[1]
    assert row == [20, 22, 22, 20, 18, 18, 20, 22, 22, 20, 18, 18]
    north_up = embedded([0, 3, 0], 90.0, north_up=True, beyond="mirror")[1]
    assert north_up[8:11] == [18, 20, 22]
    assert set(north_up) == {18, 20, 22}
    assert embedded([0, 3, 11], 360.0, beyond="mirror") == embedded([0, 3, 11], 360.0)


@pytest.mark.parametrize("field_of_view_deg", [360.0, 90.0])
def test_north_up_shows_what_is_seen_where_it_is(field_of_view_deg: float) -> None:
    plain, shown = embedded([0, 0, 0], 360.0), embedded([0, 3, 11], field_of_view_deg, north_up=True)
    for row, turn, whole in zip(shown, (0, 3, 11), plain, strict=True):
        centre = (WIDTH // 2 + turn) % WIDTH
        seen = range(WIDTH) if field_of_view_deg == 360.0 else [(centre + k) % WIDTH for k in (-1, 0, 1)]
        assert row == [value if column in seen else 0.0 for column, value in enumerate(whole)]


def test_turning_and_narrowing_leave_their_input() -> None:
    images = torch.rand(2, 3, 4, 8)
    kept = images.clone()
    narrow_panoramas(turn_panoramas(images, np.array([1, 5])), 45.0)
    assert torch.equal(images, kept)
