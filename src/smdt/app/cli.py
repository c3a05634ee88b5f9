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
from smdt.app.world_cli import world
from smdt.errors import SmdtError

_FILE = click.Path(path_type=Path)
_MAPPINGS = click.Choice(["polar", "perspective", "mixed"])
_MODEL = click.option(
    "--model",
    default="town",
    show_default=True,
    help="canonical, compact, town, imagenet, a folder, hub:OWNER/NAME, or timm:BACKBONE.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="smdt")
def cli() -> None:
    """Find where a street photo was taken by matching it against aerial imagery."""


cli.add_command(train)
cli.add_command(world)


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
@_MODEL
@click.option("--side-m", type=float, help="Side of a tile in metres.  [default: the model's]")
@click.option(
    "--stride-m", type=float, help="Distance between tile centres.  [default: side / 8; 10 m for compact]"
)
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
@click.option(
    "--heading-within-deg",
    type=float,
    help="How far off --heading-deg may be, or, without it, the azimuths in the photos' EXIF.  [default: exact]",
)
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
@_MODEL
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
@click.option(
    "--off-centre-m",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="How far off a tile's centre cameras may stand: tiles are then seen from several points.",
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


@cli.command()
@_MODEL
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
@click.option(
    "--centres",
    type=click.IntRange(min=1, max=8),
    help="Points a side of the grid round which a tile is embedded.  [default: as the model wants]",
)
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
@click.option("--tile-px", type=int, help="The same in pixels, before they are mapped.  [default: 256]")
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
