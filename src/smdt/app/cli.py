"""The command line. Every command is a thin shell over one function; heavy imports live inside the commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from smdt import __version__
from smdt.allocator import keep_freed_memory
from smdt.app.train_cli import train
from smdt.errors import SmdtError

_FILE = click.Path(path_type=Path)
_MAPPINGS = click.Choice(["polar", "perspective", "mixed"])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="smdt")
def cli() -> None:
    """Find where a street photo was taken by matching it against aerial imagery."""


cli.add_command(train)


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 2."""
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "passive"
    )  # threads that spin starve each other on a busy machine
    keep_freed_memory()
    try:
        cli.main(standalone_mode=False)
    except SmdtError as error:
        click.echo(f"smdt: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("smdt: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


@cli.group()
def index() -> None:
    """Build and look at indexes of aerial imagery."""


@index.command("build")
@click.argument("imagery", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="Folder to write.")
@click.option(
    "--model", default="town", show_default=True, help="town, imagenet, a folder, or timm:BACKBONE."
)
@click.option("--side-m", type=float, help="Side of a tile in metres.  [default: the model's]")
@click.option("--stride-m", type=float, help="Distance between tile centres.  [default: side / 8]")
@click.option("--overwrite", is_flag=True, help="Replace an index of the same name.")
def index_build(
    imagery: Path, out: Path, model: str, side_m: float | None, stride_m: float | None, overwrite: bool
) -> None:
    """Index a GeoTIFF or COG, a folder of XYZ tiles, or an MBTiles file."""
    from smdt.app.commands import build_index_at

    build_index_at(imagery, out, model, side_m, stride_m, overwrite)


@index.command("info")
@click.argument("folder", type=_FILE)
def index_info(folder: Path) -> None:
    """Say what an index was made of."""
    from dataclasses import asdict

    from smdt.app.tables import print_facts
    from smdt.index.store import read_info

    print_facts(str(folder), {name: str(value) for name, value in asdict(read_info(folder)).items()})


@cli.command()
@click.argument("photos", nargs=-1, required=True, type=_FILE)
@click.option("--index", "index_folder", type=_FILE, required=True, help="Made by `smdt index build`.")
@click.option("--model", help="The index's own unless given.")
@click.option("--heading-deg", type=float, help="Azimuth of the photos' centre, if known (a compass).")
@click.option("--fov-deg", type=float, help="Horizontal field of view of flat photos.  [default: EXIF]")
@click.option("--panorama/--flat", default=None, help="What the photos are.  [default: told from the file]")
@click.option("--pitch-deg", type=float, default=0.0, help="How far flat photos look up.", show_default=True)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Places to give.")
@click.option(
    "--shortlist",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Above 20,000 tiles: how many of them to score for a panorama of unknown heading; 0: all (exact).",
)
@click.option("--geojson", type=_FILE, help="Write all candidates as GeoJSON.")
@click.option("--json", "json_file", type=_FILE, help="Write all candidates as plain JSON.")
@click.option("--report", type=_FILE, help="Write a map with photos and tiles, one HTML file.")
@click.option("--imagery", type=_FILE, help="For the report, if the imagery has moved since indexing.")
def locate(photos: tuple[Path, ...], **options: Any) -> None:
    """Find where photos were taken: ranked latitude, longitude, heading and score."""
    from smdt.app.commands import locate_photos

    locate_photos(photos, **options)


@cli.command()
@click.option("--dataset", type=click.Choice(["cvusa", "cvact", "vigor", "folder"]), required=True)
@click.option("--root", type=_FILE, required=True, help="The data set's folder, in its published layout.")
@click.option(
    "--split", default=None, help="val, test, train; VIGOR: same-test, cross-test …  [default: the usual one]"
)
@click.option(
    "--model", default="town", show_default=True, help="town, imagenet, a folder, or timm:BACKBONE."
)
@click.option("--mapping", type=_MAPPINGS, help="Of the aerial images.  [default: the model's]")
@click.option("--skip-missing", is_flag=True, help="Leave pairs out whose picture is missing, and say so.")
@click.option("--use-polarmap", is_flag=True, help="Read the data set's ready-made polar images.")
@click.option(
    "--unknown-heading", is_flag=True, help="Turn queries at random; matching must find the heading."
)
@click.option(
    "--fov-deg",
    "fields_of_view_deg",
    type=float,
    multiple=True,
    help="What queries show; may be given several times.  [default: 360]",
)
@click.option(
    "--protocol",
    type=click.Choice(["full"]),
    help="full: 360, 180, 90 and 70 degrees, each with known and with unknown headings.",
)
@click.option(
    "--shortlist",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Unknown headings of whole panoramas: references to score at every turn; 0 scores all (exact).",
)
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Loader processes.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of headings and intervals."
)
@click.option("--json", "json_file", type=_FILE, help="Write the figures, and what was found, as JSON.")
@click.option("--report", type=_FILE, help="Write a page with pictures of hits and misses (.html).")
def evaluate(dataset: str, root: Path, split: str | None, model: str, **options: Any) -> None:
    """Score a model on a data set: recalls, metres and heading errors, with 95 % intervals."""
    from smdt.app.evaluate_commands import evaluate_dataset

    evaluate_dataset(dataset, root, split, model, **options)


