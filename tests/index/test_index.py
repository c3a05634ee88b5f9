import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from smdt.errors import ConfigError, DescriptorIndexError
from smdt.index.build import build_index, usual_stride_m
from smdt.index.store import DescriptorIndex, open_index, read_info, save_index
from smdt.retrieval.compact import CompactConfig
from smdt.retrieval.models import load_model, save_model
from smdt.retrieval.siamese import Siamese
from smdt.world.layers import Place
from smdt.world.store import write_colour


@pytest.fixture(scope="module")
def imagery(small_town: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("imagery") / "town.tif"
    write_colour(small_town, path)
    return path


@pytest.fixture(scope="module")
def index(imagery: Path, tiny_model: Siamese) -> DescriptorIndex:
    return build_index(imagery, tiny_model, stride_m=40.0)


def test_an_index_covers_the_imagery_and_knows_what_made_it(index: DescriptorIndex, imagery: Path) -> None:
    assert len(index) == 36  # 240 m / 40 m, squared
    assert index.strips.dtype == torch.float16
    assert index.info.model == "tiny"
    assert index.info.imagery == str(imagery)
    assert (index.info.tile_side_m, index.info.stride_m) == (60.0, 40.0)
    west, south, east, north = index.info.bounds
    assert bool(((index.latitude_deg > south) & (index.latitude_deg < north)).all())
    assert bool(((index.longitude_deg > west) & (index.longitude_deg < east)).all())


def test_strips_have_unit_norm(index: DescriptorIndex) -> None:
    torch.testing.assert_close(index.strips.float().flatten(1).norm(dim=1), torch.ones(36), atol=2e-3, rtol=0)


def test_every_tile_finds_itself_and_north(index: DescriptorIndex) -> None:
    scores, headings = index.search(index.strips.float())
    assert torch.equal(scores.argmax(1), torch.arange(36))
    north = headings.diagonal()
    assert bool((torch.minimum(north, 360.0 - north) < 25.0).all())


def test_a_known_heading_is_used_as_given(index: DescriptorIndex) -> None:
    turned = torch.roll(index.strips.float(), -2, dims=-1)  # 8 columns: a quarter turn, facing east
    scores, headings = index.search(turned, heading_deg=torch.full((36,), 90.0))
    torch.testing.assert_close(scores.diagonal(), torch.ones(36), atol=5e-3, rtol=0)
    assert bool((headings == 90.0).all())


def test_a_heading_known_within_degrees_is_found_there_and_nowhere_else(index: DescriptorIndex) -> None:
    turned = torch.roll(index.strips.float(), -2, dims=-1)  # a quarter turn, facing east
    scores, headings = index.search(turned, heading_deg=torch.full((36,), 75.0), within_deg=20.0)
    torch.testing.assert_close(scores.diagonal(), torch.ones(36), atol=5e-3, rtol=0)
    assert bool(((headings >= 55.0) & (headings <= 95.0)).all())
    everywhere, _ = index.search(turned)
    assert bool((scores <= everywhere + 1e-6).all())
    wrong, headings = index.search(turned, heading_deg=torch.full((36,), 270.0), within_deg=20.0)
    assert bool(((headings >= 250.0) & (headings <= 290.0)).all())
    assert bool((wrong.diagonal() < scores.diagonal()).all())


def test_searching_in_chunks_changes_nothing(index: DescriptorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = index.strips.float()[:3]
    whole = index.search(queries)
    monkeypatch.setattr("smdt.index.store._CHUNK_ELEMENTS", 1)
    scores, headings = index.search(queries)
    torch.testing.assert_close(scores, whole[0])
    torch.testing.assert_close(headings, whole[1], atol=0.01, rtol=0)


def test_an_index_comes_back_from_disk(index: DescriptorIndex, tmp_path: Path) -> None:
    folder = tmp_path / "town.index"
    save_index(index, folder)
    again = open_index(folder)
    assert again.info == index.info
    assert torch.equal(again.strips, index.strips)
    assert torch.equal(again.latitude_deg, index.latitude_deg)
    assert [p.name for p in tmp_path.iterdir()] == ["town.index"]  # no temporary folder is left


def test_an_index_is_replaced_only_when_asked(index: DescriptorIndex, tmp_path: Path) -> None:
    folder = tmp_path / "town.index"
    save_index(index, folder)
    with pytest.raises(
        DescriptorIndexError, match="exists already; choose another --out, or give --overwrite"
    ):
        save_index(index, folder)
    save_index(replace(index, info=replace(index.info, model="other")), folder, overwrite=True)
    assert read_info(folder).model == "other"


def test_what_is_no_index_is_never_replaced(index: DescriptorIndex, tmp_path: Path) -> None:
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(DescriptorIndexError, match="is no index"):
        save_index(index, precious, overwrite=True)
    assert (precious / "holiday.jpg").read_bytes() == b"x"


def test_an_index_of_another_model_is_refused(
    index: DescriptorIndex, tiny_model: Siamese, tmp_path: Path
) -> None:
    index.check_model(tiny_model, tmp_path)
    other = load_model("imagenet")
    with pytest.raises(DescriptorIndexError, match="made by model 'tiny', not by 'imagenet'"):
        index.check_model(other, tmp_path)
    save_model(tiny_model, tmp_path / "m", {})
    changed = load_model(str(tmp_path / "m"))
    changed.ground_mean += 1.0
    with pytest.raises(DescriptorIndexError, match="of other weights or settings; build the index again"):
        index.check_model(changed, tmp_path)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: (f / "index.json").unlink(), "is not an index"),
        (lambda f: (f / "index.json").write_text("{"), "damaged"),
        (lambda f: (f / "index.json").write_text(json.dumps({"format": 99})), "format 99"),
        (lambda f: (f / "arrays.safetensors").unlink(), "missing or damaged"),
        (lambda f: (f / "arrays.safetensors").write_bytes(b"12345"), "missing or damaged"),
    ],
)
def test_damaged_indexes_are_named(
    index: DescriptorIndex, tmp_path: Path, damage: object, named: str
) -> None:
    folder = tmp_path / "town.index"
    save_index(index, folder)
    damage(folder)  # type: ignore[operator]
    with pytest.raises(DescriptorIndexError, match=named) as error:
        open_index(folder)
    assert str(folder) in str(error.value)


