"""The evaluation against brute force, with a network that is not one: its strips are the pictures themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy.signal import resample
from torch import Tensor, nn

from smdt.app.condition_table import condition_table
from smdt.data.pairs import PairSplit, Query, Reference
from smdt.errors import ConfigError, DatasetError
from smdt.evaluate import Condition, EvaluateConfig, Evaluation, covering, evaluate
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.retrieval.siamese import SiameseConfig

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


def evaluated(split: PairSplit, model: nn.Module | None = None, **options: object) -> Evaluation:
    config = EvaluateConfig(use_polarmap=True, batch=5, **options)  # type: ignore[arg-type]
    return evaluate(model or Pictures(), split, config)  # type: ignore[arg-type]


def judged(
    split: PairSplit, *, unknown_heading: bool = False, wide_deg: float = 360.0, **options: object
) -> Condition:
    """The one condition of an evaluation."""
    headings = {"known_heading": not unknown_heading, "unknown_heading": unknown_heading}
    (condition,) = evaluated(split, fields_of_view_deg=(wide_deg,), **headings, **options).conditions
    return condition


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
        make_split(tmp_path, pictures, pictures), unknown_heading=unknown, wide_deg=field_of_view_deg
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
    between = resample(scores, 2 * WIDTH_PX, axis=2)  # turns by half a column, too
    assert unknown.ranks.tolist() == ranks_of(between.max(2), positive)


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
    assert "hit rate" not in plain.recalls


def test_the_hit_rate_counts_semi_positives_that_come_first(tmp_path: Path) -> None:
    mapped = noise(6)
    ground = mapped[:4]  # query i shows reference i
    positive = np.array([0, 5, 5, 5])
    semi = np.array([[-1, -1], [1, -1], [4, 2], [4, -1]])
    split = replace(
        make_split(tmp_path, ground, mapped), dataset="vigor", positive=positive, semi_positives=semi
    )
    found = judged(split)
    assert found.best.tolist() == [0, 1, 2, 3]
    assert found.recalls["hit rate"] == 75.0  # the true one, two semi-positives, and a stranger
    assert found.recalls["R@1"] == 100.0 * float((found.ranks == 0).float().mean())
    interval = found.recall_intervals["hit rate"]
    assert interval.low < 75.0 < interval.high
    assert "hit rate" in condition_table([found]).header


def test_nothing_covers_a_place_that_has_no_reference() -> None:
    nothing = np.array([-1])
    assert not covering(nothing, nothing, nothing[:, None]).any()


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_is_named_in_one_line(tmp_path: Path, workers: int) -> None:
    pictures = noise(8)
    split = make_split(tmp_path, pictures, pictures)
    assert judged(split, workers=workers).recalls["R@1"] == 100.0
    split.queries[7].path.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"07\.png.*not a picture") as caught:
        judged(split, workers=workers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"fields_of_view_deg": (0.0,)},
        {"fields_of_view_deg": (90.0, 90.0)},
        {"fields_of_view_deg": ()},
        {"batch": 0},
        {"workers": -1},
        {"shortlist": -1},
        {"off_centre_m": -1.0},
        {"off_centre_m": 4.0, "use_polarmap": True},
        {"known_heading": False},
    ],
)
def test_what_cannot_be_evaluated_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        EvaluateConfig(**options)  # type: ignore[arg-type]


def test_all_views_and_headings_come_from_one_call_and_are_those_of_calls_of_their_own(
    tmp_path: Path,
) -> None:
    mapped = noise(9)
    split = make_split(tmp_path, (0.3 * mapped + 0.7 * noise(10)).astype(np.uint8), mapped)
    embedded: list[tuple[str, int]] = []

    class Counting(Pictures):
        def forward(self, images: Tensor, view: str) -> Tensor:
            embedded.append((view, len(images)))
            return super().forward(images, view)

    config = EvaluateConfig.full(use_polarmap=True, batch=5)
    result = evaluate(Counting(), split, config)  # type: ignore[arg-type]
    assert sum(count for view, count in embedded if view == "aerial") == COUNT
    assert sum(count for view, count in embedded if view == "ground") == 8 * COUNT
    names = [(one.field_of_view_deg, one.heading_known) for one in result.conditions]
    assert names == [(wide, known) for wide in (360.0, 180.0, 90.0, 70.0) for known in (True, False)]
    for one in result.conditions:
        alone = judged(split, unknown_heading=not one.heading_known, wide_deg=one.field_of_view_deg)
        assert alone.ranks.tolist() == one.ranks.tolist()
        assert (alone.recalls, alone.recall_intervals) == (one.recalls, one.recall_intervals)
        for name, value in one.recalls.items():
            assert one.recall_intervals[name].low <= value <= one.recall_intervals[name].high
        assert one.metres == {}
        assert bool(one.heading) == (not one.heading_known and int((one.ranks == 0).sum()) > 0)
        assert one.heading.keys() == one.heading_intervals.keys()


def test_metres_are_from_the_query_to_what_came_first(tmp_path: Path) -> None:
    mapped = noise(11)
    plain = make_split(tmp_path, np.roll(mapped, 1, axis=0), mapped)  # query i shows reference i - 1
    assert judged(plain).metres == {}
    place_m = np.stack([30.0 * np.arange(COUNT), np.zeros(COUNT)], axis=1)
    in_metres = judged(replace(plain, query_xy_m=place_m, reference_xy_m=place_m))
    assert in_metres.metres["median_m"] == 30.0
    assert in_metres.metres["mean_m"] == pytest.approx(
        (11 * 30.0 + 11 * 30.0) / 12
    )  # query 0 is 11 steps off
    assert in_metres.metres_off.tolist() == [330.0] + [30.0] * 11
    north = 30.0 / 111_132.0 * np.arange(COUNT)  # metres of a degree of latitude at 45°
    in_degrees = replace(
        plain,
        queries=tuple(
            replace(q, latitude=45.0 + n, longitude=7.0) for q, n in zip(plain.queries, north, strict=True)
        ),
        references=tuple(
            replace(r, latitude=45.0 + n, longitude=7.0) if i else r
            for i, (r, n) in enumerate(zip(plain.references, north, strict=True))
        ),
    )
    found = judged(in_degrees)
    assert found.metres["median_m"] == pytest.approx(30.0, abs=0.1)
    assert (
        np.isnan(found.metres_off).tolist() == [False, True] + [False] * 10
    )  # reference 0 lies nobody knows where
    assert (
        found.metres_intervals["mean_m"].low < found.metres["mean_m"] < found.metres_intervals["mean_m"].high
    )


class Means(Pictures):
    """A model of one column: the picture's mean over azimuth, weighted so that a turn changes it."""

    def forward(self, images: Tensor, view: str) -> Tensor:
        weight = torch.cos(torch.arange(images.shape[-1]) * (2 * torch.pi / images.shape[-1]))
        return (super().forward(images, view) * weight).sum(2, keepdim=True)


