"""What every segmenter does, our own small one, and segmenters by name.

A segmenter gives, for each of its own classes, the probability of every pixel. Probabilities of classes that merge are
added before the best class is taken, so that splitting a class does not weaken it.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, fields
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from smdt.alignment.labels import SemanticClass
from smdt.alignment.segmenter_network import (
    NATIVE_CLASSES,
    NATIVE_MERGING,
    STRIDE,
    SegmentationNetwork,
    SegmenterConfig,
)
from smdt.data.transforms import resize_labels
from smdt.errors import LabelError, ModelError
from smdt.files import write_text_whole, write_whole
from smdt.geometry.panorama import CVUSA_ELEVATION_DEG, PanoramaFrame
from smdt.imagenet_weights import imagenet_lite0_state

BUILT_IN = ("town",)
CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE = "config.json", "model.safetensors", "training.json"
_HUB_PREFIX = "hub:"
_FLAT_MARGIN_PX = 64
_MOST_PIXELS = 2_000_000  # eleven probabilities a pixel are 90 MB


class NativeClass(NamedTuple):
    """A class that a segmenter tells apart, and the method's class it merges into."""

    name: str
    merged: SemanticClass


class Segmenter(ABC):
    """Tells what the pixels of ground images show."""

    @property
    @abstractmethod
    def classes(self) -> tuple[NativeClass, ...]:
        """What it tells apart."""

    @abstractmethod
    def probabilities(self, images: Tensor, frame: PanoramaFrame | None) -> Tensor:
        """How likely each pixel is of each class.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            frame: the window of the sphere that they show; None for flat photos.

        Returns:
            (B, C, H, W) float32, C as ``classes``; they sum to one.
        """


@torch.inference_mode()
def label_images(segmenter: Segmenter, images: Tensor, frame: PanoramaFrame | None) -> Tensor:
    """The method's class of every pixel.

    Args:
        segmenter: which looks.
        images: (B, 3, H, W) RGB, uint8 or in [0, 1].
        frame: the window of the sphere that they show; None for flat photos.

    Returns:
        (B, H, W) uint8 of :class:`SemanticClass`.

    Raises:
        LabelError: if the images are not RGB.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise LabelError(
            f"images of shape {tuple(images.shape)} are not (B, 3, H, W)", remedy="give a batch of RGB images"
        )
    pixels = images.float() / 255.0 if images.dtype == torch.uint8 else images.float()
    return merge_probabilities(segmenter.probabilities(pixels, frame), segmenter.classes).to(torch.uint8)


def label_photo(segmenter: Segmenter, image: Tensor, frame: PanoramaFrame | None) -> Tensor:
    """The method's class of every pixel of one photo of any size; very large ones are looked at smaller.

    Args:
        segmenter: which looks.
        image: (3, H, W) uint8.
        frame: the window of the sphere that it shows; None for a flat photo.

    Returns:
        (H, W) uint8 of :class:`SemanticClass`.
    """
    height, width = image.shape[-2:]
    scale = min(1.0, math.sqrt(_MOST_PIXELS / (height * width)))
    if scale == 1.0:
        return label_images(segmenter, image[None], frame)[0]
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True, align_corners=False)
    labels = label_images(segmenter, small / 255.0, frame)[0]
    return resize_labels(labels, height, width)


def merge_probabilities(probabilities: Tensor, classes: tuple[NativeClass, ...]) -> Tensor:
    """The most likely of the method's classes (B, H, W) int64, from probabilities (B, C, H, W) of a segmenter's own."""
    to_class = torch.tensor([int(one.merged) for one in classes], device=probabilities.device)
    size, _, height, width = probabilities.shape
    merged = probabilities.new_zeros(size, len(SemanticClass), height, width)
    return merged.index_add_(1, to_class, probabilities).argmax(1)


class NetworkSegmenter(Segmenter):
    """Our own small network; panoramas wrap round the circle.

    Args:
        network: trained.
        mirror: look at the mirrored image too, and average; twice the time for somewhat steadier outlines.
    """

    def __init__(self, network: SegmentationNetwork, *, mirror: bool = True) -> None:
        self.network, self.mirror = network.eval(), mirror

    @property
    def classes(self) -> tuple[NativeClass, ...]:
        """What the network tells apart."""
        return tuple(NativeClass(*pair) for pair in zip(NATIVE_CLASSES, NATIVE_MERGING, strict=True))

    @torch.inference_mode()
    def probabilities(self, images: Tensor, frame: PanoramaFrame | None) -> Tensor:
        """How likely each pixel is of each class; see :meth:`Segmenter.probabilities`."""
        height, width = images.shape[-2:]
        size = self.network_size(height, width, frame)
        device = next(self.network.parameters()).device
        small = F.interpolate(images.to(device), size, mode="bilinear", antialias=True, align_corners=False)
        wraps = frame is not None and frame.field_of_view_deg == 360.0
        scores = self._scores(small, wraps)
        if self.mirror:
            scores = (scores + self._scores(small.flip(-1), wraps).flip(-1)) / 2
        return _resize_round(scores, (height, width), wraps).softmax(1)

    def _scores(self, images: Tensor, wraps: bool) -> Tensor:
        if wraps:
            scores: Tensor = self.network(images)
            return scores
        margin = min(_FLAT_MARGIN_PX, (images.shape[-1] - 1) // STRIDE * STRIDE)
        wide: Tensor = self.network(F.pad(images, (margin, margin, 0, 0), mode="reflect"))
        return wide[..., margin : wide.shape[-1] - margin]

    def network_size(self, height_px: int, width_px: int, frame: PanoramaFrame | None) -> tuple[int, int]:
        """Rows and columns the network looks at: its own angles a pixel, or its own rows for a flat photo."""
        config = self.network.config
        if frame is None:
            rows = float(config.height_px)
            columns = width_px / height_px * rows * config.width_px * 2 * CVUSA_ELEVATION_DEG
            columns /= 360.0 * config.height_px
        else:
            rows = config.height_px * (frame.top_deg - frame.bottom_deg) / (2 * CVUSA_ELEVATION_DEG)
            columns = config.width_px * frame.field_of_view_deg / 360.0
        return max(1, round(rows / STRIDE)) * STRIDE, max(2, round(columns / STRIDE)) * STRIDE


def _resize_round(scores: Tensor, size: tuple[int, int], wraps: bool) -> Tensor:
    """Scores at another size, bilinear; across the panorama's edge where it is one."""
    height, width = size
    if tuple(scores.shape[-2:]) == size:
        return scores
    if not wraps:
        return F.interpolate(scores, size, mode="bilinear", antialias=True, align_corners=False)
    # One eighth of the circle on either side; a whole number of columns before and after.
    margin = scores.shape[-1] // 8
    wide = torch.cat([scores[..., -margin:], scores, scores[..., :margin]], -1)
    columns = round(wide.shape[-1] * width / scores.shape[-1])
    large = F.interpolate(wide, (height, columns), mode="bilinear", antialias=True, align_corners=False)
    left = (columns - width) // 2
    return large[..., left : left + width]


