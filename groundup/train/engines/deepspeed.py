"""DeepSpeed's ZeRO (Rajbhandari et al. 2020) as an engine, for teams that run it already: same recipe, same curve.

Weights are fp32 and the arithmetic is that of our own engine (autocast), so that the two can be compared step by
step. DeepSpeed flattens the parameters of a group into one vector, so an optimizer that needs whole matrices can't
run on it. Checkpoints hold whole tensors under the model's own names: any ZeRO stage reads what another one wrote, on
any number of processes.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, Generic

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore

from groundup.base.errors import RequestError, missing_extra
from groundup.model.transformer import Transformer
from groundup.train import precision
from groundup.train.engines.engine import B, Objective, Sums, Validate
from groundup.train.optim import build_optimizer
from groundup.train.settings import EngineConfig, OptimizerConfig, PrecisionName, Rates
from groundup.train.stream import Part

_MOMENTS: Final = ("exp_avg", "exp_avg_sq")


class _Whole(nn.Module):
    """Runs a function on the model from inside a module, so that ZeRO-3 gathers what the function itself reads."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[Transformer], Any]) -> Any:
        return function(self.model)


def _on(objective: Objective[B], batch: B) -> Callable[[Transformer], tuple[Tensor, Mapping[str, float | Tensor]]]:
    return lambda model: objective(model, batch)


