"""What `smdt align` and `smdt train dual-cgan` do, behind their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from smdt.app.tables import console, progress_bar
from smdt.errors import ConfigError, ImageryError
from smdt.files import write_whole

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def align(aerial: Path | None, out: Path | None, **options: Any) -> None:
    """Align one tile, or fill a cache for a data set: whichever the options ask for."""
    cache = options.pop("cache")
    dataset = {name: options.pop(name) for name in ("dataset", "root", "split")}
    if cache is not None:
        if aerial is not None or out is not None:
            raise ConfigError(
                "a cache is filled from a data set", where="--cache", remedy="leave AERIAL and --out away"
            )
        fill_cache(cache, options["cgan"], **dataset)
        return
    if aerial is None or out is None:
        raise ConfigError(
            "there is nothing to align",
            where="AERIAL",
            remedy="name a tile and --out, or --cache and --dataset",
        )
    if dataset["dataset"] is not None:
        raise ConfigError(
            "a data set is aligned into a cache", where="--dataset", remedy="give --cache, not AERIAL"
        )
    align_image(aerial, out, **options)


def align_image(
    aerial: Path,
    out: Path,
    mapping: str | None,
    cgan: str | None,
    labels: Path | None,
    height_px: int,
    width_px: int,
    side_m: float,
    camera_height_m: float,
    join_m: float,
) -> None:
    """Map one aerial image and write the picture, or its ground view by a dual conditional GAN."""
    from smdt.data.transforms import load_image
    from smdt.geometry.mapping import aerial_grid, map_aerial

    _require_picture(out, "--out")
    if labels is not None:
        _require_picture(labels, "--labels")
    image = load_image(aerial)
    if image.shape[1] != image.shape[2]:
        raise ImageryError(
            f"is {image.shape[2]}×{image.shape[1]} pixels, not square",
            where=aerial,
            remedy="crop it to a square centred on the camera",
        )
    if cgan is not None:
        _write_ground_view(image, aerial, out, labels, cgan, mapping, side_m)
        return
    if labels is not None:
        raise ConfigError("labels are made by a model", where="--labels", remedy="give --cgan too")
    mapping = mapping or "mixed"
    grid = aerial_grid(
        mapping,
        image.shape[-1],
        height_px,
        width_px,
        half_side_m=side_m / 2.0,
        camera_height_m=camera_height_m,
        join_m=join_m,
    )
    _write_picture(map_aerial(image[None], grid)[0].round().clamp(0, 255).byte(), out)
    console().print(
        f"{out}: {mapping} mapping of {aerial}, {height_px}×{width_px} pixels, centre column north"
    )


def _write_ground_view(
    image: Tensor, aerial: Path, out: Path, labels: Path | None, cgan: str, mapping: str | None, side_m: float
) -> None:
    from smdt.alignment.cgan_models import load_cgan
    from smdt.alignment.dual_cgan import cut_tile, ground_views
    from smdt.alignment.labels import colourise

    model = load_cgan(cgan)
    config = model.config
    if mapping not in (None, config.mapping):
        raise ConfigError(
            f"the model was trained on mapping '{config.mapping}'",
            where="--mapping",
            remedy=f"give --mapping {config.mapping}, or another --cgan",
        )
    picture, classes = ground_views(model, cut_tile(image, side_m, config.tile_side_m, aerial)[None])
    _write_picture(picture[0], out)
    if labels is not None:
        _write_picture(colourise(classes[0]), labels)
    console().print(
        f"{out}: ground view of {aerial} made by '{config.name}', {config.height_px}×{config.width_px} pixels, "
        "centre column north; it shows what the model expects there, not what is there"
    )


def _require_picture(path: Path, option: str) -> None:
    if path.suffix.lower() not in _PICTURES:
        raise ConfigError(f"cannot write '{path.suffix}' pictures", where=option, remedy="use .png or .jpg")


def _write_picture(image: Tensor, path: Path) -> None:
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    write_whole(path, picture.save)


def fill_cache(
    cache: Path, cgan: str | None, dataset: str | None, root: Path | None, split: str | None
) -> None:
    """Make the ground views of all references of a data set's split that the cache has not yet."""
    from smdt.alignment.cgan_cache import GroundViewCache
    from smdt.alignment.cgan_cache import fill_cache as fill
    from smdt.alignment.cgan_models import load_cgan
    from smdt.data import open_split

    for value, option in ((cgan, "--cgan"), (dataset, "--dataset"), (root, "--root")):
        if value is None:
            raise ConfigError("is needed to fill a cache", where=option, remedy="give it")
    opened = open_split(str(dataset), str(root), split)
    model = load_cgan(str(cgan))
    views = GroundViewCache(model, cache)
    with progress_bar("making ground views") as advance:
        fill(views, opened.references, advance)
    console().print(f"{cache}: {views.made} ground views made, {views.found} found, by '{model.config.name}'")


def train_gan(config: Path | None, options: dict[str, Any]) -> None:
    """Train the dual conditional GAN, with a bar and a line of figures now and then."""
    from smdt.config import load_settings
    from smdt.training.dual_cgan import DualCganTraining, train_dual_cgan

    settings = load_settings(DualCganTraining, config, options)
    with progress_bar("training") as advance:

        def report(step: int, figures: dict[str, float]) -> None:
            advance(step, settings.steps)
            if figures:
                line = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
                print(f"step {step}/{settings.steps}  {line}", file=sys.stderr, flush=True)  # noqa: T201

        train_dual_cgan(settings, report)
    console().print(f"model: {settings.out}")
