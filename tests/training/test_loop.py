import csv
import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from smdt.errors import ConfigError, TrainingError
from smdt.training import checkpoint, processes
from smdt.training.loop import LoopSettings, run

_TOY = Path(__file__).with_name("toy.py")


def _toy_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("smdt_toy", _TOY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["smdt_toy"] = module
    spec.loader.exec_module(module)
    return module


toy = _toy_module()


def _settings(out: Path, **changes: Any) -> LoopSettings:
    return replace(LoopSettings(out, steps=8, accelerator="cpu", log_every=2, save_every=2), **changes)


def _stop_at(step: int) -> Any:
    def report(number: int, _: dict[str, float]) -> None:
        if number == step:
            raise InterruptedError

    return report


def _weights(out: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(out / "model.pt", weights_only=True)["net"]
    return weights


def _rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "logs" / "figures.csv").read_text().splitlines()))


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of eight steps that nothing has stopped."""
    out = tmp_path_factory.mktemp("loop") / "whole"
    settings = _settings(out)
    run(toy.Toy(settings), settings)
    return out


@pytest.mark.parametrize("stopped", [3, 5, 7])
def test_a_stopped_and_resumed_training_ends_bit_for_bit_like_a_whole_one(
    stopped: int, whole: Path, tmp_path: Path
) -> None:
    settings = _settings(tmp_path)
    with pytest.raises(InterruptedError):
        run(toy.Toy(settings), settings, _stop_at(stopped))
    resumed = replace(settings, resume=True)
    run(toy.Toy(resumed), resumed)
    assert _same(_weights(tmp_path), _weights(whole))
    rows = [_rows(out) for out in (tmp_path, whole)]
    assert [(row["step"], row["loss"], row["drawn"]) for row in rows[0]] == [
        (row["step"], row["loss"], row["drawn"]) for row in rows[1]
    ]


def test_a_truncated_newest_checkpoint_is_passed_over_for_the_one_before(whole: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with pytest.raises(InterruptedError):
        run(toy.Toy(settings), settings, _stop_at(7))
    newest = checkpoint.checkpoints(tmp_path)[0]
    assert newest.name == "step-00000006.pt"
    newest.write_bytes(newest.read_bytes()[:-500])
    assert checkpoint.newest_readable(tmp_path)[0].name == "step-00000004.pt"
    resumed = replace(settings, resume=True)
    run(toy.Toy(resumed), resumed)
    assert _same(_weights(tmp_path), _weights(whole))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_a_process_killed_while_it_writes_a_checkpoint_leaves_the_one_before(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(tmp_path)

    def half(content: dict[str, Any], file: Any) -> None:
        save(content, file)
        if content.get("step") == 6:
            file.flush()
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    save = torch.save
    process = os.fork()
    if process == 0:
        try:
            monkeypatch.setattr(checkpoint.torch, "save", half)
            run(toy.Toy(settings), settings)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        "step-00000004.pt",
        "step-00000002.pt",
    ]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3  # the torn file, under its temporary name
    resumed = replace(settings, resume=True)
    run(toy.Toy(resumed), resumed)
    assert _same(_weights(tmp_path), _weights(whole))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000006.pt",
        "step-00000008.pt",
    ]


def test_a_full_disk_is_told_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, settings = torch.save, _settings(tmp_path)

    def full(content: dict[str, Any], file: Any) -> None:
        if content.get("step") == 4:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, file)

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(TrainingError, match=r"step-00000004.*No space left.*of step 2 is kept.*make room"):
        run(toy.Toy(settings), settings)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002.pt"]
    assert checkpoint.newest_readable(tmp_path)[1]["step"] == 2


@pytest.mark.skipif(os.name != "posix", reason="limits what a process may write")
def test_a_write_that_the_system_itself_refuses_is_told_and_keeps_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    import resource

    settings = _settings(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(step: int, _: dict[str, float]) -> None:
        if step == 3:  # from now on no file can be larger than half a checkpoint
            half = checkpoint.checkpoint_path(tmp_path, 2).stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (half, before[1]))

    try:
        with pytest.raises(TrainingError, match=r"step-00000004.*of step 2 is kept.*make room"):
            run(toy.Toy(settings), settings, fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002.pt"]
    assert checkpoint.newest_readable(tmp_path)[1]["step"] == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number_stops_with_the_batch_before_it_does_harm(
    value: float, tmp_path: Path
) -> None:
    settings = _settings(tmp_path)
    trainable = toy.Toy(settings, lambda step, loss: loss * value if step == 5 else loss)
    with pytest.raises(TrainingError, match=r"loss is not a number at step 5, with sample 5\.0, sample 5\.1"):
        run(trainable, settings)
    assert all(bool(torch.isfinite(one).all()) for one in trainable.net.state_dict().values())
    assert checkpoint.newest_readable(tmp_path)[1]["step"] == 4


def test_a_gradient_that_is_not_a_number_stops_too(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    trainable = toy.Toy(settings, lambda _, loss: (loss - loss.detach()).sqrt())  # 0, of infinite slope
    with pytest.raises(TrainingError, match="gradient is not a number at step 1"):
        run(trainable, settings)


def test_pictures_take_nothing_from_the_randomness(whole: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path, picture_every=3)
    run(toy.Toy(settings), settings)
    assert _same(_weights(tmp_path), _weights(whole))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "step-00000003",
        "step-00000006",
    ]


def test_what_a_training_leaves(whole: Path) -> None:
    assert [path.name for path in checkpoint.checkpoints(whole)] == ["step-00000008.pt", "step-00000006.pt"]
    rows = _rows(whole)
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]
    assert float(rows[1]["rate/net"]) == pytest.approx(0.01 / 5)
    assert any(path.name.startswith("events.out.tfevents") for path in (whole / "logs").iterdir())
    record = torch.load(whole / "model.pt", weights_only=True)["record"]
    assert record["steps_done"] == 8
    assert record["settings"]["seed"] == 0
    assert "out" not in record["settings"]
    assert record["torch"] == torch.__version__
    assert record["device"].startswith("CPU")
    assert record["hours"] >= 0
    json.dumps(record)


def test_the_record_of_the_command_names_no_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    from smdt.training.logs import made_with

    monkeypatch.setattr(sys, "argv", ["/opt/bin/smdt", "train", "--root", "/data/CVUSA", "--steps", "5"])
    assert made_with(torch.device("cpu"), 1)["command"] == "smdt train --root CVUSA --steps 5"


@dataclass(frozen=True)
class _WithRate(LoopSettings):
    rate: float = 0.1


def test_impossible_resumptions_are_refused(whole: Path, tmp_path: Path) -> None:
    def attempt(settings: LoopSettings) -> None:
        run(toy.Toy(settings), settings)

    with pytest.raises(TrainingError, match="no checkpoint to go on from"):
        attempt(_settings(tmp_path, resume=True))
    with pytest.raises(TrainingError, match="holds the checkpoints of an earlier training"):
        attempt(_settings(whole))
    with pytest.raises(TrainingError, match="was made with seed 0, not 1"):
        attempt(_settings(whole, resume=True, seed=1))
    with pytest.raises(TrainingError, match="was made with steps 8, not 9"):
        attempt(_settings(whole, resume=True, steps=9))
    out = tmp_path / "rate"
    first = _WithRate(out, steps=2, accelerator="cpu")
    attempt(first)
    with pytest.raises(TrainingError, match=r"was made with rate 0\.1, not 0\.2"):
        attempt(replace(first, resume=True, rate=0.2))
    attempt(replace(first, resume=True, log_every=1))
    for path in checkpoint.checkpoints(out):
        path.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="none of the checkpoints here can be read"):
        attempt(replace(first, resume=True))


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    settings = _settings(tmp_path, steps=2)
    run(toy.Toy(settings), settings)
    other = toy.Toy(settings)
    other.networks = {"net": torch.nn.Linear(4, 1)}
    with pytest.raises(TrainingError, match="does not fit what is trained"):
        run(other, replace(settings, resume=True))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("tpu", 1, 1, "32-true"), "accelerator 'tpu' is unknown"),
        (("cpu", 1, 1, "16-mixed"), "precision '16-mixed' is unknown"),
        (("cpu", 0, 1, "32-true"), "0 devices"),
        (("cuda", 99, 1, "32-true"), "99 cuda devices are asked for"),
    ],
)
def test_machines_that_are_not_there_are_refused(arguments: tuple[Any, ...], named: str) -> None:
    with pytest.raises(TrainingError, match=named):
        processes.check_machine(*arguments)


def test_precision_without_hardware_and_a_wrong_number_of_processes_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_computes_bf16", lambda kind: False)
    with pytest.raises(TrainingError, match="bf16-mixed gains nothing"):
        processes.check_machine("cpu", 1, 1, "bf16-mixed")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(
        TrainingError, match="torchrun has started 4 processes, but the settings say 1 devices"
    ):
        processes.check_machine("cpu", 1, 1, "32-true")


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"log_every": 0}, {"save_every": 0}, {"keep": 0}, {"max_grad_norm": -1.0}]
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        _settings(tmp_path, **change)


def test_two_processes_learn_from_the_whole_batch_as_one_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = tmp_path / "two"
    done = subprocess.run(
        [*command, str(_TOY), str(out)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    _, content, _ = checkpoint.newest_readable(out)
    assert len(content["random"]) == 2
    begun = {name: one.state_dict() for name, one in toy.Contrast().networks.items()}
    one = toy.contrast_weights(tmp_path / "one", 1)
    for network, weights in one.items():
        for name, weight in weights.items():
            assert not torch.equal(weight, begun[network][name])
            assert torch.allclose(content["networks"][network][name], weight, rtol=0, atol=1e-6)
