"""Embed a data set in MindSpore and score it by the protocol: R@1, R@5, R@10 and R@1%.

Without --root a small simulated set in CVUSA's layout is made first:

    python examples/mindspore/evaluate.py --model town
    python examples/mindspore/evaluate.py --model runs/mine --root CVUSA --split val
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from small_world import write_small_world

from smdt.data import open_split
from smdt.errors import SmdtError
from smdt.evaluate import Evaluation, evaluate
from smdt.export.mindspore import to_network
from smdt.export.mindspore_encoder import MindSporeEncoder
from smdt.retrieval.encoder import VIEWS, Encoder
from smdt.retrieval.models import load_model


def in_mindspore(model: Encoder) -> MindSporeEncoder:
    """The model with its network in MindSpore."""
    import torch

    calls = {view: (torch.rand(2, 3, *model.config.image_shape(view)), view) for view in VIEWS}
    return MindSporeEncoder(to_network(model, calls), model.config, model.columns)


def recalls(result: Evaluation) -> str:
    """R@K of the first condition as a line."""
    return "  ".join(f"{name} {value:.2f} %" for name, value in result.conditions[0].recalls.items())


def main() -> None:
    """Read the options, evaluate, print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--model", default="town", help="town, imagenet, compact or a folder")
    options.add_argument("--root", type=Path, help="a data set in CVUSA's layout")
    options.add_argument("--split", default="val")
    options.add_argument("--torch", action="store_true", help="score the torch model too")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = given.root or write_small_world(Path(scratch))
        split = open_split("cvusa", root, given.split)
        model = load_model(given.model)
        print(f"{len(split.queries)} queries, {len(split.references)} references of {root}")
        print("MindSpore ", recalls(evaluate(in_mindspore(model), split)))
        if given.torch:
            print("PyTorch   ", recalls(evaluate(model, split)))


if __name__ == "__main__":
    try:
        main()
    except SmdtError as error:
        sys.exit(f"{error}")