def test_a_missing_index_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DescriptorIndexError, match="smdt index build"):
        open_index(tmp_path / "nowhere")


def test_lengths_must_be_positive(imagery: Path, tiny_model: Siamese) -> None:
    with pytest.raises(ConfigError, match="--stride-m"):
        build_index(imagery, tiny_model, stride_m=0.0)


def test_a_shortlist_scores_the_nearest_by_key_and_leaves_the_rest_out(index: DescriptorIndex) -> None:
    queries = torch.roll(index.strips.float(), -2, dims=-1)
    exact, exact_headings = index.search(queries)
    scores, headings = index.search(queries, shortlist=5)
    scored = torch.isfinite(scores)
    assert scored.sum(1).tolist() == [5] * 36
    torch.testing.assert_close(scores[scored], exact[scored], atol=1e-3, rtol=0)
    torch.testing.assert_close(headings[scored], exact_headings[scored], atol=0.1, rtol=0)
    assert scores.argmax(1).tolist() == list(range(36))


def test_narrow_photos_and_known_headings_are_scored_against_all(index: DescriptorIndex) -> None:
    queries = index.strips.float()[:2]
    narrow = torch.ones(2, queries.shape[-1], dtype=torch.bool)
    narrow[:, 0] = False
    for options in ({"mask": narrow}, {"heading_deg": torch.zeros(2)}):
        scores, _ = index.search(queries, shortlist=5, **options)
        assert bool(torch.isfinite(scores).all())


def test_a_model_that_wants_cameras_near_gets_more_tiles() -> None:
    far, near = CompactConfig("far"), CompactConfig("near", camera_within_m=2.0)
    assert (usual_stride_m(far, 160.0), usual_stride_m(near, 160.0)) == (20.0, 10.0)
    assert usual_stride_m(near, 40.0) == 5.0
