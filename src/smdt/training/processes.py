"""The processes of a training: starting them, refusing what cannot be, and exchanging tensors among them.

Networks are not wrapped: every process runs its own copy, and the gradients are averaged once before each optimiser
step. So a network may run any number of times in a step, as caching of embeddings and adversaries need.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from smdt.errors import TrainingError

PRECISIONS = ("32-true", "bf16-mixed")
ACCELERATORS = ("auto", "cpu", "cuda", "mps")
_BUCKET = 25_000_000


def start_fabric(accelerator: str, devices: int, nodes: int, precision: str) -> Any:
    """A launched ``Fabric``: one process for each device, started here or by torchrun.

    Raises:
        TrainingError: if Fabric is not installed, or the machine has not what is asked for.
    """
    fabric_class = _fabric_class()
    kind = check_machine(accelerator, devices, nodes, precision)
    fabric = fabric_class(
        accelerator=kind,
        devices=devices,
        num_nodes=nodes,
        precision=precision,
        strategy="ddp" if devices * nodes > 1 else "auto",
    )
    fabric.launch()
    return fabric


def _fabric_class() -> Any:
    for package in ("lightning_fabric", "lightning.fabric"):  # the package alone, or within Lightning
        with contextlib.suppress(ImportError):
            return importlib.import_module(package).Fabric
    raise TrainingError(
        "training needs a package that is not installed",
        where="lightning-fabric",
        remedy="pip install 'smdt[train]'",
    )


def check_machine(accelerator: str, devices: int, nodes: int, precision: str) -> str:
    """Refuse what this machine has not; returns the accelerator that ``auto`` stands for.

    Raises:
        TrainingError: naming the option.
    """
    if accelerator not in ACCELERATORS:
        raise TrainingError(
            f"accelerator '{accelerator}' is unknown",
            where="--accelerator",
            remedy=f"choose from {', '.join(ACCELERATORS)}",
        )
    if precision not in PRECISIONS:
        raise TrainingError(
            f"precision '{precision}' is unknown",
            where="--precision",
            remedy=f"choose from {', '.join(PRECISIONS)}; half precision (fp16) is not offered",
        )
    kind = accelerator
    if accelerator == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    _check_devices(kind, devices, nodes)
    if precision == "bf16-mixed" and not _computes_bf16(kind):
        raise TrainingError(
            f"bf16-mixed gains nothing on this machine's {kind}, which does not compute in bfloat16",
            where="--precision",
            remedy="use 32-true",
        )
    return kind


def _check_devices(kind: str, devices: int, nodes: int) -> None:
    if devices < 1 or nodes < 1:
        raise TrainingError(
            f"{devices} devices on {nodes} machines cannot train", where="--devices", remedy="give 1"
        )
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(
        kind, devices
    )
    if there < devices:
        raise TrainingError(
            f"{devices} {kind} device{'s are' if devices > 1 else ' is'} asked for, and {there} can be used here",
            where="--devices",
            remedy="ask for as many as there are, or train with --accelerator cpu",
        )
    started = os.environ.get("WORLD_SIZE") if os.environ.get("TORCHELASTIC_RUN_ID") else None
    if started is not None and int(started) != devices * nodes:
        raise TrainingError(
            f"torchrun has started {started} processes, but the settings say {devices} devices × {nodes} machines",
            where="--devices",
            remedy="give --devices the number of torchrun's --nproc-per-node, and --nodes that of --nnodes",
        )


def _computes_bf16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


def process_count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """This process's number among them."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    """Rows of all processes, in the order of their numbers; a row's gradients go back, summed, to its owner."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(process_count())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        first = process_rank() * ctx.rows
        return total[first : first + ctx.rows]


def gather_with_gradient(rows: Tensor) -> Tensor:
    """The rows of all processes, so that a loss can be taken over the whole batch.

    When every process computes the same loss of what it gathered, the mean of the processes' gradients, which
    :func:`average_gradients` takes, is the gradient of that loss: each row's comes back from every process, so as
    many times as there are processes, and only its owner passes it on to the weights.

    Args:
        rows: (B, …), of the same shape in every process; any type of number, or True and False.

    Returns:
        (B × processes, …); ``rows`` themselves when there is one process.
    """
    if process_count() == 1:
        return rows
    if rows.dtype == torch.bool:
        return gather_with_gradient(rows.to(torch.uint8)).bool()
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over the processes, in place.

    A parameter that has a gradient in some processes only counts as zero in the others; one without any keeps none.
    """
    count = process_count()
    if count == 1 or not parameters:
        return
    has = torch.tensor(
        [p.grad is not None for p in parameters], dtype=torch.int32, device=parameters[0].device
    )
    dist.all_reduce(has, op=dist.ReduceOp.MAX)
    chosen = [p for p, one in zip(parameters, has.tolist(), strict=True) if one]
    for parameter in chosen:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets(chosen):
        gradients = [p.grad for p in bucket if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= count
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterable[list[nn.Parameter]]:
    """Parameters of one type in lists of about 100 MB, in order."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and (size + parameter.numel() > _BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket


def copy_from_first(networks: Iterable[nn.Module]) -> None:
    """Give every process the first one's parameters and buffers."""
    if process_count() == 1:
        return
    for network in networks:
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)


def gather_objects(value: Any) -> list[Any]:
    """One value of each process, in the order of their numbers, in every process."""
    if process_count() == 1:
        return [value]
    values: list[Any] = [None] * process_count()
    dist.all_gather_object(values, value)
    return values
