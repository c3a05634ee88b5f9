"""How much faster does map_aerial unroll a batch of aerial images than a NumPy reference of the published formula?

The reference is SAFA eq. 1 with bilinear sampling in float64, image by image, written from the formula: once with its
grid computed for each image (as the published script does), once with the grid made beforehand. A third way is as
quick as we could make NumPy: flat neighbours and weights beforehand, four gathers an image. All ways run in turn
within every repetition, and their medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from closing import add_closing_options, circumstances, write_result
from smdt.geometry.mapping import aerial_grid, map_aerial

AIM = 20.0
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def published_grid(side: int, height: int, width: int) -> tuple[Floats, Floats]:
    """Source rows and columns (H, W) of SAFA eq. 1."""
    i, j = np.mgrid[0:height, 0:width]
    radius = side / 2 * (height - 1 - i) / height
    return side / 2 + radius * np.cos(2 * np.pi * j / width), side / 2 - radius * np.sin(
        2 * np.pi * j / width
    )


def published_bilinear(aerial: Pixels, y: Floats, x: Floats) -> Floats:
    """One image (S, S, 3) at rows y and columns x (H, W), to (H, W, 3); zero outside."""
    y0, x0 = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    total = np.zeros((*y.shape, aerial.shape[2]))
    for row, row_weight in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
        for column, column_weight in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
            inside = (row >= 0) & (row < aerial.shape[0]) & (column >= 0) & (column < aerial.shape[1])
            neighbour = np.zeros_like(total)
            neighbour[inside] = aerial[row[inside], column[inside]]
            total += (row_weight * column_weight)[..., None] * neighbour
    return total


def tuned_neighbours(y: Floats, x: Floats, side: int) -> list[tuple[npt.NDArray[np.int64], Floats]]:
    """The four neighbours (flat index) and weights (H·W, 1) of each output pixel; weight zero outside."""
    y0, x0 = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    neighbours = []
    for row, row_weight in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
        for column, column_weight in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
            inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
            index = np.where(inside, row * side + column, 0)
            neighbours.append((index.ravel(), (inside * row_weight * column_weight).reshape(-1, 1)))
    return neighbours


def tuned_bilinear(
    aerial: Pixels, neighbours: list[tuple[npt.NDArray[np.int64], Floats]], height: int, width: int
) -> Floats:
    """One image (S, S, 3) at neighbours made beforehand, to (H, W, 3)."""
    flat = aerial.reshape(-1, aerial.shape[2])
    total = np.zeros((height * width, aerial.shape[2]))
    for index, weight in neighbours:
        total += weight * flat[index]
    return total.reshape(height, width, -1)


@dataclass(frozen=True)
class Way:
    """One way of mapping the batch, to (B, H, W, 3)."""

    name: str
    run: Callable[[], Tensor | Floats]


def ways(aerial: Pixels, height: int, width: int) -> list[Way]:
    """Every way, for a batch (B, S, S, 3) as image files decode to."""
    side = aerial.shape[1]
    y, x = published_grid(side, height, width)
    neighbours = tuned_neighbours(y, x, side)
    grid = aerial_grid("polar", side, height, width)
    grid.matrix()
    decoded = torch.from_numpy(aerial).permute(0, 3, 1, 2)  # channels last in memory
    planar = decoded.float().contiguous()
    places = torch.stack([grid.column_px, grid.row_px], dim=-1) / (side - 1) * 2 - 1
    places = places.float().expand(len(aerial), -1, -1, -1)

    def grid_sample(images: Tensor) -> Tensor:
        sampled = torch.nn.functional.grid_sample(images, places, align_corners=True)
        return sampled.permute(0, 2, 3, 1)

    def each(sample: Callable[[Pixels], Floats]) -> Floats:
        return np.stack([sample(image) for image in aerial])

    return [
        Way(
            "NumPy reference",
            lambda: each(lambda image: published_bilinear(image, *published_grid(side, height, width))),
        ),
        Way("NumPy reference, grid ready", lambda: each(lambda image: published_bilinear(image, y, x))),
        Way(
            "NumPy tuned, all ready",
            lambda: each(lambda image: tuned_bilinear(image, neighbours, height, width)),
        ),
        Way("map_aerial, uint8 as decoded", lambda: map_aerial(decoded, grid).permute(0, 2, 3, 1)),
        Way("map_aerial, float32 planar", lambda: map_aerial(planar, grid).permute(0, 2, 3, 1)),
        Way("grid_sample, uint8 as decoded", lambda: grid_sample(decoded.float())),
        Way("grid_sample, float32 planar", lambda: grid_sample(planar)),
    ]


def measure(batch: int, side: int, repetitions: int, seed: int) -> dict[str, object]:
    """Median seconds of each way, its ratios to both references, and its largest difference from them."""
    height, width = 112, 616
    aerial = np.random.default_rng(seed).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    every = ways(aerial, height, width)
    reference = np.asarray(every[0].run())
    differences = {way.name: float(np.abs(np.asarray(way.run()) - reference).max()) for way in every}
    seconds: dict[str, list[float]] = {way.name: [] for way in every}
    for _ in range(repetitions):
        for way in every:
            started = time.perf_counter()
            way.run()
            seconds[way.name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    reference_seconds, ready_seconds, tuned_seconds = (medians[way.name] for way in every[:3])
    return {
        "batch": batch,
        "aerial_px": side,
        "mapped_px": [height, width],
        "repetitions": repetitions,
        "ways": {
            name: {
                "median_seconds": round(median, 5),
                "images_per_second": round(batch / median, 1),
                "times_reference": round(reference_seconds / median, 2),
                "times_reference_grid_ready": round(ready_seconds / median, 2),
                "times_numpy_tuned": round(tuned_seconds / median, 2),
                "largest_difference_levels": differences[name],
            }
            for name, median in medians.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64, help="images")
    parser.add_argument("--side", type=int, default=750, help="pixels along an aerial image's side")
    parser.add_argument("--repetitions", type=int, default=5)
    add_closing_options(parser)  # NumPy has one thread here
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = measure(arguments.batch, arguments.side, arguments.repetitions, arguments.seed)
    result |= circumstances()
    columns = ("median s", "images/s", "× reference", "× grid ready", "× tuned", "largest difference, levels")
    table = Table(
        "", *columns, title=f"{arguments.batch} aerial images of {arguments.side}² px to 112×616, polar"
    )
    for name, found in result["ways"].items():  # type: ignore[attr-defined]
        table.add_row(name, *(f"{value:.3g}" for value in found.values()))
    console = Console(width=120)
    console.print(table)
    console.print(", ".join(f"{name} {result[name]}" for name in circumstances()))
    times = result["ways"]["map_aerial, uint8 as decoded"]  # type: ignore[index]
    console.print(
        f"map_aerial is {times['times_reference']}× as fast as the NumPy reference (aim: {AIM:.0f}×),"
    )
    console.print(f"and {times['times_reference_grid_ready']}× as fast as the reference with its grid ready")
    write_result(arguments.json, result)


if __name__ == "__main__":
    main()
