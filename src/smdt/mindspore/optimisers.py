"""Adam and AdamW as PyTorch defines them.

MindSpore's Adam adds ``eps`` before the bias of the second moment is corrected, so that at the first step it counts
some thirty times as much as in PyTorch; where gradients are small, as a GAN's are, the weights then go other ways.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import mint, nn, ops

Tensor = Any


class Adam(nn.Cell):  # type: ignore[misc]  # MindSpore has no types
    """Adam with bias-corrected moments; call it with the gradients, in the order of the parameters.

    Args:
        parameters: to be moved, such as ``network.trainable_params()``.
        learning_rate: may be set between steps, as attribute ``learning_rate``.
        betas: how much of each moment is kept at a step.
        eps: added to the corrected second moment's root.
        weight_decay: share of the weights that is taken off (AdamW), or their part in the gradient (Adam).
        decoupled: AdamW.

    Source: Kingma and Ba, ICLR 2015; Loshchilov and Hutter, ICLR 2019; conventions of ``torch.optim``.
    """

    def __init__(
        self,
        parameters: Any,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decoupled: bool = False,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ms.ParameterTuple(parameters)
        self.first = self.parameters.clone(prefix="first_moment", init="zeros")
        self.second = self.parameters.clone(prefix="second_moment", init="zeros")
        self.learning_rate, self.betas, self.eps = learning_rate, betas, eps
        self.weight_decay, self.decoupled = weight_decay, decoupled
        self.steps = 0

    def construct(self, gradients: Any) -> None:
        """Take a step."""
        self.steps += 1
        root = (1.0 - self.betas[1] ** self.steps) ** 0.5
        rate = self.learning_rate / (1.0 - self.betas[0] ** self.steps)
        kept = 1.0 - self.learning_rate * self.weight_decay if self.decoupled else 1.0
        for parameter, first, second, gradient in zip(
            self.parameters, self.first, self.second, gradients, strict=True
        ):
            self._move(parameter, first, second, gradient, (rate, root, kept))

    def _move(self, parameter: Any, first: Any, second: Any, gradient: Tensor, factors: Any) -> None:
        rate, root, kept = factors
        if self.weight_decay and not self.decoupled:
            gradient = gradient + parameter * self.weight_decay
        mean = first * self.betas[0] + gradient * (1.0 - self.betas[0])
        square = second * self.betas[1] + gradient * gradient * (1.0 - self.betas[1])
        ops.assign(first, mean)
        ops.assign(second, square)
        ops.assign(parameter, parameter * kept - mean * rate / (mint.sqrt(square) / root + self.eps))
