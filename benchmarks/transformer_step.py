"""How many pairs a second does a training step of the Transformer take in, against a plain loop of the same network?

The plain loop is written as the published one is: float32 throughout, attention by two matrix products and a softmax,
channels first, AdamW parameter by parameter. Ours is the same network with fused attention, bfloat16 autocast where the
hardware has it, fused AdamW and, on CUDA, the stem's channels last; compiled, where that is asked for. Both start from
the same weights, and what they compute in float32 is compared first. They then step in turn, and their medians are
compared.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from closing import add_closing_options, circumstances, write_result
from smdt.retrieval.embedding import fast_bfloat16
from smdt.retrieval.losses import soft_margin_triplet
from smdt.retrieval.models import read_config
from smdt.retrieval.transformer import VARIANTS, SelfCrossAttention, Transformer, TransformerConfig

LEARNING_RATE, WEIGHT_DECAY, MAX_GRAD_NORM = 1e-4, 0.03, 1.0
OURS, PLAIN = "ours", "plain loop"


class PlainAttention(nn.Module):
    """Self-cross attention that holds all its weights in memory: softmax(QKᵀ/√d)·V."""

    def __init__(self, of: SelfCrossAttention) -> None:
        super().__init__()
        self.heads = of.heads
        self.query, self.key, self.value, self.out = of.query, of.key, of.value, of.out

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        asked, known = self._split(self.query(queries)), self._split(self.key(keys))
        scores = torch.matmul(asked, known.transpose(-1, -2)) / math.sqrt(asked.shape[-1])
        attended = torch.matmul(torch.softmax(scores, dim=-1), self._split(self.value(values)))
        return self.out(attended.permute(0, 2, 1, 3).contiguous().flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.view(*tokens.shape[:2], self.heads, -1).permute(0, 2, 1, 3)


def plain_of(model: Transformer) -> Transformer:
    """The same network and weights, written plainly."""
    plain = copy.deepcopy(model)
    for encoder in plain.encoders.values():
        for layer in encoder.layers:
            layer.attention = PlainAttention(layer.attention)
    return plain


def training_step(
    model: Transformer, optimiser: torch.optim.Optimizer, amp: Callable[[], AbstractContextManager[object]]
) -> Callable[[Tensor, Tensor], float]:
    """One step on a batch of pairs: both views, the published loss, clipped gradients, AdamW; gives the loss."""

    def step(ground: Tensor, aerial: Tensor) -> float:
        with amp():
            queries, references = model(ground, "ground")[..., 0], model(aerial, "aerial")[..., 0]
        loss = soft_margin_triplet(queries.float(), references.float())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimiser.step()
        return float(loss.detach())

    return step


def both_ways(
    config: TransformerConfig, device: torch.device, seed: int, channels_last: bool, compiled: bool
) -> tuple[dict[str, Callable[[Tensor, Tensor], float]], float]:
    """The two training steps, and the largest difference of their float32 descriptors."""
    torch.manual_seed(seed)
    ours = Transformer(config).to(device)
    plain = plain_of(ours)
    for encoder in ours.encoders.values():
        if encoder.stem is not None and channels_last:
            encoder.stem.to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, config.height_px, config.width_px, device=device)
    with torch.inference_mode():
        apart = (ours.eval()(images, "ground") - plain.eval()(images, "ground")).abs().max()
    ours.train()
    plain.train()
    if compiled:
        ours.compile()
    rates = {"lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}

    def amp() -> AbstractContextManager[object]:
        return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))

    steps = {
        OURS: training_step(ours, torch.optim.AdamW(ours.parameters(), **rates, fused=True), amp),
        PLAIN: training_step(
            plain, torch.optim.AdamW(plain.parameters(), **rates, foreach=False), nullcontext
        ),
    }
    return steps, float(apart)


def measure(
    config: TransformerConfig,
    device: torch.device,
    batch: int,
    repetitions: int,
    seed: int,
    channels_last: bool = False,
    compiled: bool = False,
) -> dict[str, object]:
    """Both ways in turn, one repetition of each before those that count."""
    steps, apart = both_ways(config, device, seed, channels_last, compiled)
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, 3, *config.image_shape("ground")), (batch, 3, *config.image_shape("aerial")))
    ground, aerial = (torch.rand(shape, generator=generator).to(device) for shape in shapes)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    peaks: dict[str, float] = {}
    for repetition in range(repetitions + 1):
        for name, step in steps.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            loss = step(ground, aerial)  # reading the loss waits for the device
            if device.type == "cuda":
                torch.cuda.synchronize()
                peaks[name] = torch.cuda.max_memory_allocated() / 2**30
            if repetition:
                seconds[name].append(time.perf_counter() - start)
            assert math.isfinite(loss)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "pairs_per_second": {name: batch / median for name, median in medians.items()},
        "seconds_a_step": medians,
        "seconds_least_and_most": {name: [min(values), max(values)] for name, values in seconds.items()},
        "peak_gib": peaks,
        "times_plain": medians[PLAIN] / medians[OURS],
        "largest_difference_of_float32_descriptors": apart,
        "bfloat16": fast_bfloat16(device),
        "channels_last": channels_last,
        "compiled": compiled,
        "batch": batch,
        "repetitions": repetitions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=sorted(VARIANTS), default="R50-ViT-B_16")
    parser.add_argument("--depth", type=int, help="fewer layers than the size has, for a trial")
    parser.add_argument("--batch", type=int, default=32, help="pairs a step")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--channels-last",
        action=argparse.BooleanOptionalAction,
        help="our hybrid stem's memory format; the default is channels last on CUDA, channels first on a CPU",
    )
    parser.add_argument("--compile", action="store_true", help="compile our network, as `compile: true` does")
    add_closing_options(parser)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = {"variant": arguments.size} | ({"depth": arguments.depth} if arguments.depth else {})
    config = read_config(TransformerConfig, settings)
    device = torch.device(arguments.device)
    last = arguments.channels_last if arguments.channels_last is not None else device.type == "cuda"
    result = measure(
        config, device, arguments.batch, arguments.repetitions, arguments.seed, last, arguments.compile
    )
    result |= {"size": arguments.size, "depth": config.depth} | circumstances()
    if device.type == "cuda":
        result["device"] = torch.cuda.get_device_name()
    table = Table(
        "",
        "pairs/s",
        "s a step",
        min_width=60,
        title=f"{arguments.size}, {config.depth} layers, {arguments.batch} pairs a step",
    )
    for name in (OURS, PLAIN):
        rate, seconds = result["pairs_per_second"][name], result["seconds_a_step"][name]
        table.add_row(name, f"{rate:.3g}", f"{seconds:.3g}")
    console = Console(width=120)
    console.print(table)
    console.print(
        f"ours is {result['times_plain']:.2f}× as fast; bfloat16: {result['bfloat16']}; {result['device']}"
    )
    apart = result["largest_difference_of_float32_descriptors"]
    console.print(f"in float32 the two descriptors differ by {apart:.1e} at most")
    write_result(arguments.json, result)


if __name__ == "__main__":
    main()
