"""Everything that a plan tells of one training stage: size, arithmetic, memory, layout, time, cost and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from groundup.artifact.record import Record
from groundup.artifact.stage import Node
from groundup.base.errors import RequestError
from groundup.base.units import human_bytes, human_count, human_rate
from groundup.model.count import Parameters, parameters_by_part
from groundup.train.parallel.layout import resolve as layout_of
from groundup.train.plan.effort import Effort, Family, in_words
from groundup.train.plan.machine import Machine
from groundup.train.plan.memory import Device, predict
from groundup.train.plan.propose import ROOM, Proposal, assess, propose, remedy
from groundup.train.plan.workload import Trains, TrainsFamily, Workload
from groundup.train.precision import resolve
from groundup.train.settings import ParallelConfig


@dataclass(frozen=True)
class Estimate(Effort):
    """A training stage on a machine: the run's effort, and what it needs of each process."""

    nodes: int
    parameters: Parameters
    chosen: Proposal
    proposal: Proposal
    family: Family | None = None
    """All runs of the stage, where it has several; the rest is of the largest of them."""

    @property
    def problem(self) -> str:
        """What doesn't fit and what to change; empty if all does."""
        if self.chosen.fits:
            return ""
        first = remedy(self.chosen.memory, round(ROOM * self.machine.memory))
        if self.proposal.fits:
            return f"{first}; or take the layout proposed"
        return first

    def as_json(self) -> dict[str, Any]:
        """For ``--json``: plain numbers in bytes, seconds, joules and dollars."""
        return {
            "parameters": {
                "total": self.parameters.total,
                "active": self.parameters.active,
                "embeddings": self.parameters.embeddings,
                "output": self.parameters.output,
                "attention": self.parameters.attention,
                "feed_forward": self.parameters.feed_forward,
                "router": self.parameters.router,
                "norms": self.parameters.norms,
            },
            "flops_per_token": self.flops_per_token,
            "tokens": self.tokens,
            "steps": self.workload.num_steps,
            "step_tokens": self.workload.step_tokens,
            "machine": self.machine.name,
            "nodes": self.nodes,
            "devices": self.devices,
            "arithmetic": self.machine.arithmetic(self.workload.precision),
            "mfu_assumed": self.mfu,
            "tokens_per_second": self.tokens_per_second,
            **self.cost(),
            "layout": _layout_json(self.chosen, self.workload),
            "proposal": _layout_json(self.proposal, self.workload),
            "problem": self.problem or None,
            "family": None if self.family is None else self.family.as_json(),
        }

    def lines(self) -> list[str]:
        """For people."""
        size, machine = self.parameters, self.machine
        arithmetic = machine.arithmetic(self.workload.precision)
        active = f", {human_count(size.active)} active" if size.idle else ""
        tables = size.embeddings + size.output
        rate = human_rate(machine.peak(arithmetic), "FLOP/s")
        found = [
            f"parameters  {human_count(size.total)}{active}; embeddings {human_count(tables)} of them",
            f"arithmetic  {human_count(self.flops_per_token)} FLOPs a token{self._run_length()}",
            f"machine     {self._devices()}: {rate} {arithmetic} dense each, {self.mfu:.0%} of it assumed; "
            f"{machine.source}",
            f"time        {self._time()}",
            f"layout      {_words(self.chosen, self.workload)}",
            f"memory      {human_bytes(self.chosen.memory.total)} of {human_bytes(machine.memory)} a process, "
            f"{self.chosen.memory.moment}",
        ]
        found += [
            f"              {part:<30} {human_bytes(bytes_):>10}" for part, bytes_ in self.chosen.memory.parts.items()
        ]
        if self.problem:
            found.append(f"TOO LARGE   {self.problem}")
            word = "proposed" if self.proposal.fits else "nearest"
            needs = human_bytes(self.proposal.memory.total)
            found.append(f"{word:<11} {_words(self.proposal, self.workload)}: {needs} a process")
        return found if self.family is None else [*found, *self.family.lines()]

    def _devices(self) -> str:
        """``4 × 8xh100 (32 devices)``: nodes first, for a node may hold several devices."""
        several = f" ({self.devices} device{'s' * (self.devices > 1)})" if self.machine.devices > 1 else ""
        return f"{self.nodes} × {self.machine.name}{several}"

    def _run_length(self) -> str:
        if self.tokens is None or self.flops is None:
            return "; the length of the run is known once its data are made"
        steps = f"{self.workload.num_steps:,} steps of {human_count(self.workload.step_tokens)}"
        return f"; {human_count(self.tokens)} tokens in {steps}: {self.flops:.3g} FLOPs"

    def _time(self) -> str:
        speed = f"{human_count(self.tokens_per_second)} tokens/s"
        return speed if self.seconds is None else f"{in_words(self.cost(), self.machine)}; {speed}"


