"""How long does a network take in MindSpore, against the PyTorch module that it was converted from?

Both have the same weights and get the same images, in evaluation mode, in turn: PyTorch, MindSpore operation by
operation (PyNative), and MindSpore compiled (graph mode). What they compute is compared first. A gradient of all
weights may be timed too. Run it in MindSpore's environment (`make test-mindspore` builds it):

    OMP_NUM_THREADS=1 .venv-mindspore/bin/python benchmarks/mindspore_speed.py --threads 1 --json speed.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils import _pytree as pytree

from closing import add_closing_options, circumstances, write_result
from smdt.app.export_commands import find_model
from smdt.export.mindspore import convert
from smdt.export.parity import compare
from smdt.mindspore import load
from smdt.retrieval.models import create_model
from smdt.retrieval.transformer import VARIANTS

TORCH, PYNATIVE, GRAPH = "PyTorch", "MindSpore PyNative", "MindSpore graph"
MODELS = ("town", "compact", "segmenter", "dual-cgan", "R50-ViT-B_16")


def subject(name: str, batch: int) -> tuple[nn.Module, tuple[Any, ...], str]:
    """A module in evaluation mode, arguments of one call, and the call's name."""
    if name in VARIANTS:
        module = create_model("transformer", {"variant": name}).eval()
        calls = {"ground": (torch.rand(batch, 3, *module.config.image_shape("ground")), "ground")}
    else:
        module, calls = find_model(name)
    entry, (images, *rest) = next(iter(calls.items()))
    return module, (torch.rand(batch, *images.shape[1:]), *rest), entry


def forward_calls(
    module: nn.Module, folder: Path, example: tuple[Any, ...], entry: str
) -> dict[str, Callable[[], None]]:
    """A call each way that returns when its result is there."""
    networks = {name: load(folder) for name in (PYNATIVE, GRAPH)}
    images = ms.Tensor(example[0].numpy())
    names = (entry,) if entry else ()

    def in_torch() -> None:
        with torch.inference_mode():
            module(*example)

    def in_mindspore(name: str) -> Callable[[], None]:
        def call() -> None:
            ms.set_context(mode=ms.GRAPH_MODE if name == GRAPH else ms.PYNATIVE_MODE)
            for tensor in leaves(networks[name](images, *names)):
                tensor.asnumpy()  # waits for it

        return call

    return {TORCH: in_torch, **{name: in_mindspore(name) for name in networks}}


def gradient_calls(
    module: nn.Module, folder: Path, example: tuple[Any, ...], entry: str
) -> dict[str, Callable[[], None]]:
    """The same with the gradient of every weight, of the sum of all results; MindSpore in PyNative mode."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    network = load(folder)
    weights = network.trainable_params()
    images = ms.Tensor(example[0].numpy())
    names = (entry,) if entry else ()

    def summed(given: Any) -> Any:
        return sum(tensor.sum() for tensor in leaves(network(given, *names)))

    backward = ms.value_and_grad(summed, None, weights)

    def in_torch() -> None:
        module.zero_grad(set_to_none=True)
        sum(tensor.sum() for tensor in pytree.tree_leaves(module(*example))).backward()

    def in_mindspore() -> None:
        for gradient in backward(images)[1]:
            gradient.asnumpy()

    return {TORCH: in_torch, PYNATIVE: in_mindspore}


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for one in value for leaf in leaves(one)] if isinstance(value, list | tuple) else [value]


def in_turn(calls: dict[str, Callable[[], None]], repetitions: int) -> dict[str, dict[str, float]]:
    """Medians in seconds, the first call (which compiles) by itself, and how many times torch's the median is."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return {
        name: {
            "seconds": medians[name],
            "least": min(values[1:]),
            "most": max(values[1:]),
            "first_call": values[0],
            "times_torch": medians[name] / medians[TORCH],
        }
        for name, values in seconds.items()
    }


def measure(name: str, batch: int, repetitions: int, *, gradients: bool) -> dict[str, Any]:
    """One network: how equal its conversion is, and how long each way takes."""
    module, example, entry = subject(name, batch)
    calls = {entry: example} if entry else example
    ms.set_context(mode=ms.PYNATIVE_MODE)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        convert(module, calls).write(folder)
        apart = max(compare(module, load(folder), calls).values())
        found: dict[str, Any] = {"images": list(example[0].shape), "largest_relative_difference": apart}
        found["forward"] = in_turn(forward_calls(module, folder, example, entry), repetitions)
        if gradients:
            found["gradient"] = in_turn(gradient_calls(module, folder, example, entry), repetitions)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=list(MODELS), help="names for `smdt export`, or variants"
    )
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--gradients", action="store_true", help="time gradients of all weights too")
    parser.add_argument("--blocking", action="store_true", help="PyNative without its pipeline of threads")
    add_closing_options(parser)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        ms.runtime.dispatch_threads_num(arguments.threads)
    if arguments.blocking:
        ms.runtime.launch_blocking()
    closing = circumstances() | {"mindspore": ms.__version__, "blocking": arguments.blocking}
    results: dict[str, Any] = {}
    table = Table("network", "what", "way", "s", "× PyTorch", "first call, s", "differs by", min_width=90)
    for name in arguments.models:
        results[name] = measure(name, arguments.batch, arguments.repetitions, gradients=arguments.gradients)
        for what in ("forward", "gradient"):
            for way, figures in results[name].get(what, {}).items():
                numbers = (figures["seconds"], figures["times_torch"], figures["first_call"])
                apart = f"{results[name]['largest_relative_difference']:.1e}"
                table.add_row(name, what, way, *(f"{number:.3g}" for number in numbers), apart)
        write_result(arguments.json, results | closing)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