class DeepSpeedEngine(Generic[B]):
    """One process of a data-parallel group under ZeRO stage 0 to 3: of the process group that is up, or one alone."""

    def __init__(
        self,
        model: Transformer,
        objective: Objective[B],
        rates: Rates | float,
        optimizer: OptimizerConfig,
        arithmetic: PrecisionName,
        zero: EngineConfig,
    ) -> None:
        self.device = next(model.parameters()).device
        self._deepspeed = _import_deepspeed(self.device)
        if not dist.is_initialized():
            dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        self.model, self.objective, self.zero = model, objective, zero
        self.part = Part(dist.get_rank(), dist.get_world_size())
        self.is_main = self.part.rank == 0
        if arithmetic in ("fp16", "fp8"):
            raise RequestError(f"precision {arithmetic} is for our own engine: use bf16 or fp32 with deepspeed")
        self.precision = precision.resolve(arithmetic, self.device)
        self._client = build_optimizer(model, optimizer, rates)
        whole = _Whole(model)
        self._engine, self._optimizer, _, _ = self._deepspeed.initialize(
            model=whole, optimizer=self._client, config=_settings(zero, self.part.size), dist_init_required=False
        )
        if zero.stage == 3:
            self._deepspeed.zero.register_external_parameter(whole, model.output_weight)
        self._engine.train()

    def weigh(self, batches: Sequence[B]) -> int:
        """The number of targets in a step, over all processes."""
        return int(self._summed([float(sum(batch.weight for batch in batches))])[0])

    def forward_backward(self, batches: Sequence[B], weight: int) -> Sums:
        """Micro-batches one after the other; the last one's backward pass reduces the gradient."""
        sums = Counter[str]()
        for number, batch in enumerate(batches, 1):
            self._engine.set_gradient_accumulation_boundary(number == len(batches))
            with precision.autocast(self.precision, self.device):
                total, values = self._engine(_on(self.objective, batch.to(self.device)))
            # DeepSpeed takes the mean over processes; the step's loss is the sum over them.
            self._engine.backward(total * (self.part.size / weight), scale_wrt_gas=False)
            sums.update({"": total.detach(), **values})
        names = sorted(sums)
        means = [value / weight for value in self._summed([float(sums[name]) for name in names])]
        values = dict(zip(names, means, strict=True))
        return Sums(values.pop(""), values)

    def clip(self, max_norm: float) -> float:
        """Have the next update clip to ``max_norm``; the norm before."""
        if self.zero.stage == 0:
            return float(nn.utils.clip_grad_norm_(self.model.parameters(), max_norm))
        self._optimizer.clip_grad = max_norm
        if self.zero.stage < 3:
            return _norm(self._optimizer.scaled_global_norm())
        groups = [_norm(norm) for norm in self._optimizer._get_norm_groups()]
        return math.hypot(*groups)

    def update(self, factor: float) -> None:
        """One optimizer step."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self._engine.step()

    def discard(self) -> None:
        """Drop the gradient: DeepSpeed does so in a step whose norm is invalid, which it writes as -1."""
        if self.zero.stage == 0:
            self._engine.zero_grad()
            return
        invalid = torch.tensor(-1.0, device=self.device)
        name, norm = ("_get_norm_groups", [invalid]) if self.zero.stage == 3 else ("scaled_global_norm", invalid)
        setattr(self._optimizer, name, lambda: norm)
        try:
            self._engine.step()
        finally:
            delattr(self._optimizer, name)

    def validate(self, measure: Validate) -> dict[str, float]:
        """``measure`` on the weights as they are, on every process alike."""
        self._engine.eval()
        with torch.no_grad(), precision.autocast(self.precision, self.device):
            row: dict[str, float] = self._engine(measure)
        self._engine.train()
        return row

    def state(self) -> dict[str, Any]:
        """Weights and moments as whole tensors on the CPU, by the names of our own engine, on every process."""
        self._make_moments()
        weights, moments = dict[str, Tensor](), dict[str, Tensor]()
        for name, parameter in self.model.named_parameters():
            weights[name] = self._weight(parameter).cpu().clone()
            for key, value in self._moments(parameter).items():
                moments[f"{name}.{key}"] = value.cpu().clone()
        return {"model": weights, "optimizer": moments}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a state, on every process."""
        utils = self._deepspeed.utils
        self._make_moments()
        for name, parameter in self.model.named_parameters():
            weight = state["model"][name].to(self.device)
            if self.zero.stage == 3:
                with self._deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                    parameter.detach().copy_(weight)
            else:
                parameter.detach().copy_(weight)
            if self.zero.stage:
                utils.safe_set_full_fp32_param(parameter, weight)
            for moment in _MOMENTS:
                value = state["optimizer"][f"{name}.{moment}"].to(self.device)
                if self.zero.stage:
                    utils.safe_set_full_optimizer_state(parameter, value, moment)
                else:
                    self._client.state[parameter][moment].copy_(value)
        steps = {float(value) for key, value in state["optimizer"].items() if key.endswith(".step")}
        for flat in self._client.state.values():
            flat["step"].fill_(max(steps))

    def whole_model(self) -> Transformer | None:
        """A plain copy on the CPU, on the main process."""
        weights = {name: self._weight(p).cpu().clone() for name, p in self.model.named_parameters()}
        if not self.is_main:
            return None
        with torch.device("meta"):
            plain = Transformer(self.model.config)
        plain.load_state_dict(weights, assign=True)
        plain.fill_tables()
        return plain

    def _weight(self, parameter: nn.Parameter) -> Tensor:
        whole: Tensor = self._deepspeed.utils.safe_get_full_fp32_param(parameter) if self.zero.stage else parameter
        return whole.detach()

    def _moments(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The optimizer's state for a whole parameter."""
        if not self.zero.stage:
            return dict(self._client.state[parameter])
        read = self._deepspeed.utils.safe_get_full_optimizer_state
        step = next(iter(self._client.state.values()))["step"]
        return {"step": step, **{moment: read(parameter, moment) for moment in _MOMENTS}}

    def _make_moments(self) -> None:
        """Room for the optimizer's state, which is otherwise made in the first step."""
        if self.zero.stage == 0:
            flats = list(self.model.parameters())
        elif self.zero.stage < 3:
            flats = self._optimizer.single_partition_of_fp32_groups
        else:
            flats = self._optimizer.fp32_partitioned_groups_flat
        for flat in flats:
            if not self._client.state[flat]:
                moments = {moment: torch.zeros_like(flat) for moment in _MOMENTS}
                self._client.state[flat] = {"step": torch.zeros((), device=flat.device), **moments}
        if self.zero.stage in (1, 2):
            # DeepSpeed 0.19 links weights to their moments after the first group's first step, too early for others.
            self._optimizer._hp_optimizer_states_linked = False
            self._optimizer._lazy_init_hp_params_optimizer_state()

    def _summed(self, values: Sequence[float]) -> list[float]:
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        result: list[float] = total.tolist()
        return result


def _norm(norm: Tensor | float) -> float:
    """DeepSpeed says -1 where a norm isn't finite."""
    return float(norm) if float(norm) >= 0 else float("inf")


def _settings(zero: EngineConfig, num_processes: int) -> dict[str, Any]:
    """DeepSpeed's own configuration. Batches are the loop's business: to DeepSpeed a step is one micro-batch."""
    optimization: dict[str, Any] = {"stage": zero.stage}
    if zero.offload != "none":
        optimization["offload_optimizer"] = {"device": "cpu"}
    if zero.offload == "all":
        optimization["offload_param"] = {"device": "cpu"}
    return {
        "train_batch_size": num_processes,
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": optimization,
        # The optimizer is ours, also where DeepSpeed would compile one of its own for the CPU.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": 1.0,  # set anew in every step; at zero DeepSpeed would not compute the norm
        "steps_per_print": 2**62,
    }


def _import_deepspeed(device: torch.device) -> ModuleType:
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
    except ImportError as error:
        raise missing_extra("deepspeed", "deepspeed") from error
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    module: ModuleType = deepspeed
    return module
