"""A running mean of the weights, kept beside the model and saved in its place (Polyak and Juditsky 1992).

It is put around an engine from outside and speaks for it: whatever the engine shards stays sharded, since averaging
needs no other process. The decay starts small, min(decay, (1 + n) / (10 + n)) at update n, so that the random weights
of the start are soon forgotten (the rule of TensorFlow's ExponentialMovingAverage).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from groundup.model.transformer import Transformer
from groundup.train.engines.engine import Engine, Sums, Validate


class Averaged:
    """An engine whose model, as validated and as handed out, is the mean; training goes on with the weights."""

    def __init__(self, inner: Engine, decay: float) -> None:
        self._inner, self._decay, self._updates = inner, decay, 0
        self.part, self.is_main, self.device, self.precision = inner.part, inner.is_main, inner.device, inner.precision
        live = {name: value for name, value in inner.state()["model"].items() if value.is_floating_point()}
        self._mean = {name: value.detach().clone() for name, value in live.items()}
        self._pairs = [(_local(live[name]), _local(mean)) for name, mean in self._mean.items()]

    def update(self, factor: float) -> None:
        """One optimizer step; then the mean moves a little towards the weights."""
        self._inner.update(factor)
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        with torch.no_grad():
            torch._foreach_lerp_(
                [mean for _, mean in self._pairs], [live.detach() for live, _ in self._pairs], 1 - decay
            )

    def validate(self, measure: Validate) -> dict[str, float]:
        """``measure`` on the mean."""
        with self._in_place():
            return self._inner.validate(measure)

    def whole_model(self) -> Transformer | None:
        """The mean, as a plain model."""
        with torch.no_grad():
            for live, mean in self._pairs:
                live.copy_(mean)
        return self._inner.whole_model()

    def state(self) -> dict[str, Any]:
        """The engine's state, and the mean."""
        return {**self._inner.state(), "mean": dict(self._mean), "updates": torch.tensor(self._updates)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self._inner.load_state({name: value for name, value in state.items() if name not in ("mean", "updates")})
        self._updates = int(state["updates"])
        with torch.no_grad():
            for name, mean in self._mean.items():
                _local(mean).copy_(_local(state["mean"][name]))

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """The mean in the model's place; the weights come back, whatever happens."""
        with torch.no_grad():
            kept = [live.detach().clone() for live, _ in self._pairs]
            for live, mean in self._pairs:
                live.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for (live, _), value in zip(self._pairs, kept, strict=True):
                    live.copy_(value)

    # What follows is the engine's own.

    def weigh(self, batches: Sequence[Any]) -> int:
        """The number of targets in a step."""
        return self._inner.weigh(batches)

    def forward_backward(self, batches: Sequence[Any], weight: int) -> Sums:
        """Forward and backward of the weights."""
        return self._inner.forward_backward(batches, weight)

    def clip(self, max_norm: float) -> float:
        """Scale the gradient down."""
        return self._inner.clip(max_norm)

    def discard(self) -> None:
        """Drop the gradient."""
        self._inner.discard()


def _local(tensor: Tensor) -> Tensor:
    """This process's piece of a sharded tensor (sharing its memory), or the tensor."""
    to_local = getattr(tensor, "to_local", None)
    found: Tensor = tensor if to_local is None else to_local()
    return found
