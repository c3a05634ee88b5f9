"""Settings that every training shares. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from smdt.errors import ConfigError


@dataclass(frozen=True)
class LoopSettings:
    """How long, where and how exactly a training runs; the settings of a trainable thing inherit these.

    Attributes:
        out: folder for the model, its record, checkpoints and logs.
        steps: optimiser steps in all, those before a resumption counted.
        precision: ``32-true``, or ``bf16-mixed`` (forward passes in bfloat16, weights in float32).
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: processes on each machine, one a device.
        nodes: machines.
        seed: of everything random.
        log_every: steps between lines of figures, which are means over them.
        save_every: steps between checkpoints.
        picture_every: steps between sheets of sample pictures; 0: none.
        keep: checkpoints kept.
        resume: go on from the newest readable checkpoint in ``out``.
        max_grad_norm: gradients are clipped to this norm, for each optimiser; 0: they are not.
        compile: compile the networks (slow to start, faster on a GPU).
    """

    may_differ: ClassVar[frozenset[str]] = frozenset(
        {
            "out",
            "accelerator",
            "devices",
            "nodes",
            "log_every",
            "save_every",
            "picture_every",
            "keep",
            "resume",
        }
        | {"compile", "workers"}
    )
    """Settings that may be others when a training is resumed; children add their own."""

    out: Path
    steps: int = 1000
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    seed: int = 0
    log_every: int = 25
    save_every: int = 200
    picture_every: int = 0
    keep: int = 2
    resume: bool = False
    max_grad_norm: float = 1.0
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        if self.steps < 1:
            raise ConfigError(f"{self.steps} steps train nothing", where="--steps", remedy="give 1 or more")
        for name in ("log_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"setting '{name}' is {getattr(self, name)}", where=name, remedy="give 1 or more"
                )
        if self.picture_every < 0 or self.max_grad_norm < 0 or self.seed < 0:
            raise ConfigError(
                "picture_every, max_grad_norm and seed are 0 or more",
                where="settings",
                remedy="give such numbers",
            )

    def lasting(self) -> dict[str, Any]:
        """The settings that decide what is learned: they must be the same when a training is resumed."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in self.may_differ}
