"""How well does `smdt locate` find photos in an index: by its stride, and flat photos by their width and a compass?

A held-out simulated town, its aerial image and panoramas taken in it, under another sky, are made as `smdt demo` makes
them. Panoramas of unknown heading are located in indexes of several strides. Flat photos, two cut out of each panorama
in opposite directions, are located in one of them, with nothing known of their heading, with a compass that is off by
anything up to what is said of it, and with the exact one. Shares of 40 photos are up to 15 points off by chance alone.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from closing import add_closing_options, circumstances, write_result
from smdt.app.demo import take_photos
from smdt.app.geojson import heading_error_deg, metres_off
from smdt.data.transforms import load_image
from smdt.geometry.panorama import PanoramaFrame
from smdt.geometry.sampling import bilinear
from smdt.index.build import build_index
from smdt.locate import LocateConfig, Located, Truth, locate
from smdt.retrieval.models import load_model
from smdt.world.aerial import write_aerial
from smdt.world.dataset import HELD_OUT_SEEDS
from smdt.world.moment import Moment
from smdt.world.town import TownConfig, build_town

WITHIN_DEG = (None, 45.0, 20.0, 10.0, 0.0)
"""What is known of flat photos' headings: nothing, or how far off the compass may be; 0 is the exact heading."""


@dataclass(frozen=True)
class Scene:
    """What is made once: a town's aerial image, its panoramas, and where they were taken."""

    imagery: Path
    panoramas: list[Path]
    truths: list[Truth]


def make_scene(folder: Path, photos: int, side_m: float, seed: int) -> Scene:
    """Build the town and take its pictures."""
    place = build_town(TownConfig(seed=min(HELD_OUT_SEEDS) + seed, side_m=side_m, style="organic"))
    imagery = folder / "town.tif"
    write_aerial(place, imagery, Moment.draw(np.random.default_rng([seed, 3]), 0.3))
    return Scene(imagery, *take_photos(place, folder / "panoramas", photos, seed))


def cut_flat(
    panorama: torch.Tensor, field_of_view_deg: float, look_deg: float, width_px: int = 480
) -> torch.Tensor:
    """A flat photo (3, 2/3·W, W) of 3:2 that looks ``look_deg`` clockwise of a panorama's (3, H, 1232) centre."""
    height_px = width_px * 2 // 3
    focal_px = width_px / 2.0 / math.tan(math.radians(field_of_view_deg) / 2.0)
    right = (torch.arange(width_px, dtype=torch.float64) + 0.5 - width_px / 2.0) / focal_px
    up = (height_px / 2.0 - torch.arange(height_px, dtype=torch.float64) - 0.5) / focal_px
    look = math.radians(look_deg)
    grid_up, grid_right = torch.meshgrid(up, right, indexing="ij")
    ray = torch.stack(
        [
            grid_right * math.cos(look) + math.sin(look),
            math.cos(look) - grid_right * math.sin(look),
            grid_up,
        ],
        dim=-1,
    )
    height, width = panorama.shape[-2:]
    row, column = PanoramaFrame(height, width).ray_to_pixel(ray)
    circle = torch.cat([panorama, panorama[..., :1]], dim=-1).float()
    sampled = bilinear(circle[None], row.clamp(0, height - 1), torch.remainder(column, width))
    return sampled[0].round().clamp(0, 255).byte()


def take_flat(scene: Scene, field_of_view_deg: float, folder: Path) -> tuple[list[Path], list[Truth]]:
    """Two flat photos out of each panorama, as files, and where they look."""
    folder.mkdir()
    files, truths = [], []
    for file, truth in zip(scene.panoramas, scene.truths, strict=True):
        panorama = load_image(file)
        for look in (0.0, 180.0):
            flat = cut_flat(panorama, field_of_view_deg, look)
            path = folder / f"{file.stem}-{look:g}.png"
            Image.fromarray(flat.permute(1, 2, 0).contiguous().numpy()).save(path)
            files.append(path)
            assert truth.heading_deg is not None
            truths.append(Truth(truth.latitude_deg, truth.longitude_deg, (truth.heading_deg + look) % 360.0))
    return files, truths


