"""The one training loop: steps, gradients, checkpoints, logs, and several processes, for whatever can be trained.

A :class:`Trainable` says what its networks and optimisers are, where batches come from, and what one step does. The
loop does the rest. Steps are counted from 1. Everything that decides how a training goes on is in its checkpoint, and
the batch of a step depends on the seed and the step alone, so a training that was stopped ends as one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from smdt.errors import TrainingError
from smdt.training import checkpoint
from smdt.training.logs import FigureLog, made_with
from smdt.training.processes import (
    average_gradients,
    copy_from_first,
    gather_objects,
    gather_with_gradient,
    process_count,
    process_rank,
    start_fabric,
)
from smdt.training.settings import LoopSettings

__all__ = ["Loop", "LoopSettings", "Report", "Trainable", "run"]

Report = Callable[[int, dict[str, float]], None]
"""Called after every step with its number and, where figures are logged, with them; else with none."""

_NAMED_IDS = 8


class Trainable(ABC):
    """What can be trained on the loop.

    Attributes:
        networks: modules by name; moved to the device, stored in checkpoints, averaged over processes. Parameters
            that a loss learns (a temperature) belong into one of them.
        optimisers: by name, over parameters of these networks.
        schedules: learning rate schedules, by the name of their optimiser; stepped with it.
        samples_per_step: samples a step takes, over all processes; for the speed that is logged.
        samples_name: what these are.
    """

    networks: dict[str, nn.Module]
    optimisers: dict[str, Optimizer]
    schedules: dict[str, LRScheduler]
    samples_per_step: int = 1
    samples_name: str = "pairs"

    @abstractmethod
    def batches(self, loop: Loop, first_step: int) -> Iterator[Any]:
        """Endless batches for this process, from that of step ``first_step`` on.

        A batch depends on ``(loop.settings.seed, loop.rank, step)`` alone. What is drawn here from torch's global
        generator does not count: it is put back after each batch.
        """

    @abstractmethod
    def step(self, loop: Loop, batch: Any) -> dict[str, Tensor | float]:
        """One step: forward, ``loop.backward(loss)``, ``loop.apply("name of an optimiser")``.

        Returns:
            Figures to log: numbers or tensors of one number.
        """

    def batch_ids(self, batch: Any) -> Sequence[str]:
        """What a batch is made of; named when its loss is not a number."""
        return ()

    def describe(self) -> dict[str, Any]:
        """What must be the same when a training is resumed, besides the settings."""
        return {}

    def state(self) -> dict[str, Any]:
        """What else must survive a stop: tensors and plain values (of the first process, where there are several)."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        return

    def pictures(self, loop: Loop, folder: Path) -> None:
        """Write sample pictures into a folder; called in the first process alone."""
        return

    def publish(self, folder: Path, record: dict[str, Any]) -> None:
        """Write the model as it stands; called with every checkpoint and at the end, in the first process alone."""
        return


class Loop:
    """What a step may use of the loop.

    Attributes:
        settings: of this training.
        fabric: Lightning's Fabric.
        step_number: the step being made, from 1.
        generator: a source of randomness on the CPU, one for each process, kept in checkpoints.
    """

    def __init__(self, trainable: Trainable, settings: LoopSettings, fabric: Any) -> None:
        self.settings, self.fabric, self.step_number = settings, fabric, 0
        self._trainable, self._batch = trainable, None
        self.rank, self.processes = process_rank(), process_count()
        self.generator = torch.Generator().manual_seed(settings.seed * 100_003 + self.rank)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.fabric.device
        return device

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Within it forward passes run in the precision chosen; losses and backward passes belong outside."""
        context: contextlib.AbstractContextManager[Any] = self.fabric.autocast()
        return context

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to the parameters'.

        Raises:
            TrainingError: if the loss is not a number, naming the batch.
        """
        if not bool(torch.isfinite(loss.detach()).all()):
            raise self._not_a_number("the loss")
        self.fabric.backward(loss)

    def apply(self, optimiser: str) -> None:
        """Step an optimiser: average its gradients over processes, clip, step, schedule, and clear them.

        What other losses have left in its parameters' gradients counts too; clear it, or freeze them, before.

        Raises:
            TrainingError: if the gradient's norm is not a number.
        """
        chosen = self._trainable.optimisers[optimiser]
        parameters = [p for group in chosen.param_groups for p in group["params"] if p.requires_grad]
        average_gradients(parameters)
        if self.settings.max_grad_norm > 0:
            norm = nn.utils.clip_grad_norm_(parameters, self.settings.max_grad_norm)
            if not bool(torch.isfinite(norm)):
                raise self._not_a_number("the gradient")
        chosen.step()
        if optimiser in self._trainable.schedules:
            self._trainable.schedules[optimiser].step()
        chosen.zero_grad(set_to_none=True)

    def gather_with_gradient(self, tensor: Tensor) -> Tensor:
        """The rows (B, …) of all processes; see :func:`smdt.training.processes.gather_with_gradient`."""
        return gather_with_gradient(tensor)

    def _not_a_number(self, what: str) -> TrainingError:
        ids = [str(one) for one in self._trainable.batch_ids(self._batch)]
        named = ", ".join(ids[:_NAMED_IDS]) + (
            f" and {len(ids) - _NAMED_IDS} more" if len(ids) > _NAMED_IDS else ""
        )
        return TrainingError(
            f"{what} is not a number at step {self.step_number}" + (f", with {named}" if ids else ""),
            where="--learning-rate",
            remedy="try a smaller one, or look at what the batch was made of; checkpoints stay as they are",
        )

    def _draw(self, batches: Iterator[Any]) -> Any:
        with torch.random.fork_rng(devices=[]):
            self._batch = next(batches)
        return self._batch


