"""What the converter makes of small modules: modes, operations in place, names, constants, nesting, and errors."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from smdt.errors import ExportError, ModelError
from smdt.export.mindspore import convert, to_network
from smdt.export.parity import compare, difference, measure
from smdt.mindspore.network import Network

IMAGES = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def run(network: Network, *inputs: Tensor) -> np.ndarray:
    return network(*(ms.Tensor(one.numpy()) for one in inputs)).asnumpy()


class Residual(nn.Module):
    """Operations in place where torch code commonly has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x), inplace=True)
        y = self.second(y)
        y += x
        return y.relu_()


def test_operations_in_place_become_operations_out_of_place() -> None:
    module = Residual()
    found = measure(module, to_network(module, (IMAGES,)), (IMAGES,))
    assert found.outputs < 1e-5
    assert found.gradients < 1e-5


class WritesIntoView(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 1.0
        y.view(-1).relu_()
        return y


def test_writing_into_a_view_that_is_used_afterwards_is_refused() -> None:
    with pytest.raises(ExportError, match=r"relu_.*writes into memory that is used afterwards"):
        convert(WritesIntoView(), (IMAGES,))


class Strange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 1), Cosh())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y


class Cosh(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.lgamma(x.cosh())


def test_a_missing_operation_is_named_with_its_place_in_the_model() -> None:
    with pytest.raises(ExportError) as caught:
        convert(Strange(), (IMAGES,))
    assert caught.value.where is not None
    assert caught.value.where.startswith("inner.1 (Cosh, mindspore/test_converter.py:")
    assert "aten.cosh.default has no MindSpore counterpart" in caught.value.what
    assert "aten.lgamma.default" in caught.value.what


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_module_that_branches_on_values_is_refused() -> None:
    with pytest.raises(ExportError, match=r"Branches: torch\.export cannot trace it"):
        convert(Branches(), (IMAGES,))


def test_running_figures_move_as_in_torch_and_only_in_training() -> None:
    module = nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3, momentum=0.3)).train()
    network = to_network(module, (IMAGES,))
    network.set_train(True)
    for scale in (1.0, 2.0, 5.0):
        module(IMAGES * scale)
        run(network, IMAGES * scale)
    network.set_train(False)
    run(network, IMAGES)
    mine = network.arrays()
    for name, tensor in module.state_dict().items():
        assert difference(mine[name], tensor.numpy()) < 1e-5, name
    assert mine["1.num_batches_tracked"] == 3


def test_dropout_follows_the_mode_and_keeps_the_mean() -> None:
    ms.set_seed(0)
    network = to_network(nn.Sequential(nn.Dropout(0.25), nn.Identity()), (torch.ones(40, 50),))
    ones = torch.ones(40, 50)
    assert (run(network, ones) == 1.0).all()
    network.set_train(True)
    dropped = run(network, ones)
    assert set(np.unique(dropped)) == {np.float32(0.0), np.float32(1.0) / np.float32(0.75)}
    assert abs((dropped == 0).mean() - 0.25) < 0.04


def test_dropout_of_whole_channels() -> None:
    ms.set_seed(0)
    network = to_network(nn.Dropout2d(0.5), (torch.ones(20, 30, 2, 2),))
    network.set_train(True)
    dropped = run(network, torch.ones(20, 30, 2, 2))
    assert (dropped == dropped[:, :, :1, :1]).all()
    assert abs((dropped == 0).mean() - 0.5) < 0.08


class DropsPaths(nn.Module):
    """Different code in training and in evaluation, as stochastic depth is."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.map(x)
        if self.training:
            kept = x.new_empty((x.shape[0], 1)).bernoulli_(0.5).div_(0.5)
            y = y * kept
        return y


def test_different_code_in_training_gets_a_body_of_its_own() -> None:
    ms.set_seed(1)
    module = DropsPaths()
    rows = torch.rand(64, 6)
    conversion = convert(module, (rows,))
    assert "run_training" in conversion.source
    assert "run_evaluation" in conversion.source
    network = to_network(module, (rows,))
    assert compare(module, network, (rows,))[""] < 1e-6
    network.set_train(True)
    made, whole = run(network, rows), module.map(rows).detach().numpy()
    gone = (made == 0).all(1)
    assert 10 < gone.sum() < 54
    assert difference(made[~gone], 2 * whole[~gone]) < 1e-6


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=False)


def test_a_normalisation_that_never_trains_stays_so() -> None:
    module = Frozen()
    network = to_network(module, (IMAGES,))
    network.set_train(True)
    assert difference(run(network, IMAGES), module.train()(IMAGES).numpy()) < 1e-6
    assert (network.arrays()["norm.running_mean"] == 0).all()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 5, bias=False)
        self.b = nn.Linear(5, 5, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.a(x))
        return y


def test_a_shared_weight_is_one_parameter_and_gets_both_gradients() -> None:
    module, rows = Tied(), torch.rand(2, 5)
    network = to_network(module, (rows,))
    assert [parameter.name for parameter in network.trainable_params()] == ["a.weight"]
    assert measure(module, network, (rows,)).gradients < 1e-5


class TwoViews(nn.Module):
    """Entries that share a part, with tensors written into the code."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.own = nn.Linear(4, 4), nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 3)})

    def forward(self, x: Tensor, view: str) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
        shift = torch.tensor([1.0, 2.0, 3.0, 4.0] if view == "a" else [5.0, 6.0, 7.0, 8.0])
        hidden = self.shared(x + shift)
        return {"out": self.own[view](hidden), "more": (hidden, x)}


