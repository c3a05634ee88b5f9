"""Train the method's Transformer in MindSpore, on a data set in CVUSA's layout, and take the weights back to torch.

Model and loss are one torch module here, converted whole, so that MindSpore differentiates what torch would:

    python examples/mindspore/train.py --steps 30 --out runs/mindspore
    python examples/mindspore/train.py --variant R50-ViT-B_16 --root CVUSA --batch 8 --steps 1000 --out runs/mine
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import torch
from safetensors.torch import load_file
from small_world import write_small_world
from torch import Tensor, nn

from smdt.data import open_split
from smdt.data.images import PairImages
from smdt.errors import SmdtError
from smdt.evaluate import EvaluateConfig, evaluate, view_settings
from smdt.export.mindspore import to_network
from smdt.mindspore.optimisers import Adam
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.losses import soft_margin_triplet
from smdt.retrieval.models import create_model, save_model


class PairLoss(nn.Module):
    """The soft-margin triplet loss of a batch of pairs.

    Args:
        model: a retrieval model.
    """

    def __init__(self, model: Encoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, ground: Tensor, aerial: Tensor) -> Tensor:
        """The loss of panoramas and mapped aerial images (B, 3, H, W), in the same order."""
        strips = (self.model(ground, "ground"), self.model(aerial, "aerial"))
        return soft_margin_triplet(*(nn.functional.normalize(one.flatten(1), dim=1) for one in strips))


def train(network: Any, batches: Any, learning_rate: float, weight_decay: float = 0.03) -> list[float]:
    """AdamW steps on a converted :class:`PairLoss`; the loss before each step.

    Args:
        network: the MindSpore cell.
        batches: pairs of arrays (B, 3, H, W).
        learning_rate: of every step.
        weight_decay: of every weight.
    """
    optimiser = Adam(network.trainable_params(), learning_rate, weight_decay=weight_decay, decoupled=True)
    step = ms.value_and_grad(network, None, network.trainable_params())
    losses = []
    network.set_train(True)
    for ground, aerial in batches:
        loss, gradients = step(ms.Tensor(ground), ms.Tensor(aerial))
        optimiser(gradients)
        losses.append(float(loss.asnumpy()))
    network.set_train(False)
    return losses


def draw_batches(split: Any, model: Encoder, batch: int, steps: int, seed: int) -> Any:
    """Random batches of a split's pairs, as arrays, read when they are needed."""
    views = view_settings(model, EvaluateConfig())
    panoramas, tiles = PairImages(split, "query", views), PairImages(split, "reference", views)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = rng.choice(len(split.queries), batch, replace=False)
        ground = torch.stack([panoramas[int(i)][0] for i in chosen])
        aerial = torch.stack([tiles[int(split.positive[i])][0] for i in chosen])
        yield ground.numpy(), aerial.numpy()


def main() -> None:
    """Read the options, train, write the model, score it in torch before and after."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--variant", default="tiny", help="of the Transformer")
    options.add_argument("--root", type=Path, help="a data set in CVUSA's layout")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--learning-rate", type=float, default=1e-3)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, required=True, help="folder for the torch model")
    given = options.parse_args()
    torch.manual_seed(given.seed)
    ms.set_seed(given.seed)
    model = create_model("transformer", {"variant": given.variant})
    with tempfile.TemporaryDirectory() as scratch:
        root = given.root or write_small_world(Path(scratch))
        learning, judging = open_split("cvusa", root, "train"), open_split("cvusa", root, "val")
        print("before:", evaluate(model.eval(), judging).conditions[0].recalls)
        images = [
            torch.rand(given.batch, 3, *model.config.image_shape(view)) for view in ("ground", "aerial")
        ]
        network = to_network(PairLoss(model), tuple(images), open_batch=False)
        batches = draw_batches(learning, model, given.batch, given.steps, given.seed)
        losses = train(network, batches, given.learning_rate)
        for number in range(0, len(losses), max(1, len(losses) // 10)):
            print(f"step {number + 1}: loss {losses[number]:.4f}")
        network.save_weights(given.out / "steps.safetensors")
        weights = PairLoss(model)
        weights.load_state_dict(load_file(given.out / "steps.safetensors"))  # the names are torch's
        print("after: ", evaluate(model.eval(), judging).conditions[0].recalls)
        save_model(model, given.out, {"made": "examples/mindspore/train.py", "steps": given.steps})


if __name__ == "__main__":
    try:
        main()
    except SmdtError as error:
        sys.exit(f"{error}")
