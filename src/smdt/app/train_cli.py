"""The commands under `smdt train`. Each is a thin shell over one function; heavy imports live inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path)


@click.group()
def train() -> None:
    """Train models."""


@train.command("retrieval")
@click.option("--config", type=_FILE, help="YAML file of settings; options here win over it.")
@click.option("--out", type=_FILE, required=True, help="Folder for the model, its checkpoints and logs.")
@click.option("--name", help="The model's name.  [default: town]")
@click.option("--family", help="siamese, compact, transformer, safa or sample4geo.  [default: siamese]")
@click.option("--start", help="A model whose weights to start from.")
@click.option("--steps", type=int, help="Optimiser steps.  [default: 1000]")
@click.option("--batch", type=int, help="Pairs a step, over all processes.  [default: 32]")
@click.option("--learning-rate", type=float, help="Peak rate.  [default: 0.002]")
@click.option("--strip-channels", type=int, help="Width of the descriptor.  [default: 64]")
@click.option(
    "--dataset",
    type=click.Choice(["worlds", "cvusa", "cvact", "vigor", "folder"]),
    help="Simulated places, or a data set.  [default: worlds]",
)
@click.option("--root", type=_FILE, help="The data set's folder.")
@click.option("--town-seeds", help="Towns to learn from, like 1,2,5-9.  [default: 100-123]")
@click.option("--workers", type=int, help="Processes that draw or load pairs.  [default: 1]")
@click.option("--seed", type=int, help="Of everything random.  [default: 0]")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed"]), help="[default: 32-true]")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="[default: auto]")
@click.option("--devices", type=int, help="Processes on each machine, one a device.  [default: 1]")
@click.option("--nodes", type=int, help="Machines.  [default: 1]")
@click.option("--resume/--no-resume", default=None, help="Go on from the newest checkpoint in --out.")
def train_retrieval(config: Path | None, **options: Any) -> None:
    """Train a retrieval model on simulated places, with no street photo, or on a data set."""
    from smdt.app.train_commands import train_retrieval_model

    train_retrieval_model(config, options)


@train.command("dual-cgan")
@click.option("--config", type=_FILE, help="YAML file of settings; options here win over it.")
@click.option("--out", type=_FILE, required=True, help="Folder for the model, checkpoints and sheets.")
@click.option("--steps", type=int, help="Optimiser steps.")
@click.option("--batch", type=int, help="Pairs a step.")
@click.option("--dataset", type=click.Choice(["worlds", "cvusa"]), help="[default: worlds]")
@click.option("--root", help="The data set's folder.")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed"]), help="[default: 32-true]")
@click.option("--devices", type=int, help="Processes.  [default: 1]")
@click.option("--seed", type=int, help="Of everything random.  [default: 0]")
@click.option("--resume", is_flag=True, default=None, help="Go on from the newest checkpoint in --out.")
def train_dual_cgan(config: Path | None, **options: Any) -> None:
    """Train the dual conditional GAN: ground-view pictures of aerial images."""
    from smdt.app.align_commands import train_gan

    train_gan(config, options)


@train.command("segmenter")
@click.option("--config", type=_FILE, help="YAML file of settings; options here win over it.")
@click.option("--out", type=_FILE, required=True, help="Folder for the segmenter.")
@click.option("--name", help="The segmenter's name.  [default: town]")
@click.option("--steps", type=int, help="Optimiser steps.  [default: 1000]")
@click.option("--batch", type=int, help="Panoramas a step.  [default: 8]")
@click.option("--learning-rate", type=float, help="Peak rate.  [default: 0.003]")
@click.option("--town-seeds", help="Towns to learn from, like 1,2,5-9.  [default: 200-226]")
@click.option("--start", type=_FILE, help="A segmenter's folder to start from.")
@click.option("--workers", type=int, help="Processes that render.  [default: 1]")
@click.option("--seed", type=int, help="Of everything random.  [default: 0]")
@click.option("--precision", help="32-true or bf16-mixed.  [default: 32-true]")
@click.option("--devices", type=int, help="Processes on each machine.  [default: 1]")
@click.option("--resume", is_flag=True, default=None, help="Go on from the newest checkpoint in --out.")
def train_segmenter(config: Path | None, **options: Any) -> None:
    """Train the segmenter on simulated panoramas: no labelled photo needed."""
    from smdt.app.segment_commands import train_segmenter_on_towns

    train_segmenter_on_towns(config, options)


@train.command("ground-mean")
@click.option("--out", type=_FILE, required=True, help="File to write (.safetensors).")
@click.option("--panoramas", type=click.IntRange(min=1), default=480, show_default=True)
@click.option("--town-seeds", default="100-107", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def train_ground_mean(out: Path, panoramas: int, town_seeds: str, seed: int) -> None:
    """Make the mean that model `imagenet` removes from a photo that comes alone, from simulated towns."""
    from smdt.app.train_commands import make_ground_mean

    make_ground_mean(out, panoramas, town_seeds, seed)


@train.command("smdt")
@click.option("--config", type=_FILE, help="YAML file of settings, such as configs/smdt.yaml.")
@click.option("--out", type=_FILE, required=True, help="Folder; every stage has a folder of its own in it.")
@click.option(
    "--quick", is_flag=True, help="Small simulated towns and short trainings: minutes on two cores."
)
@click.option(
    "--dataset", type=click.Choice(["worlds", "cvusa", "cvact", "folder"]), help="[default: worlds]"
)
@click.option("--root", type=_FILE, help="The data set's folder.")
@click.option("--segmenter", "segmenter_model", help="A trained one instead of stage 1: town, or a folder.")
@click.option("--cgan", "cgan_model", help="A trained one instead of stage 3: dual-cgan, or a folder.")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed"]), help="[default: 32-true]")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="[default: auto]")
@click.option("--seed", type=int, help="Of everything random.  [default: 0]")
def train_smdt(config: Path | None, quick: bool, **options: Any) -> None:
    """Train the whole method stage by stage: segmenter, dual conditional GAN, ground views, retrieval.

    What is finished in --out is not done again, and a stage that was stopped goes on, so the same command goes on with
    whatever is there.
    """
    from smdt.app.smdt_commands import train_all_stages

    train_all_stages(config, quick, options)