def estimate(
    workload: Workload, machine: Machine, *, nodes: int = 1, devices: int | None = None, mfu: float | None = None
) -> Estimate:
    """Plan a workload on ``nodes`` machines with ``devices`` of each used (all if None).

    RequestError if the workload's own layout makes no sense on so many processes.
    """
    machine.peak(machine.arithmetic(workload.precision))  # refuses an arithmetic that it has no units for
    world = nodes * (devices or machine.devices)
    proposal = propose(workload, machine, world)
    own = workload.parallel != ParallelConfig() or world == 1
    return Estimate(
        workload=workload,
        machine=machine,
        nodes=nodes,
        devices=world,
        mfu=mfu or machine.mfu,
        parameters=parameters_by_part(workload.model),
        chosen=assess(workload, machine, world) if own else proposal,
        proposal=proposal,
    )


@dataclass(frozen=True)
class Impossible:
    """A training stage that no layout of the machine suits."""

    reason: str

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"problem": self.reason}

    def lines(self) -> list[str]:
        """For people."""
        return [f"IMPOSSIBLE  {self.reason}"]


def assess_recipe(
    nodes: Sequence[Node],
    records: Mapping[str, Record],
    machine: Machine,
    *,
    count: int = 1,
    devices: int | None = None,
    mfu: float | None = None,
) -> dict[str, Estimate | Impossible]:
    """The estimates of a recipe's training stages on ``count`` machines, by name."""
    found: dict[str, Estimate | Impossible] = {}
    for node in nodes:
        if isinstance(node.config, Trains):
            workload = node.config.workload(node, records)
            try:
                one = estimate(workload, machine, nodes=count, devices=devices, mfu=mfu)
                if isinstance(node.config, TrainsFamily):
                    runs = node.config.family(node, records)
                    efforts = {name: Effort(run, machine, one.devices, one.mfu) for name, run in runs.items()}
                    one = replace(one, family=Family(efforts))
                found[node.name] = one
            except RequestError as error:
                found[node.name] = Impossible(str(error))
    return found


def memory_here(workload: Workload, processes: int = 1) -> int:
    """Bytes of the peak of the fullest of so many processes on this machine: for the check before a run."""
    import torch

    device: Device = "cuda" if torch.cuda.is_available() else "cpu"
    arithmetic = resolve(workload.precision, torch.device(device))
    layout = layout_of(workload.parallel, processes, workload.model)
    memory = predict(workload, layout, arithmetic=arithmetic, device=device)
    # Weights and activations lie on the device, not in the memory that the check is about.
    return memory.parts["runtime"] if device == "cuda" else memory.total


def _layout_json(proposal: Proposal, workload: Workload) -> dict[str, Any]:
    layout = proposal.layout
    return {
        "replicate": layout.replicate,
        "shard": layout.shard,
        "tensor": layout.tensor,
        "pipeline": layout.pipeline,
        "context": layout.context,
        "expert": layout.expert,
        "activation_checkpointing": layout.activation_checkpointing,
        "micro_batch_tokens": proposal.rows_per_batch * workload.seq_len,
        "memory_bytes": proposal.memory.total,
        "memory_parts": dict(proposal.memory.parts),
        "worst_moment": proposal.memory.moment,
        "worst_rank": proposal.memory.rank,
        "fits": proposal.fits,
    }


def _words(proposal: Proposal, workload: Workload) -> str:
    layout = proposal.layout
    text = "one process" if layout.world_size == 1 else layout.describe()
    if workload.engine.name == "deepspeed":
        text += f", deepspeed ZeRO stage {workload.engine.stage}, offload {workload.engine.offload}"
    if layout.activation_checkpointing != "none":
        text += f", activation checkpointing {layout.activation_checkpointing}"
    rows, count = proposal.rows_per_batch, workload.rows_per_step // (layout.parts * proposal.rows_per_batch)
    return f"{text}; {max(1, count)} micro-batches of {rows * workload.seq_len:,} tokens a step"
