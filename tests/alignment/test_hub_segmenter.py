"""Segmenters of the hub, with small stand-ins for what `transformers` would load."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from smdt.alignment.hub_segmenter import HubSegmenter, load_hub_segmenter, look_in_crops, rows_of
from smdt.alignment.labels import SemanticClass
from smdt.alignment.segmentation import label_images
from smdt.errors import LabelError, ModelError
from smdt.geometry.panorama import PanoramaFrame

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("width", [40, 64, 97, 200])
def test_crops_cover_the_picture_and_blend_back_to_it(width: int, wraps: bool):
    images = torch.rand(2, 3, 5, width, generator=torch.Generator().manual_seed(0))
    seen = []

    def look(crop: Tensor) -> Tensor:
        seen.append(crop.shape[-1])
        return crop

    assert torch.allclose(look_in_crops(images, 48, wraps, look), images, atol=1e-6)
    assert set(seen) == {min(48, width)}
    assert len(seen) == 1 if width <= 48 and not wraps else len(seen) > 1


def test_a_panorama_has_a_crop_across_its_edge_and_so_no_seam():
    panorama = torch.arange(120.0).view(1, 1, 1, 120).expand(1, 3, 4, 120)
    # A model that is sure of the middle of a crop only: its answer at a column is the distance from the crop's middle.
    middle = (torch.arange(48.0) - 23.5).abs().view(1, 1, 1, 48).expand(1, 1, 4, 48)
    around = look_in_crops(panorama, 48, True, lambda _: middle)[0, 0, 0]
    flat = look_in_crops(panorama, 48, False, lambda _: middle)[0, 0, 0]
    assert float(around.max()) < 18 < float(flat[0])


class ByBrightness:
    """Scores a pixel: dark is road, bright is sky; at a quarter of the size, as SegFormer answers."""

    def __call__(self, pixel_values: Tensor) -> SimpleNamespace:
        small = torch.nn.functional.avg_pool2d(pixel_values.mean(1, keepdim=True), 4)
        return SimpleNamespace(logits=torch.cat([-9 * small, 9 * small, torch.full_like(small, -50)], 1))


class ByMasks:
    """Two queries: a mask of what is dark, named road, and one of what is bright, named sky."""

    def __call__(self, pixel_values: Tensor) -> SimpleNamespace:
        small = torch.nn.functional.avg_pool2d(pixel_values.mean(1, keepdim=True), 4)
        named = torch.tensor([[9.0, -9.0, -9.0, -9.0], [-9.0, 9.0, -9.0, -9.0]])
        return SimpleNamespace(
            logits=None,
            class_queries_logits=named[None].expand(len(small), -1, -1),
            masks_queries_logits=torch.cat([-9 * small, 9 * small], 1),
        )


@pytest.mark.parametrize("model", [ByBrightness(), ByMasks()])
def test_scores_and_masks_become_classes(model: object):
    segmenter = HubSegmenter(model, {0: "road", 1: "sky", 2: "sofa"}, MEAN, STD, rows_px=32)
    images = torch.zeros(1, 3, 16, 88)
    images[:, :, :8] = 1.0
    probabilities = segmenter.probabilities(images, PanoramaFrame(16, 88))
    assert probabilities.shape == (1, 3, 16, 88)
    assert torch.allclose(probabilities.sum(1), torch.ones(1, 16, 88), atol=1e-4)
    labels = label_images(segmenter, images, PanoramaFrame(16, 88))
    assert (labels[0, :7] == SemanticClass.SKY).all()
    assert (labels[0, 9:] == SemanticClass.ROAD).all()


def test_classes_of_something_else_are_refused():
    with pytest.raises(LabelError, match="hub:rooms"):
        HubSegmenter(ByBrightness(), {0: "sofa", 1: "lamp"}, MEAN, STD, where="hub:rooms")
    with pytest.raises(ModelError, match="not numbered from 0"):
        HubSegmenter(ByBrightness(), {1: "sky", 2: "road"}, MEAN, STD)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"hub:some/model: .* pip install 'smdt\[hub\]'"):
        load_hub_segmenter("some/model")


def test_rows_that_a_processor_asks_for():
    assert rows_of({"height": 640, "width": 480}) == 640
    assert rows_of({"shortest_edge": 384}) == 384
    assert rows_of(None) == 512
