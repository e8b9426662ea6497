"""Loss scaling for fp16 (Micikevicius et al. 2018, Mixed precision training, section 3.2).

fp16 ends at 6e-8 below and at 65,504 above. The loss is multiplied by a power of two, so that small gradients don't
vanish, and gradients are divided by it before anyone looks at them. A step whose gradient overflows is dropped, as any
step that is not finite, and halves the scale; a long run of good steps doubles it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

_START: Final = 2.0**16
_PATIENCE: Final = 2000


class LossScale:
    """The scale, equal on all processes since all see the same gradient norm."""

    def __init__(self) -> None:
        self.scale = torch.tensor(_START)
        self.good_steps = torch.tensor(0.0)

    @property
    def factor(self) -> float:
        """What the loss is multiplied by."""
        return float(self.scale)

    def unscale(self, weights: Iterable[nn.Parameter]) -> None:
        """Divide the gradients by the scale, in place."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        torch._foreach_mul_(gradients, 1.0 / self.factor)

    def accepted(self) -> None:
        """A step was taken."""
        self.good_steps += 1
        if self.good_steps >= _PATIENCE:
            self.scale *= 2
            self.good_steps.zero_()

    def overflowed(self) -> None:
        """A step's gradient was not finite."""
        self.scale /= 2
        self.good_steps.zero_()

    def state(self) -> dict[str, Tensor]:
        """The tensors in use, for a checkpoint."""
        return {"scale": self.scale, "good_steps": self.good_steps}
