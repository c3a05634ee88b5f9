"""The evaluation against brute force, with a network that is not one: its strips are the pictures themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from smdt.data.pairs import PairSplit, Query, Reference
from smdt.errors import ConfigError, DatasetError
from smdt.evaluate import EvaluateConfig, evaluate, rank_strips, seen_columns
from smdt.retrieval.siamese import SiameseConfig
from smdt.retrieval.strip_scores import ready_references

HEIGHT_PX, WIDTH_PX, COUNT = 4, 32, 12


class Pictures(nn.Module):
    """A model whose strips are the pictures, one column an azimuth."""

    ground_mean: Tensor

    def __init__(self, *, remove_mean: bool = False) -> None:
        super().__init__()
        self.config = SiameseConfig(
            "pictures", height_px=HEIGHT_PX, width_px=WIDTH_PX, remove_mean=remove_mean
        )
        self.register_buffer("ground_mean", torch.zeros(3 * HEIGHT_PX))

    def forward(self, images: Tensor, view: str) -> Tensor:
        assert view in ("ground", "aerial")
        return images.flatten(1, 2) - 0.5


def noise(seed: int, count: int = COUNT) -> npt.NDArray[np.uint8]:
    shape = (count, HEIGHT_PX, WIDTH_PX, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def make_split(folder: Path, ground: npt.NDArray[np.uint8], mapped: npt.NDArray[np.uint8]) -> PairSplit:
    """Panoramas, and aerial images whose mapped pictures are given ready-made; pair i is i."""
    queries, references = [], []
    for kind, pictures in (("ground", ground), ("polarmap", mapped)):
        (folder / kind).mkdir(parents=True)
        for i, picture in enumerate(pictures):
            path = folder / kind / f"{i:02d}.png"
            Image.fromarray(picture).save(path)
            if kind == "ground":
                queries.append(Query(f"q{i}", path))
            else:
                references.append(Reference(f"r{i}", folder / "none.jpg", path))
    return PairSplit(
        dataset="folder",
        split="all",
        listing=folder,
        queries=tuple(queries),
        references=tuple(references),
        positive=np.arange(len(queries)),
        ground_frame=None,
        elevation_deg=180.0 * HEIGHT_PX / WIDTH_PX,
    )


def judged(split: PairSplit, **options: object) -> object:
    return evaluate(Pictures(), split, EvaluateConfig(use_polarmap=True, batch=5, **options))  # type: ignore[arg-type]


def cosines(ground: npt.NDArray[np.uint8], mapped: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(Q, R, turns): brute force over all turns; turn 0 is the known heading."""
    q, r = (pictures / 255.0 - 0.5 for pictures in (ground, mapped))
    scores = np.empty((len(q), len(r), WIDTH_PX))
    for turn in range(
        WIDTH_PX
    ):  # a query with heading 360°·turn/W shows in column j what the reference has in j + turn
        rolled = np.roll(r, -turn, axis=2)
        scores[..., turn] = np.einsum("qhwc,rhwc->qr", q, rolled)
    norms = np.linalg.norm(q.reshape(len(q), -1), axis=1)[:, None] * np.linalg.norm(
        r.reshape(len(r), -1), axis=1
    )
    return scores / norms[..., None]


def ranks_of(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.int64]) -> list[int]:
    own = scores[np.arange(len(scores)), positive]
    return [int((row > mine).sum()) for row, mine in zip(scores, own, strict=True)]


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("field_of_view_deg", [360.0, 90.0])
def test_a_perfect_model_finds_all(tmp_path: Path, unknown: bool, field_of_view_deg: float) -> None:
    pictures = noise(0)
    result = judged(
        make_split(tmp_path, pictures, pictures), unknown_heading=unknown, field_of_view_deg=field_of_view_deg
    )
    assert set(result.recalls.values()) == {100.0}
    assert result.ranks.tolist() == [0] * COUNT
    if unknown:
        assert result.heading["within_2_deg"] == 100.0
    else:
        assert result.heading == {}


