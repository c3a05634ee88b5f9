import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from smdt import townbench
from smdt.app.cli import cli
from smdt.data import open_split
from smdt.data.transforms import load_image, resize
from smdt.errors import ConfigError, DatasetError, SmdtError
from smdt.geometry.geodesy import distance_m
from smdt.retrieval.metrics import recall_at
from smdt.retrieval.siamese import Siamese
from smdt.townbench import (
    FIELDS_OF_VIEW_DEG,
    STYLES_BY_SEED,
    VERSION,
    TownBenchConfig,
    TownBenchResult,
    confusion,
    run_townbench,
    write_townbench,
)
from smdt.world.dataset import HELD_OUT_SEEDS
from smdt.world.pair_plan import PairSetConfig
from smdt.world.pairs import read_pair_facts
from smdt.world.places import KINDS, OsmPlace, StoredPlace
from smdt.world.town import PLANS

Sources = Callable[..., Any]
COUNT = 20


all_places, full_pair_set = TownBenchConfig.places, TownBenchConfig.pair_set


@pytest.fixture(autouse=True)
def small_places(monkeypatch: pytest.MonkeyPatch, crossroads: Sources) -> None:
    """Two places of 200 m in place of nine towns."""
    two = [(f"simulated crossroads, seed {2022 + i}", i, -30.0 - 0.5 * i) for i in (1, 2)]

    def smaller(config: TownBenchConfig) -> PairSetConfig:
        return replace(full_pair_set(config), aerial_px=96, tile_side_m=60.0, height_px=32, width_px=176)

    monkeypatch.setattr(TownBenchConfig, "places", lambda _: [crossroads(*one) for one in two])
    monkeypatch.setattr(TownBenchConfig, "pair_set", smaller)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("townbench") / "pairs"


def oracle(monkeypatch: pytest.MonkeyPatch, swap: dict[int, int] | None = None) -> None:
    """Strips as a perfect model makes them: queries are their references, turned; ``swap`` shows some another's."""
    strips = torch.randn(COUNT, 6, 128, generator=torch.Generator().manual_seed(3))
    shown = torch.arange(COUNT)
    for query, reference in (swap or {}).items():
        shown[query] = reference

    def queries(_model: object, _images: object, turns: Any, *_: object, **_named: object) -> Tensor:
        return torch.stack(
            [torch.roll(strips[i], -int(t), dims=-1) for i, t in zip(shown, turns, strict=True)]
        )

    monkeypatch.setattr(townbench, "embed_queries", queries)
    monkeypatch.setattr(townbench, "_embed_tiles", lambda *_: strips)


def figures(result: TownBenchResult) -> list[Any]:
    return [
        (c.recalls, c.metres, c.heading, c.by_kind, c.confused, c.ranks.tolist(), c.worst)
        for c in result.conditions
    ]


def test_a_model_is_judged_at_every_view_and_heading_and_always_alike(
    folder: Path, tiny_model: Siamese
) -> None:
    config = TownBenchConfig(pairs=COUNT, batch=7)
    steps: set[str] = set()
    result = run_townbench(tiny_model, folder, config, lambda step, done, total: steps.add(step))
    assert steps == {"opening places", "rendering pairs", "aerial images", "panoramas", "ranking"}
    conditions = [(c.field_of_view_deg, c.heading_known) for c in result.conditions]
    assert conditions == [(fov, known) for fov in FIELDS_OF_VIEW_DEG for known in (True, False)]
    for condition in result.conditions:
        assert condition.recalls == recall_at(condition.ranks, COUNT)
        assert sum(row["queries"] for row in condition.by_kind.values()) == COUNT
        missed = int((condition.ranks > 0).sum())
        assert sum(sum(row.values()) for row in condition.confused.values()) == missed
        assert bool(condition.heading) == (not condition.heading_known and missed < COUNT)
        assert condition.recall_intervals.keys() == condition.recalls.keys()
        assert condition.by_kind_intervals.keys() == condition.by_kind.keys()
        for kind, row in condition.by_kind.items():
            interval = condition.by_kind_intervals[kind]
            assert interval.low <= row["R@1"] <= interval.high
    assert result.facts["benchmark"] == f"TownBench {VERSION} trial"
    assert [place["pairs"] for place in result.facts["places"]] == [10, 10]
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    assert len(written) == 2 * COUNT
    again = run_townbench(tiny_model, folder, config)
    assert figures(again) == figures(result)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")} == written
    other = run_townbench(
        tiny_model, folder.with_name("other"), replace(config, seed=1, fields_of_view_deg=(360.0,))
    )
    assert figures(other)[0] != figures(result)[0]


