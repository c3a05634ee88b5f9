"""Folders that `smdt export mindspore` writes: they load without torch, and mistakes are named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import smdt.mindspore
from smdt.app.cli import cli
from smdt.app.export_commands import find_model
from smdt.errors import ExportError, ModelError
from smdt.retrieval.models import load_model
from smdt.retrieval.siamese import Siamese

_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import numpy as np
import mindspore
import smdt.mindspore
network = smdt.mindspore.load(sys.argv[1])
images = mindspore.Tensor(np.load(sys.argv[2]))
np.save(sys.argv[3], network(images, "aerial").asnumpy())
"""


@pytest.fixture(scope="module")
def exported(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mindspore") / "tiny"
    result = CliRunner().invoke(
        cli, ["export", "mindspore", str(tiny_model_folder), "--out", str(out), "--ckpt", "--mindir"]
    )
    assert result.exit_code == 0, result.output
    assert "Siamese" in result.output
    return out


def test_the_command_writes_all_that_it_says(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "network.py",
        "network.json",
        "model.safetensors",
        "constants.safetensors",
        "model.ckpt",
        "ground.mindir",
        "aerial.mindir",
    }
    assert json.loads((exported / "network.json").read_text())["entries"] == ["ground", "aerial"]


def test_a_network_loads_and_runs_without_torch(exported: Path, tiny_model: Siamese, tmp_path: Path) -> None:
    images = torch.rand(2, 3, 32, 128, generator=torch.Generator().manual_seed(1))
    np.save(tmp_path / "images.npy", images.numpy())
    paths = [str(path) for path in (exported, tmp_path / "images.npy", tmp_path / "strips.npy")]
    subprocess.run([sys.executable, "-c", _WITHOUT_TORCH, *paths], check=True, capture_output=True)
    with torch.no_grad():
        wanted = tiny_model(images, "aerial").numpy()
    np.testing.assert_allclose(np.load(tmp_path / "strips.npy"), wanted, atol=1e-4 * np.abs(wanted).max())


def test_mindspore_s_own_files_hold_the_same_network(exported: Path, tiny_model: Siamese) -> None:
    one = torch.rand(1, 3, 32, 128, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = tiny_model(one, "ground").numpy()
    graph = ms.nn.GraphCell(ms.load(str(exported / "ground.mindir")))
    tolerance = 1e-4 * np.abs(wanted).max()
    np.testing.assert_allclose(graph(ms.Tensor(one.numpy())).asnumpy(), wanted, atol=tolerance)
    stored = ms.load_checkpoint(str(exported / "model.ckpt"))
    own = tiny_model.state_dict()
    assert {name for name in stored if not name.startswith("pixel_")} == set(own)
    assert all(np.array_equal(stored[name].asnumpy(), own[name].numpy()) for name in own)


def test_a_folder_of_something_else_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="is missing; give a folder that `smdt export mindspore` has written"
    ):
        smdt.mindspore.load(tmp_path)
    for path in exported.iterdir():
        if path.suffix in (".py", ".json", ".safetensors"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((exported / "constants.safetensors").read_bytes())
    with pytest.raises(ModelError, match="weights lack"):
        smdt.mindspore.load(tmp_path)
    (tmp_path / "network.py").write_text("class Siamese(:\n")
    with pytest.raises(ModelError, match="does not hold a network"):
        smdt.mindspore.load(tmp_path)


def test_models_are_found_by_what_their_folder_holds(tiny_model_folder: Path) -> None:
    module, calls = find_model(str(tiny_model_folder))
    assert type(module).__name__ == "Siamese"
    assert list(calls) == ["ground", "aerial"]
    assert type(find_model("segmenter")[0]).__name__ == "SegmentationNetwork"
    assert type(find_model("dual-cgan")[0]).__name__ == "DualCgan"
    with pytest.raises(ModelError, match="no such model"):
        find_model("nowhere")


def test_a_conversion_that_differs_is_not_passed_off(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smdt.app import export_commands
    from smdt.mindspore.network import Network

    def load_changed(folder: Path) -> Network:
        network = smdt.mindspore.load(folder)
        first = network.trainable_params()[0]
        first.set_data(first * 1.01)
        return network

    monkeypatch.setattr(export_commands, "load", load_changed)
    with pytest.raises(ExportError, match="differ from torch's"):
        export_commands.export_to_mindspore(str(tiny_model_folder), tmp_path, ckpt=False, mindir=False)


def test_a_trained_model_keeps_its_answers(tmp_path: Path) -> None:
    model = load_model("town")
    images = torch.rand(1, 3, 128, 512, generator=torch.Generator().manual_seed(3))
    result = CliRunner().invoke(cli, ["export", "mindspore", "town", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    with torch.no_grad():
        wanted = model(images, "ground").numpy()
    made = smdt.mindspore.load(tmp_path)(ms.Tensor(images.numpy()), "ground").asnumpy()
    np.testing.assert_allclose(made, wanted, atol=1e-4 * np.abs(wanted).max())
