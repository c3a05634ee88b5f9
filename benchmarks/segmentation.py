"""How well does a segmenter label panoramas: on held-out towns, and on a CVUSA folder's own (noisy) labels?

Floors are measured in the same run: the best constant layout, which gives every row of every picture that row's
commonest class. For CVUSA it is taken from the very pictures it is judged on, so it is a high floor.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from smdt.alignment.labels import CLASS_NAMES, SemanticClass, colourise, merge_labels, read_label_map
from smdt.alignment.masks import keep, remove
from smdt.alignment.segmentation import Segmenter, label_images, load_segmenter
from smdt.data.cvusa import open_cvusa
from smdt.data.transforms import load_image
from smdt.files import write_whole
from smdt.geometry.panorama import PanoramaFrame
from smdt.world.dataset import HELD_OUT_SEEDS
from smdt.world.moment import Moment
from smdt.world.render import RenderConfig, Renderer, street_positions
from smdt.world.town import STYLES, TownConfig, build_town

SHEET_PX = (112, 616)
CLASSES = len(SemanticClass)
REAL_CLASSES = (SemanticClass.SKY, SemanticClass.ROAD, SemanticClass.VEGETATION)


def confusion(truth: Tensor, found: Tensor) -> Tensor:
    """(7, 7) pixels by true and found class."""
    both = truth.long().flatten() * CLASSES + found.long().flatten()
    return torch.bincount(both, minlength=CLASSES * CLASSES).view(CLASSES, CLASSES)


def scores(counts: Tensor, judged: tuple[SemanticClass, ...]) -> dict[str, float]:
    """Pixel accuracy over the pixels that are truly of the judged classes, and each one's IoU.

    A pixel that is truly of another class counts for nothing: not as a miss, and not as a false find.
    """
    rows = [int(one) for one in judged]
    kept = counts[rows].double()
    right = torch.stack([kept[place, row] for place, row in enumerate(rows)])
    union = kept.sum(1) + kept.sum(0)[rows] - right
    found = {
        CLASS_NAMES[row]: float(100 * r / u) for row, r, u in zip(rows, right, union, strict=True) if u > 0
    }
    result = {"pixel accuracy": float(100 * right.sum() / kept.sum())}
    result |= {f"IoU {name}": value for name, value in found.items()}
    result["mIoU"] = float(np.mean(list(found.values())))
    return result


def constant_layout(truths: list[Tensor]) -> Tensor:
    """Each row's commonest class (H,) over label maps (H, W) of one size."""
    together = torch.cat(truths, 1)
    counts = torch.stack([torch.bincount(row.long(), minlength=CLASSES) for row in together])
    return counts.argmax(1)


