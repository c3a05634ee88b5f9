import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import huggingface_hub
import pytest
import torch
from click.testing import CliRunner
from huggingface_hub.errors import LocalEntryNotFoundError

from smdt.app.cli import cli
from smdt.errors import ModelError, SmdtError
from smdt.retrieval.encoder import EncoderConfig
from smdt.retrieval.hub import from_pretrained, push_to_hub
from smdt.retrieval.model_card import model_card
from smdt.retrieval.models import (
    CARD_FILE,
    CONFIG_FILE,
    FAMILIES,
    create_model,
    fingerprint,
    load_model,
    save_model,
)
from smdt.retrieval.siamese import Siamese
from smdt.retrieval.transformer import Transformer


def test_a_config_without_a_family_is_a_siamese(
    tiny_model: Siamese, tiny_model_folder: Path, tmp_path: Path
) -> None:
    for file in tiny_model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert config.pop("family") == "siamese"
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    assert fingerprint(load_model(str(tmp_path))) == fingerprint(tiny_model)


def test_the_fingerprint_of_a_siamese_is_what_it_was_before_there_were_families(tiny_model: Siamese) -> None:
    """Indexes name it: the config's keys in it must stay these for a model that reads the mapped tile alone."""
    names = (
        "name",
        "backbone",
        "strip_channels",
        "mapping",
        "height_px",
        "width_px",
        "tile_side_m",
        "tile_px",
    )
    config = {key: getattr(tiny_model.config, key) for key in (*names, "remove_mean", "scale")}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(tiny_model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    assert fingerprint(tiny_model) == digest.hexdigest()[:16]
    mirrored = Siamese(replace(tiny_model.config, beyond="mirror"))
    mirrored.load_state_dict(tiny_model.state_dict())
    assert fingerprint(mirrored) != fingerprint(tiny_model)  # other descriptors of narrow photos


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"family": "resnet"}, "family 'resnet' is unknown"),
        ({"colour": 1}, r"config\.json: unknown setting 'colour'; update smdt"),
        ({"beyond": "grey"}, r"config\.json: beyond a photo's edges nothing can be 'grey'"),
        ({"height_px": "tall"}, r"config\.json: setting 'height_px' is 'tall', not int"),
        ({"strip_channels": 4}, "does not hold a model .*size mismatch"),
    ],
)
def test_configs_that_do_not_fit_are_named(
    changed: dict[str, Any], named: str, tiny_model: Siamese, tmp_path: Path
) -> None:
    save_model(tiny_model, tmp_path, {})
    config = json.loads((tmp_path / CONFIG_FILE).read_text()) | changed
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelError, match=named):
        load_model(str(tmp_path))


def test_a_config_that_is_no_mapping_is_named(tiny_model: Siamese, tmp_path: Path) -> None:
    save_model(tiny_model, tmp_path, {})
    (tmp_path / CONFIG_FILE).write_text("[1]")
    with pytest.raises(ModelError, match=r"config\.json: is not a model's config"):
        load_model(str(tmp_path))


def test_naming_a_family_imports_no_other(tmp_path: Path) -> None:
    assert {"siamese", "compact", "transformer", "safa", "sample4geo"} == set(FAMILIES)
    assert isinstance(
        create_model("transformer", {"variant": "tiny", "name": "mine", "depth": 1}), Transformer
    )


def test_the_card_tells_what_the_record_tells_and_no_more(tiny_model: Siamese, tmp_path: Path) -> None:
    record = {
        "trained_on": "simulated towns only",
        "steps_done": 260,
        "scores": {"TownBench 2 quick": {"R@1": 91.234, "queries": 1000}},
    }
    save_model(tiny_model, tmp_path, record)
    card = (tmp_path / CARD_FILE).read_text()
    assert card.startswith("---\nlibrary_name: smdt\n")
    assert "# tiny\n" in card
    assert "Trained on: simulated towns only." in card
    assert "- Steps: 260." in card
    assert "| TownBench 2 quick | R@1 91.23, queries 1000 |" in card
    assert "seen no real street photo" in card
    bare = model_card(tiny_model.config, {}, 12_345)
    assert "What it was trained on is not recorded." in bare
    assert "Nothing has been measured" in bare
    assert "Parameters: 12,345." in bare
    assert "R@1" not in bare


def test_the_card_says_how_aerial_images_are_read() -> None:
    class Config(EncoderConfig):
        family = "sample4geo"

    card = model_card(Config("x", mapping="none", tile_px=384, tile_side_m=70.0), {}, 1)
    assert "square images of 384×384 pixels, not mapped; tiles of 70 m" in card
    assert "mapped to the panorama (mixed)." in model_card(Config("x", mapping="mixed"), {}, 1)
    near = Config("x", tile_side_m=160.0, camera_within_m=2.0)
    assert "tiles of 160 m, cameras within 2 m of their centre" in model_card(near, {}, 1)