def test_tiles_are_seen_from_as_many_points_as_the_model_wants(
    folder: Path, tiny_model: Siamese, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TownBenchConfig(pairs=COUNT, fields_of_view_deg=(360.0,))
    one = run_townbench(tiny_model, folder, config)
    assert one.facts["centres"] == 1
    four = run_townbench(tiny_model, folder, replace(config, centres=2))
    assert (four.facts["centres"], four.facts["references"]) == (4, COUNT)
    assert figures(four) != figures(one)
    monkeypatch.setattr(tiny_model, "config", replace(tiny_model.config, camera_within_m=2.0))
    assert figures(run_townbench(tiny_model, folder, config)) == figures(four)
    assert figures(run_townbench(tiny_model, folder, replace(config, centres=1))) == figures(one)


def test_a_perfect_model_finds_all(
    folder: Path, tiny_model: Siamese, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle(monkeypatch)
    result = run_townbench(tiny_model, folder, TownBenchConfig(pairs=COUNT, fields_of_view_deg=(360.0, 90.0)))
    for condition in result.conditions:
        assert set(condition.recalls.values()) == {100.0}
        assert condition.metres["median_m"] <= 4.0 * 2**0.5 + 0.1
        assert condition.metres["other_place_percent"] == 0.0
        assert condition.worst == ()
        assert condition.confused == {}
        assert {row["R@1"] for row in condition.by_kind.values()} == {100.0}
        if not condition.heading_known:
            assert condition.heading["median_deg"] < 1.5


def test_descriptors_of_one_column_are_made_of_panoramas_turned_by_the_known_heading(
    folder: Path, tiny_model: Siamese, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles, lost = torch.randn(2, COUNT, 12, 1, generator=torch.Generator().manual_seed(4))

    def queries(*_: object, north_up: bool = False) -> Tensor:
        return tiles if north_up else lost

    monkeypatch.setattr(townbench, "embed_queries", queries)
    monkeypatch.setattr(townbench, "_embed_tiles", lambda *_: tiles)
    monkeypatch.setattr(type(tiny_model), "finds_heading", False)
    result = run_townbench(tiny_model, folder, TownBenchConfig(pairs=COUNT, fields_of_view_deg=(360.0, 70.0)))
    for condition in result.conditions:
        assert (condition.recalls["R@1"] == 100.0) == condition.heading_known
        assert condition.heading == {}


def test_misses_are_measured_named_and_sorted(
    folder: Path, tiny_model: Siamese, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle(monkeypatch, {2: 3, 5: 15})  # one to a neighbour in its place, one to the other place
    config = TownBenchConfig(pairs=COUNT, fields_of_view_deg=(360.0,))
    plan = write_townbench(folder, config)
    facts = read_pair_facts(folder, plan)
    for condition in run_townbench(tiny_model, folder, config).conditions:
        assert torch.nonzero(condition.ranks).flatten().tolist() == [2, 5]
        assert condition.recalls["R@1"] == 90.0
        assert condition.metres["other_place_percent"] == 5.0
        assert {miss.query: miss.found for miss in condition.worst} == {2: 3, 5: 15}
        assert [miss.rank for miss in condition.worst] == sorted(
            (m.rank for m in condition.worst), reverse=True
        )
        for miss in condition.worst:
            camera, tile = facts[miss.query], facts[miss.found]
            metres = distance_m(
                camera["latitude_deg"], camera["longitude_deg"],
                tile["aerial_latitude_deg"], tile["aerial_longitude_deg"],
            )  # fmt: skip
            assert miss.metres == pytest.approx(float(metres))
            assert (miss.metres > 30_000) == (miss.query == 5)
            taken = condition.confused[camera["kind"]]
            assert taken[tile["kind"]] >= 1
        near = next(miss.metres for miss in condition.worst if miss.query == 2) <= 50.0
        assert condition.near_miss_percent == (50.0 if near else 0.0)


def test_confusion_counts_by_hand() -> None:
    junction, wooded = KINDS.index("junction"), KINDS.index("wooded")
    kind, found = np.array([wooded, wooded, junction, wooded]), np.array([wooded, junction, wooded, wooded])
    assert confusion(kind, found) == {"junction": {"wooded": 1}, "wooded": {"junction": 1, "wooded": 2}}
    assert confusion(np.zeros(0, np.int64), np.zeros(0, np.int64)) == {}


def test_neighbours_are_ten_metres_apart_and_cameras_near_their_tiles_centre(folder: Path) -> None:
    facts = read_pair_facts(folder, write_townbench(folder, TownBenchConfig(pairs=COUNT)))
    spots = np.array([[one["latitude_deg"], one["longitude_deg"]] for one in facts])
    away = distance_m(*spots.T[:, :, None], *spots.T[:, None, :]) + 1e9 * np.eye(COUNT)
    assert away.min() >= 10.0 - 0.08  # the sphere of Web Mercator is up to 0.7 % off the ellipsoid
    assert np.median(away.min(axis=1)) < 16.0
    assert max(abs(one[f"offset_{way}_m"]) for one in facts for way in ("east", "north")) <= 4.0
    assert len(open_split("cvusa", folder, "val").queries) == COUNT


@pytest.mark.parametrize(("side_m", "share"), [(30.0, 0.5), (60.0, 1.0), (400.0, 1.0)])
def test_a_model_gets_the_middle_of_the_tiles_at_its_own_scale(
    folder: Path, tiny_model: Siamese, monkeypatch: pytest.MonkeyPatch, side_m: float, share: float
) -> None:
    write_townbench(folder, TownBenchConfig(pairs=COUNT))
    seen: list[tuple[Tensor, float]] = []

    def embed(_: Siamese, tiles: Tensor, side: float, centre: tuple[float, float]) -> Tensor:
        assert centre == (0.0, 0.0)
        seen.append((tiles.clone(), side))
        return torch.zeros(len(tiles), 2, 8)

    monkeypatch.setattr(townbench, "embed_aerial", embed)
    monkeypatch.setattr(tiny_model, "config", replace(tiny_model.config, tile_side_m=side_m))
    split = open_split("cvusa", folder, "val")
    townbench._embed_tiles(tiny_model, split, TownBenchConfig(pairs=COUNT, batch=COUNT), [(0.0, 0.0)], None)
    (tiles, side), picture = seen[0], load_image(split.references[4].path)
    assert side == pytest.approx(60.0 * share, rel=0.02)
    assert tiles.shape == (COUNT, 3, 64, 64)
    rim = round(96 * (1 - share) / 2)
    want = 255.0 * resize(picture[:, rim : 96 - rim, rim : 96 - rim].contiguous(), 64, 64)
    assert float((tiles[4] - want)[:, 2:-2, 2:-2].abs().mean()) < 2.0


def test_places_that_training_may_have_seen_are_refused(
    tmp_path: Path, crossroads: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TownBenchConfig, "places", lambda _: [crossroads("simulated crossroads, seed 100")])
    with pytest.raises(ConfigError, match="not held out"):
        write_townbench(tmp_path / "set", TownBenchConfig(pairs=4))
    assert not (tmp_path / "set").exists()


def test_pairs_of_another_seed_are_not_taken_for_these(folder: Path) -> None:
    write_townbench(folder, TownBenchConfig(pairs=COUNT))
    with pytest.raises(DatasetError, match="begun with seed = 0, not 3"):
        write_townbench(folder, TownBenchConfig(pairs=COUNT, seed=3))


def test_all_styles_are_judged_on_in_towns_that_are_held_out(tmp_path: Path) -> None:
    assert set(STYLES_BY_SEED) <= HELD_OUT_SEEDS
    assert sorted(STYLES_BY_SEED.values()) == sorted(PLANS)
    full, quick = TownBenchConfig(), TownBenchConfig(quick=True)
    assert (full_pair_set(full).count, full_pair_set(quick).count) == (8884, 1000)
    assert len({place.key for place in [*all_places(full), *all_places(quick)]}) == 18
    assert [config.name for config in (full, quick, TownBenchConfig(pairs=5))] == [
        f"TownBench {VERSION}", f"TownBench {VERSION} quick", f"TownBench {VERSION} trial",
    ]  # fmt: skip
    extract = tmp_path / "helsinki.osm.pbf"
    assert all_places(TownBenchConfig(osm=extract))[-1] == OsmPlace(extract)
    assert all_places(TownBenchConfig(osm=tmp_path))[-1] == StoredPlace(tmp_path)


@pytest.mark.parametrize(
    "options", [{"pairs": 1}, {"batch": 0}, {"workers": -1}, {"seed": -1}, {"centres": 0}]
)
def test_what_cannot_be_judged_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        TownBenchConfig(**options)  # type: ignore[arg-type]


def test_the_command_prints_writes_json_and_a_page_with_the_worst_misses(
    folder: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    common = ["benchmark", "--model", str(tiny_model_folder), "--pairs", str(COUNT), "--workers", "0"]
    common += ["--cache", str(folder)]
    result = CliRunner().invoke(cli, [*common, "--report", str(tmp_path / "page")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"TownBench {VERSION} trial, simulated places: 20 queries" in " ".join(result.output.split())
    page = (tmp_path / "page" / "townbench.html").read_text()
    record = json.loads((tmp_path / "page" / "townbench.json").read_text())
    worst = next(c for c in record["conditions"] if not c["heading_known"])["worst"]
    assert page.count('class="panel card"') == len(worst) > 0
    assert page.count("data:image/jpeg;base64,") == 3 * len(worst)
    assert "http" not in page.replace("http-equiv", "")
    shown = record["conditions"][1]
    assert shown["recall_percent_intervals"]["R@1"]["low"] <= shown["recall_percent"]["R@1"]
    assert f"<td>{shown['recall_percent']['R@1']:.2f}<small>" in page
    assert [len(c["ranks"]) for c in record["conditions"]] == [COUNT] * 8
    printed = CliRunner().invoke(cli, [*common, "--json", "-"], catch_exceptions=False)
    again = json.loads(printed.stdout)
    assert again["conditions"] == record["conditions"]
    assert again["model"] == "tiny"


def test_an_unknown_model_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    with pytest.raises(SmdtError, match="no such model"):
        CliRunner().invoke(
            cli, ["benchmark", "--model", "nothing", "--cache", str(tmp_path / "c")], catch_exceptions=False
        )
    assert not (tmp_path / "c").exists()
