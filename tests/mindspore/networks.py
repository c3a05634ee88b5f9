"""The networks and losses of the method, small, with random weights and example arguments, for parity tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smdt.alignment.adversarial import discriminator_loss, generator_loss
from smdt.alignment.discriminators import FeaturePyramidDiscriminator
from smdt.alignment.dual_cgan import DualCgan, DualCganConfig
from smdt.alignment.generators import Generator
from smdt.alignment.segmenter_network import SegmentationNetwork, SegmenterConfig
from smdt.app.export_commands import find_model
from smdt.geometry.mapping import aerial_grid
from smdt.geometry.sampling import bilinear
from smdt.retrieval import losses
from smdt.retrieval.models import create_model
from smdt.retrieval.transformer import VARIANTS

PUBLISHED = tuple(name for name in VARIANTS if not name.startswith("tiny"))


@dataclass(frozen=True)
class Subject:
    """What is converted.

    Attributes:
        make: gives the module.
        example: calls by name, for a batch.
        modes: in which it is compared; True is training. One where no layer tells them apart.
        open_batch: one conversion serves all batches.
    """

    make: Callable[[], nn.Module]
    example: Callable[[int], dict[str, tuple[Any, ...]]]
    modes: tuple[bool, ...] = (True, False)
    open_batch: bool = True


def small_images(batch: int, channels: int = 3, rows: int = 32, columns: int = 128) -> Tensor:
    generator = torch.Generator().manual_seed(100 * batch + channels)
    return torch.rand(batch, channels, rows, columns, generator=generator)


def two_views(batch: int) -> dict[str, tuple[Any, ...]]:
    return {view: (small_images(batch), view) for view in ("ground", "aerial")}


def one_view(batch: int) -> dict[str, tuple[Any, ...]]:
    return {"ground": (small_images(batch), "ground")}


def retrieval(family: str, **settings: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        module = create_model(family, {"name": family, **settings})
        return stirred(module)

    return make


def stirred(module: nn.Module) -> nn.Module:
    """Small noise on all weights and running figures, for some start at zero and would hide what they do."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point() and not name.startswith("pixel_"):
                noise = torch.randn(tensor.shape, generator=generator) * 0.05
                tensor.copy_((tensor + noise).abs() if name.endswith("running_var") else tensor + noise)
    return module


def transformer(variant: str) -> Subject:
    """A published variant with its stem and its order of layers, but small: images, width, depth and heads.

    No ReLU of it is given a number that is zero but for rounding. Where one is, torch's own gradients in float32 are
    percents off those in float64, and nothing can be said of another implementation's. (R50-ViT-B_16 with stages of
    2, 1 and 1 blocks has such a number, 1.3e-6 where rounding is 1.4e-5.)
    """
    sizes: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 4, "mlp_dim": 64}
    large = "-L_" in variant
    if large:
        sizes = {"dim": 48, "depth": 4, "heads": 6, "mlp_dim": 96}
    sizes |= {"height_px": 32, "width_px": 128, "tile_px": 64, "dropout": 0.0, "attention_dropout": 0.0}
    if variant.startswith("R50"):
        sizes |= {"stem_blocks": (2 if large else 1, 1, 1), "stem_width": 8, "stem_groups": 4}
    example = two_views if variant == PUBLISHED[0] else one_view
    return Subject(retrieval("transformer", variant=variant, **sizes), example, (True,))


class Mapping(nn.Module):
    """Stage 2: an aerial image brought to the panorama's frame."""

    def __init__(self, name: str) -> None:
        super().__init__()
        grid = aerial_grid(name, 48, 16, 64, half_side_m=40.0)
        self.register_buffer("row_px", grid.row_px)
        self.register_buffer("column_px", grid.column_px)

    def forward(self, images: Tensor) -> Tensor:
        return bilinear(images, self.get_buffer("row_px"), self.get_buffer("column_px"))