def test_ranks_are_those_of_brute_force(tmp_path: Path) -> None:
    mapped = noise(1)
    ground = (0.3 * mapped + 0.7 * noise(2)).astype(np.uint8)
    positive = np.random.default_rng(3).permutation(COUNT)
    split = replace(make_split(tmp_path, ground, mapped), positive=positive)
    scores = cosines(ground, mapped)
    known = judged(split)
    assert known.ranks.tolist() == ranks_of(scores[..., 0], positive)
    assert 0 < known.recalls["R@5"] < 100
    unknown = judged(split, unknown_heading=True)
    assert unknown.ranks.tolist() == ranks_of(scores.max(2), positive)


def test_unknown_headings_come_from_the_seed_and_are_found(tmp_path: Path) -> None:
    mapped = noise(4)
    ground = (0.6 * mapped + 0.4 * noise(5)).astype(np.uint8)
    split = make_split(tmp_path, ground, mapped)
    first, again, other = (judged(split, unknown_heading=True, seed=seed) for seed in (1, 1, 2))
    assert first.heading == again.heading
    assert first.ranks.tolist() == again.ranks.tolist()
    assert first.heading != other.heading
    assert first.heading["median_deg"] < 360 / WIDTH_PX / 2


def test_semi_positives_are_never_nearer(tmp_path: Path) -> None:
    mapped = noise(6)
    ground = mapped[:4]
    positive, semi = np.array([1, 0, 2, 3]), np.array([[0, -1], [5, -1], [-1, -1], [-1, -1]])
    split = replace(make_split(tmp_path, ground, mapped), dataset="vigor", positive=positive)
    plain, lenient = judged(split), judged(replace(split, semi_positives=semi))
    assert plain.ranks[0] > 0  # its own picture, reference 0, is nearer than the reference it is said to have
    assert int(lenient.ranks[0]) == int(plain.ranks[0]) - 1
    assert lenient.ranks[1:].tolist() == plain.ranks[1:].tolist()


def test_any_reference_within_the_radius_is_a_hit(tmp_path: Path) -> None:
    mapped = noise(7)
    ground = np.roll(mapped, 1, axis=0)[:4]  # query i shows reference i - 1
    place_m = np.stack([20.0 * np.arange(COUNT), np.zeros(COUNT)], axis=1)
    split = replace(
        make_split(tmp_path, ground, mapped),
        dataset="cvact",
        query_xy_m=place_m[:4],
        reference_xy_m=place_m,
    )
    strict = judged(split)
    assert (strict.ranks > 0).all()
    near = judged(replace(split, hit_radius_m=25.0))
    assert near.ranks[0] > 0  # it shows the last reference, which is far away
    assert near.ranks[1:].tolist() == [0, 0, 0]
    wanted = cosines(ground, mapped)[..., 0]
    inside = np.abs(place_m[:4, None, 0] - place_m[None, :, 0]) <= 25.0
    best = np.where(inside, wanted, -np.inf).max(1)
    assert near.ranks.tolist() == [(row > mine).sum() for row, mine in zip(wanted, best, strict=True)]


def test_a_mean_that_all_share_is_removed_for_models_that_ask() -> None:
    strips = torch.randn(9, 6, 16, generator=torch.Generator().manual_seed(0))
    common = 20.0 * torch.randn(6, 1, generator=torch.Generator().manual_seed(1))
    drowned, other = strips + common, strips + 15.0 * common.flip(0)
    for remove, all_found in ((False, False), (True, True)):
        model = Pictures(remove_mean=remove)
        found = rank_strips(
            model,  # type: ignore[arg-type]
            drowned,
            ready_references(other, remove_mean=remove),
            torch.arange(9),
            heading_deg=torch.zeros(9),
        )
        assert bool((found.ranks == 0).all()) == all_found
        assert found.heading_deg.numel() == 0


def test_what_a_query_sees_is_centred() -> None:
    assert seen_columns(8, 90.0).tolist() == [False] * 3 + [True] * 2 + [False] * 3
    assert bool(seen_columns(8, 360.0).all())
    assert int(seen_columns(8, 1.0).sum()) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_is_named_in_one_line(tmp_path: Path, workers: int) -> None:
    pictures = noise(8)
    split = make_split(tmp_path, pictures, pictures)
    assert judged(split, workers=workers).recalls["R@1"] == 100.0
    split.queries[7].path.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"07\.png.*not a picture") as caught:
        judged(split, workers=workers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"field_of_view_deg": 0.0}, {"batch": 0}, {"workers": -1}])
def test_what_cannot_be_evaluated_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        EvaluateConfig(**options)  # type: ignore[arg-type]
