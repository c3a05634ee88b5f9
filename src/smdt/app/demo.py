"""The demo: a town no training has seen, its aerial image as a GeoTIFF, and street photos found in it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from smdt.app.commands import build_index_at
from smdt.app.geojson import heading_error_deg, metres_off, write_geojson
from smdt.app.located_report import ReportSettings, write_located_report
from smdt.app.tables import console, print_located, progress_bar
from smdt.errors import ConfigError
from smdt.files import write_text_whole
from smdt.locate import LocateConfig, Truth, locate
from smdt.retrieval.models import load_model
from smdt.world.aerial import write_aerial
from smdt.world.dataset import HELD_OUT_SEEDS
from smdt.world.layers import Place
from smdt.world.moment import Moment
from smdt.world.render import RenderConfig, Renderer, street_positions
from smdt.world.town import TownConfig, build_town

_PANORAMA = RenderConfig(height_px=224, width_px=1232, steps=480)
_VARIETY = 0.3  # of days and cameras; the shipped model learned with as much
_NOTES = (
    "Everything here is simulated: the town, its aerial image and the street photos. The town lies in the open "
    "Atlantic so that nobody takes it for a real place.",
    "The model was trained on other simulated towns only, and has never seen this one.",
    "Photos are taken under another sky and light than the aerial image, facing a direction the model is not told.",
)


def run_demo(out: Path, photos: int, side_m: float, seed: int) -> None:
    """Run the demo and write its files to a folder.

    Args:
        out: folder for the GeoTIFF, the photos, the index, the table as JSON and the report.
        photos: how many photos to take.
        side_m: side of the square town.
        seed: of the town; must be one of those held out from training.

    Raises:
        ConfigError: if training may have seen the town.
    """
    if seed not in HELD_OUT_SEEDS:
        raise ConfigError(
            f"town {seed} is not held out from training, so finding photos in it shows nothing",
            where="--seed",
            remedy=f"choose from {min(HELD_OUT_SEEDS)}..{max(HELD_OUT_SEEDS)}",
        )
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    say = console().print
    place = build_town(TownConfig(seed=seed, side_m=side_m, style="organic", relief=0.0))
    imagery = out / "town.tif"
    write_aerial(place, imagery, Moment.draw(np.random.default_rng([seed, 3]), _VARIETY))
    say(f"{imagery}: {place.name}, {side_m / 1000 * side_m / 1000:.2f} km² at {place.pixel_m:g} m per pixel")
    files, truths = take_photos(place, out / "photos", photos, seed)
    say(f"{out / 'photos'}: {photos} street panoramas, headings unknown to the model")
    index = build_index_at(imagery, out / "town.index", "town", None, None, overwrite=True)
    model = load_model("town")
    config = LocateConfig()
    with progress_bar("locating photos") as advance:
        results = locate(files, index, model, config, advance)
    print_located(results, truths)
    off = np.array([metres_off(r.candidates[0], t) for r, t in zip(results, truths, strict=True)])
    turned = [heading_error_deg(r.candidates[0], t) for r, t in zip(results, truths, strict=True)]
    say(
        f"median error {np.median(off):.1f} m; {int((off <= 25).sum())} of {len(off)} within 25 m; "
        f"median heading error {np.median([t for t in turned if t is not None]):.1f}°"
    )
    known = dict(zip(files, truths, strict=True))
    write_geojson(out / "located.geojson", results, known)
    seconds = time.monotonic() - started
    settings = ReportSettings(
        "Street photos found in a simulated town",
        imagery,
        config,
        notes=_NOTES,
        facts={"Photos": str(photos), "Time": f"{seconds:.0f} s, from building the town to this page"},
    )
    write_located_report(out / "report.html", index, results, truths, settings)
    say(f"report: {out / 'report.html'} ({seconds:.0f} s)")


def take_photos(place: Place, folder: Path, count: int, seed: int) -> tuple[list[Path], list[Truth]]:
    """Render street panoramas at random places and headings, under a sky of their own; truths beside them."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, 7])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # rendering is many small operations; more threads wait for each other
    renderer = Renderer(place, _PANORAMA)
    files, truths = [], []
    for number, (east, north) in enumerate(street_positions(place, count, rng), start=1):
        heading = float(rng.uniform(0, 360))
        view = renderer.panorama(
            east, north, heading, float(rng.uniform(2.0, 2.8)), Moment.draw(rng, _VARIETY)
        )
        path = folder / f"photo-{number:02d}.jpg"
        Image.fromarray(view.image.permute(1, 2, 0).numpy()).save(path, quality=92)
        latitude, longitude = place.to_position(east, north)
        files.append(path)
        truths.append(Truth(float(latitude), float(longitude), heading))
    torch.set_num_threads(threads)
    record = {
        path.name: {
            "latitude_deg": t.latitude_deg,
            "longitude_deg": t.longitude_deg,
            "heading_deg": t.heading_deg,
        }
        for path, t in zip(files, truths, strict=True)
    }
    write_text_whole(folder / "truth.json", json.dumps(record, indent=2) + "\n")
    return files, truths
