"""ImageNet's weights for the backbones that models are built on: from the installed package, or fetched by timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from smdt import torchvision_guard
from smdt.errors import ConfigError, ModelError
from smdt.imagenet_weights import imagenet_lite0_state
from smdt.retrieval.encoder import Encoder

_INSTALLED = "tf_efficientnet_lite0"


def start_from_imagenet(model: Encoder) -> None:
    """Give every trunk of a model the ImageNet weights of its backbone; what is not of the trunk stays as it is.

    EfficientNet-Lite0's are part of the installation. Those of other backbones timm fetches from the hub.

    Args:
        model: of a family whose config names a timm ``backbone``.

    Raises:
        ConfigError: if the family has no backbone.
        ModelError: if the weights cannot be fetched, or lack a tensor of the trunk.
    """
    backbone = getattr(model.config, "backbone", None)
    if backbone is None:
        raise ConfigError(
            f"a model of family {model.config.family} has no backbone of timm's to take weights for",
            where="pretrained",
            remedy="import weights by `smdt import-weights`, and give their folder as start",
        )
    state = imagenet_lite0_state() if backbone == _INSTALLED else _fetched(backbone, model)
    for trunk in model.trunks():
        missing, _ = trunk.load_state_dict(state, strict=False)
        if missing:
            raise ModelError(
                f"ImageNet's weights lack {missing[0]}",
                where=backbone,
                remedy="install the versions pinned in constraints.txt",
            )


def _fetched(backbone: str, model: Encoder) -> Mapping[str, Tensor]:
    torchvision_guard.install()
    import timm

    whole = model.config.family == "sample4geo"  # pools globally; the others take features on the way
    kind: dict[str, Any] = {"num_classes": 0} if whole else {"features_only": True}
    try:
        state: Mapping[str, Tensor] = timm.create_model(backbone, pretrained=True, **kind).state_dict()
    except Exception as error:  # the hub's client raises its network's, its own and timm's errors
        raise ModelError(
            f"its ImageNet weights could not be fetched ({type(error).__name__})",
            where=backbone,
            remedy="check the network, set pretrained: false, or choose tf_efficientnet_lite0, which needs none",
        ) from error
    return state