def test_several_calls_share_weights_and_keep_their_constants_and_nesting() -> None:
    module, rows = TwoViews(), torch.rand(3, 4)
    calls = {view: (rows, view) for view in "ab"}
    network = to_network(module, calls)
    assert max(compare(module, network, calls).values()) < 1e-6
    result = network(ms.Tensor(rows.numpy()), "b")
    assert result["out"].shape == (3, 3)
    assert (result["more"][1].asnumpy() == rows.numpy()).all()
    assert len(network.trainable_params()) == 6
    with pytest.raises(ValueError, match="one of: a, b"):
        network(ms.Tensor(rows.numpy()), "c")


def test_the_batch_stays_open() -> None:
    module = nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(72, 5))
    network = to_network(module, (IMAGES,))
    for batch in (1, 2, 7):
        images = torch.rand(batch, 4, 8, 8)
        assert difference(run(network, images), module(images).detach().numpy()) < 1e-5


def test_a_function_is_converted_too() -> None:
    def margin(a: Tensor, b: Tensor) -> Tensor:
        return F.softplus(10.0 * (a - b)).mean()

    a, b = torch.rand(5), torch.rand(5)
    assert abs(float(run(to_network(margin, (a, b)), a, b)) - float(margin(a, b))) < 1e-5


def test_the_source_is_readable_and_needs_no_torch() -> None:
    conversion = convert(Residual(), (IMAGES,), name="my residual")
    lines = conversion.source.splitlines()
    assert conversion.name == "MyResidual"
    assert "class MyResidual(Network):" in lines
    assert "        # second (Conv2d)" in lines
    assert any("self.first_weight" in line and line.endswith("# (B, 4, 8, 8)") for line in lines)
    assert "torch" not in conversion.source.replace("PyTorch", "")


def test_names_that_meet_get_numbers() -> None:
    class Meeting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_weight = nn.Parameter(torch.tensor(2.0))
            self.a = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.a(x) * self.a_weight
            return y

    module, rows = Meeting(), torch.rand(2, 3)
    network = to_network(module, (rows,))
    assert {parameter.name for parameter in network.trainable_params()} == {"a_weight", "a.weight", "a.bias"}
    assert compare(module, network, (rows,))[""] < 1e-6


def test_weights_go_back_to_torch(tmp_path: Path) -> None:
    module, rows = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), torch.rand(6, 4)
    network = to_network(module, (rows,))
    for parameter in network.trainable_params():
        parameter.set_data(parameter + 1.0)
    network.save_weights(tmp_path / "weights.safetensors")
    module.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert compare(module, network, (rows,))[""] < 1e-6


def test_weights_that_do_not_fit_are_refused() -> None:
    network = to_network(nn.Linear(4, 2), (torch.rand(2, 4),))
    with pytest.raises(ModelError, match="'weight' has shape"):
        network.load_arrays({"weight": np.zeros((2, 5), np.float32)})
    with pytest.raises(ModelError, match="holds 'scale', which this network has not"):
        network.load_arrays({"scale": np.zeros(2, np.float32)})


class ManyOperations(nn.Module):
    """What graph mode reads differently from Python: loops over shapes, constants, paddings, pieces."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.pad(x, (1, 2, 3, 0), mode="reflect")
        y = F.pad(F.pad(y, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1), mode="replicate")
        mean = F.avg_pool2d(y, 3, 2, 1, ceil_mode=True, count_include_pad=False)
        y = F.max_pool2d(y, 3, 2, 1, ceil_mode=True) + mean
        y = (
            F.interpolate(y, size=(9, 7), mode="bicubic")
            + F.interpolate(y, scale_factor=1.3, mode="nearest")[..., :9, :7]
        )
        y = (
            F.adaptive_avg_pool2d(y, (4, 3))
            + F.conv_transpose2d(y, torch.ones(4, 4, 2, 2), stride=2)[..., :4, :3]
        )
        a, b = y.chunk(2, dim=1)
        y = torch.stack([a, b.flip(2)], dim=2).flatten(1, 2).roll(1, 2)
        y = torch.einsum("bchw,bdhw->bcd", y, y).tril() + torch.eye(4)
        y = y.softmax(-1) + y.logsumexp(-1, keepdim=True) + y.amax(1, keepdim=True) + y.var(2, keepdim=True)
        values, places = y.max(dim=-1)
        y = torch.where(places > 1, values, values.clamp(-1.0, 1.0)) / values.norm(dim=1, keepdim=True)
        return F.gelu(y[:, ::2]).sum(1) + torch.fft.irfft(torch.fft.rfft(y).conj(), n=4).square().mean(1)


@pytest.mark.parametrize("compiled", [False, True])
def test_many_operations_in_both_modes(compiled: bool) -> None:
    module = ManyOperations()
    network = to_network(module, (IMAGES,))
    ms.set_context(mode=ms.GRAPH_MODE if compiled else ms.PYNATIVE_MODE)
    try:
        found = measure(module, network, (IMAGES,))
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    assert found.outputs < 1e-5
    assert found.gradients < 1e-4