def figures(found: Sequence[Located], truths: Sequence[Truth]) -> dict[str, float]:
    """Shares within 5 and 25 m in per cent, median metres off, and median heading error of those within 25 m."""
    best = [one.candidates[0] for one in found]
    off = np.array([metres_off(one, truth) for one, truth in zip(best, truths, strict=True)])
    turned = np.array([heading_error_deg(one, truth) for one, truth in zip(best, truths, strict=True)], float)
    near = off <= 25.0
    return {
        "within_5_m_percent": 100.0 * float((off <= 5.0).mean()),
        "within_25_m_percent": 100.0 * float(near.mean()),
        "median_m": float(np.median(off)),
        "median_heading_error_deg": float(np.median(turned[near])) if near.any() else math.nan,
    }


def locate_flat(
    files: Sequence[Path],
    truths: Sequence[Truth],
    index: Any,
    model: Any,
    fov_deg: float,
    within_deg: float | None,
    seed: int,
) -> list[Located]:
    """Locate each with a compass of its own."""
    rng = np.random.default_rng([seed, 11])
    found = []
    for file, truth in zip(files, truths, strict=True):
        heading = within = None
        if within_deg is not None:
            assert truth.heading_deg is not None
            heading = (truth.heading_deg + float(rng.uniform(-within_deg, within_deg))) % 360.0
            within = within_deg or None
        found += locate([file], index, model, LocateConfig(heading, within, fov_deg, False))
    return found


def measure(folder: Path, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """All rows."""
    model = load_model(options.model)
    scene = make_scene(folder, options.photos, options.side_m, options.seed)
    result: dict[str, Any] = {"panoramas": [], "flat": []}
    table = Table(
        "stride",
        "tiles",
        "within 5 m",
        "within 25 m",
        "median off",
        "heading",
        title="panoramas, heading not known",
    )
    kept = None
    for stride in options.strides_m:
        index = build_index(scene.imagery, model, stride_m=stride)
        row = figures(locate(scene.panoramas, index, model), scene.truths)
        result["panoramas"].append({"stride_m": stride, "tiles": len(index), **row})
        table.add_row(f"{stride:g} m", f"{len(index):,}", *_cells(row))
        kept = index if stride == options.flat_stride_m else kept
    console.print(table)
    if kept is None:
        kept = build_index(scene.imagery, model, stride_m=options.flat_stride_m)
    table = Table(
        "wide", "compass", "within 5 m", "within 25 m", "median off", "heading", title="flat photos"
    )
    for fov in options.fov_deg:
        files, truths = take_flat(scene, fov, folder / f"flat-{fov:g}")
        for within in WITHIN_DEG:
            row = figures(locate_flat(files, truths, kept, model, fov, within, options.seed), truths)
            result["flat"].append({"fov_deg": fov, "heading_within_deg": within, "photos": len(files), **row})
            known = "none" if within is None else f"within {within:g}°" if within else "exact"
            table.add_row(f"{fov:g}°", known, *_cells(row))
    console.print(table)
    return result


def _cells(row: dict[str, float]) -> list[str]:
    return [
        f"{row['within_5_m_percent']:.0f} %",
        f"{row['within_25_m_percent']:.0f} %",
        f"{row['median_m']:.1f} m",
        f"{row['median_heading_error_deg']:.1f}°",
    ]


def main() -> None:
    """Make the scene, locate, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="compact")
    parser.add_argument(
        "--photos", type=int, default=40, help="panoramas; twice as many flat photos of each width"
    )
    parser.add_argument("--side-m", type=float, default=440.0)
    parser.add_argument("--strides-m", type=float, nargs="*", default=[20.0, 10.0, 5.0])
    parser.add_argument("--flat-stride-m", type=float, default=10.0)
    parser.add_argument("--fov-deg", type=float, nargs="*", default=[90.0, 70.0])
    add_closing_options(parser)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options, console)
    given = {name: value for name, value in vars(options).items() if name != "json"}
    result = {**result, "options": given, **circumstances()}
    console.print(json.dumps(circumstances()))
    write_result(options.json, result)


if __name__ == "__main__":
    main()
