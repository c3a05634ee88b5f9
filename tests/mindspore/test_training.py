"""Trainings in MindSpore follow torch's loss curve, and evaluation there finds the same places."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch

from smdt.data import open_split
from smdt.evaluate import evaluate
from smdt.export.mindspore import to_network
from smdt.mindspore.optimisers import Adam
from smdt.retrieval.models import create_model

from .networks import CganLosses, cgan_example, retrieval, small_images

EXAMPLES = Path(__file__).parents[2] / "examples" / "mindspore"


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def curve_difference(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def test_ten_steps_of_the_transformer_follow_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    train = example("train", monkeypatch)
    torch.manual_seed(0)
    model = create_model("transformer", {"variant": "tiny", "dropout": 0.0})
    module = train.PairLoss(model)
    batches = [(small_images(4 + k)[:4].numpy(), small_images(40 + k)[:4].numpy()) for k in range(10)]
    network = to_network(module, tuple(torch.from_numpy(one) for one in batches[0]), open_batch=False)
    rate = 1e-4  # at ten times as much rounding grows by a thousand over the steps
    ours = train.train(network, batches, rate)
    optimiser = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.03)
    theirs = []
    module.train()
    for ground, aerial in batches:
        loss = module(torch.from_numpy(ground), torch.from_numpy(aerial))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        theirs.append(loss.item())
    assert theirs[0] != theirs[-1]
    assert curve_difference(ours, theirs) < 1e-3


def test_ten_steps_of_the_dual_cgan_follow_torch() -> None:
    module = CganLosses()
    calls = cgan_example(2)
    network = to_network(module, calls, open_batch=False)
    ours = cgan_curve_in_mindspore(network, calls)
    theirs = cgan_curve_in_torch(module, calls)
    assert theirs["generators"][9] < theirs["generators"][0]
    for part in calls:
        assert curve_difference(ours[part], theirs[part]) < 1e-3, part


def own_parameters(names: list[str], part: str) -> list[bool]:
    kept = ("networks.g1.", "networks.g2.") if part == "generators" else ("networks.d1.", "networks.d2.")
    return [name.startswith(kept) for name in names]


def cgan_curve_in_mindspore(network: Any, calls: dict[str, Any]) -> dict[str, list[float]]:
    parameters = network.trainable_params()
    network.set_train(True)
    steps = {}
    for part in ("discriminators", "generators"):
        kept = own_parameters([one.name for one in parameters], part)
        own = [one for one, keep in zip(parameters, kept, strict=True) if keep]

        def loss(aerial: Any, labels: Any, image: Any, part: str = part) -> Any:
            return network(aerial, labels, image, part)

        steps[part] = (ms.value_and_grad(loss, None, own), Adam(own, 2e-4, (0.5, 0.999)))
    losses: dict[str, list[float]] = {part: [] for part in steps}
    for _ in range(10):
        for part, (gradients_of, optimiser) in steps.items():
            value, gradients = gradients_of(*(ms.Tensor(one.numpy()) for one in calls[part][:3]))
            optimiser(gradients)
            losses[part].append(float(value.asnumpy()))
    return losses


def cgan_curve_in_torch(module: CganLosses, calls: dict[str, Any]) -> dict[str, list[float]]:
    module.train()
    named = list(module.named_parameters())
    losses: dict[str, list[float]] = {"discriminators": [], "generators": []}
    optimisers = {
        part: torch.optim.Adam(
            [
                one
                for (_, one), keep in zip(named, own_parameters([n for n, _ in named], part), strict=True)
                if keep
            ],
            2e-4,
            (0.5, 0.999),
        )
        for part in losses
    }
    for _ in range(10):
        for part, optimiser in optimisers.items():
            value = module(*calls[part])
            module.zero_grad()
            value.backward()
            optimiser.step()
            losses[part].append(value.item())
    return losses


def test_evaluation_in_mindspore_finds_what_torch_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On processors with bfloat16 in hardware torch's own evaluation uses it, which MindSpore's does not.
    monkeypatch.setattr("smdt.retrieval.embedding.fast_bfloat16", lambda device: False)
    world = example("small_world", monkeypatch).write_small_world(tmp_path, pairs=16, val_share=0.75)
    split = open_split("cvusa", world, "val")
    model = retrieval(
        "siamese", strip_channels=8, height_px=32, width_px=128, backbone="test_efficientnet"
    )().eval()
    theirs = evaluate(model, split).conditions[0]
    ours = evaluate(example("evaluate", monkeypatch).in_mindspore(model), split).conditions[0]
    assert ours.recalls == theirs.recalls
    assert theirs.recalls["R@1"] < 100.0
    np.testing.assert_array_equal(ours.ranks, theirs.ranks)
    np.testing.assert_allclose(ours.score, theirs.score, atol=1e-4)


def test_adam_and_adamw_are_torch_s_also_for_tiny_gradients() -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal((4, 3)).astype(np.float32)
    gradients = [(rng.standard_normal((4, 3)) * 1e-8).astype(np.float32) for _ in range(3)]
    for decoupled in (False, True):
        theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
        kind = torch.optim.AdamW if decoupled else torch.optim.Adam
        optimiser = kind([theirs], lr=0.1, weight_decay=1e-9)
        ours = ms.Parameter(ms.Tensor(start.copy()), name="weight")
        adam = Adam([ours], 0.1, weight_decay=1e-9, decoupled=decoupled)
        for gradient in gradients:
            theirs.grad = torch.from_numpy(gradient)
            optimiser.step()
            adam((ms.Tensor(gradient),))
        np.testing.assert_allclose(ours.asnumpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = example("small_world", monkeypatch).write_small_world(tmp_path / "world", pairs=10)
    given = ["--root", str(world), "--steps", "2", "--batch", "3", "--out", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", ["train.py", *given])
    example("train", monkeypatch).main()
    monkeypatch.setattr(
        sys, "argv", ["evaluate.py", "--root", str(world), "--model", str(tmp_path / "model")]
    )
    example("evaluate", monkeypatch).main()
    printed = capsys.readouterr().out
    assert "step 2: loss" in printed
    assert printed.count("R@10") == 3  # before and after training, and evaluated
