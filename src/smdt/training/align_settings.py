"""Settings of how stages 1 to 3 enter the training of stage 4: the key ``align`` of its config. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from smdt.errors import ConfigError


@dataclass(frozen=True)
class AlignSettings:
    """What the two branches of a retrieval model see of the stages before.

    Attributes:
        mapping: of the aerial images (stage 2): ``polar``, ``perspective``, ``mixed``, or ``none``.
        aerial_input: ``mapped``, ``ground_view`` (Ig′ of stage 3 alone) or ``both``.
        cgan: the dual conditional GAN that makes Ig′: one that ships, or a folder.
        ground_view_start: the weight, in each channel, that Ig′'s strip has beside the mapped tile's when a training
            begins; it learns. From 0 it stayed small and helped little (docs/alignment.md).
        cache: a folder of ground views and labels that were made before; what is missing there is made once.
        segmenter: labels panoramas for keep and remove pictures (stage 1), by name or folder; empty: the data set's own
            labels are taken.
        keep_share: share of the panoramas that show one class alone, all else white.
        remove_share: share of the panoramas with one class painted black.
        keep_classes: to choose from; those of :class:`smdt.alignment.masks.KeepRemoveSettings` unless given.
        remove_classes: the same.
    """

    mapping: str | None = None
    aerial_input: str = "mapped"
    cgan: str = ""
    ground_view_start: float = 0.5
    cache: Path | None = None
    segmenter: str = ""
    keep_share: float | None = None
    remove_share: float | None = None
    keep_classes: tuple[str, ...] | None = None
    remove_classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse a GAN that nothing reads, and shares that cannot be."""
        if self.cgan and self.aerial_input == "mapped":
            raise ConfigError(
                "a dual conditional GAN is named, but the aerial branch reads the mapped tile alone",
                where="align.aerial_input",
                remedy="set it to ground_view or both, or leave cgan out",
            )
        shares = (self.keep_share or 0.0, self.remove_share or 0.0)
        if min(shares) < 0 or sum(shares) > 1:
            raise ConfigError(
                f"shares of {shares[0]:g} kept and {shares[1]:g} removed cannot be",
                where="align.keep_share",
                remedy="give shares from 0 to 1 that make 1 at most together",
            )
