"""The commands under ``smdt world``: each is a thin shell over one function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path)
_RELIEF = click.option(
    "--relief",
    type=click.FloatRange(0.0, 1.0),
    help="How hilly towns are, from 0, flat, to 1.  [default: by style and seed]",
)


@click.group()
def world() -> None:
    """Make simulated places."""


@world.command("town")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--side-m", type=float, default=1000.0, show_default=True)
@click.option("--pixel-m", type=float, default=0.25, show_default=True)
@click.option(
    "--style",
    default="mixed",
    show_default=True,
    help="organic, grid, radial, rural, suburb, highrise, farmland, forest, coast, or mixed: one of them by the seed.",
)
@_RELIEF
@click.option(
    "--latitude", "latitude_deg", type=float, default=45.0, show_default=True, help="South-west corner."
)
@click.option("--longitude", "longitude_deg", type=float, default=-30.0, show_default=True)
@click.option("--out", type=_FILE, required=True, help="Folder for colour.tif, height.tif and class.tif.")
def world_town(out: Path, **options: Any) -> None:
    """Build a procedural town and write its layers as GeoTIFFs."""
    from smdt.app.commands import write_town

    write_town(out, **options)


@world.command("sheet")
@click.option("--out", type=_FILE, required=True, help="Picture to write (.png or .jpg).")
@click.option("--rows", type=click.IntRange(min=1, max=100), default=12, show_default=True, help="Pairs.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--side-m", type=float, default=120.0, show_default=True, help="Side of the aerial tiles.")
def world_sheet(out: Path, rows: int, seed: int, side_m: float) -> None:
    """Draw a contact sheet of simulated aerial and ground pairs, the styles in turn."""
    from smdt.app.sheet import write_sheet

    write_sheet(out, rows, seed, side_m)


@world.command("osm")
@click.argument("extract", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="Folder for the place's layers and tables.")
@click.option("--pixel-m", type=float, default=0.25, show_default=True)
@click.option("--bounds", metavar="W,S,E,N", help="Degrees.  [default: the extract's]")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of what the map does not say: roofs, façades, gardens.",
)
def world_osm(extract: Path, out: Path, bounds: str | None, **options: Any) -> None:
    """Build a place from an OpenStreetMap extract (.osm.pbf)."""
    from smdt.app.world_commands import write_osm_place

    write_osm_place(extract, out, bounds, **options)


@world.command("rasters")
@click.option("--colour", type=_FILE, required=True, help="Orthophoto.")
@click.option("--height", type=_FILE, required=True, help="Surface model in metres.")
@click.option(
    "--ground",
    "--terrain",
    "terrain",
    type=_FILE,
    help="Terrain model in metres: the place's ground.  [default: flat; what is taken off is estimated from --height]",
)
@click.option("--class", "classes", type=_FILE, help="Class raster.  [default: derived]")
@click.option(
    "--class-scheme",
    type=click.Choice(["smdt", "las"]),
    default="smdt",
    show_default=True,
    help="What its numbers mean.",
)
@click.option("--osm", type=_FILE, help="OpenStreetMap extract to take the roads from.")
@click.option("--out", type=_FILE, required=True, help="Folder for the place's layers and tables.")
@click.option("--pixel-m", type=float, help="[default: the orthophoto's, at least 0.1]")
@click.option("--bounds", metavar="W,S,E,N", help="Degrees.  [default: what the files share]")
@click.option(
    "--ground-window-m",
    type=float,
    default=60.0,
    show_default=True,
    help="Wider than the widest building, where there is no --ground.",
)
def world_rasters(out: Path, bounds: str | None, **options: Any) -> None:
    """Make a place of a real orthophoto and a real surface model."""
    from smdt.app.world_commands import write_raster_place

    write_raster_place(out, bounds, **options)


@world.command("pairs")
@click.option("--town-seeds", help="Towns to take them from, like 1,2,5-9.")
@click.option(
    "--place", "places", type=_FILE, multiple=True, help="A place's folder; may be given several times."
)
@click.option("--layout", type=click.Choice(["cvusa"]), default="cvusa", show_default=True)
@click.option("--count", type=click.IntRange(min=1), required=True, help="Pairs in all.")
@click.option(
    "--out", type=_FILE, required=True, help="Folder of the set; a writing that stopped goes on there."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--aerial-px", type=int, default=750, show_default=True, help="Side of the aerial images.")
@click.option("--tile-side-m", type=float, default=170.0, show_default=True, help="The same on the ground.")
@click.option("--tile-factors", help="Sides vary, drawn for each pair: times one of these, like 0.8,1.0,1.1.")
@click.option(
    "--height-px",
    type=int,
    default=224,
    show_default=True,
    help="Rows of the panoramas; 5.5 times as many columns.",
)
@click.option("--labels/--no-labels", default=True, show_default=True, help="Class maps and depths, too.")
@click.option("--apart-m", type=float, default=5.0, show_default=True, help="Least distance of two cameras.")
@click.option(
    "--max-offset-m", type=float, default=4.0, show_default=True, help="Cameras off the images' centre."
)
@click.option(
    "--val-share", type=float, default=0.2, show_default=True, help="Share of places to evaluate on."
)
@click.option("--town-side-m", type=float, default=1000.0, show_default=True)
@click.option("--style", default="mixed", show_default=True, help="Of the towns; see `smdt world town`.")
@_RELIEF
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes.")
def world_pairs(layout: str, **options: Any) -> None:
    """Write pairs of simulated street panoramas and aerial images as a data set in CVUSA's layout."""
    from smdt.app.benchmark_commands import write_pair_set

    del layout  # there is one
    write_pair_set(**options)
