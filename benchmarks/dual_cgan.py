"""Does the dual conditional GAN make better ground images of aerial tiles than guesses that need none?

On towns that no training has seen (seeds 2022 to 2031): SSIM, PSNR, sharpness difference, colour KL and label mIoU
(for their definitions see ``smdt.alignment.cgan_scores``) of the model's Ig′ and Sg′, and of two floors: the mean
ground image of the training towns with each row's commonest class, and the mapped aerial tile itself with each pixel's
nearest class colour. Headings are known, cameras stand within 2 m of the tile's centre.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from smdt.alignment.cgan_models import fingerprint, load_cgan
from smdt.alignment.cgan_scores import CganScores, Floors, ScoreSum
from smdt.alignment.dual_cgan import class_map
from smdt.files import write_text_whole
from smdt.training.cgan_pairs import WorldPairs, joined
from smdt.training.dual_cgan import DualCganTraining, sample_sheet
from smdt.world.dataset import HELD_OUT_SEEDS, PairConfig

_BATCH = 8


def pair_sources(model: str, count: int, variety: float, same_moment: bool) -> tuple[WorldPairs, WorldPairs]:
    """Pairs of training towns (for the floors) and of held-out towns, drawn alike."""
    config = load_cgan(model).config
    alike = DualCganTraining(
        out=Path("unused"),
        variety=variety,
        same_moment=same_moment,
        supersample=2,
        **{
            name: getattr(config, name)
            for name in ("height_px", "width_px", "tile_side_m", "camera_height_m")
        },
    )
    draw: PairConfig = alike.draw()
    return (
        WorldPairs(config, alike.town_seeds, draw, count=count, town_side_m=400.0, seed=9),
        WorldPairs(config, tuple(sorted(HELD_OUT_SEEDS)), draw, count=count, town_side_m=400.0, seed=9),
    )


def measure(
    model_name: str, count: int, variety: float, same_moment: bool, sheet: Path | None
) -> dict[str, object]:
    """All figures of a model on held-out towns."""
    model = load_cgan(model_name)
    known, unseen = pair_sources(model_name, count, variety, same_moment)
    floors = Floors.of((pair.image.float() / 255.0, pair.labels) for pair in map(known.pair, range(count)))
    sums = {name: ScoreSum() for name in ("Ig′ of the model", "mean ground image", "mapped aerial")}
    for first in range(0, count, _BATCH):
        batch = joined([unseen.pair(number) for number in range(first, min(count, first + _BATCH))])
        with torch.no_grad():
            made = model(batch.aerial)
        if sheet is not None and first == 0:
            sample_sheet(batch, made, model.config.labels).save(sheet)
        size = len(batch.image)
        guessed = {
            "Ig′ of the model": (made.image, class_map(made.labels, model.config.labels)),
            "mean ground image": (
                floors.mean_image.expand(size, -1, -1, -1),
                floors.row_labels.expand(size, -1, -1),
            ),
            "mapped aerial": (batch.aerial, floors.nearest_class(batch.aerial)),
        }
        for name, (image, labels) in guessed.items():
            sums[name].add(image, batch.image, labels, batch.labels)
    return {
        "model": model.config.name,
        "fingerprint": fingerprint(model),
        "pairs": count,
        "variety": variety,
        "same_moment": same_moment,
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "scores": {name: asdict(one.result()) for name, one in sums.items()},
        "iou_percent": {one.name.lower(): value for one, value in sums["Ig′ of the model"].iou().items()},
    }


def print_table(scores: dict[str, CganScores], title: str) -> None:
    """A row for the model and for each floor."""
    table = Table(title=title, title_justify="left")
    for name in ("", "SSIM", "PSNR dB", "sharpness dB", "colour KL", "label mIoU %"):
        table.add_column(name, justify="left" if not name else "right")
    for name, one in scores.items():
        table.add_row(
            name,
            f"{one.ssim:.3f}",
            f"{one.psnr_db:.2f}",
            f"{one.sharpness_db:.2f}",
            f"{one.colour_kl:.2f}",
            f"{one.label_miou:.1f}",
        )
    Console().print(table)


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="dual-cgan", help="dual-cgan, or a folder")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--variety", type=float, default=1.0, help="of days and cameras, 0 to 1")
    parser.add_argument("--same-moment", action="store_true", help="both views of one day")
    parser.add_argument("--sheet", type=Path, help="write Ia, Sg′, Sg, Ig′, Ig of the first pairs (.png)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.model, options.pairs, options.variety, options.same_moment, options.sheet)
    scores = found["scores"]
    assert isinstance(scores, dict)
    title = f"{options.pairs} pairs of held-out towns, variety {options.variety:g}, model '{found['model']}'"
    print_table({name: CganScores(**one) for name, one in scores.items()}, title)
    if options.json:
        write_text_whole(options.json, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
