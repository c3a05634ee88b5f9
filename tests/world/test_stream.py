from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from smdt.errors import ConfigError
from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.world.dataset import PairConfig
from smdt.world.layers import Place
from smdt.world.places import TownPlace
from smdt.world.stream import PairStream, StreamedPair

Sources = Callable[..., Any]
SMALL = PairConfig(height_px=16, width_px=64, tile_px=32, tile_side_m=60.0)


def take(stream: PairStream, workers: int = 0, batch: int = 4) -> list[StreamedPair]:
    return list(DataLoader(stream, batch_size=batch, num_workers=workers))


def same(first: Sequence[StreamedPair], second: Sequence[StreamedPair]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def places(crossroads: Sources) -> list[Any]:
    return [crossroads(seed=seed) for seed in range(3)]


def test_two_workers_give_batches_of_pairs_each_of_one_place(places: list[Any]) -> None:
    batches = take(PairStream(places, SMALL, group=4, pairs=16), workers=2)
    assert len(batches) == 4
    for batch in batches:
        assert batch.ground.shape == (4, 3, 16, 64)
        assert batch.aerial.shape == (4, 3, 32, 32)
        assert batch.ground.dtype == batch.aerial.dtype == torch.uint8
        assert len(set(batch.place.tolist())) == 1  # type: ignore[attr-defined]
        assert bool(((batch.heading_deg >= 0) & (batch.heading_deg < 360)).all())
        assert bool((batch.offset_m.abs() <= 8.0).all())
        place: Place = places[int(batch.place[0])].open()  # type: ignore[index]
        east, north = place.to_local_m(*batch.position_deg.numpy().T)
        on_street = (abs(east - 100) <= 4.0) | (abs(north - 100) <= 4.0)
        assert bool(on_street.all())
    # Worker 0 has places 0 and 2, worker 1 has place 1.
    assert {int(batch.place[0]) for batch in batches[1::2]} == {1}  # type: ignore[index]
    assert {int(batch.place[0]) for batch in batches[0::2]} <= {0, 2}  # type: ignore[index]


@pytest.mark.parametrize("workers", [0, 2])
def test_one_seed_and_number_of_workers_give_one_stream(places: list[Any], workers: int) -> None:
    first, again = (take(PairStream(places, SMALL, group=4, pairs=8, seed=5), workers) for _ in range(2))
    assert same(first, again)
    other = take(PairStream(places, SMALL, group=4, pairs=8, seed=6), workers)
    assert not same(first, other)
    later = PairStream(places, SMALL, group=4, pairs=8, seed=5)
    later.set_epoch(1)
    assert not same(first, take(later, workers))


def test_workers_draw_from_seeds_of_their_own(crossroads: Sources) -> None:
    left, right = take(PairStream([crossroads()], SMALL, group=4, pairs=8), workers=2)
    assert not torch.equal(left.heading_deg, right.heading_deg)
    assert not torch.equal(left.ground, right.ground)


@pytest.mark.parametrize(("workers", "batches"), [(0, [4, 4, 2]), (2, [4, 4, 1, 1])])
def test_an_epoch_has_as_many_pairs_as_asked_for(places: list[Any], workers: int, batches: list[int]) -> None:
    assert [len(b.ground) for b in take(PairStream(places, SMALL, group=3, pairs=10), workers)] == batches


def test_without_a_number_there_is_no_end(places: list[Any]) -> None:
    drawn = iter(PairStream(places, SMALL, group=2))
    assert len([next(drawn) for _ in range(5)]) == 5


def test_aerial_images_come_mapped_if_asked_for(places: list[Any]) -> None:
    square = take(PairStream(places, SMALL, group=4, pairs=4))[0]
    mapped = take(PairStream(places, SMALL, group=4, pairs=4, mapping="polar"))[0]
    assert torch.equal(square.ground, mapped.ground)
    want = map_aerial(square.aerial, aerial_grid("polar", 32, 16, 64)) / 255.0
    torch.testing.assert_close(mapped.aerial, want.clamp(0, 1))
    assert mapped.aerial.shape == (4, 3, 16, 64)


def test_held_out_places_are_refused_by_seed_at_once_and_by_what_they_are_when_opened(
    crossroads: Sources,
) -> None:
    with pytest.raises(ConfigError, match="2024 is held out"):
        PairStream([TownPlace(7), TownPlace(2024)])
    stream = PairStream([crossroads("simulated rural place, seed 2024")], SMALL)
    with pytest.raises(ConfigError, match="held out"):
        next(iter(stream))


@pytest.mark.parametrize("options", [{"group": 0}, {"pairs": 0}, {"seed": -1}, {"mapping": "square"}])
def test_impossible_streams_are_refused(places: list[Any], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PairStream(places, SMALL, **options)
    with pytest.raises(ConfigError, match="no place"):
        PairStream([])
