"""Keep and remove: what changes, and that nothing else does."""

import pytest
import torch
from torch import Tensor

from smdt.alignment.labels import SemanticClass, merge_labels
from smdt.alignment.masks import KeepRemove, KeepRemoveSettings, class_mask, keep, mask_picture, remove
from smdt.errors import ConfigError, LabelError
from smdt.world.layers import Surface

SKY, VEGETATION, ROAD = SemanticClass.SKY, SemanticClass.VEGETATION, SemanticClass.ROAD
LABELS = torch.tensor([[0, 0, 1], [1, 2, 2]])


def scene(dtype: torch.dtype) -> Tensor:
    pixels = torch.arange(18, dtype=torch.float32).view(3, 2, 3) * 13 + 1
    return pixels.to(torch.uint8) if dtype == torch.uint8 else pixels / 255.0


def test_masks_by_hand():
    assert class_mask(LABELS, VEGETATION).tolist() == [[False, False, True], [True, False, False]]
    assert class_mask(LABELS, [SKY, ROAD]).tolist() == [[True, True, False], [False, True, True]]
    assert mask_picture(LABELS, SKY).tolist() == [[[0, 0, 255], [255, 255, 255]]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_keep_leaves_the_class_and_whitens_the_rest(dtype: torch.dtype):
    image = scene(dtype)
    kept = keep(image, LABELS, ROAD)
    white = 255 if dtype == torch.uint8 else 1.0
    inside = LABELS == 2
    assert kept.dtype == dtype
    assert torch.equal(kept[:, inside], image[:, inside])
    assert (kept[:, ~inside] == white).all()
    assert torch.equal(image, scene(dtype))  # the image given is not changed


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_remove_blackens_the_class_and_leaves_the_rest(dtype: torch.dtype):
    image = scene(dtype)
    left = remove(image, LABELS, [SKY])
    inside = LABELS == 0
    assert (left[:, inside] == 0).all()
    assert torch.equal(left[:, ~inside], image[:, ~inside])


def test_labels_of_another_size_are_refused():
    with pytest.raises(LabelError, match=r"here.jpg: labels of shape \(2, 4\) are not of an image of 3×2"):
        keep(scene(torch.uint8), torch.zeros(2, 4), SKY, "here.jpg")
    with pytest.raises(LabelError, match="not RGB"):
        remove(torch.zeros(1, 2, 3), LABELS, SKY)


def batch(size: int) -> tuple[Tensor, Tensor]:
    """Random images of 4×6 pixels; two rows of sky, one of trees, one of road."""
    images = torch.rand(size, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    rows = torch.tensor([Surface.SKY, Surface.SKY, Surface.TREE, Surface.ROAD])
    return images, rows[None, :, None].expand(size, 4, 6)


def test_every_augmented_image_is_the_whole_one_or_one_class_kept_or_removed():
    settings = KeepRemoveSettings(
        keep_share=0.4, remove_share=0.4, keep_classes=("road", "vegetation"), remove_classes=("sky",)
    )
    images, surface = batch(60)
    before = images.clone()
    found = KeepRemove(settings)(images, surface, torch.Generator().manual_seed(2))
    labels = merge_labels(surface, "worlds")
    counts = {"whole": 0, "road": 0, "vegetation": 0, "sky": 0}
    for image, label, result in zip(images, labels, found, strict=True):
        candidates = {
            "whole": image,
            "road": keep(image, label, ROAD),
            "vegetation": keep(image, label, VEGETATION),
            "sky": remove(image, label, SKY),
        }
        matching = [name for name, one in candidates.items() if torch.equal(one, result)]
        assert len(matching) == 1
        counts[matching[0]] += 1
    assert torch.equal(images, before)
    assert all(counts.values()), counts


def test_shares_are_kept_to_and_the_seed_decides():
    images, surface = batch(1000)
    augment = KeepRemove(KeepRemoveSettings(keep_share=0.2, remove_share=0.1))
    once = augment(images, surface, torch.Generator().manual_seed(3))
    again = augment(images, surface, torch.Generator().manual_seed(3))
    other = augment(images, surface, torch.Generator().manual_seed(4))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    white = (once == 1.0).all(1).any((1, 2))
    black = (once == 0.0).all(1).any((1, 2))
    # A third of the keep draws ask for buildings, of a third of the remove draws for objects: there are none here.
    assert int(white.sum()) == pytest.approx(1000 * 0.2 * 2 / 3, abs=35)
    assert int(black.sum()) == pytest.approx(1000 * 0.1 * 2 / 3, abs=25)


def test_nothing_asked_for_changes_nothing():
    images, surface = batch(8)
    found = KeepRemove(KeepRemoveSettings(keep_share=0, remove_share=0))(images, surface, torch.Generator())
    assert torch.equal(found, images)


def test_a_class_that_hardly_shows_is_not_kept_and_one_that_is_nearly_all_is_not_removed():
    images, surface = batch(20)
    rare = KeepRemoveSettings(keep_share=1, remove_share=0, keep_classes=("road",), least_share=0.3)
    most = KeepRemoveSettings(keep_share=0, remove_share=1, remove_classes=("sky",), most_share=0.4)
    for settings in (rare, most):
        assert torch.equal(KeepRemove(settings)(images, surface, torch.Generator()), images)


def test_shares_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="make 1 at most together"):
        KeepRemoveSettings(keep_share=0.6, remove_share=0.6)
    with pytest.raises(LabelError, match="no class 'car'"):
        KeepRemoveSettings(keep_classes=("car",))
    with pytest.raises(LabelError, match="no label set"):
        KeepRemove(label_set="kitti")