def generator(**options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return Generator(3, 3, filters=4, encoder_blocks=1, decoder_blocks=1, dropout=0.0, **options)

    return make


def discriminator(**options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return FeaturePyramidDiscriminator(6, filters=4, **options)

    return make


class CganLosses(nn.Module):
    """The four networks with their losses, as a training runs them: the generators' way and the discriminators'."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.networks = DualCgan(
            DualCganConfig(
                height_px=32,
                width_px=64,
                generator_filters=4,
                discriminator_filters=4,
                encoder_blocks=1,
                decoder_blocks=1,
                dropout=0.0,
                **settings,
            ),
            generator=torch.Generator().manual_seed(3),
        )

    def forward(self, aerial: Tensor, labels: Tensor, image: Tensor, part: str) -> Tensor:
        """The loss of one part for pictures (B, 3, H, W) in [-1, 1]."""
        made = self.networks.passes(aerial)[-1]
        shown = made.labels.detach(), made.image.detach()
        real = self._judged(aerial, labels, shown[0], image)
        if part == "discriminators":
            return discriminator_loss(real, self._judged(aerial, shown[0], shown[0], shown[1]))
        far = (made.labels - labels).abs().mean() + (made.image - image).abs().mean()
        return generator_loss(real, self._judged(aerial, made.labels, made.labels, made.image)) + 100.0 * far

    def _judged(self, aerial: Tensor, labels: Tensor, given: Tensor, image: Tensor) -> tuple[Any, Any]:
        return self.networks.d1(aerial, labels), self.networks.d2(given, image)


def cgan_example(batch: int) -> dict[str, tuple[Any, ...]]:
    pictures = tuple(small_images(batch, rows=32, columns=64).roll(shift, 3) * 2 - 1 for shift in (0, 3, 7))
    return {part: (*pictures, part) for part in ("generators", "discriminators")}


def segmenter() -> nn.Module:
    torch.manual_seed(0)
    return stirred(
        SegmentationNetwork(SegmenterConfig(name="tiny", backbone="test_efficientnet", channels=8))
    )


class Loss(nn.Module):
    """A loss of the retrieval as a module; the descriptors get unit norm first."""

    def __init__(self, function: Callable[..., Tensor], *fixed: Any) -> None:
        super().__init__()
        self.function, self.fixed = function, fixed

    def forward(self, queries: Tensor, references: Tensor, *more: Tensor) -> Tensor:
        norm = nn.functional.normalize
        return self.function(norm(queries, dim=1), norm(references, dim=1), *more, *self.fixed)


def descriptors(batch: int) -> dict[str, tuple[Any, ...]]:
    rng = torch.Generator().manual_seed(batch)
    size = max(batch, 2)  # a pair alone has nothing to contrast
    return {"": (torch.randn(size, 16, generator=rng), torch.randn(size, 16, generator=rng))}


def strips(batch: int) -> dict[str, tuple[Any, ...]]:
    rng = torch.Generator().manual_seed(batch)
    size = max(batch, 2)
    pair = (torch.randn(size, 6, 16, generator=rng) for _ in range(2))
    return {"": (*pair, torch.rand(size, generator=rng) * 360.0)}


def images_alone(batch: int) -> dict[str, tuple[Any, ...]]:
    return {"": (small_images(batch),)}


def fed(batch: int) -> dict[str, tuple[Any, ...]]:
    features = [small_images(batch, 8, 32 // by, 128 // by) for by in (16, 16, 8, 4, 2)]
    return {"": (small_images(batch), features, 0.5)}


def judged(batch: int) -> dict[str, tuple[Any, ...]]:
    return {"": (small_images(batch), small_images(batch).flip(3))}


def trained(name: str) -> Callable[[], nn.Module]:
    """A model that ships, by the name that `smdt export` knows it by."""
    return lambda: find_model(name)[0]


def narrow_views(batch: int) -> dict[str, tuple[Any, ...]]:
    return {view: (small_images(batch, rows=128, columns=64), view) for view in ("ground", "aerial")}


def narrow_view(batch: int) -> dict[str, tuple[Any, ...]]:
    return {"aerial": narrow_views(batch)["aerial"]}


_LITE = {"height_px": 32, "width_px": 128, "backbone": "test_efficientnet"}
SUBJECTS: dict[str, Subject] = {
    "siamese": Subject(retrieval("siamese", strip_channels=8, **_LITE), two_views),
    "compact": Subject(retrieval("compact", strip_channels=8, **_LITE), one_view),
    "compact, blocks": Subject(retrieval("compact", strip_channels=8, blocks=1, **_LITE), one_view),
    **{f"{variant}, small": transformer(variant) for variant in PUBLISHED},
    "generator": Subject(generator(), images_alone, (True,)),
    "generator, classes, wrapped": Subject(generator(output="softmax", wrap=True), images_alone, (True,)),
    "discriminator": Subject(discriminator(), judged, (True,)),
    "dual CGAN with its losses": Subject(CganLosses, cgan_example, (True,), open_batch=False),
    "generator with feedback": Subject(generator(feedback=8), fed, (True,)),
    "segmenter": Subject(segmenter, images_alone),
    "town (trained)": Subject(trained("town"), narrow_views, (False,)),
    "compact (trained)": Subject(trained("compact"), narrow_view, (False,)),
    "segmenter (trained)": Subject(
        trained("segmenter"), lambda batch: {"": (small_images(batch, rows=32, columns=64),)}, (False,)
    ),
    "dual CGAN (trained)": Subject(
        trained("dual-cgan"), lambda batch: {"": (small_images(batch, rows=32, columns=32),)}, (False,)
    ),
    "mapping polar": Subject(
        lambda: Mapping("polar"), lambda batch: {"": (small_images(batch, 3, 48, 48),)}, (False,)
    ),
    "mapping perspective": Subject(
        lambda: Mapping("perspective"), lambda batch: {"": (small_images(batch, 3, 48, 48),)}, (False,)
    ),
    "mapping mixed": Subject(
        lambda: Mapping("mixed"), lambda batch: {"": (small_images(batch, 3, 48, 48),)}, (False,)
    ),
    "soft-margin triplet loss": Subject(
        lambda: Loss(losses.soft_margin_triplet), descriptors, (False,), open_batch=False
    ),
    "symmetric InfoNCE": Subject(
        lambda: Loss(losses.symmetric_info_nce, 10.0), descriptors, (False,), open_batch=False
    ),
    "contrast over places and turns": Subject(
        lambda: Loss(losses.contrast_loss, 10.0), strips, (False,), open_batch=False
    ),
}
