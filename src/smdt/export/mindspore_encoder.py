"""A retrieval model whose network runs in MindSpore, for whatever takes a model: evaluation, index, locating."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from smdt.retrieval.encoder import Encoder, EncoderConfig, View

if TYPE_CHECKING:
    from smdt.mindspore.network import Network


class MindSporeEncoder(Encoder):
    """Strips by a converted network; images and strips pass as arrays, gradients do not.

    Args:
        network: of a retrieval model, with the entries ``ground`` and ``aerial``.
        config: the model's.
        columns: of its strips.
    """

    def __init__(self, network: Network, config: EncoderConfig, columns: int) -> None:
        mean = torch.from_numpy(network.arrays()["ground_mean"])
        super().__init__(config, channels=len(mean), columns=columns)
        self.ground_mean.copy_(mean)
        self.network = network

    def forward(self, images: Tensor, view: View) -> Tensor:
        """Strips (B, C, W') of images in [0, 1]; the converted network joins mapped tile and Ig′ itself."""
        return self.strips(images, view)

    def strips(self, images: Tensor, view: View) -> Tensor:
        """Strips (B, C, W') of images (B, 3 or 6, H, W) in [0, 1]."""
        import mindspore

        strips = self.network(mindspore.Tensor(images.float().numpy()), view)
        return torch.from_numpy(strips.asnumpy())

    def trunks(self) -> tuple[nn.Module, ...]:
        """None: it is trained in MindSpore."""
        return ()
