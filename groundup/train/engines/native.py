"""Plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

import torch
from torch import nn

from groundup.model.transformer import Transformer
from groundup.train import precision
from groundup.train.engines.engine import B, Objective, Sums, Validate
from groundup.train.optim import adamw
from groundup.train.settings import OptimizerConfig, PrecisionName
from groundup.train.stream import WHOLE


class NativeEngine(Generic[B]):
    """One process, one device."""

    def __init__(
        self,
        model: Transformer,
        objective: Objective[B],
        learning_rate: float,
        optimizer: OptimizerConfig,
        arithmetic: PrecisionName,
    ) -> None:
        self.model, self.objective = model, objective
        self.part, self.is_main = WHOLE, True
        self.device = next(model.parameters()).device
        self._arithmetic = precision.resolve(arithmetic, self.device)
        self.precision: str = self._arithmetic
        betas = (optimizer.beta1, optimizer.beta2)
        self.optimizer = adamw(model, learning_rate=learning_rate, weight_decay=optimizer.weight_decay, betas=betas)
        self.peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        model.train()

    def weigh(self, batches: Sequence[B]) -> int:
        """The number of targets in a step."""
        return sum(batch.weight for batch in batches)

    def forward_backward(self, batches: Sequence[B], weight: int) -> Sums:
        """Micro-batches one after the other; gradients add up."""
        loss, extras = 0.0, dict[str, float]()
        for batch in batches:
            with precision.autocast(self._arithmetic, self.device):
                total, values = self.objective(self.model, batch.to(self.device))
            (total / weight).backward()  # type: ignore[no-untyped-call]
            loss += float(total.detach()) / weight
            for name, value in values.items():
                extras[name] = extras.get(name, 0.0) + value / weight
        return Sums(loss, extras)

    def clip(self, max_norm: float) -> float:
        """Scale the gradient down to ``max_norm``; its norm before."""
        return float(nn.utils.clip_grad_norm_(self.model.parameters(), max_norm))

    def update(self, factor: float) -> None:
        """One optimizer step."""
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        self.optimizer.step()
        self.optimizer.zero_grad()

    def discard(self) -> None:
        """Drop the gradient."""
        self.optimizer.zero_grad()

    def validate(self, measure: Validate) -> dict[str, float]:
        """``measure`` without gradients."""
        self.model.eval()
        with torch.inference_mode(), precision.autocast(self._arithmetic, self.device):
            row = measure(self.model)
        self.model.train()
        return row

    def state(self) -> dict[str, Any]:
        """Model and optimizer."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def whole_model(self) -> Transformer | None:
        """The model itself."""
        return self.model
