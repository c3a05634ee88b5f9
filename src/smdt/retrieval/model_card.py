"""The model card: what stands in a model folder's README, from its config, its training record and measured scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smdt.retrieval.encoder import EncoderConfig

_BEYOND = {"black": "black", "mirror": "the photo mirrored"}
_MIRRORED = "- Both views' mirror images are embedded as well, and their strips compared beside the others."
_FAMILIES = {
    "siamese": "one convolutional trunk for both views; strips of features in azimuth order, which also give a heading",
    "compact": "a small network that gives strips of features in azimuth order, which also give a heading",
    "transformer": "a Transformer a view with self-cross attention; one global descriptor",
    "safa": "spatial-aware feature aggregation on a convolutional trunk a view; one global descriptor",
    "sample4geo": "one convolutional backbone for both views, pooled globally; one global descriptor",
}


def model_card(config: EncoderConfig, record: Mapping[str, Any], parameters: int) -> str:
    """A model's card as Markdown with the header that model hubs read.

    Args:
        config: the model's.
        record: its training record. ``trained_on``, ``settings``, ``steps_done``, ``hours``, ``device``, ``smdt`` and
            ``torch`` are told where they are there. ``scores`` maps what was measured on to figures by name.
        parameters: how many it has.
    """
    lines = [
        "---",
        "library_name: smdt",
        "tags: [cross-view-geo-localization, image-retrieval]",
        "---",
        "",
        f"# {config.name}",
        "",
        "Finds where a street photo was taken by comparing it with aerial images.",
        "",
        f"- Family: `{config.family}`: {_FAMILIES.get(config.family, 'of its own')}.",
        f"- Parameters: {parameters:,}.",
        f"- Street view: panoramas of {config.height_px}×{config.width_px} pixels; "
        f"{_BEYOND[config.beyond]} beyond a narrow photo's edges.",
        f"- Aerial view: {_aerial(config)}.",
        *([_MIRRORED] if config.mirrored else []),
        "",
        "## Training",
        "",
        *_training(record),
        "",
        "## Measured",
        "",
        *_scores(record),
        "",
        "## Use",
        "",
        "`smdt index build IMAGERY --model FOLDER --out INDEX`, then `smdt locate PHOTO --index INDEX --model FOLDER`.",
        "",
    ]
    return "\n".join(lines)


def _aerial(config: EncoderConfig) -> str:
    if config.mapping == "none":
        how = f"square images of {config.tile_px}×{config.tile_px} pixels, not mapped"
    else:
        how = f"mapped to the panorama ({config.mapping})"
    if config.aerial_input != "mapped":
        made = f"Ig′, the ground view that a dual conditional GAN makes of the tile (`{config.cgan_fingerprint}`)"
        how = made if config.aerial_input == "ground_view" else f"{how}, and beside it {made}"
    if config.tile_side_m:
        how = f"{how}; tiles of {config.tile_side_m:g} m"
    near = config.camera_within_m
    return f"{how}, cameras within {near:g} m of their centre, east and north each" if near else how


def _training(record: Mapping[str, Any]) -> list[str]:
    trained_on = record.get("trained_on")
    lines = [f"Trained on: {trained_on}." if trained_on else "What it was trained on is not recorded."]
    for name, text in (
        ("started_from", "Started from: {}."),
        ("steps_done", "Steps: {}."),
        ("hours", "Hours: {}."),
        ("device", "Device: {}."),
        ("smdt", "smdt {}."),
        ("torch", "torch {}."),
    ):
        if record.get(name) is not None:
            lines.append("- " + text.format(record[name]))
    return [lines[0], "", *lines[1:]] if len(lines) > 1 else lines


def _scores(record: Mapping[str, Any]) -> list[str]:
    scores = record.get("scores")
    if not isinstance(scores, Mapping) or not scores:
        return ["Nothing has been measured with these weights, or it is not recorded."]
    lines = ["| on | figures |", "|---|---|"]
    for what, figures in scores.items():
        told = (
            ", ".join(f"{name} {_number(value)}" for name, value in figures.items())
            if isinstance(figures, Mapping)
            else str(figures)
        )
        lines.append(f"| {what} | {told} |")
    if "simulated" in str(record.get("trained_on", "")):
        lines += ["", "The model has seen no real street photo in training."]
    return lines


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