def load_segmenter(name: str, device: torch.device | str = "cpu") -> Segmenter:
    """A segmenter by name.

    Args:
        name: ``town`` (ships with the package), a folder that ``smdt train segmenter`` has written, or ``hub:NAME``
            for a semantic segmentation model of the Hugging Face hub, or of a folder in its layout.
        device: where to put it.

    Raises:
        ModelError: if there is no such model, or its files do not fit.
    """
    if name.startswith(_HUB_PREFIX):
        from smdt.alignment.hub_segmenter import load_hub_segmenter

        return load_hub_segmenter(name.removeprefix(_HUB_PREFIX), device)
    return NetworkSegmenter(named_network(name).to(device))


def named_network(name: str, detail_channels: int | None = None) -> SegmentationNetwork:
    """A network of ours by name: ``town``, which ships, or a folder; see :func:`load_network`.

    Raises:
        ModelError: if there is no such network, or its files do not fit.
    """
    if name in BUILT_IN:
        with resources.as_file(resources.files("smdt.alignment") / "weights" / "segmenter") as folder:
            return load_network(folder, detail_channels)
    if Path(name).is_dir():
        return load_network(Path(name), detail_channels)
    raise ModelError(
        "no such segmenter",
        where=name,
        remedy=f"name one of {', '.join(BUILT_IN)}, a folder of `smdt train segmenter`, or hub:NAME",
    )


def load_network(folder: Path, detail_channels: int | None = None) -> SegmentationNetwork:
    """A segmentation network from its folder.

    Args:
        folder: holds its config and weights.
        detail_channels: give it a new branch at full size, to be trained; unless given it is as it was stored.

    Raises:
        ModelError: if a file is missing or does not hold what it should.
    """
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for path in (config_path, weights_path):
        if not path.is_file():
            raise ModelError(
                "is missing", where=path, remedy="give a folder that `smdt train segmenter` has written"
            )
    try:
        stored = json.loads(config_path.read_text())
        unknown = sorted(set(stored) - {entry.name for entry in fields(SegmenterConfig)})
        if unknown:
            raise ModelError(f"unknown setting '{unknown[0]}'", where=config_path, remedy="update smdt")
        state = {name: _widened(tensor) for name, tensor in load_file(weights_path).items()}
        if detail_channels is not None:
            stored["detail_channels"] = detail_channels
            state = {name: tensor for name, tensor in state.items() if not name.startswith("detail.")}
        network = SegmentationNetwork(SegmenterConfig(**stored))
        if detail_channels:
            state |= {
                f"detail.{name}": tensor
                for name, tensor in network.get_submodule("detail").state_dict().items()
            }
        network.load_state_dict(state)
    except (json.JSONDecodeError, TypeError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"does not hold a segmenter ({str(error).splitlines()[0]})",
            where=folder,
            remedy="train or copy it again",
        ) from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def save_network(network: SegmentationNetwork, folder: Path, record: dict[str, Any]) -> None:
    """Write a network's config, weights (16 bit) and training record; each file appears whole or not at all."""
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    write_whole(folder / WEIGHTS_FILE, lambda path: path.write_bytes(save(state)))
    write_text_whole(folder / CONFIG_FILE, json.dumps(asdict(network.config), indent=2) + "\n")
    write_text_whole(folder / RECORD_FILE, json.dumps(record, indent=2) + "\n")


def imagenet_network(config: SegmenterConfig) -> SegmentationNetwork:
    """A network whose encoder has EfficientNet-Lite0's ImageNet weights; the decoder is random.

    Raises:
        ModelError: if the encoder is another one, or the weights' package is missing.
    """
    network = SegmentationNetwork(config)
    missing = network.encoder.load_state_dict(imagenet_lite0_state(), strict=False).missing_keys
    if missing:
        raise ModelError(
            f"the ImageNet weights lack {missing[0]}",
            where=config.backbone,
            remedy="use tf_efficientnet_lite0",
        )
    return network