def test_a_descriptor_of_one_column_is_judged_and_finds_no_heading(tmp_path: Path) -> None:
    mapped = noise(12)
    split = make_split(tmp_path, mapped, mapped)
    options = {"fields_of_view_deg": (360.0, 90.0), "unknown_heading": True}
    result = evaluated(split, Means(), **options)
    known, unknown = result.conditions[:2]
    assert known.recalls["R@1"] == 100.0
    assert unknown.recalls["R@1"] < 100.0
    for one in result.conditions:
        assert one.heading == {}
        assert one.found_heading_deg.numel() == 0


def test_a_shortlist_is_said_and_only_where_one_was_used(tmp_path: Path) -> None:
    mapped = noise(13)
    split = make_split(tmp_path, mapped, mapped)
    assert evaluated(split, unknown_heading=True, shortlist=4).facts["shortlist"] == 4
    assert evaluated(split, shortlist=4).facts["shortlist"] == 0
    narrow = evaluated(split, unknown_heading=True, shortlist=4, fields_of_view_deg=(90.0,))
    assert narrow.facts["shortlist"] == 0


def test_cameras_off_a_tiles_centre_are_found_by_a_point_near_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    grid = aerial_grid("polar", 96, HEIGHT_PX, WIDTH_PX, centre=(0.25, -0.25))
    queries, references = [], []
    for number in range(COUNT):
        tile = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        seen = map_aerial(torch.from_numpy(tile).permute(2, 0, 1)[None], grid)[0].permute(1, 2, 0)
        paths = tmp_path / f"g{number}.png", tmp_path / f"a{number}.png"
        for path, picture in zip(paths, (seen.round().byte().numpy(), tile), strict=True):
            Image.fromarray(picture).save(path)
        queries.append(Query(f"q{number}", paths[0]))
        references.append(Reference(f"r{number}", paths[1], half_side_m=24.0))
    split = PairSplit(
        dataset="folder",
        split="all",
        listing=tmp_path,
        queries=tuple(queries),
        references=tuple(references),
        positive=np.arange(COUNT),
        ground_frame=None,
        elevation_deg=180.0 * HEIGHT_PX / WIDTH_PX,
    )
    model = Pictures()
    model.config = replace(model.config, camera_within_m=6.0)
    config = EvaluateConfig(unknown_heading=True, off_centre_m=12.0)
    result = evaluate(model, split, config)  # type: ignore[arg-type]
    assert (result.facts["centres"], result.references) == (4, COUNT)
    assert [condition.recalls["R@1"] for condition in result.conditions] == [100.0, 100.0]
    middle = evaluate(model, split, replace(config, off_centre_m=0.0))  # type: ignore[arg-type]
    assert middle.facts["centres"] == 1
    assert max(condition.recalls["R@1"] for condition in middle.conditions) < 50.0
