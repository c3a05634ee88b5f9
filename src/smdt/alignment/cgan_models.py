"""Dual conditional GANs on disk: a folder with ``config.json`` and ``model.safetensors``, the weights in 16 bit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from smdt.alignment.dual_cgan import DualCgan, DualCganConfig
from smdt.errors import ConfigError, ModelError
from smdt.files import write_text_whole, write_whole

CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE = "config.json", "model.safetensors", "training.json"


def load_cgan(name: str, device: torch.device | str = "cpu") -> DualCgan:
    """A model ready to be applied, by name or folder.

    Args:
        name: a folder written by ``smdt train dual-cgan``, or a model that ships, see :func:`built_in`.
        device: where to put it.

    Raises:
        ModelError: if there is no such model, or its files do not fit.
    """
    if Path(name).is_dir():
        return _read(Path(name)).to(device).eval()
    shipped = built_in()
    if name in shipped:
        with resources.as_file(_weights() / name) as folder:
            return _read(folder).to(device).eval()
    named = "".join(f"{one}, or " for one in shipped)
    raise ModelError(
        "no such model", where=name, remedy=f"name {named}a folder that `smdt train dual-cgan` has written"
    )


def built_in() -> tuple[str, ...]:
    """The models that ship: the folders of ``weights`` whose names begin with ``dual-cgan``."""
    if not _weights().is_dir():
        return ()
    return tuple(sorted(one.name for one in _weights().iterdir() if one.name.startswith("dual-cgan")))


def _weights() -> Any:
    return resources.files("smdt.alignment") / "weights"


def _read(folder: Path) -> DualCgan:
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for path in (config_path, weights_path):
        if not path.is_file():
            raise ModelError(
                "is missing", where=path, remedy="give a folder that `smdt train dual-cgan` has written"
            )
    try:
        stored = json.loads(config_path.read_text(encoding="utf-8"))
        unknown = sorted(set(stored) - {entry.name for entry in fields(DualCganConfig)})
        if unknown:
            raise ModelError(f"unknown setting '{unknown[0]}'", where=config_path, remedy="update smdt")
        model = DualCgan(DualCganConfig(**stored), judged=False)
        model.load_state_dict({key: one.float() for key, one in load_file(weights_path).items()})
    except (json.JSONDecodeError, TypeError, ConfigError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"does not hold a dual conditional GAN ({str(error).splitlines()[0]})",
            where=folder,
            remedy="train or copy it again",
        ) from error
    return model


def save_cgan(model: DualCgan, folder: Path, record: dict[str, Any]) -> None:
    """Write a model's config, weights and record into a folder, each file whole.

    The discriminators are left out, unless feedback needs them. Weights are rounded to 16 bit.
    """
    kept = ("g1.", "g2.", "d1.", "d2.") if model.config.feedback_loops else ("g1.", "g2.")
    state = {
        key: tensor.detach().cpu().half().contiguous()
        for key, tensor in model.state_dict().items()
        if key.startswith(kept)
    }
    write_whole(folder / WEIGHTS_FILE, lambda path: path.write_bytes(save(state)))
    write_text_whole(folder / CONFIG_FILE, json.dumps(asdict(model.config), indent=2) + "\n")
    write_text_whole(folder / RECORD_FILE, json.dumps(record, indent=2) + "\n")


def fingerprint(model: DualCgan) -> str:
    """Sixteen hexadecimal digits of the config and weights: pictures of other fingerprints must not be mixed."""
    digest = hashlib.sha256(json.dumps(asdict(model.config), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
