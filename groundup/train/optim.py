"""The optimizer: weights in groups by what they are, each with its own peak learning rate; AdamW, Muon for matrices.

What a weight is decides how it is moved. The matrices inside blocks map one space to another, so the size of a move is
judged by what it does to directions: Muon. Embeddings, the output projection and routers are tables whose rows are
seen now and then, norms and biases are vectors: AdamW (Loshchilov & Hutter 2019), without decay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw

from groundup.train.muon import muon
from groundup.train.settings import OptimizerConfig, Rates

Kind = Literal["matrices", "embeddings", "output", "vectors"]

_EPS = 1e-10


def kind_of(name: str, parameter: Tensor) -> Kind:
    """What a weight of the transformer is, by its name (however it is wrapped) and shape.

    >>> kind_of("layers.0.mlp.up_proj.weight", torch.empty(4, 2))
    'matrices'
    >>> kind_of("layers.0.self_attn.q_proj.bias", torch.empty(4))
    'vectors'
    """
    if "embed_" in name:
        return "embeddings"
    if "lm_head" in name or "router" in name:
        return "output"
    # Stacked experts' biases, should there be any, have two dimensions and "bias" in their name.
    return "matrices" if parameter.ndim >= 2 and "bias" not in name else "vectors"


class GroupedOptimizer(torch.optim.Optimizer):
    """Muon or AdamW, group by group.

    A group holds ``kind``, ``method`` ("muon" or "adamw"), ``peak`` (its learning rate when the schedule is at one),
    ``lr`` (the present one, which the engine sets), ``weight_decay`` and the method's own constants. State has the
    shape of its weight: ``momentum_buffer``, or ``exp_avg`` and ``exp_avg_sq`` beside a scalar ``step``. Weights may be
    DTensors. ``dtype`` is that of Muon's matrix products.
    """

    def __init__(self, groups: list[dict[str, Any]], dtype: torch.dtype) -> None:
        super().__init__(groups, {})
        self.dtype = dtype

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every weight that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for weights in _by_mesh([weight for weight in group["params"] if weight.grad is not None]):
                (self._muon if group["method"] == "muon" else self._adamw)(group, weights)
        return None

    def _muon(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        muon(
            weights,
            [_gradient(weight) for weight in weights],
            [self._state(weight, "momentum_buffer") for weight in weights],
            rate=group["lr"],
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            dtype=self.dtype,
        )

    def _adamw(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        adamw(
            weights,
            [_gradient(weight) for weight in weights],
            [self._state(weight, "exp_avg") for weight in weights],
            [self._state(weight, "exp_avg_sq") for weight in weights],
            [],
            [self._count(weight) for weight in weights],
            fused=True,
            amsgrad=False,
            beta1=group["beta1"],
            beta2=group["beta2"],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=_EPS,
            maximize=False,
        )

    def _state(self, weight: Tensor, name: str) -> Tensor:
        state = self.state[weight]
        if name not in state:
            state[name] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        found: Tensor = state[name]
        return found

    def _count(self, weight: Tensor) -> Tensor:
        count: Tensor = self.state[weight].setdefault("step", torch.zeros((), device=weight.device))
        return count


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, rates: Rates | float, *, dtype: torch.dtype = torch.float32
) -> GroupedOptimizer:
    """The optimizer of a model, or of a part of one, whatever wraps it.

    ``dtype`` is that of Muon's products: fp32, or bf16 where the hardware multiplies it natively.
    """
    members: dict[Kind, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members.setdefault(kind_of(name, parameter), []).append(parameter)
    peaks = Rates.of(rates)
    return GroupedOptimizer([_group(kind, members[kind], config, peaks) for kind in sorted(members)], dtype)


def _group(kind: Kind, parameters: list[nn.Parameter], config: OptimizerConfig, rates: Rates) -> dict[str, Any]:
    peak = getattr(rates, kind)
    common = {"params": parameters, "kind": kind, "peak": peak, "lr": peak}
    decay = (config.weight_decay or 0.0) if kind == "matrices" else 0.0
    if kind == "matrices" and config.method == "muon":
        return {**common, "method": "muon", "momentum": config.momentum, "weight_decay": decay}
    # `fused` tells torch to keep `step` on the weight's device when a state is loaded.
    constants = {"beta1": config.beta1, "beta2": config.beta2, "fused": True}
    return {**common, "method": "adamw", **constants, "weight_decay": decay}


def _by_mesh(weights: list[Tensor]) -> Iterable[list[Tensor]]:
    """Weights spread over the same processes, and those that are not spread: torch's kernels take no mixture."""
    found: dict[DeviceMesh | None, list[Tensor]] = {}
    for weight in weights:
        found.setdefault(weight.device_mesh if isinstance(weight, DTensor) else None, []).append(weight)
    return found.values()


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad
