"""What `smdt segment` and `smdt train segmenter` do, behind their options."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.table import Table
from torch import Tensor

from smdt.alignment.labels import CLASS_NAMES, PALETTE, SemanticClass, colourise, parse_classes
from smdt.alignment.masks import class_mask, keep, mask_picture, remove
from smdt.alignment.segmentation import Segmenter, label_photo, load_segmenter
from smdt.app.tables import console, progress_bar
from smdt.data.images import source_frame
from smdt.errors import ConfigError, SmdtError
from smdt.files import write_whole
from smdt.imagery.photo import Photo, load_photo

_OVERLAY_SHARE = 0.5


@dataclass(frozen=True)
class SegmentOptions:
    """What to write of each photo.

    Attributes:
        out: folder for the pictures.
        masks: classes to write masks of.
        keep: classes to write keep pictures of.
        remove: classes to write remove pictures of.
        panorama: whether the photos are 360° panoramas; told from the file unless given.
    """

    out: Path
    masks: tuple[SemanticClass, ...]
    keep: tuple[SemanticClass, ...] = ()
    remove: tuple[SemanticClass, ...] = ()
    panorama: bool | None = None


def segment_photos(
    photos: Sequence[Path],
    out: Path,
    model: str,
    classes: str | None,
    keep: str | None,
    remove: str | None,
    panorama: bool | None,
) -> None:
    """Label photos and write label maps, overlays, masks and, where asked for, keep and remove pictures."""
    options = SegmentOptions(
        out,
        parse_classes(classes) if classes else tuple(SemanticClass)[:-1],
        parse_classes(keep) if keep else (),
        parse_classes(remove) if remove else (),
        panorama,
    )
    check_names(photos, out)
    segmenter = load_segmenter(model)
    shares = []
    with progress_bar("segmenting") as advance:
        for number, path in enumerate(photos, start=1):
            shares.append(segment_photo(load_photo(path), segmenter, options))
            advance(number, len(photos))
    print_shares(photos, shares)
    console().print(f"pictures: {out}")


def check_names(photos: Sequence[Path], out: Path) -> None:
    """Refuse photos whose pictures would overwrite each other, and photos that are not there, before any work.

    Raises:
        ConfigError: if two photos have one name.
        SmdtError: if a photo is no file, or the folder is a file.
    """
    seen: dict[str, Path] = {}
    for path in photos:
        if not path.is_file():
            raise SmdtError("no such file", where=path, remedy="check the path of the photo")
        if path.stem in seen:
            raise ConfigError(
                f"{seen[path.stem]} has the same name, and its pictures would be overwritten",
                where=path,
                remedy="segment them into different folders",
            )
        seen[path.stem] = path
    if out.exists() and not out.is_dir():
        raise ConfigError("is a file, not a folder", where=out, remedy="give --out a folder's name")


def segment_photo(photo: Photo, segmenter: Segmenter, options: SegmentOptions) -> dict[str, float]:
    """Label one photo and write its pictures.

    Returns:
        The share of each class in the picture, by name.

    Raises:
        DatasetError: if it is to be a panorama but is too narrow for one.
        SmdtError: if a picture cannot be written.
    """
    frame = photo.panorama_frame
    if options.panorama is False:
        frame = None
    elif options.panorama and frame is None:
        frame = source_frame(photo.height_px, photo.width_px, None, photo.path)
    labels = label_photo(segmenter, photo.image, frame)
    image, stem = photo.image, photo.path.stem
    pictures = {"overlay": overlay(image, labels)}
    pictures |= {f"mask-{name_of(one)}": mask_picture(labels, one) for one in options.masks}
    pictures |= {f"keep-{name_of(one)}": keep(image, labels, one, photo.path) for one in options.keep}
    pictures |= {f"remove-{name_of(one)}": remove(image, labels, one, photo.path) for one in options.remove}
    write_labels(options.out / f"{stem}-labels.png", labels)
    for name, picture in pictures.items():
        write_picture(options.out / f"{stem}-{name}.png", picture)
    return {name_of(one): float(class_mask(labels, one).float().mean()) for one in SemanticClass}


def name_of(one: SemanticClass) -> str:
    """A class's name on the command line."""
    return CLASS_NAMES[one]


def overlay(image: Tensor, labels: Tensor) -> Tensor:
    """An image (3, H, W) uint8 with its labels' colours laid over it, half and half."""
    mixed = image.float() * (1 - _OVERLAY_SHARE) + colourise(labels).float() * _OVERLAY_SHARE
    return mixed.round().to(torch.uint8)


def write_labels(path: Path, labels: Tensor) -> None:
    """Write a label map (H, W) as an 8-bit PNG of class indices with the palette."""
    picture = Image.fromarray(labels.to(torch.uint8).numpy(), mode="P")
    picture.putpalette([value for colour in PALETTE for value in colour])
    write_whole(path, picture.save)


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture (3 or 1, H, W) uint8 as PNG."""
    array = picture.permute(1, 2, 0).contiguous().numpy()
    write_whole(path, Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save)


def print_shares(photos: Sequence[Path], shares: Sequence[dict[str, float]]) -> None:
    """Print how much of each photo each class covers."""
    table = Table(title="Share of each class, per cent", title_justify="left")
    table.add_column("photo")
    for name in CLASS_NAMES:
        table.add_column(name, justify="right")
    for path, share in zip(photos, shares, strict=True):
        table.add_row(path.name, *(f"{100 * share[name]:.1f}" for name in CLASS_NAMES))
    console().print(table)


def train_segmenter_on_towns(config: Path | None, options: dict[str, Any]) -> None:
    """Train the segmenter, with a log line now and then and a bar."""
    from smdt.app.commands import parse_seeds
    from smdt.config import load_settings
    from smdt.training.segmenter import SegmenterTraining, train_segmenter

    if options.get("town_seeds") is not None:
        options["town_seeds"] = parse_seeds(options["town_seeds"])
    settings = load_settings(SegmenterTraining, config, options)
    with progress_bar("training") as advance:

        def report(step: int, figures: dict[str, float]) -> None:
            advance(step, settings.steps)
            if figures:
                line = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
                print(f"step {step}/{settings.steps}  {line}", file=sys.stderr, flush=True)  # noqa: T201

        train_segmenter(settings, report)
    console().print(f"segmenter: {settings.out}")
