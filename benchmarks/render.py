"""How many panoramas a second does the renderer make, and what does each effect cost?

    python benchmarks/render.py [--processes 2] [--relief 0.5] [--json out.json]

Every effect is left out in turn, on the same cameras and moments; the ratio is the time without the effect over the
time with everything. Each process runs one torch thread, as data loader workers do.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from smdt.world.moment import Moment, Sensor
from smdt.world.render import RenderConfig, Renderer, street_positions
from smdt.world.town import TownConfig, build_town

VARIANTS = {
    "everything": {},
    "without single trees, cars, people, poles": {"sprites": False},
    "without shadows": {"shadows": False},
    "without sensor": {"sensor": False},
    "two rays a pixel each way": {"supersample": 2},
}


def seconds_each(
    device: str, count: int, repeats: int, relief: float | None, seed: int = 150
) -> dict[str, float]:
    """Median seconds a panorama of each variant, in turns so that drift hits all alike."""
    torch.set_num_threads(1)
    place = build_town(TownConfig(seed=seed, side_m=500.0, relief=relief))
    rng = np.random.default_rng(0)
    positions = street_positions(place, count, rng)
    moments = [replace(Moment.draw(rng), sensor=Sensor.draw(rng)) for _ in positions]
    renderers = {name: Renderer(place, RenderConfig(**change), device) for name, change in VARIANTS.items()}  # type: ignore[arg-type]
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for repeat in range(repeats + 1):
        for name, renderer in renderers.items():
            started = time.perf_counter()
            for (east, north), moment in zip(positions, moments, strict=True):
                renderer.panorama(float(east), float(north), 0.0, 2.5, moment)
            if device != "cpu":
                torch.cuda.synchronize()
            if repeat:
                times[name].append((time.perf_counter() - started) / count)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--count", type=int, default=12, help="cameras")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--relief", type=float, help="how hilly, 0 (flat) to 1; by style and seed unless given"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        work = [
            (options.device, options.count, options.repeats, options.relief, 150 + number)
            for number in range(options.processes)
        ]
        results = pool.starmap(seconds_each, work)
    mean = {name: statistics.mean(result[name] for result in results) for name in VARIANTS}
    table = Table(
        title=f"128×512 panoramas, {options.processes} processes, {options.device}", title_justify="left"
    )
    for column in ("variant", "ms each", "panoramas/s, all processes", "time / everything"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, seconds in mean.items():
        rate, ratio = options.processes / seconds, seconds / mean["everything"]
        table.add_row(name, f"{seconds * 1000:.1f}", f"{rate:.1f}", f"{ratio:.2f}")
    Console(width=110).print(table)
    if options.json:
        record = {
            "seconds_each": mean,
            "processes": options.processes,
            "device": options.device,
            "relief": options.relief,
            "machine": platform.machine(),
            "torch": torch.__version__,
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
