"""Semantic segmentation models of the Hugging Face hub as segmenters: SegFormer, UPerNet, Mask2Former and others.

Needs ``transformers`` (the extra ``hub``). Such models were trained on flat photos of about 4:3, so a wide panorama is
looked at in crops that overlap and run on round the circle; where crops overlap, each counts the more the nearer a
pixel is to its middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smdt.alignment.labels import merging_by_name
from smdt.alignment.segmentation import NativeClass, Segmenter
from smdt.errors import ModelError
from smdt.geometry.panorama import PanoramaFrame

_UNIVERSAL = ("mask2former", "maskformer", "oneformer")
_DEFAULT_ROWS_PX = 512
_CROP_RATIO = 4 / 3
_OVERLAP = 1 / 3


class HubSegmenter(Segmenter):
    """A model of ``transformers`` that gives scores a pixel, or masks and their classes.

    Args:
        model: called with ``pixel_values`` (B, 3, h, w); answers with ``logits`` (B, C, h', w'), or with
            ``class_queries_logits`` (B, Q, C + 1) and ``masks_queries_logits`` (B, Q, h', w').
        names: its classes, by number from 0.
        mean: of the pixels in [0, 1] it was trained with.
        std: their deviation.
        rows_px: rows of what it looks at.
        where: its name, for messages.

    Raises:
        LabelError: if its classes are not of street scenes.
        ModelError: if they are not numbered from 0 on.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        names: Mapping[int, str],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        rows_px: int = _DEFAULT_ROWS_PX,
        where: str = "hub",
    ) -> None:
        if sorted(names) != list(range(len(names))):
            raise ModelError(
                "its classes are not numbered from 0 on", where=where, remedy="use another model"
            )
        in_order = [names[number] for number in range(len(names))]
        merged = merging_by_name(in_order, where)
        self._classes = tuple(NativeClass(*pair) for pair in zip(in_order, merged, strict=True))
        self._model, self._rows_px = model, rows_px
        self._mean, self._std = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)

    @property
    def classes(self) -> tuple[NativeClass, ...]:
        """What the model tells apart."""
        return self._classes

    @torch.inference_mode()
    def probabilities(self, images: Tensor, frame: PanoramaFrame | None) -> Tensor:
        """How likely each pixel is of each class; see :meth:`Segmenter.probabilities`."""
        height, width = images.shape[-2:]
        size = self._rows_px, max(1, round(width * self._rows_px / height))
        large = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        wraps = frame is not None and frame.field_of_view_deg == 360.0
        found = look_in_crops(large, round(_CROP_RATIO * self._rows_px), wraps, self._look)
        return F.interpolate(found, (height, width), mode="bilinear", antialias=True, align_corners=False)

    def _look(self, crops: Tensor) -> Tensor:
        device = getattr(self._model, "device", crops.device)
        answer = self._model(pixel_values=((crops - self._mean) / self._std).to(device))
        logits = getattr(answer, "logits", None)
        if logits is not None:
            probabilities = logits.float().softmax(1)
        else:
            likely = answer.class_queries_logits.float().softmax(-1)[..., :-1]  # the last is "no object"
            masks = answer.masks_queries_logits.float().sigmoid()
            probabilities = torch.einsum("bqc,bqhw->bchw", likely, masks)
            probabilities = probabilities / probabilities.sum(1, keepdim=True).clamp_min(1e-9)
        resized = F.interpolate(probabilities, crops.shape[-2:], mode="bilinear", align_corners=False)
        return resized.to(crops.device)


def look_in_crops(images: Tensor, crop_px: int, wraps: bool, look: Callable[[Tensor], Tensor]) -> Tensor:
    """What a model says of wide images, from crops that overlap.

    Args:
        images: (B, 3, H, W).
        crop_px: columns of a crop; images that are no wider and do not wrap are looked at whole.
        wraps: whether the last column is followed by the first.
        look: gives (B, C, H, crop) of a crop.

    Returns:
        (B, C, H, W), the mean of the crops, each weighed down towards its left and right edge.
    """
    width = images.shape[-1]
    if width <= crop_px and not wraps:
        return look(images)
    crop_px = min(crop_px, width)
    free = width if wraps else width - crop_px
    count = max(2, math.ceil(free / (crop_px * (1 - _OVERLAP))) + (0 if wraps else 1))
    starts = [round(number * free / (count if wraps else count - 1)) for number in range(count)]
    ramp = torch.arange(1, crop_px + 1, device=images.device)
    weight = torch.minimum(ramp, ramp.flip(0)).float() / crop_px
    total: Tensor | None = None
    weights = torch.zeros(width, device=images.device)
    for start in starts:
        columns = (start + torch.arange(crop_px, device=images.device)) % width
        found = look(images[..., columns])
        if total is None:
            total = found.new_zeros(*found.shape[:-1], width)
        total.index_add_(3, columns, found * weight)
        weights.index_add_(0, columns, weight)
    assert total is not None
    return total / weights


def load_hub_segmenter(name: str, device: torch.device | str = "cpu") -> HubSegmenter:
    """A segmentation model by its name on the hub, or a folder in the hub's layout.

    Raises:
        ModelError: if ``transformers`` is not installed, or there is no such model.
        LabelError: if its classes are not of street scenes.
    """
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            "models of the hub need the package transformers",
            where=f"hub:{name}",
            remedy="pip install 'smdt[hub]'",
        ) from error
    try:
        config = transformers.AutoConfig.from_pretrained(name)
        kind = (
            transformers.AutoModelForUniversalSegmentation
            if config.model_type in _UNIVERSAL
            else transformers.AutoModelForSemanticSegmentation
        )
        model = kind.from_pretrained(name).to(device).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"cannot be loaded as a segmentation model ({str(error).splitlines()[0]})",
            where=f"hub:{name}",
            remedy="check the name and the network, or give a folder that holds the model",
        ) from error
    return HubSegmenter(
        model,
        {int(number): str(one) for number, one in config.id2label.items()},
        tuple(processor.image_mean),
        tuple(processor.image_std),
        rows_of(getattr(processor, "size", None)),
        f"hub:{name}",
    )


def rows_of(size: Any) -> int:
    """Rows that an image processor's ``size`` asks for; 512 where it does not say."""
    for key in ("height", "shortest_edge"):
        value = size.get(key) if hasattr(size, "get") else getattr(size, key, None)
        if isinstance(value, int):
            return value
    return _DEFAULT_ROWS_PX
