"""What `smdt evaluate` does, behind its options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smdt.app.benchmark_commands import step_bars
from smdt.app.condition_table import centres_text, condition_record, print_condition_table
from smdt.app.tables import console
from smdt.data import open_split
from smdt.errors import ConfigError
from smdt.evaluate import EvaluateConfig, Evaluation, evaluate, view_settings
from smdt.files import write_text_whole
from smdt.retrieval.models import load_model


def evaluate_dataset(
    dataset: str,
    root: Path,
    split: str | None,
    model: str,
    *,
    skip_missing: bool,
    json_file: Path | None,
    report: Path | None,
    **options: Any,
) -> None:
    """Evaluate, print a table, write what was asked for."""
    from smdt.app.evaluation_page import write_evaluation_page

    config = evaluate_config(**options)
    opened = open_split(dataset, root, split, skip_missing=skip_missing)
    if opened.left_out:
        console().print(f"{opened.left_out} pairs are left out because a picture is missing")
    loaded = load_model(model)
    with step_bars() as progress:
        result = evaluate(loaded, opened, config, progress)
    simulated = ", simulated places" if opened.simulated else ""
    title = (
        f"{opened.dataset} {opened.split}{simulated}: {result.queries} queries, {result.references} references, "
        f"model '{loaded.config.name}'"
    )
    print_condition_table(result.conditions, title)
    for note in notes_of(result):
        console().print(note)
    if json_file:
        write_text_whole(json_file, _to_json(result))
    if report:
        write_evaluation_page(report, result, opened, view_settings(loaded, config))
        console().print(f"report: {report}")


def evaluate_config(
    *, protocol: str | None, fields_of_view_deg: tuple[float, ...], unknown_heading: bool, **options: Any
) -> EvaluateConfig:
    """The settings that the command's options stand for.

    Raises:
        ConfigError: if a protocol and what it decides are both given.
    """
    if protocol is None:
        return EvaluateConfig(
            fields_of_view_deg=fields_of_view_deg or (360.0,),
            known_heading=not unknown_heading,
            unknown_heading=unknown_heading,
            **options,
        )
    if fields_of_view_deg or unknown_heading:
        raise ConfigError(
            f"protocol '{protocol}' decides on fields of view and headings",
            where="--protocol",
            remedy="leave --fov-deg and --unknown-heading out, or the protocol",
        )
    return EvaluateConfig.full(**options)


def notes_of(result: Evaluation) -> list[str]:
    """What a reader of the figures has to know."""
    notes = []
    if result.facts["simulated"]:
        notes.append("The places are simulated: not to be set beside figures on real ones without saying so.")
    if result.facts["hit_radius_m"]:
        notes.append(f"A hit is any reference within {result.facts['hit_radius_m']:g} m of the query.")
    if result.facts["shortlist"]:
        notes.append(
            f"Whole panoramas of unknown heading: only the {result.facts['shortlist']} references with the nearest "
            "rotation-free keys were scored at every turn, so these figures are not exact."
        )
    if result.facts["centres"] != 1:
        notes.append(f"References are seen from {centres_text(int(result.facts['centres'] or 1))}.")
    elif result.facts["off_centre_m"]:
        notes.append(
            "One point a tile: it is near enough, or the model does not say how near cameras have to be."
        )
    if any(not one.heading_known and not one.found_heading_deg.numel() for one in result.conditions):
        notes.append("This model's descriptors have one column, so they find no heading.")
    return notes


def _to_json(result: Evaluation) -> str:
    """A result for programs."""
    record = {
        **result.facts,
        "queries": result.queries,
        "references": result.references,
        "true_heading_deg_where_unknown": result.heading_deg.round(4).tolist(),
        "conditions": [condition_record(condition) for condition in result.conditions],
    }
    return json.dumps(record, indent=2) + "\n"