@cli.command()
@click.argument("aerial", type=_FILE, required=False)
@click.option("--mapping", type=_MAPPINGS, help="[default: mixed, or that of --cgan]")
@click.option("--out", type=_FILE, help="Picture to write (.png or .jpg).")
@click.option("--cgan", help="Make the ground view: dual-cgan, or a folder of `smdt train dual-cgan`.")
@click.option("--labels", type=_FILE, help="Write the ground labels that --cgan makes, too.")
@click.option("--height", "height_px", type=click.IntRange(min=2), default=128, show_default=True)
@click.option("--width", "width_px", type=click.IntRange(min=4), default=512, show_default=True)
@click.option(
    "--side-m", type=float, default=170.0, show_default=True, help="Side of the aerial image in metres."
)
@click.option("--camera-height-m", type=float, default=2.5, show_default=True)
@click.option("--join-m", type=float, default=12.0, show_default=True, help="Where mixed turns into polar.")
@click.option("--cache", type=_FILE, help="Instead of AERIAL: make the ground views of a whole data set.")
@click.option("--dataset", type=click.Choice(["cvusa", "cvact", "vigor", "folder"]), help="With --cache.")
@click.option("--root", type=_FILE, help="With --cache: the data set's folder.")
@click.option("--split", help="With --cache.  [default: the data set's usual one]")
def align(aerial: Path | None, out: Path | None, **options: Any) -> None:
    """Map a square, north-up aerial image to the panorama frame, or make its ground view."""
    from smdt.app.align_commands import align as run

    run(aerial, out, **options)


@cli.command()
@click.argument("photos", nargs=-1, required=True, type=_FILE)
@click.option("--out", type=_FILE, required=True, help="Folder for the pictures.")
@click.option(
    "--model",
    default="town",
    show_default=True,
    help="town, a folder of `smdt train segmenter`, or hub:NAME.",
)
@click.option("--classes", help="Classes to write masks of, like sky,road.  [default: all]")
@click.option("--keep", help="Classes to write keep pictures of: all else white.")
@click.option("--remove", help="Classes to write remove pictures of: they are black.")
@click.option("--panorama/--flat", default=None, help="What the photos are.  [default: told from the file]")
def segment(photos: tuple[Path, ...], **options: Any) -> None:
    """Label what photos show: sky, vegetation, road, building, object, pole; with masks."""
    from smdt.app.segment_commands import segment_photos

    segment_photos(photos, **options)


@cli.group()
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
@click.option(
    "--relief",
    type=click.FloatRange(0.0, 1.0),
    help="How hilly, from 0, flat, to 1.  [default: by style and seed]",
)
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
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes.")
def world_pairs(layout: str, **options: Any) -> None:
    """Write pairs of simulated street panoramas and aerial images as a data set in CVUSA's layout."""
    from smdt.app.benchmark_commands import write_pair_set

    del layout  # there is one
    write_pair_set(**options)


