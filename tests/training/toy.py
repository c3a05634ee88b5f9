"""A small thing to train, for tests of the loop; run as a script, it trains in as many processes as it is started in.

torchrun --nproc-per-node 2 toy.py OUT
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smdt.retrieval.losses import Temperature, centred, contrast_loss
from smdt.training.loop import Loop, LoopSettings, Trainable, run


class Toy(Trainable):
    """Learns a number with dropout, and draws from every source of randomness that there is."""

    def __init__(self, settings: LoopSettings, spoil: Callable[[int, Tensor], Tensor] | None = None) -> None:
        torch.manual_seed(settings.seed)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.networks = {"net": self.net}
        self.optimisers = {"net": torch.optim.Adam(self.net.parameters(), lr=0.01)}
        self.schedules = {
            "net": torch.optim.lr_scheduler.LambdaLR(self.optimisers["net"], lambda n: 1 / (n + 1))
        }
        self.spoil, self.drawn, self.published = spoil, 0.0, 0

    def batches(self, loop: Loop, first_step: int) -> Iterator[Any]:
        step = first_step
        torch.rand(7)  # counts for nothing
        while True:
            generator = torch.Generator().manual_seed(1000 * loop.settings.seed + 10 * step + loop.rank)
            yield step, torch.rand(6, 4, generator=generator)
            step += 1

    def batch_ids(self, batch: Any) -> Sequence[str]:
        return [f"sample {batch[0]}.{number}" for number in range(len(batch[1]))]

    def step(self, loop: Loop, batch: Any) -> dict[str, Tensor | float]:
        number, images = batch
        assert number == loop.step_number
        noise = random.random() + np.random.rand() + torch.rand(6, 4, generator=loop.generator)  # noqa: NPY002
        with loop.autocast():
            guess = self.net(images + noise)
        loss = (guess.float() - 1).square().mean()
        if self.spoil is not None:
            loss = self.spoil(number, loss)
        loop.backward(loss)
        loop.apply("net")
        self.drawn += float(noise.sum())
        return {"loss": loss, "drawn": self.drawn}

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def load_state(self, state: dict[str, Any]) -> None:
        self.drawn = state["drawn"]

    def pictures(self, loop: Loop, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "noise.txt").write_text(f"{torch.rand(3, generator=loop.generator)} {torch.rand(3)}")

    def publish(self, folder: Path, record: dict[str, Any]) -> None:
        self.published += 1
        torch.save({"net": self.net.state_dict(), "record": record}, folder / "model.pt")


class Contrast(Trainable):
    """Two views of the same eight places, contrasted over all processes; one step of SGD shows the gradient."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.ground, self.aerial, self.temperature = nn.Linear(12, 24), nn.Linear(12, 24), Temperature(10.0)
        self.networks = {"ground": self.ground, "aerial": self.aerial, "temperature": self.temperature}
        parameters = [p for network in self.networks.values() for p in network.parameters()]
        self.optimisers, self.schedules = {"all": torch.optim.SGD(parameters, lr=1.0)}, {}

    def batches(self, loop: Loop, first_step: int) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(5)
        whole = torch.randn(8, 12, generator=generator), torch.randn(8, 12, generator=generator)
        heading, mask = torch.arange(8) * 37.0, torch.rand(8, 6, generator=generator) < 0.7
        share = 8 // loop.processes
        rows = slice(loop.rank * share, (loop.rank + 1) * share)
        while True:
            yield whole[0][rows], whole[1][rows], heading[rows], mask[rows]

    def step(self, loop: Loop, batch: Any) -> dict[str, Tensor | float]:
        queries, references = self.ground(batch[0]).view(-1, 4, 6), self.aerial(batch[1]).view(-1, 4, 6)
        everything = [loop.gather_with_gradient(one) for one in (queries, references, batch[2], batch[3])]
        queries, _ = centred(everything[0], everything[3])
        loss = contrast_loss(queries, everything[1], everything[2], self.temperature(), everything[3])
        loop.backward(loss)
        loop.apply("all")
        return {"loss": loss}


def contrast_weights(out: Path, devices: int) -> dict[str, Any]:
    """The weights after one step, and what all processes agree on."""
    trainable = Contrast()
    settings = LoopSettings(out, steps=1, accelerator="cpu", devices=devices, max_grad_norm=0.0)
    run(trainable, settings)
    return {name: network.state_dict() for name, network in trainable.networks.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    contrast_weights(Path(sys.argv[1]), 2)