def judge_towns(segmenter: Segmenter, panoramas: int, side_m: float) -> dict[str, dict[str, float]]:
    """Scores on held-out towns, one style each in turn, full variety."""
    styles = [style for style in STYLES if style != "mixed"]
    size = (128, 512)
    frame = PanoramaFrame(*size)
    truths, found = [], []
    seeds = sorted(HELD_OUT_SEEDS)
    for number, seed in enumerate(seeds):
        place = build_town(TownConfig(seed=seed, side_m=side_m, style=styles[number % len(styles)]))
        renderer = Renderer(place, RenderConfig(*size))
        rng = np.random.default_rng([seed, 3])
        for east, north in street_positions(place, max(1, panoramas // len(seeds)), rng):
            heading, height = rng.uniform(0, 360), rng.uniform(1.8, 3.0)
            view = renderer.panorama(
                float(east), float(north), float(heading), float(height), Moment.draw(rng)
            )
            truths.append(merge_labels(view.surface, "worlds"))
            found.append(label_images(segmenter, view.image[None], frame)[0])
    judged = tuple(one for one in SemanticClass if one is not SemanticClass.VOID)
    layout = constant_layout(truths)[:, None].expand(size)
    return {
        "segmenter": scores(sum_of(truths, found), judged),
        "constant layout": scores(sum_of(truths, [layout] * len(truths)), judged),
    }


def judge_cvusa(segmenter: Segmenter, root: Path, split: str) -> dict[str, dict[str, float]]:
    """Scores on the labelled panoramas of a CVUSA folder, over sky, road and vegetation."""
    truths, found, frame = [], [], None
    for query in open_cvusa(root, split, skip_missing=True).queries:
        if query.labels_path is None:
            continue
        image = load_image(query.path)
        height, width = image.shape[-2:]
        frame = PanoramaFrame(height, width)
        truths.append(read_label_map(query.labels_path, "cvusa", (height, width)))
        found.append(label_images(segmenter, image[None], frame)[0])
    layout = constant_layout(truths)[:, None].expand_as(truths[0])
    result = {
        "segmenter": scores(sum_of(truths, found), REAL_CLASSES),
        "constant layout": scores(sum_of(truths, [layout] * len(truths)), REAL_CLASSES),
    }
    for one in result.values():
        one["pictures"] = len(truths)
    return result


def write_sheet(segmenter: Segmenter, out: Path, rows: int, side_m: float) -> None:
    """Write simulated panoramas with what the method makes of them: labels, keep vegetation and road, remove sky."""
    styles = [style for style in STYLES if style != "mixed"]
    strips = []
    for number, seed in enumerate(sorted(HELD_OUT_SEEDS)[:rows]):
        place = build_town(TownConfig(seed=seed, side_m=side_m, style=styles[(2 * number + 3) % len(styles)]))
        rng = np.random.default_rng([seed, 4])
        east, north = street_positions(place, 1, rng)[0]
        renderer = Renderer(place, RenderConfig(*SHEET_PX, supersample=2))
        image = renderer.panorama(float(east), float(north), 0.0, 2.4, Moment.draw(rng)).image
        labels = label_images(segmenter, image[None], PanoramaFrame(*SHEET_PX))[0]
        pictures = (
            image,
            colourise(labels),
            keep(image, labels, SemanticClass.VEGETATION),
            keep(image, labels, SemanticClass.ROAD),
            remove(image, labels, SemanticClass.SKY),
        )
        strips.append(
            torch.cat([torch.nn.functional.pad(one, (0, 0, 0, 3), value=255) for one in pictures], 1)
        )
    pairs = [torch.nn.functional.pad(one, (0, 8, 0, 12), value=255) for one in strips]
    lines = [torch.cat(pairs[start : start + 2], 2) for start in range(0, len(pairs), 2)]
    sheet = torch.cat(lines, 1).permute(1, 2, 0).numpy()
    write_whole(out, lambda path: Image.fromarray(sheet).save(path, quality=85))


def sum_of(truths: list[Tensor], found: list[Tensor]) -> Tensor:
    return torch.stack([confusion(a, b) for a, b in zip(truths, found, strict=True)]).sum(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="town", help="a segmenter's name or folder")
    parser.add_argument("--cvusa", type=Path, help="a CVUSA folder with streetview/annotations")
    parser.add_argument("--split", default="train", help="of the CVUSA folder")
    parser.add_argument("--panoramas", type=int, default=100, help="of held-out towns; 0: none")
    parser.add_argument("--town-side-m", type=float, default=400.0)
    parser.add_argument("--threads", type=int, help="PyTorch's threads")
    parser.add_argument("--sheet", type=Path, help="write a picture of labels, keep and remove here")
    parser.add_argument("--json", type=Path, help="write the result here")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    segmenter = load_segmenter(arguments.model)
    if arguments.sheet:
        write_sheet(segmenter, arguments.sheet, 4, arguments.town_side_m)
    started = time.perf_counter()
    results = {}
    if arguments.panoramas:
        results["held-out towns"] = judge_towns(segmenter, arguments.panoramas, arguments.town_side_m)
    if arguments.cvusa:
        results["CVUSA labels"] = judge_cvusa(segmenter, arguments.cvusa, arguments.split)
    console = Console(width=140)
    for title, by_way in results.items():
        table = Table("", *(by_way["segmenter"]), title=f"{title}, per cent", title_justify="left")
        for way, figures in by_way.items():
            table.add_row(way, *(f"{value:.1f}" for value in figures.values()))
        console.print(table)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    circumstances = {
        "model": arguments.model,
        "device": f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit or None,
        "seconds": round(time.perf_counter() - started, 1),
    }
    console.print(", ".join(f"{name} {value}" for name, value in circumstances.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({**results, **circumstances}, indent=2) + "\n")


if __name__ == "__main__":
    main()
