"""Class masks, and the keep and remove pictures made with them.

**Keep** shows the chosen classes, and all else white. **Remove** paints the chosen classes black, and leaves all else.
Both are further training samples of the same place: how many and how they are weighed the published material does not
say, so :class:`KeepRemove` has a probability for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from smdt.alignment.labels import CLASS_NAMES, SemanticClass, merge_labels, merging_of, parse_classes
from smdt.errors import ConfigError, LabelError

Classes = SemanticClass | Sequence[SemanticClass]


def class_mask(labels: Tensor, classes: Classes) -> Tensor:
    """Where a label map (…, H, W) shows any of the classes: (…, H, W) bool."""
    chosen = [classes] if isinstance(classes, SemanticClass) else list(classes)
    mask = torch.zeros(labels.shape, dtype=torch.bool, device=labels.device)
    for one in chosen:
        mask |= labels == int(one)
    return mask


def mask_picture(labels: Tensor, classes: Classes) -> Tensor:
    """A class mask (…, H, W) as a picture (…, 1, H, W) uint8: the classes black on white, as the figure has it."""
    return (~class_mask(labels, classes)).to(torch.uint8).mul(255).unsqueeze(-3)


def keep(images: Tensor, labels: Tensor, classes: Classes, where: str | Path | None = None) -> Tensor:
    """Images that show the chosen classes alone; all else is white.

    Args:
        images: (…, 3, H, W) RGB, uint8 or floating point in [0, 1].
        labels: (…, H, W) of :class:`SemanticClass`.
        classes: one or several.
        where: the image's file, for messages.

    Returns:
        As ``images``; pixels of the classes are bit for bit the same.

    Raises:
        LabelError: if labels and images differ in size.
    """
    check_fit(images, labels, where)
    white = 255 if images.dtype == torch.uint8 else 1.0
    return images.masked_fill(~class_mask(labels, classes).unsqueeze(-3), white)


def remove(images: Tensor, labels: Tensor, classes: Classes, where: str | Path | None = None) -> Tensor:
    """Images with the chosen classes painted black; see :func:`keep` for the arguments.

    Raises:
        LabelError: if labels and images differ in size.
    """
    check_fit(images, labels, where)
    return images.masked_fill(class_mask(labels, classes).unsqueeze(-3), 0)


def check_fit(images: Tensor, labels: Tensor, where: str | Path | None = None) -> None:
    """Refuse labels that are not of these images.

    Raises:
        LabelError: if their numbers, rows or columns differ, or the images are not RGB.
    """
    if images.ndim < 3 or images.shape[-3] != 3:
        raise LabelError(
            f"an image of shape {tuple(images.shape)} is not RGB", where=where, remedy="give (…, 3, H, W)"
        )
    if labels.shape != (*images.shape[:-3], *images.shape[-2:]):
        height, width = images.shape[-2:]
        raise LabelError(
            f"labels of shape {tuple(labels.shape)} are not of an image of {width}×{height} pixels",
            where=where,
            remedy="give each image its own labels, at the image's size",
        )


@dataclass(frozen=True)
class KeepRemoveSettings:
    """How often training sees keep and remove pictures instead of the whole ones.

    Attributes:
        keep_share: share of ground images of which one class is kept.
        remove_share: share of ground images of which one class is removed.
        keep_classes: names to choose from.
        remove_classes: names to choose from.
        least_share: a class that covers less of an image than this is not kept; such an image stays whole.
        most_share: a class that covers more of an image than this is not removed; such an image stays whole.
    """

    keep_share: float = 0.1
    remove_share: float = 0.1
    keep_classes: tuple[str, ...] = ("vegetation", "road", "building")
    remove_classes: tuple[str, ...] = ("sky", "vegetation", "object")
    least_share: float = 0.05
    most_share: float = 0.7

    def __post_init__(self) -> None:
        """Refuse shares that cannot be and classes that are none."""
        shares = (self.keep_share, self.remove_share, self.least_share, self.most_share)
        if min(shares) < 0 or max(shares) > 1 or self.keep_share + self.remove_share > 1:
            raise ConfigError(
                f"shares of {self.keep_share:g} kept and {self.remove_share:g} removed cannot be",
                where="keep_share",
                remedy="give shares from 0 to 1 that make 1 at most together",
            )
        parse_classes(self.keep_classes)
        parse_classes(self.remove_classes)


class KeepRemove:
    """Turns some ground images of a batch into keep or remove pictures of a class drawn at random.

    The hook ``ground_augmentation(images, labels, generator)`` of the retrieval training. It is given the ground
    images alone, so aerial images and headings stay as they are.

    Args:
        settings: how often, and which classes.
        label_set: what the labels are of: one of :data:`smdt.alignment.labels.MERGINGS`.

    Raises:
        LabelError: if there is no such label set.
    """

    def __init__(self, settings: KeepRemoveSettings | None = None, label_set: str = "worlds") -> None:
        self.settings = settings or KeepRemoveSettings()
        merging_of(label_set)
        self.label_set = label_set

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch.

        Args:
            images: (B, 3, H, W) RGB in [0, 1] or uint8; left as they are.
            labels: (B, H, W) of the label set.
            generator: where the randomness comes from; as many numbers are drawn whatever comes out.

        Returns:
            A new batch; images that were not chosen are bit for bit the same.

        Raises:
            LabelError: if labels and images do not fit.
        """
        settings = self.settings
        merged = merge_labels(labels, self.label_set)
        check_fit(images, merged)
        drawn = torch.rand(len(images), 2, generator=generator).tolist()
        result = images.clone()
        for number, (kind, which) in enumerate(drawn):
            if kind < settings.keep_share:
                one = self._one_of(settings.keep_classes, which)
                if float((merged[number] == int(one)).float().mean()) >= settings.least_share:
                    result[number] = keep(images[number], merged[number], one)
            elif kind < settings.keep_share + settings.remove_share:
                one = self._one_of(settings.remove_classes, which)
                if float((merged[number] == int(one)).float().mean()) <= settings.most_share:
                    result[number] = remove(images[number], merged[number], one)
        return result

    @staticmethod
    def _one_of(names: tuple[str, ...], drawn: float) -> SemanticClass:
        return SemanticClass(CLASS_NAMES.index(names[min(int(drawn * len(names)), len(names) - 1)]))
