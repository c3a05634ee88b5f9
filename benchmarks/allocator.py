"""What does keeping freed memory save on a CPU? Forward passes with the C library as it is, and told to keep.

    python benchmarks/allocator.py [--model compact] [--images 16] [--rounds 6] [--threads 1] [--json out.json]

Both settings run in processes of their own, in turns; the ratio is of processor time, so other work on the machine
matters little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

import torch

from closing import add_closing_options, circumstances, write_result
from smdt.allocator import keep_freed_memory


def seconds_an_image(model_name: str, images: int) -> tuple[float, float]:
    """User and system time of a forward pass, per image, after one to warm up."""
    from smdt.retrieval.models import load_model

    model = load_model(model_name)
    pictures = torch.rand(images, 3, *model.config.image_shape("ground"))
    with torch.inference_mode():
        model(pictures, "ground")
        before = os.times()
        for _ in range(3):
            model(pictures, "ground")
    after = os.times()
    return (after.user - before.user) / images / 3, (after.system - before.system) / images / 3


def one_process(arguments: argparse.Namespace, *, kept: bool) -> tuple[float, float]:
    """The figures of one setting, from a process of its own that inherits no allocator settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, __file__, "--alone", "kept" if kept else "given-back"]
    command += [
        "--model",
        arguments.model,
        "--images",
        str(arguments.images),
        "--threads",
        str(arguments.threads or 1),
    ]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
    user, system = json.loads(done.stdout)
    return user, system


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="compact")
    parser.add_argument("--images", type=int, default=16, help="in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", choices=["kept", "given-back"], help=argparse.SUPPRESS)
    add_closing_options(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads or 1)
    if arguments.alone:
        if arguments.alone == "kept" and not keep_freed_memory():
            parser.error("the C library has no such setting")
        print(json.dumps(seconds_an_image(arguments.model, arguments.images)))
        return
    runs = [[one_process(arguments, kept=kept) for kept in (False, True)] for _ in range(arguments.rounds)]
    print("processor time an image, ms       user  system")
    for name, number in (("given back to the system", 0), ("kept", 1)):
        user, system = (1e3 * statistics.median(run[number][k] for run in runs) for k in range(2))
        print(f"{name:30} {user:7.1f} {system:7.1f}")
    ratios = [sum(run[0]) / sum(run[1]) for run in runs]
    print(f"kept is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
    write_result(
        arguments.json,
        {**circumstances(), "model": arguments.model, "images": arguments.images, "ratios": ratios},
    )


if __name__ == "__main__":
    main()
