"""`smdt evaluate` end to end: table, JSON and page, on pictures and a network with random weights."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from smdt.app.cli import cli
from smdt.app.condition_table import condition_table
from smdt.app.evaluate_commands import evaluate_config, notes_of
from smdt.app.evaluation_page import recall_curve, widest_unknown
from smdt.errors import SmdtError
from smdt.evaluate import FIELDS_OF_VIEW_DEG, Condition, Evaluation, condition_figures
from smdt.retrieval.strip_ranking import StripRanking

COUNT = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pairs with positions."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for kind, shape in (("ground", (32, 128, 3)), ("aerial", (64, 64, 3))):
        (folder / kind).mkdir()
        for i in range(COUNT):
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / kind / f"{i}.png")
    lines = [f"{i}.png,{i}.png,{45 + 0.001 * i},7.0" for i in range(COUNT)]
    (folder / "pairs.csv").write_text("\n".join(["ground,aerial,latitude,longitude", *lines]) + "\n")
    return folder


def evaluated(root: Path, model: Path, *options: object) -> Result:
    command = ["evaluate", "--dataset", "folder", "--root", root, "--model", model, *options]
    return CliRunner().invoke(cli, [str(part) for part in command], catch_exceptions=False)


def conditions(ranks: list[int], found_deg: list[float] | None = None, wide_deg: float = 360.0) -> Condition:
    count = len(ranks)
    heading = torch.tensor(found_deg or [])
    best = torch.arange(count)
    ranking = StripRanking(torch.tensor(ranks), best, torch.linspace(0, 1, count), heading)
    figures = condition_figures(ranking, 100, np.empty(0), np.zeros(count), best.numpy(), 0)
    return Condition(field_of_view_deg=wide_deg, heading_known=found_deg is None, **figures)


def test_the_command_prints_intervals_and_writes_json_and_a_page(
    root: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    files = ("--json", tmp_path / "e.json", "--report", tmp_path / "e.html")
    result = evaluated(root, tiny_model_folder, "--protocol", "full", *files)
    assert result.exit_code == 0, result.output
    assert "folder all: 8 queries, 8 references, model 'tiny'" in " ".join(result.output.split())
    record = json.loads((tmp_path / "e.json").read_text())
    assert [one["field_of_view_deg"] for one in record["conditions"]] == [
        w for w in FIELDS_OF_VIEW_DEG for _ in "12"
    ]
    for one in record["conditions"]:
        assert [len(one[name]) for name in ("ranks", "best", "score", "metres_off")] == [COUNT] * 4
        assert one["recall_percent"]["R@1"] == 100 * one["ranks"].count(0) / COUNT
        assert one["recall_percent_intervals"]["R@1"]["high"] >= one["recall_percent"]["R@1"]
        off = sorted(one["metres_off"])
        assert one["metres"]["median_m"] == pytest.approx((off[3] + off[4]) / 2, abs=0.02)
        assert f"{one['recall_percent']['R@5']:.2f}" in result.output
    page = (tmp_path / "e.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    shown = record["conditions"][1]
    hits, missed = shown["ranks"].count(0), COUNT - shown["ranks"].count(0)
    assert page.count('class="panel card"') >= min(hits, 6) + min(missed, 8)
    assert page.count("<polyline") == 8
    assert page.count("<script") == 0
    assert "Simulated" not in page


def test_one_view_is_the_default_and_headings_are_one_or_the_other(
    root: Path, tiny_model_folder: Path
) -> None:
    result = evaluated(root, tiny_model_folder, "--unknown-heading", "--fov-deg", 90, "--fov-deg", 180)
    assert result.output.count("unknown") == 2
    assert "known" not in result.output.replace("unknown", "")
    common = {"protocol": None, "fields_of_view_deg": (), "unknown_heading": False}
    config = evaluate_config(**common)  # type: ignore[arg-type]
    assert (config.fields_of_view_deg, config.known_heading, config.unknown_heading) == (
        (360.0,),
        True,
        False,
    )


@pytest.mark.parametrize("option", [("--fov-deg", 90), ("--unknown-heading",)])
def test_a_protocol_decides_alone(root: Path, tiny_model_folder: Path, option: tuple[object, ...]) -> None:
    with pytest.raises(SmdtError, match="--protocol: protocol 'full' decides"):
        evaluated(root, tiny_model_folder, "--protocol", "full", *option)


def test_the_curve_goes_through_the_recalls() -> None:
    one = conditions([0, 0, 1, 4, 9, 30, 99, 99])
    curve = recall_curve([one], 100)
    (line,) = curve["lines"]
    points = [tuple(map(float, point.split(","))) for point in line["points"].split()]
    frame, across = curve["frame"], {tick["label"]: tick["at"] for tick in curve["ks"]}
    height = frame.bottom - frame.top
    for k, recall in (("1", one.recalls["R@1"]), ("5", one.recalls["R@5"]), ("10", one.recalls["R@10"])):
        (y,) = [y for x, y in points if abs(x - across[k]) < 0.06]
        assert (frame.bottom - y) / height * 100 == pytest.approx(recall, abs=0.1)
    assert points[-1] == (frame.right, frame.top)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    assert across["1"] == frame.left
    assert across["100"] == frame.right
    assert curve["percent_at"] == across["1"]


def test_columns_that_no_condition_fills_are_left_out() -> None:
    known, unknown = conditions([0, 1]), conditions([0, 1], [3.0, 90.0])
    assert "heading median °" not in condition_table([known]).header
    table = condition_table([known, unknown])
    column = table.header.index("heading median °")
    assert [row[column].figure for row in table.rows] == ["–", "3.0"]
    assert not any("off" in name for name in table.header)  # no place is known


def test_the_widest_view_of_unknown_heading_is_looked_into() -> None:
    wide, narrow = conditions([0, 1]), conditions([0, 1], [3.0, 90.0], 90.0)
    assert widest_unknown([narrow, wide]) is wide
    unknown = conditions([0, 1], [3.0, 90.0])
    assert widest_unknown([wide, unknown, narrow]) is unknown


def test_what_a_reader_has_to_know_is_said() -> None:
    facts: dict[str, str | float | bool | int | None] = {
        "simulated": False,
        "hit_radius_m": None,
        "shortlist": 0,
        "centres": 1,
        "off_centre_m": 0.0,
    }
    one = conditions([0, 1], [3.0, 90.0])
    assert notes_of(Evaluation((one,), 2, 100, np.zeros(2), facts)) == []
    facts = {"simulated": True, "hit_radius_m": 25.0, "shortlist": 7, "centres": 4, "off_centre_m": 4.0}
    said = " ".join(notes_of(Evaluation((one,), 2, 100, np.zeros(2), facts)))
    assert "One point a tile" in " ".join(
        notes_of(Evaluation((one,), 2, 100, np.zeros(2), {**facts, "centres": 1}))
    )
    for pattern in ("places are simulated", "within 25 m", "only the 7 references", "not exact", "4 points"):
        assert re.search(pattern, said)
