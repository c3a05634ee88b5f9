"""What the commands do, behind their options."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smdt.app.geojson import write_geojson
from smdt.app.tables import console, print_facts, print_located, progress_bar
from smdt.errors import ConfigError, ImageryError
from smdt.files import write_text_whole, write_whole
from smdt.index.store import DescriptorIndex, open_index, read_info, save_index
from smdt.locate import LocateConfig, Located, Truth
from smdt.retrieval.models import load_model


def build_index_at(
    imagery: Path, out: Path, model: str, side_m: float | None, stride_m: float | None, overwrite: bool
) -> DescriptorIndex:
    """Build an index and write it, with a bar."""
    from smdt.errors import DescriptorIndexError
    from smdt.index.build import build_index

    if out.exists() and not overwrite:  # said before an hour of embedding, not after it
        raise DescriptorIndexError(
            "exists already", where=out, remedy="choose another --out, or give --overwrite"
        )
    loaded = load_model(model)
    with progress_bar("indexing tiles") as advance:
        index = build_index(imagery, loaded, side_m=side_m, stride_m=stride_m, progress=advance)
    save_index(index, out, overwrite=overwrite)
    info = index.info
    console().print(
        f"{out}: {len(index)} tiles of {info.tile_side_m:g} m every {info.stride_m:g} m, model '{info.model}'"
    )
    return index


def locate_photos(
    photos: Sequence[Path],
    index_folder: Path,
    model: str | None,
    heading_deg: float | None,
    fov_deg: float | None,
    panorama: bool | None,
    pitch_deg: float,
    top: int,
    geojson: Path | None,
    json_file: Path | None,
    report: Path | None,
    imagery: Path | None,
) -> None:
    """Locate photos, print a table, write what was asked for."""
    from smdt.app.located_report import ReportSettings, write_located_report
    from smdt.imagery.photo import load_photo
    from smdt.locate import locate

    for photo in photos:
        if not photo.is_file():
            raise ImageryError("there is no such photo", where=photo, remedy="check the path")
    info = read_info(index_folder)
    loaded = load_model(model or info.model)
    index = open_index(index_folder)
    index.check_model(loaded, index_folder)
    config = LocateConfig(heading_deg, fov_deg, panorama, pitch_deg, max(top, 5) if report else top)
    with progress_bar("locating photos") as advance:
        results = locate(photos, index, loaded, config, advance)
    truths = [exif_truth(load_photo(photo)) for photo in photos]
    print_located(results, truths)
    if any(truths):
        console().print(
            "metres off: against the position in the photo's EXIF, which is not used to locate it"
        )
    known = {result.photo: truth for result, truth in zip(results, truths, strict=True) if truth}
    if geojson:
        write_geojson(geojson, results, known)
    if json_file:
        write_text_whole(json_file, json.dumps([as_record(result) for result in results], indent=2) + "\n")
    if report:
        settings = ReportSettings("Where the photos were taken", imagery or Path(info.imagery), config)
        write_located_report(report, index, results, truths, settings)
        console().print(f"report: {report}")


def exif_truth(photo: Any) -> Truth | None:
    """The position in a photo's EXIF, if it has one."""
    if photo.latitude_deg is None or photo.longitude_deg is None:
        return None
    return Truth(photo.latitude_deg, photo.longitude_deg, photo.heading_deg)


def as_record(result: Located) -> dict[str, Any]:
    """A result as plain JSON."""
    return {
        "photo": str(result.photo),
        "confidence": result.confidence,
        "candidates": [asdict(candidate) for candidate in result.candidates],
    }


def evaluate_dataset(
    dataset: str, root: Path, split: str | None, model: str, options: dict[str, Any]
) -> None:
    """Evaluate, print a table, write JSON."""
    from rich.table import Table

    from smdt.data import open_split
    from smdt.evaluate import EvaluateConfig, evaluate

    json_file, skip_missing = options.pop("json_file"), options.pop("skip_missing")
    config = EvaluateConfig(**options)
    opened = open_split(dataset, root, split, skip_missing=skip_missing)
    if opened.left_out:
        console().print(f"{opened.left_out} pairs are left out because a picture is missing")
    loaded = load_model(model)
    with progress_bar("embedding") as advance:
        result = evaluate(loaded, opened, config, lambda _, done, total: advance(done, total))
    table = Table(
        title=f"{opened.dataset} {opened.split}: {result.queries} queries, {result.references} references, "
        f"model '{loaded.config.name}', heading {'unknown' if config.unknown_heading else 'known'}, "
        f"{config.field_of_view_deg:g}°",
        title_justify="left",
    )
    figures = {name: f"{value:.2f}" for name, value in result.recalls.items()}
    if result.heading:
        figures["heading off, median °"] = f"{result.heading['median_deg']:.2f}"
    for name in figures:
        table.add_column(name, justify="right")
    table.add_row(*figures.values())
    console().print(table)
    if json_file:
        record = {
            **result.facts,
            "queries": result.queries,
            "left_out": opened.left_out,
            "references": result.references,
            "recall_percent": result.recalls,
            "heading_error": result.heading,
            "ranks": result.ranks.tolist(),
        }
        write_text_whole(json_file, json.dumps(record, indent=2) + "\n")


