"""How near made ground images and labels come to the real ones, and the floors that they have to beat.

- **SSIM** and **PSNR** of images in [0, 1], each image's own, then the mean (torchmetrics; Wang et al. 2004).
- **Sharpness difference** in dB, higher is better: 10·log10(1 / mean |(∇i I + ∇j I) - (∇i I′ + ∇j I′)|), where ∇i and
  ∇j are the absolute differences to the pixel above and to the left. Source: Mathieu et al., ICLR 2016, as used for
  cross-view synthesis since X-Fork (CVPR 2018).
- **Colour KL** in nats, lower is better: Σ p·log(p/q) of the two images' colour histograms, 8 bins a channel, one count
  added to each bin; p real, q made. It is not the field's KL score, which compares the outputs of a scene classifier
  trained on Places, whose weights are not at hand here.
- **Label mIoU** in percent: intersection over union of each class over all pixels, averaged over the classes that occur
  in the real labels; void counts neither way.

LPIPS and FID need networks whose weights are not at hand either; they are left out rather than replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from smdt import torchvision_guard
from smdt.alignment.labels import VOID, SemanticClass
from smdt.errors import ConfigError

_CLASSES = len(SemanticClass)
_BINS = 8


@dataclass(frozen=True)
class CganScores:
    """Means over pairs; see the module's text.

    Attributes:
        pairs: how many.
        ssim: -1 to 1.
        psnr_db: decibels.
        sharpness_db: decibels.
        colour_kl: nats.
        label_miou: percent, NaN where no labels were given.
    """

    pairs: int
    ssim: float
    psnr_db: float
    sharpness_db: float
    colour_kl: float
    label_miou: float


def sharpness_difference_db(made: Tensor, real: Tensor) -> Tensor:
    """Sharpness difference of images (B, C, H, W) in [0, 1]: (B,) decibels, infinite for equal gradients."""

    def gradient(image: Tensor) -> Tensor:
        return image.diff(dim=-2)[..., 1:].abs() + image.diff(dim=-1)[..., 1:, :].abs()

    return -10.0 * (gradient(made) - gradient(real)).abs().mean(dim=(1, 2, 3)).log10()


def colour_kl(made: Tensor, real: Tensor) -> Tensor:
    """Divergence of the made images' colours from the real ones', of (B, 3, H, W) in [0, 1]: (B,) nats."""
    p, q = _colour_shares(real), _colour_shares(made)
    return (p * (p / q).log()).sum(dim=1)


def _colour_shares(images: Tensor) -> Tensor:
    level = (images * _BINS).long().clamp(0, _BINS - 1)
    number = (level[:, 0] * _BINS + level[:, 1]) * _BINS + level[:, 2]
    counts = torch.ones(len(images), _BINS**3, dtype=torch.float64)
    flat = number.flatten(1).cpu()
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float64))
    return counts / counts.sum(dim=1, keepdim=True)


def _ssim_and_psnr(made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    torchvision_guard.install()  # torchmetrics imports torchvision where it is installed
    try:
        from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
    except ImportError as error:
        raise ConfigError(
            "measuring needs a package that is not installed",
            where="torchmetrics",
            remedy="pip install 'smdt[train]'",
        ) from error
    ssim = structural_similarity_index_measure(made, real, data_range=1.0, reduction="none")
    assert isinstance(ssim, Tensor)
    psnr = peak_signal_noise_ratio(made, real, data_range=1.0, dim=(1, 2, 3), reduction="none")
    return ssim.reshape(-1), psnr.reshape(-1)


class ScoreSum:
    """Adds up scores, batch by batch."""

    def __init__(self) -> None:
        self._pairs, self._sums = 0, torch.zeros(4, dtype=torch.float64)
        self._confusion = torch.zeros(_CLASSES, _CLASSES, dtype=torch.int64)

    def add(
        self,
        made: Tensor,
        real: Tensor,
        made_labels: Tensor | None = None,
        real_labels: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            made: (B, 3, H, W) in [0, 1].
            real: the same shape.
            made_labels: (B, H, W) of SemanticClass.
            real_labels: the same shape.

        Raises:
            ConfigError: if torchmetrics is not installed.
        """
        made, real = made.detach().float(), real.detach().float()
        near = [*_ssim_and_psnr(made, real), sharpness_difference_db(made, real), colour_kl(made, real)]
        self._sums += torch.stack([one.double().cpu().sum() for one in near])
        self._pairs += len(made)
        if made_labels is not None and real_labels is not None:
            pairs = real_labels.long() * _CLASSES + made_labels.long()
            counts = torch.bincount(pairs.reshape(-1).cpu(), minlength=_CLASSES**2)
            self._confusion += counts.view(_CLASSES, _CLASSES)

    def iou(self) -> dict[SemanticClass, float]:
        """Intersection over union in percent of each class that occurs in the real labels, void aside."""
        seen = self._confusion.clone()
        seen[int(VOID)] = 0
        both = seen.diagonal()
        either = seen.sum(0) + seen.sum(1) - both
        return {
            one: 100.0 * int(both[one]) / int(either[one])
            for one in SemanticClass
            if one is not VOID and int(seen[one].sum())
        }

    def result(self) -> CganScores:
        """The means so far."""
        ssim, psnr, sharpness, colour = (self._sums / max(1, self._pairs)).tolist()
        ious = list(self.iou().values())
        miou = sum(ious) / len(ious) if ious else float("nan")
        return CganScores(self._pairs, ssim, psnr, sharpness, colour, miou)


@dataclass(frozen=True)
class Floors:
    """What a model has to beat: guesses that know the training pairs alone, or no ground image at all.

    Attributes:
        mean_image: (3, H, W) in [0, 1], the training images' mean.
        row_labels: (H, W), each row's commonest class.
        class_colours: (7, 3), the mean colour of each class; NaN for classes that never occurred.
    """

    mean_image: Tensor
    row_labels: Tensor
    class_colours: Tensor

    @staticmethod
    def of(pairs: Iterable[tuple[Tensor, Tensor]]) -> Floors:
        """Floors from training pairs' images (3, H, W) in [0, 1] and labels (H, W)."""
        total, count = torch.zeros(()), 0
        rows, colours, pixels = torch.zeros(()), torch.zeros(_CLASSES, 3), torch.zeros(_CLASSES)
        for image, labels in pairs:
            one_hot = torch.nn.functional.one_hot(labels.long(), _CLASSES).float()
            total, count = total + image, count + 1
            rows = rows + one_hot.sum(dim=1)
            colours += torch.einsum("hwk,chw->kc", one_hot, image)
            pixels += one_hot.sum(dim=(0, 1))
        likeliest = rows.argmax(dim=1).to(torch.uint8)
        width = total.shape[-1]
        return Floors(total / count, likeliest[:, None].expand(-1, width), colours / pixels[:, None])

    def nearest_class(self, images: Tensor) -> Tensor:
        """The class of the nearest mean colour for each pixel of (B, 3, H, W) in [0, 1]: (B, H, W) uint8."""
        known = self.class_colours.nan_to_num(1e3)
        far = [((images - one[:, None, None]) ** 2).sum(dim=1) for one in known]
        return torch.stack(far, dim=1).argmin(dim=1).to(torch.uint8)