@pytest.mark.parametrize(
    ("beyond", "said"), [("black", "black beyond"), ("mirror", "the photo mirrored beyond")]
)
def test_the_card_says_what_lies_beyond_a_narrow_photo(beyond: str, said: str) -> None:
    assert f"128×512 pixels; {said} a narrow photo's edges." in model_card(
        EncoderConfig("x", beyond=beyond), {}, 1
    )


def test_the_card_says_where_mirror_images_are_compared() -> None:
    told = "mirror images are embedded as well"
    assert told in model_card(EncoderConfig("x", mirrored=True), {}, 1)
    assert told not in model_card(EncoderConfig("x"), {}, 1)


def test_from_pretrained_takes_a_folder_without_a_network(
    tiny_model: Siamese, tiny_model_folder: Path
) -> None:
    loaded = from_pretrained(tiny_model_folder)
    assert fingerprint(loaded) == fingerprint(tiny_model)
    assert not loaded.training


def test_from_pretrained_fetches_config_and_weights_alone(
    tiny_model: Siamese, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = create_autospec(
        huggingface_hub.hf_hub_download, side_effect=lambda _, file, **__: str(tiny_model_folder / file)
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert fingerprint(load_model("hub:someone/tiny")) == fingerprint(tiny_model)
    assert [call.args for call in fetch.call_args_list] == [
        ("someone/tiny", "config.json"),
        ("someone/tiny", "model.safetensors"),
    ]


def test_a_hub_that_does_not_answer_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = create_autospec(huggingface_hub.hf_hub_download, side_effect=LocalEntryNotFoundError("offline"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    with pytest.raises(
        ModelError, match=r"someone/tiny: cannot be fetched \(LocalEntryNotFoundError: offline"
    ):
        from_pretrained("someone/tiny")


def test_a_name_that_no_hub_has_is_a_model_error() -> None:
    """Refused by the hub's client itself, before any network."""
    with pytest.raises(ModelError, match=r"a/b/c: cannot be fetched \(HFValidationError"):
        from_pretrained("a/b/c")


def test_pushing_sends_the_whole_folder(tiny_model: Siamese, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, set[str]] = {}

    def upload(*, repo_id: str, folder_path: str, **_: Any) -> str:
        sent[repo_id] = {path.name for path in Path(folder_path).iterdir()}
        return "the commit"

    api = create_autospec(huggingface_hub.HfApi, instance=True)
    api.upload_folder.side_effect = upload
    monkeypatch.setattr(huggingface_hub, "HfApi", create_autospec(huggingface_hub.HfApi, return_value=api))
    assert push_to_hub(tiny_model, "someone/tiny", {}) == "the commit"
    assert sent == {"someone/tiny": {"config.json", "model.safetensors", "training.json", "README.md"}}
    api.create_repo.assert_called_once_with("someone/tiny", private=True, exist_ok=True)
    api.create_repo.side_effect = OSError("no network")
    with pytest.raises(ModelError, match=r"someone/tiny: cannot be sent \(OSError: no network"):
        push_to_hub(tiny_model, "someone/tiny", {})


def test_import_weights_writes_a_model_that_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = create_model("transformer", {"variant": "tiny-patch"})
    encoder = start.state_dict()
    prefix = "encoders.ground."
    names = {
        "patch.": "patch_embed.proj.",
        "class_token": "cls_token",
        "positions": "pos_embed",
        "layers.": "blocks.",
        "query_norm": "norm1",
        "mlp_norm": "norm2",
        "attention.out": "attn.proj",
    }
    state = {}
    for name, tensor in encoder.items():
        if name.startswith(prefix) and "key_norm" not in name and ".attention.query" not in name:
            theirs = name.removeprefix(prefix)
            for ours, other in names.items():
                theirs = theirs.replace(ours, other)
            state[theirs] = tensor
    for layer in (0, 1):
        for end in ("weight", "bias"):
            parts = [
                encoder[f"{prefix}layers.{layer}.attention.{part}.{end}"]
                for part in ("query", "key", "value")
            ]
            state[f"blocks.{layer}.attn.qkv.{end}"] = torch.cat(parts)
    state = {name: tensor for name, tensor in state.items() if ".attention." not in name}
    torch.save(state, tmp_path / "vit.pth")
    given = [
        "import-weights",
        str(tmp_path / "vit.pth"),
        "--variant",
        "tiny-patch",
        "--out",
        str(tmp_path / "mine"),
    ]
    result = CliRunner().invoke(cli, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "timm, 30 tensors" in result.output
    loaded = load_model(str(tmp_path / "mine"))
    assert loaded.config.name == "mine"
    images = torch.rand(1, 3, 32, 128)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images, "ground"), start.eval()(images, "ground"))
        torch.testing.assert_close(loaded(images, "aerial"), start(images, "ground"))
    assert "Started from: vit.pth, timm weights" in (tmp_path / "mine" / CARD_FILE).read_text()
    with pytest.raises(SmdtError, match="holds a model already"):
        CliRunner().invoke(cli, given, catch_exceptions=False)
