import torch

from smdt.geometry.mapping import aerial_grid, map_aerial
from smdt.geometry.panorama import turn_panorama
from smdt.training.augmentation import (
    change_square,
    ground_columns,
    kept_columns,
    occlude,
    photometric,
    seen_mask,
    take_columns,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _columns(turned: int, mirrored: bool, width: int = 8) -> list[int]:
    found: list[int] = ground_columns(width, torch.tensor([turned]), torch.tensor([mirrored]))[0].tolist()
    return found


def test_convention_a_turn_moves_the_centre_clockwise_and_a_mirror_swaps_east_and_west() -> None:
    south, west, north, east = 0, 2, 4, 6
    assert _columns(2, False)[north] == east  # the camera now looks east
    mirror = _columns(0, True)
    assert [mirror[place] for place in (south, west, north, east)] == [south, east, north, west]
    assert _columns(2, True)[north] == west  # looks to the mirrored world's east
    panorama = torch.rand(1, 3, 4, 8)
    turned = take_columns(panorama, ground_columns(8, torch.tensor([2]), torch.tensor([False])))
    assert torch.equal(turned, turn_panorama(panorama, 90.0))


def test_labels_are_turned_like_images() -> None:
    columns = ground_columns(8, torch.tensor([3, 5]), torch.tensor([True, False]))
    image, labels = torch.rand(2, 3, 4, 8), torch.randint(0, 7, (2, 4, 8))
    both = take_columns(torch.cat([image, labels[:, None]], dim=1), columns)
    assert torch.equal(both[:, :3], take_columns(image, columns))
    assert torch.equal(both[:, 3].long(), take_columns(labels, columns))


def test_a_changed_square_maps_to_the_panorama_with_the_same_change() -> None:
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    tile = torch.stack([row / 64, column / 64, (row - column).abs() / 64])[None].repeat(3, 1, 1, 1)
    grid = aerial_grid("polar", 64, 16, 32)
    quarters, mirrored = torch.tensor([1, 3, 2]), torch.tensor([False, True, True])
    changed = map_aerial(change_square(tile, quarters, mirrored), grid)
    expected = take_columns(map_aerial(tile, grid), ground_columns(32, quarters * 8, mirrored))
    inner = (changed - expected).abs()[:, :, 4:]  # the upper rows reach over the tile's edge
    assert float(inner.max()) < 0.05  # a mapping's centre is half a pixel off the tile's
    unchanged = take_columns(map_aerial(tile, grid), ground_columns(32, 0 * quarters, mirrored))
    assert float((changed - unchanged).abs()[:, :, 4:].mean()) > 0.1


def test_photometric_changes_keep_shape_and_range_and_are_repeatable() -> None:
    images = torch.rand(3, 3, 16, 32, generator=_generator())
    first, again = (photometric(images, _generator(4)) for _ in range(2))
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert bool(((first >= 0) & (first <= 1)).all())
    off = [float((photometric(images, _generator(4), s) - images).abs().mean()) for s in (0.0, 0.3, 1.0)]
    assert off[0] < 1e-3
    assert off[0] < off[1] < off[2]


def test_boxes_are_of_one_grey_and_only_in_the_share_asked_for() -> None:
    images = torch.rand(200, 3, 16, 32, generator=_generator())
    covered = occlude(images, 0.5, _generator(1))
    changed = (covered != images).any(dim=1)
    with_box = changed.flatten(1).any(dim=1)
    assert 70 < int(with_box.sum()) < 130
    assert torch.equal(covered[~with_box], images[~with_box])
    for image, inside in zip(covered[with_box], changed[with_box], strict=True):
        assert len(torch.unique(image[:, inside])) == 1
        assert 0.002 < float(inside.float().mean()) < 0.16
        rows = torch.nonzero(inside.any(dim=1))[:, 0]
        assert int(rows[-1] - rows[0]) + 1 == len(rows)
    assert bool((changed[:, :, 0] & changed[:, :, -1]).any())  # some go on round the circle
    assert torch.equal(occlude(images, 0.0, _generator(1)), images)


def test_masks_are_centred_and_as_wide_as_the_field_of_view() -> None:
    for field_of_view_deg, kept in ((360.0, 32), (90.0, 8), (100.0, 9), (1.0, 1)):
        assert kept_columns(32, field_of_view_deg) == kept
        seen = torch.nonzero(seen_mask(32, kept, 2)[1])[:, 0]
        assert len(seen) == kept
        assert abs(float(seen.float().mean()) - 15.75) <= 0.5