@cli.command()
@click.option(
    "--model", default="town", show_default=True, help="town, imagenet, a folder, or timm:BACKBONE."
)
@click.option("--quick", is_flag=True, help="1,000 pairs of smaller towns.")
@click.option("--pairs", type=click.IntRange(min=2), help="Another number of pairs, for a trial.")
@click.option("--town-side-m", type=float, help="Another side of the towns, for a trial.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Other than 0: a trial."
)
@click.option("--osm", type=_FILE, help="Extract or place of a held-out area, such as central Helsinki.")
@click.option("--cache", type=_FILE, help="Keep the pairs in this folder, for other models.")
@click.option("--json", "json_file", type=_FILE, help="Write the result as JSON; - for standard output.")
@click.option("--report", type=_FILE, help="Write a page with the worst misses: an .html file, or a folder.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Processes.")
def benchmark(**options: Any) -> None:
    """TownBench: judge a model on simulated places that no training may see."""
    from smdt.app.benchmark_commands import run_benchmark

    run_benchmark(**options)


@cli.command("import-weights")
@click.argument("file", type=_FILE)
@click.option(
    "--variant",
    default="R50-ViT-B_16",
    show_default=True,
    help="R50-ViT-B_16, ViT-B_16, ViT-B_32, ViT-L_16 or R50-ViT-L_16.",
)
@click.option("--out", type=_FILE, required=True, help="Folder for the model.")
@click.option("--name", help="The model's name.  [default: the folder's]")
@click.option(
    "--mapping", type=click.Choice(["polar", "perspective", "mixed", "none"]), help="Of aerial images."
)
@click.option("--height", "height_px", type=int, help="Rows of both views.  [default: 128]")
@click.option("--width", "width_px", type=int, help="Columns of both views.  [default: 512]")
@click.option("--tile-side-m", type=float, help="Side of the aerial tiles it is for.")
@click.option(
    "--values-from",
    type=click.Choice(["previous", "own"]),
    help="Where a layer's values come from.  [default: previous; own for published checkpoints]",
)
@click.option(
    "--origin-stem",
    is_flag=True,
    help="Run the stem as ImageNet-21k weights were trained, not as the published code runs it.",
)
@click.option("--overwrite", is_flag=True, help="Replace a model of the same folder.")
def import_weights(file: Path, **options: Any) -> None:
    """Make a model of Google's or timm's ViT weights, or of a checkpoint of the published code."""
    from smdt.app.model_commands import import_weights_to

    import_weights_to(file, **options)


@cli.group()
def export() -> None:
    """Convert models for other frameworks."""


@export.command("mindspore")
@click.argument("model")
@click.option("--out", type=_FILE, required=True, help="Folder to write.")
@click.option("--ckpt", is_flag=True, help="Write MindSpore's own model.ckpt beside the safetensors.")
@click.option("--mindir", is_flag=True, help="Write a MindIR for each view, for one image at a time.")
def export_mindspore(model: str, out: Path, ckpt: bool, mindir: bool) -> None:
    """Convert MODEL (town, imagenet, segmenter, dual-cgan, or a folder) to a MindSpore network."""
    from smdt.app.export_commands import export_to_mindspore

    export_to_mindspore(model, out, ckpt=ckpt, mindir=mindir)


@cli.command()
@click.option("--out", type=_FILE, default=Path("demo"), show_default=True, help="Folder to write.")
@click.option("--photos", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--side-m", type=float, default=600.0, show_default=True, help="Side of the town.")
@click.option("--seed", type=int, default=2022, show_default=True, help="Of the town, unseen in training.")
def demo(out: Path, photos: int, side_m: float, seed: int) -> None:
    """Build a town no training has seen, and find street photos in it."""
    from smdt.app.demo import run_demo

    run_demo(out, photos, side_m, seed)


if __name__ == "__main__":
    main()