def run(trainable: Trainable, settings: LoopSettings, report: Report | None = None) -> None:
    """Train, from the start or from a checkpoint, and publish the model.

    Args:
        trainable: what to train.
        settings: how.
        report: told about every step, in the first process.

    Raises:
        TrainingError: if the settings are impossible here, a checkpoint does not fit or cannot be written, or a loss
            is not a number.
    """
    if settings.resume:
        checkpoint.require_any(settings.out)
    elif checkpoint.checkpoints(settings.out):
        raise TrainingError(
            "holds the checkpoints of an earlier training",
            where=settings.out,
            remedy="go on with it by --resume, or choose another --out",
        )
    fabric = start_fabric(settings.accelerator, settings.devices, settings.nodes, settings.precision)
    loop = Loop(trainable, settings, fabric)
    for network in trainable.networks.values():
        network.to(loop.device)
        if settings.compile:
            network.compile()
    copy_from_first(trainable.networks.values())
    _seed(settings.seed + loop.rank)
    seconds = _resume(trainable, loop) if settings.resume else 0.0
    _Run(trainable, loop, report, seconds).go()


def _seed(seed: int) -> None:
    """Seed the global generators, which dropout and libraries draw from."""
    import random

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def _resume(trainable: Trainable, loop: Loop) -> float:
    """Load the newest readable checkpoint into everything; returns the seconds trained before."""
    path, content, damaged = checkpoint.newest_readable(loop.settings.out)
    if loop.rank == 0:
        for one in damaged:
            one.unlink(missing_ok=True)
        checkpoint.remove_partials(loop.settings.out)
    if len(set(gather_objects(content["step"]))) > 1:
        raise TrainingError("differs between machines", where=path, remedy="let all machines use one folder")
    now = _described(trainable, loop)
    for name, stored in content["settings"].items():
        if name not in now or now[name] != stored:
            raise TrainingError(
                f"was made with {name} {stored}, not {now.get(name)}",
                where=path,
                remedy="resume with the settings it was begun with, or start anew in another --out",
            )
    try:
        for kind, things in (("networks", trainable.networks), ("optimisers", trainable.optimisers)):
            for name, thing in things.items():
                thing.load_state_dict(content[kind][name])
        for name, schedule in trainable.schedules.items():
            schedule.load_state_dict(content["schedules"][name])
        trainable.load_state(content["state"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise TrainingError(
            f"does not fit what is trained ({str(error).splitlines()[0]})",
            where=path,
            remedy="resume with the settings it was begun with",
        ) from error
    checkpoint.restore_random_state(content["random"][loop.rank], loop.generator, loop.device)
    loop.step_number = content["step"]
    return float(content["seconds"])


def _described(trainable: Trainable, loop: Loop) -> dict[str, Any]:
    stored = {**loop.settings.lasting(), **trainable.describe(), "processes": loop.processes}
    described: dict[str, Any] = checkpoint.plain(stored)
    return described


class _Run:
    """One run of the loop, from the step after ``loop.step_number`` to the last."""

    def __init__(self, trainable: Trainable, loop: Loop, report: Report | None, seconds: float) -> None:
        self.trainable, self.loop, self.report = trainable, loop, report
        self.seconds_before, self.started = seconds, time.monotonic()
        self.first = loop.rank == 0
        self.log = FigureLog(loop.settings.out, loop.step_number + 1) if self.first else None
        self.sums: dict[str, Tensor | float] = {}
        self.saved = False
        self.logged_at, self.logged_step = self.started, loop.step_number

    def go(self) -> None:
        loop, settings = self.loop, self.loop.settings
        done = loop.step_number
        with torch.random.fork_rng(devices=[]):  # some loaders draw where they are made
            batches = self.trainable.batches(loop, done + 1)
        try:
            for number in range(done + 1, settings.steps + 1):
                loop.step_number = number
                figures = self.trainable.step(loop, loop._draw(batches))
                self._add(figures)
                shown = self._logged(number)
                if self.report and self.first:
                    self.report(number, shown)
                if settings.picture_every and number % settings.picture_every == 0:
                    self._pictures(number)
                if number % settings.save_every == 0 or number == settings.steps:
                    self._save(number)
            if done >= settings.steps and self.first:
                self.trainable.publish(settings.out, self._record(done))
        finally:
            if isinstance(batches, Generator):  # ends its loader's processes
                batches.close()
            if self.log:
                self.log.close()
        loop.fabric.barrier()

    def _add(self, figures: dict[str, Tensor | float]) -> None:
        for name, value in figures.items():
            number = value.detach().float() if isinstance(value, Tensor) else float(value)
            self.sums[name] = self.sums[name] + number if name in self.sums else number

    def _logged(self, number: int) -> dict[str, float]:
        settings = self.loop.settings
        if number % settings.log_every and number != settings.steps:
            return {}
        steps = number - self.logged_step
        means = {name: float(value) / steps for name, value in self.sums.items()}
        everywhere = gather_objects(means)
        figures = {name: float(np.mean([one.get(name, math.nan) for one in everywhere])) for name in means}
        for name, optimiser in self.trainable.optimisers.items():
            figures[f"rate/{name}"] = float(optimiser.param_groups[-1]["lr"])
        now = time.monotonic()
        speed = steps * self.trainable.samples_per_step / max(now - self.logged_at, 1e-9)
        figures[f"{self.trainable.samples_name}/s"] = speed
        self.sums, self.logged_at, self.logged_step = {}, now, number
        if self.log:
            self.log.write(number, figures)
        return figures

    def _pictures(self, number: int) -> None:
        """Sample pictures; they take nothing from the training's randomness."""
        if self.first:
            state = checkpoint.random_state(self.loop.generator, self.loop.device)
            self.trainable.pictures(self.loop, self.loop.settings.out / "pictures" / f"step-{number:08d}")
            checkpoint.restore_random_state(state, self.loop.generator, self.loop.device)
        self.loop.fabric.barrier()

    def _save(self, number: int) -> None:
        loop, trainable = self.loop, self.trainable
        random = gather_objects(checkpoint.random_state(loop.generator, loop.device))
        described = _described(trainable, loop)
        if self.first:
            content = {
                "step": number,
                "seconds": self._seconds(),
                "settings": described,
                "networks": {name: one.state_dict() for name, one in trainable.networks.items()},
                "optimisers": {name: one.state_dict() for name, one in trainable.optimisers.items()},
                "schedules": {name: one.state_dict() for name, one in trainable.schedules.items()},
                "state": trainable.state(),
                "random": random,
            }
            path = checkpoint.write_checkpoint(loop.settings.out, number, content, loop.settings.keep)
            if not self.saved:
                checkpoint.read_checkpoint(
                    path
                )  # what cannot be read again is better known now than when needed
            self.saved = True
            trainable.publish(loop.settings.out, self._record(number))
        loop.fabric.barrier()

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _record(self, number: int) -> dict[str, Any]:
        """What made a model: settings, versions, device and time."""
        return {
            "settings": _described(self.trainable, self.loop),
            "steps_done": number,
            "hours": round(self._seconds() / 3600, 3),
            **made_with(self.loop.device, self.loop.processes),
        }