def align_image(
    aerial: Path,
    mapping: str,
    out: Path,
    height_px: int,
    width_px: int,
    side_m: float,
    camera_height_m: float,
    join_m: float,
) -> None:
    """Map one aerial image and write the picture."""
    from PIL import Image

    from smdt.data.transforms import load_image
    from smdt.geometry.mapping import aerial_grid, map_aerial

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ConfigError(f"cannot write '{out.suffix}' pictures", where="--out", remedy="use .png or .jpg")
    image = load_image(aerial)
    if image.shape[1] != image.shape[2]:
        raise ImageryError(
            f"is {image.shape[2]}×{image.shape[1]} pixels, not square",
            where=aerial,
            remedy="crop it to a square centred on the camera",
        )
    grid = aerial_grid(
        mapping,
        image.shape[-1],
        height_px,
        width_px,
        half_side_m=side_m / 2.0,
        camera_height_m=camera_height_m,
        join_m=join_m,
    )
    mapped = map_aerial(image[None], grid)[0].round().clamp(0, 255).byte()
    picture = Image.fromarray(mapped.permute(1, 2, 0).numpy())
    write_whole(out, picture.save)
    console().print(
        f"{out}: {mapping} mapping of {aerial}, {height_px}×{width_px} pixels, centre column north"
    )


def write_town(out: Path, **options: Any) -> None:
    """Build a town and write its layers."""
    from smdt.world.store import write_place
    from smdt.world.town import TownConfig, build_town

    place = build_town(TownConfig(**options))
    write_place(place, out)
    print_facts(
        str(out),
        {
            "place": place.name,
            "size": f"{place.size_m[0]:.0f} × {place.size_m[1]:.0f} m at {place.pixel_m:g} m per pixel",
            "south-west corner": f"{place.latitude_deg:.6f}, {place.longitude_deg:.6f}",
            "buildings": str(len(place.buildings.angle_rad)),
            "streets": str(len(place.streets)),
        },
    )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Numbers from ``1,2,5-9``.

    Raises:
        ConfigError: if the text is anything else.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds.extend(range(int(first), int(last or first) + 1))
    except ValueError as error:
        raise ConfigError(
            f"'{text}' is no list of seeds", where="--town-seeds", remedy="write it like 1,2,5-9"
        ) from error
    if not seeds:
        raise ConfigError(f"'{text}' names no seed", where="--town-seeds", remedy="write it like 1,2,5-9")
    return tuple(seeds)


def train_on_towns(config: Path | None, options: dict[str, Any]) -> None:
    """Train on towns, with a log line now and then and a bar."""
    from smdt.config import load_settings
    from smdt.training.retrieval import RetrievalTraining, train_retrieval

    if options["town_seeds"] is not None:
        options["town_seeds"] = parse_seeds(options["town_seeds"])
    settings = load_settings(RetrievalTraining, config, options)
    with progress_bar("training") as advance:

        def report(step: int, figures: dict[str, float]) -> None:
            advance(step, settings.steps)
            line = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            print(f"step {step}/{settings.steps}  {line}", file=sys.stderr, flush=True)  # noqa: T201

        train_retrieval(settings, report)
    console().print(f"model: {settings.out}")


def make_ground_mean(out: Path, panoramas: int, town_seeds: str, seed: int) -> None:
    """Compute and write the ImageNet model's ground mean."""
    from smdt.retrieval.models import imagenet_model
    from smdt.training.ground_mean import ground_mean, write_ground_mean

    with progress_bar("embedding") as advance:
        model = imagenet_model(with_mean=False).eval()
        mean = ground_mean(model, parse_seeds(town_seeds), panoramas, seed, advance)
    write_ground_mean(mean, out)
    console().print(f"{out}: mean of {panoramas} simulated panoramas")
