"""Our segmenter: no seam at the panorama's edge, any size, files that are whole, and the model that ships."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from smdt import torchvision_guard
from smdt.alignment.labels import SemanticClass, merge_labels
from smdt.alignment.segmentation import (
    NativeClass,
    NetworkSegmenter,
    label_images,
    label_photo,
    load_segmenter,
    merge_probabilities,
    save_network,
)
from smdt.alignment.segmenter_network import (
    NATIVE_CLASSES,
    NATIVE_MERGING,
    NATIVE_OF_SURFACE,
    SegmentationNetwork,
    SegmenterConfig,
    WrappedConv2d,
    double_size,
)
from smdt.errors import LabelError, ModelError
from smdt.geometry.panorama import PanoramaFrame
from smdt.world.layers import Place, Surface
from smdt.world.render import RenderConfig, Renderer


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_a_wrapped_convolution_is_a_plain_one_on_columns_written_out_round_the_circle(
    kernel: int, stride: int
):
    torch.manual_seed(1)
    plain = nn.Conv2d(3, 4, kernel, stride, bias=True)
    wrapped = WrappedConv2d(3, 4, kernel, stride)
    wrapped.load_state_dict(plain.state_dict())
    x = noise(8, 12)
    before = (kernel - stride) // 2
    after = kernel - stride - before
    written = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 0), (before, after)), mode="wrap")
    written = np.pad(written, ((0, 0), (0, 0), (before, after), (0, 0)))
    assert torch.allclose(wrapped(x), plain(torch.from_numpy(written)), atol=1e-6)


def test_the_wrapped_encoder_is_the_published_one_away_from_the_edge():
    torchvision_guard.install()
    import timm

    torch.manual_seed(0)
    ours = SegmentationNetwork(SegmenterConfig("x", "tf_mobilenetv3_small_minimal_100", channels=8)).eval()
    theirs = timm.create_model(ours.config.backbone, features_only=True, pretrained=False).eval()
    theirs.load_state_dict(ours.encoder.state_dict())
    x = noise(64, 192)
    with torch.inference_mode():
        first, second = ours.encoder(x)[1], theirs(x)[1]
    assert torch.allclose(first[..., 8:-8], second[..., 8:-8], atol=1e-5)
    assert not torch.allclose(first[..., -1], second[..., -1], atol=1e-3)


def test_turning_the_panorama_by_the_stride_turns_the_scores(tiny_network: SegmentationNetwork):
    x = noise(32, 128)
    with torch.inference_mode():
        still, turned = tiny_network(x), tiny_network(x.roll(-32, -1))
    assert still.shape == (1, len(NATIVE_CLASSES), 32, 128)
    assert float(still.std()) > 0.01
    assert torch.allclose(still.roll(-32, -1), turned, atol=1e-4)


def test_doubling_has_no_seam():
    scores = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 2, 4)
    wide = double_size(scores)[0, 0, 0]
    assert wide.tolist() == [0.75, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 2.25]


def test_turning_a_photo_turns_its_labels(tiny_network: SegmentationNetwork):
    segmenter = NetworkSegmenter(tiny_network)
    frame = PanoramaFrame(56, 308)
    image = F.interpolate(noise(8, 44), (56, 308), mode="bilinear")
    quarter = 77  # 32 columns of what the network looks at
    still = segmenter.probabilities(image, frame)
    turned = segmenter.probabilities(image.roll(-quarter, -1), frame)
    moved = (still.roll(-quarter, -1) - turned).abs().amax((0, 1, 2))
    # Only where the resampling meets the picture's edge do they differ, by what one column weighs.
    assert float(moved.median()) < 1e-4
    assert float((still.argmax(1).roll(-quarter, -1) == turned.argmax(1)).float().mean()) > 0.97


@pytest.mark.parametrize(("height", "width", "frame"), [(50, 70, None), (20, 40, None), (56, 308, True)])
def test_any_size_gives_probabilities_of_that_size(
    tiny_network: SegmentationNetwork, height: int, width: int, frame: bool | None
):
    found = NetworkSegmenter(tiny_network).probabilities(
        noise(height, width), PanoramaFrame(height, width) if frame else None
    )
    assert found.shape == (1, len(NATIVE_CLASSES), height, width)
    assert torch.allclose(found.sum(1), torch.ones(1, height, width), atol=1e-5)


def test_the_network_looks_at_its_own_angles_a_pixel():
    segmenter = NetworkSegmenter(SegmentationNetwork(SegmenterConfig("x", "test_efficientnet", channels=8)))
    assert segmenter.network_size(224, 1232, PanoramaFrame(224, 1232)) == (128, 512)
    assert segmenter.network_size(512, 1024, PanoramaFrame(512, 1024, 90.0, -90.0)) == (352, 512)
    assert segmenter.network_size(600, 800, None) == (128, 128)


def test_classes_that_merge_are_added_before_the_best_is_taken():
    classes = (
        NativeClass("tree", SemanticClass.VEGETATION),
        NativeClass("grass", SemanticClass.VEGETATION),
        NativeClass("road", SemanticClass.ROAD),
    )
    probabilities = torch.tensor([0.3, 0.3, 0.4]).view(1, 3, 1, 1)
    assert merge_probabilities(probabilities, classes).item() == SemanticClass.VEGETATION


def test_native_classes_merge_as_the_surfaces_do():
    for surface in Surface:
        native = NATIVE_OF_SURFACE[surface]
        assert NATIVE_MERGING[native] == int(merge_labels(torch.tensor([[surface]]), "worlds"))


def test_a_very_large_photo_is_labelled_smaller_and_comes_back_whole(
    tiny_network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
):
    segmenter = NetworkSegmenter(tiny_network)
    image = (noise(60, 330)[0] * 255).byte()
    whole = label_photo(segmenter, image, PanoramaFrame(60, 330))
    monkeypatch.setattr("smdt.alignment.segmentation._MOST_PIXELS", 5000)
    reduced = label_photo(segmenter, image, PanoramaFrame(60, 330))
    assert whole.shape == reduced.shape == (60, 330)
    assert float((whole == reduced).float().mean()) > 0.6


def test_grey_images_are_refused(tiny_network: SegmentationNetwork):
    with pytest.raises(LabelError, match=r"images of shape \(1, 1, 32, 128\)"):
        label_images(NetworkSegmenter(tiny_network), torch.zeros(1, 1, 32, 128), None)


def test_the_network_can_be_exported(tiny_network: SegmentationNetwork):
    x = noise(32, 128)
    exported = torch.export.export(tiny_network, (x,)).module()
    with torch.inference_mode():
        assert torch.allclose(exported(x), tiny_network(x), atol=1e-5)


def test_a_saved_network_says_nearly_the_same(tiny_network: SegmentationNetwork, tiny_segmenter_folder: Path):
    loaded = load_segmenter(str(tiny_segmenter_folder))
    assert isinstance(loaded, NetworkSegmenter)
    with torch.inference_mode():
        difference = (loaded.network(noise(32, 128)) - tiny_network(noise(32, 128))).abs()
    assert 0 < float(difference.max()) < 0.05  # 16-bit weights


def test_what_is_no_segmenter_says_so(
    tiny_network: SegmentationNetwork, tiny_segmenter_folder: Path, tmp_path: Path
):
    with pytest.raises(ModelError, match="nowhere: no such segmenter; name one of town"):
        load_segmenter("nowhere")
    with pytest.raises(ModelError, match=r"config.json: is missing"):
        load_segmenter(str(tmp_path))
    save_network(tiny_network, tmp_path / "cut", {})
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cut: does not hold a segmenter"):
        load_segmenter(str(tmp_path / "cut"))
    with pytest.raises(ModelError, match="not 2 to 32"):
        SegmentationNetwork(SegmenterConfig("x", "vit_tiny_patch16_224"))


@pytest.fixture(scope="module")
def street(small_town: Place) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture (3, 128, 512) uint8 of a town that no training saw, and its true labels."""
    view = Renderer(small_town, RenderConfig(128, 512)).panorama(100.0, 100.0, 30.0)
    return view.image, merge_labels(view.surface, "worlds")


def test_the_segmenter_that_ships_knows_a_street(street: tuple[torch.Tensor, torch.Tensor]):
    image, truth = street
    found = label_photo(load_segmenter("town"), image, PanoramaFrame(128, 512))
    assert float((found == truth).float().mean()) > 0.85


def test_the_segmenter_that_ships_has_no_seam(street: tuple[torch.Tensor, torch.Tensor]):
    image, _ = street
    segmenter, frame = load_segmenter("town"), PanoramaFrame(128, 512)
    still = label_photo(segmenter, image, frame)
    for columns in (64, 200):  # a whole multiple of the stride, and none
        turned = label_photo(segmenter, image.roll(-columns, -1), frame)
        same = (still.roll(-columns, -1) == turned).float().mean(0)
        assert float(same.mean()) > (0.999 if columns == 64 else 0.95)
        seams = same[[0, 1, -2, -1, -columns - 1, -columns]]  # where either picture was cut
        assert float(seams.mean()) > 0.9
