import csv
import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from smdt.app.cli import cli
from smdt.data import open_split
from smdt.data.images import PairImages, ViewSettings
from smdt.data.transforms import load_labels
from smdt.errors import ConfigError, DatasetError, SmdtError
from smdt.geometry.geodesy import distance_m
from smdt.retrieval.mining import nearest_by_place, place_coordinates
from smdt.world.layers import Place, Surface
from smdt.world.pair_plan import PairSetConfig, even_shares
from smdt.world.pairs import pair_files, read_pair_facts, to_cvusa_classes, write_pairs
from smdt.world.places import PlaceSource, TownPlace
from smdt.world.store import write_place

Sources = Callable[..., Any]
SMALL = PairSetConfig(count=6, aerial_px=40, tile_side_m=60.0, height_px=32, width_px=176, apart_m=8.0)


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(crossroads: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "pairs"
    write_pairs(folder, [crossroads(seed=1), crossroads(seed=2)], SMALL)
    return folder


def test_the_cvusa_reader_reads_them_unchanged(written: Path) -> None:
    splits = {name: open_split("cvusa", written, name) for name in ("train", "val")}
    assert [len(split.queries) for split in splits.values()] == [3, 3]
    assert [query.id for query in splits["val"].queries] == ["0000004", "0000005", "0000006"]
    query, reference = splits["train"].queries[0], splits["train"].references[0]
    assert reference.path == written / "bingmap" / "19" / "0000001.jpg"
    assert pixels(reference.path).shape == (40, 40, 3)
    assert pixels(query.path).shape == (32, 176, 3)
    assert query.labels_path is not None
    assert set(load_labels(query.labels_path).unique().tolist()) <= {0, 1, 2, 3}
    for view in ("query", "reference"):
        image, _ = PairImages(splits["val"], view, ViewSettings(32, 128))[2]  # type: ignore[arg-type]
        assert image.shape == (3, 32, 128)
        assert float(image.std()) > 0.02


def test_places_are_for_training_or_evaluation_and_share_evenly(written: Path) -> None:
    with (written / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["place"] for row in rows] == ["crossroads 1"] * 3 + ["crossroads 2"] * 3
    assert [row["split"] for row in rows] == ["train"] * 3 + ["val"] * 3
    assert {row["heading_deg"] for row in rows} == {"0.0"}
    assert len({row["offset_east_m"] for row in rows}) == 6  # each pair is drawn anew


def test_metadata_say_where_camera_and_tile_are(written: Path, crossroads: Sources) -> None:
    place: Place = crossroads().open()
    for path in sorted((written / "smdt" / "pairs").iterdir()):
        facts = json.loads(path.read_text())
        east, north = place.to_local_m(facts["latitude_deg"], facts["longitude_deg"])
        assert [float(east), float(north)] == pytest.approx([facts["east_m"], facts["north_m"]], abs=1e-3)
        east, north = place.to_local_m(facts["aerial_latitude_deg"], facts["aerial_longitude_deg"])
        assert facts["east_m"] - float(east) == pytest.approx(facts["offset_east_m"], abs=2e-3)
        assert facts["north_m"] - float(north) == pytest.approx(facts["offset_north_m"], abs=2e-3)
        assert max(abs(facts["offset_east_m"]), abs(facts["offset_north_m"])) <= 4.0
        assert facts["ground_sampling_distance_m"] == 1.5
        assert facts["kind"] in ("junction", "wooded", "open")


def test_an_aerial_image_is_north_up_and_centred_where_the_metadata_say(
    crossroads: Sources, tmp_path: Path
) -> None:
    class Marked(crossroads):  # type: ignore[misc, valid-type]
        def open(self) -> Place:
            place: Place = super().open()
            place.colour[:], place.height_m[:] = 20, 0.0
            place.colour[160:172, 240:252] = 255  # centred 123 m east, 117 m north
            return place

    write_pairs(tmp_path / "set", [Marked()], replace(SMALL, count=4, aerial_px=120, labels=False))
    shown = 0
    for number in range(1, 5):
        files = pair_files(tmp_path / "set", number, labels=False)
        facts = json.loads(files["facts"].read_text())
        centre = facts["east_m"] - facts["offset_east_m"], facts["north_m"] - facts["offset_north_m"]
        column, row = 60 + (123 - centre[0]) / 0.5 - 0.5, 60 - (117 - centre[1]) / 0.5 - 0.5
        if not (10 < column < 110 and 10 < row < 110):
            continue
        shown += 1
        grey = pixels(files["aerial"]).mean(2)
        bright = np.argwhere(grey > 0.6 * grey.max())
        near = bright[np.hypot(bright[:, 0] - row, bright[:, 1] - column) < 15]  # cars are bright too
        assert near.mean(0).tolist() == pytest.approx([row, column], abs=1.5)
    assert shown


def test_classes_and_depth_are_of_the_picture(written: Path) -> None:
    for number in (1, 6):
        files = pair_files(written, number, labels=True)
        classes = pixels(files["classes"])
        depth_m = pixels(files["depth"]).astype(float) / 100.0
        assert classes.shape == depth_m.shape == (32, 176)
        np.testing.assert_array_equal(pixels(files["annotations"]), to_cvusa_classes(classes))
        np.testing.assert_array_equal(classes == Surface.SKY, depth_m == 0)
        ground = classes[-1] == Surface.ROAD  # 31.7° below the horizon or 2° more or less, from 1.8 to 3 m
        assert ground.any()
        assert ((depth_m[-1][ground] > 2.2) & (depth_m[-1][ground] < 6.0)).all()


def test_cvusa_classes_are_sky_made_ground_and_grown() -> None:
    wanted = {
        0: (Surface.SKY,),
        1: (Surface.BUILDING, Surface.FENCE, Surface.VEHICLE, Surface.PERSON, Surface.POLE),
        2: (Surface.ROAD, Surface.PAVEMENT, Surface.PARKING, Surface.WATER, Surface.BARE),
        3: (Surface.TREE, Surface.GRASS, Surface.FIELD),
    }
    assert sum(len(surfaces) for surfaces in wanted.values()) == len(Surface)
    for number, surfaces in wanted.items():
        made = to_cvusa_classes(np.array([surfaces], np.uint8))
        assert made.tolist() == [[number] * len(surfaces)]


def test_one_seed_gives_the_same_bytes_with_any_number_of_workers(
    written: Path, crossroads: Sources, tmp_path: Path
) -> None:
    places = [crossroads(seed=1), crossroads(seed=2)]
    write_pairs(tmp_path / "two", places, SMALL, workers=2)
    assert contents(tmp_path / "two") == contents(written)
    write_pairs(tmp_path / "other", places, replace(SMALL, seed=1))
    assert contents(tmp_path / "other") != contents(written)


def test_many_places_are_shared_among_the_workers_and_give_the_same_bytes(
    crossroads: Sources, tmp_path: Path
) -> None:
    config = replace(SMALL, count=16, labels=False)
    places = [crossroads(seed=seed) for seed in range(1, 9)]
    seen: dict[str, list[int]] = {}

    def note(step: str, done: int, _: int) -> None:
        seen.setdefault(step, []).append(done)

    write_pairs(tmp_path / "one", places, config)
    write_pairs(tmp_path / "two", places, config, workers=2, progress=note)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert seen == {"opening places": list(range(9)), "rendering pairs": list(range(17))}
    for number in (3, 4, 16):  # of two places
        pair_files(tmp_path / "two", number, labels=False)["facts"].unlink()
    write_pairs(tmp_path / "two", places, config, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_worker_hands_over_what_is_wrong_with_a_place(crossroads: Sources, tmp_path: Path) -> None:
    places = [crossroads(seed=seed) for seed in range(1, 9)]

    def refuse(place: Place) -> None:
        raise ConfigError("is not to be used", where=place.name)

    with pytest.raises(ConfigError, match="not to be used"):
        write_pairs(tmp_path / "set", places, replace(SMALL, count=16), workers=2, check=refuse)


def test_a_writing_that_stopped_goes_on_and_keeps_what_is_there(
    written: Path, crossroads: Sources, tmp_path: Path
) -> None:
    folder, places = tmp_path / "set", [crossroads(seed=1), crossroads(seed=2)]

    class StoppedError(Exception):
        pass

    def stop_at_four(step: str, done: int, total: int) -> None:
        if step == "rendering pairs" and done == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        write_pairs(folder, places, SMALL, progress=stop_at_four)
    assert len(list((folder / "streetview" / "panos").iterdir())) == 4
    assert not (folder / "splits").exists()
    pair_files(folder, 2, labels=True)["depth"].unlink()
    kept = pair_files(folder, 1, labels=True)["aerial"]
    before = kept.stat().st_mtime_ns
    seen: list[int] = []
    write_pairs(
        folder, places, SMALL, progress=lambda step, done, _: seen.append(done) if "pairs" in step else None
    )
    assert seen[0] == 3  # of four, one lacks a file
    assert seen[-1] == 6
    assert kept.stat().st_mtime_ns == before
    assert contents(folder) == contents(written)


def test_a_set_of_other_settings_or_of_a_place_that_changed_is_not_gone_on_with(
    written: Path, crossroads: Sources, tmp_path: Path
) -> None:
    places = [crossroads(seed=1), crossroads(seed=2)]
    with pytest.raises(DatasetError, match="begun with aerial_px = 40, not 41"):
        write_pairs(written, places, replace(SMALL, aerial_px=41))
    with pytest.raises(DatasetError, match="begun with places"):
        write_pairs(written, places[:1], SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(DatasetError, match="holds something else"):
        write_pairs(tmp_path / "mine", places, SMALL)

    class Moved(crossroads):  # type: ignore[misc, valid-type]
        def open(self) -> Place:
            return replace(super().open(), latitude_deg=46.0)

    write_pairs(tmp_path / "set", places, SMALL)
    pair_files(tmp_path / "set", 5, labels=True)["ground"].unlink()
    with pytest.raises(DatasetError, match="is not the place it was"):
        write_pairs(tmp_path / "set", [places[0], Moved(seed=2)], SMALL)


def test_the_east_of_a_single_place_is_for_evaluation(crossroads: Sources, tmp_path: Path) -> None:
    config = replace(SMALL, count=5, val_share=0.4, labels=False)
    facts = read_pair_facts(tmp_path / "set", write_pairs(tmp_path / "set", [crossroads()], config))
    assert [one["split"] for one in facts] == ["train"] * 3 + ["val"] * 2
    assert max(one["east_m"] for one in facts[:3]) <= min(one["east_m"] for one in facts[3:])
    gaps = [
        float(distance_m(a["latitude_deg"], a["longitude_deg"], b["latitude_deg"], b["longitude_deg"]))
        for a in facts
        for b in facts
        if a["id"] < b["id"]
    ]
    assert min(gaps) > 7.9


def test_dense_sets_lie_around_the_middle(crossroads: Sources, tmp_path: Path) -> None:
    away = {}
    for dense in (False, True):
        config = replace(SMALL, count=7, labels=False, dense=dense)
        facts = read_pair_facts(
            tmp_path / str(dense), write_pairs(tmp_path / str(dense), [crossroads()], config)
        )
        away[dense] = max(max(abs(one["east_m"] - 100), abs(one["north_m"] - 100)) for one in facts)
    assert away[True] < 25.0 < away[False]


def test_attribution_goes_where_the_data_go(crossroads: Sources, tmp_path: Path) -> None:
    class Mapped(crossroads):  # type: ignore[misc, valid-type]
        def open(self) -> Place:
            return replace(super().open(), attribution="© OpenStreetMap contributors, ODbL")

    write_pairs(tmp_path / "set", [Mapped()], replace(SMALL, count=1, labels=False))
    assert (tmp_path / "set" / "ATTRIBUTION.txt").read_text() == "© OpenStreetMap contributors, ODbL\n"


def test_shares_are_as_even_as_the_room_allows() -> None:
    assert even_shares(10, [2, 100, 100]) == [2, 4, 4]
    assert even_shares(7, [10, 10]) == [4, 3]
    assert even_shares(9, [9, 0, 3, 1]) == [5, 0, 3, 1]
    assert even_shares(10, [1, 1]) == [1, 1]


def test_what_cannot_be_written_is_refused(crossroads: Sources, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"have room for \d+ pairs 8 m apart, not for 900"):
        write_pairs(tmp_path / "a", [crossroads()], replace(SMALL, count=900))
    with pytest.raises(ConfigError, match="named twice"):
        write_pairs(tmp_path / "b", [crossroads(), crossroads()], SMALL)
    with pytest.raises(ConfigError, match="no place"):
        write_pairs(tmp_path / "c", [], SMALL)
    assert not list(tmp_path.iterdir())
    for change in ({"count": 0}, {"aerial_px": 1}, {"apart_m": 0.0}, {"val_share": 2.0}):
        with pytest.raises(ConfigError):
            replace(SMALL, **change)


def smdt(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_command_takes_stored_places_and_refuses_held_out_ones(
    crossroads: Sources, tmp_path: Path
) -> None:
    place: Place = crossroads().open()
    write_place(place, tmp_path / "mine")
    write_place(replace(place, name="simulated grid place, seed 2026"), tmp_path / "renamed")
    common = ("world", "pairs", "--layout", "cvusa", "--count", 2, "--aerial-px", 40, "--tile-side-m", 60)
    small = ("--height-px", 32, "--no-labels")
    result = smdt(*common, *small, "--place", tmp_path / "mine", "--out", tmp_path / "set")
    assert result.exit_code == 0, result.output
    assert "test crossroads (2)" in " ".join(result.output.split())
    assert pixels(tmp_path / "set" / "streetview" / "panos" / "0000002.jpg").shape == (32, 176, 3)
    assert not (tmp_path / "set" / "smdt" / "depth").exists()
    assert open_split("cvusa", tmp_path / "set", "train").queries[0].labels_path is None
    with pytest.raises(SmdtError, match="no list of factors"):
        smdt(*common, "--place", tmp_path / "mine", "--out", tmp_path / "no", "--tile-factors", "a")
    with pytest.raises(SmdtError, match="held out"):
        smdt(*common, "--place", tmp_path / "renamed", "--out", tmp_path / "no")
    with pytest.raises(SmdtError, match="held out"):
        smdt(*common, "--town-seeds", "7,2023", "--out", tmp_path / "no")
    with pytest.raises(SmdtError, match="no place is given"):
        smdt(*common, "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_the_command_puts_towns_apart_so_that_neighbours_in_metres_are_of_one_town(tmp_path: Path) -> None:
    options = ("--count", 4, "--aerial-px", 40, "--tile-side-m", 40, "--height-px", 32, "--no-labels")
    options += ("--max-offset-m", 1, "--town-side-m", 140, "--apart-m", 12, "--val-share", 0)
    result = smdt("world", "pairs", "--town-seeds", "7,8", "--out", tmp_path / "set", *options)
    assert result.exit_code == 0, result.output
    split = open_split("cvusa", tmp_path / "set", "train")
    near = nearest_by_place(place_coordinates(split), 1)[:, 0]
    assert near.tolist() == [1, 0, 3, 2]


def test_sides_of_tiles_vary_as_the_table_says(crossroads: Sources, tmp_path: Path) -> None:
    config = replace(SMALL, labels=False, val_share=0.0, tile_factors=(0.5, 1.0))
    write_pairs(tmp_path / "a", [crossroads()], config)
    split = open_split("cvusa", tmp_path / "a", "train")
    assert {one.half_side_m for one in split.references} == {15.0, 30.0}
    with (tmp_path / "a" / "metadata.csv").open() as lines:
        sides = [round(40 * float(row["ground_sampling_distance_m"]), 6) for row in csv.DictReader(lines)]
    assert sides == [2 * one.half_side_m for one in split.references]
    write_pairs(tmp_path / "b", [crossroads()], replace(config, tile_factors=(1.0,)))
    for one in split.references:  # one draw of place, day and camera, whatever the tiles
        same = pixels(one.path) == pixels(tmp_path / "b" / one.path.relative_to(tmp_path / "a"))
        assert bool(same.all()) == (one.half_side_m == 30.0)
    with pytest.raises(DatasetError, match="begun with tile_factors"):
        write_pairs(tmp_path / "a", [crossroads()], replace(config, tile_factors=(1.0,)))
    with pytest.raises(SmdtError, match="--tile-factors"):
        replace(SMALL, tile_factors=(0.1,))


def test_one_place_is_in_memory_at_a_time(crossroads: Sources, tmp_path: Path) -> None:
    living: list[weakref.ref[Place]] = []
    seen: list[int] = []

    class Watched:
        def __init__(self, seed: int) -> None:
            self.source = crossroads(name=f"watched {seed}", seed=seed)

        @property
        def key(self) -> str:
            return self.source.key

        def open(self) -> Place:
            seen.append(sum(one() is not None for one in living))
            place = self.source.open()
            living.append(weakref.ref(place))
            return place

    gc.collect()
    gc.disable()  # or it may be luck
    try:
        write_pairs(tmp_path / "set", [Watched(seed) for seed in range(4)], replace(SMALL, count=8))
    finally:
        gc.enable()
    assert seen == [0] * 8  # once for the plan, once to be rendered


def test_towns_are_as_hilly_as_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[list[PlaceSource]] = []

    def stop(_out: Path, places: list[PlaceSource], *_args: object, **_more: object) -> None:
        asked.append(places)
        raise ConfigError("far enough", where="here")

    monkeypatch.setattr("smdt.app.benchmark_commands.write_pairs", stop)
    for wanted, options in ((0.25, ("--relief", 0.25)), (None, ())):
        with pytest.raises(ConfigError, match="far enough"):
            smdt("world", "pairs", "--count", 2, "--town-seeds", "7,8", "--out", tmp_path, *options)
        assert [place.relief for place in asked.pop() if isinstance(place, TownPlace)] == [wanted, wanted]
