"""What `smdt export` does: find the model, convert it, compare it with torch, write it."""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from torch import nn

from smdt.app.tables import print_facts
from smdt.errors import ExportError, ModelError
from smdt.export.mindspore import Example, convert, write_mindir
from smdt.export.parity import compare
from smdt.mindspore import load

TOLERANCE = 1e-4
_BATCH = 2


def export_to_mindspore(model: str, out: Path, *, ckpt: bool, mindir: bool) -> None:
    """Write a model as a MindSpore network, and say how equal it is.

    Args:
        model: a retrieval model by name or folder, ``segmenter``, ``dual-cgan``, or a folder of one of these.
        out: folder to write.
        ckpt: write ``model.ckpt`` too.
        mindir: write a MindIR for each view too.

    Raises:
        ModelError: if there is no such model, or MindSpore is not installed.
        ExportError: if the model cannot be converted, or the result differs from torch's.
    """
    module, calls = find_model(model)
    conversion = convert(module, calls)
    conversion.write(out, ckpt=ckpt)
    network = load(out)
    apart = compare(module, network, calls)
    if max(apart.values()) > TOLERANCE:
        raise ExportError(
            f"gives results that differ from torch's by {max(apart.values()):.1e}",
            where=out,
            remedy="report the model; do not use the folder",
        )
    one = {entry: tuple(_first(value) for value in example) for entry, example in calls.items()}
    written = write_mindir(network, one, out) if mindir else []
    facts = {
        "class": conversion.name,
        "parameters": f"{sum(array.size for array in conversion.weights.values()):,}",
        **{f"difference, {entry or 'result'}": f"{value:.1e} relative" for entry, value in apart.items()},
    }
    if written:
        facts["MindIR"] = ", ".join(path.name for path in written)
    print_facts(str(out), facts)
    click.echo(f"Load it with smdt.mindspore.load({str(out)!r}); it needs no torch.")


def find_model(name: str) -> tuple[nn.Module, dict[str, Example]]:
    """A model in evaluation mode, and example calls by name.

    Raises:
        ModelError: if there is no such model.
    """
    kind = _kind(name)
    if kind == "segmenter":
        from smdt.alignment.segmentation import NetworkSegmenter, load_segmenter

        segmenter = load_segmenter("town" if name == "segmenter" else name)
        if not isinstance(segmenter, NetworkSegmenter):
            raise ModelError("is no network of ours", where=name, remedy="name segmenter, or a folder")
        size = segmenter.network.config
        return segmenter.network, {"": (_images(size.height_px, size.width_px),)}
    if kind == "dual-cgan":
        from smdt.alignment.cgan_models import load_cgan

        cgan = load_cgan(name)
        return cgan, {"": (_images(cgan.config.height_px, cgan.config.width_px),)}
    from smdt.retrieval.encoder import VIEWS
    from smdt.retrieval.models import load_model

    model = load_model(name)
    config = model.config
    return model, {
        view: (_images(*config.image_shape(view), config.image_channels(view)), view) for view in VIEWS
    }


def _kind(name: str) -> str:
    """What a name or folder holds, told by the folder's config."""
    if name in ("segmenter", "dual-cgan"):
        return name
    config = Path(name) / "config.json"
    if config.is_file():
        try:
            stored = json.loads(config.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ModelError(
                "is not a model's config", where=config, remedy="copy the model again"
            ) from error
        if "generator_filters" in stored:
            return "dual-cgan"
        if "channels" in stored and "family" not in stored:
            return "segmenter"
    return "retrieval"


def _images(rows: int, columns: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(_BATCH, channels, rows, columns, generator=torch.Generator().manual_seed(0))


def _first(value: object) -> object:
    return value[:1] if isinstance(value, torch.Tensor) else value
