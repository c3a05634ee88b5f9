"""What `smdt import-weights` does, behind its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smdt.app.tables import print_facts
from smdt.errors import ModelError


def import_weights_to(
    file: Path, variant: str, out: Path, name: str | None, origin_stem: bool, overwrite: bool, **options: Any
) -> None:
    """Read weights of others into a Transformer and write its folder."""
    from smdt import __version__
    from smdt.retrieval.checkpoints import ORIGIN_STEM, read_weights, transformer_of
    from smdt.retrieval.models import CONFIG_FILE, save_model

    if (out / CONFIG_FILE).exists() and not overwrite:
        raise ModelError(
            "holds a model already", where=out, remedy="choose another --out, or give --overwrite"
        )
    settings = {option: value for option, value in options.items() if value is not None}
    settings |= {"name": name or out.name} | (dict(ORIGIN_STEM) if origin_stem else {})
    weights = read_weights(file)
    model = transformer_of(weights, variant, settings)
    record = {
        "started_from": f"{file.name}, {weights.layout} weights",
        "trained_on": _TRAINED_ON[weights.layout],
        "smdt": __version__,
    }
    save_model(model, out, record)
    parameters = sum(parameter.numel() for parameter in model.encoders["ground"].parameters())
    print_facts(
        str(out),
        {
            "variant": variant,
            "weights": f"{weights.layout}, {len(weights.tensors)} tensors",
            "parameters": f"{parameters:,} each encoder",
            "values from": f"the {'layer before' if model.config.values_from == 'previous' else 'own'} input",
        },
    )


_TRAINED_ON = {
    "google": "image classification; not trained to compare views",
    "timm": "image classification; not trained to compare views",
    "published": "whatever the published checkpoint was trained on; the file does not say",
}
