"""The arithmetic of a run on a machine, and the time, cost and energy that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundup.base.units import human_time
from groundup.model.count import training_flops_per_token
from groundup.train.plan.machine import DOLLARS_PER_KWH, Machine
from groundup.train.plan.workload import Workload


@dataclass(frozen=True)
class Effort:
    """A run on ``devices`` of a machine. Times, cost and energy are None while its length is unknown."""

    workload: Workload
    machine: Machine
    devices: int
    """Over all nodes."""
    mfu: float

    @property
    def flops_per_token(self) -> int:
        """Forward and backward; of experts those that a token is sent to."""
        return training_flops_per_token(self.workload.model, self.workload.seq_len)

    @property
    def tokens(self) -> int | None:
        """Tokens of the run."""
        return None if self.workload.num_steps is None else self.workload.num_steps * self.workload.step_tokens

    @property
    def flops(self) -> int | None:
        """Floating-point operations of the run, model FLOPs: what is computed anew is not counted."""
        return None if self.tokens is None else self.tokens * self.flops_per_token

    @property
    def tokens_per_second(self) -> float:
        """Over all devices, at the assumed share of the peak."""
        peak = self.machine.peak(self.machine.arithmetic(self.workload.precision))
        return self.devices * peak * self.mfu / self.flops_per_token

    @property
    def seconds(self) -> float | None:
        """Time of the run."""
        return None if self.tokens is None else self.tokens / self.tokens_per_second

    @property
    def joules(self) -> float | None:
        """Energy of the devices; hosts, network and cooling are not in it."""
        return None if self.seconds is None else self.seconds * self.devices * self.machine.watts

    @property
    def dollars(self) -> float | None:
        """Rent, or power where the machine is one's own."""
        if self.seconds is None or self.joules is None:
            return None
        if self.machine.price is None:
            return self.joules / 3.6e6 * DOLLARS_PER_KWH
        return self.seconds / 3600 * self.devices * self.machine.price

    def cost(self) -> dict[str, int | float | None]:
        """Plain numbers in FLOPs, seconds, joules and dollars."""
        return {"flops": self.flops, "seconds": self.seconds, "joules": self.joules, "dollars": self.dollars}


def in_words(cost: Mapping[str, Any], machine: Machine) -> str:
    """``2:10:00; 1.5 kWh; $6.5 for rent``, of a cost that is known."""
    what = "power" if machine.price is None else "rent"
    time, energy = human_time(cost["seconds"]), cost["joules"] / 3.6e6
    return f"{time}; {energy:.3g} kWh; ${cost['dollars']:.2g} for {what}"


@dataclass(frozen=True)
class Family:
    """The runs of a stage that trains several models, one after the other, by name."""

    runs: Mapping[str, Effort]

    @property
    def whole(self) -> dict[str, Any] | None:
        """What all runs cost; None while the length of one is unknown."""
        costs = [run.cost() for run in self.runs.values()]
        if any(value is None for cost in costs for value in cost.values()):
            return None
        return {name: sum(cost[name] or 0 for cost in costs) for name in costs[0]}

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        runs = {
            name: {"num_layers": run.workload.model.num_layers, "tokens": run.tokens, **run.cost()}
            for name, run in self.runs.items()
        }
        return {"runs": runs, "whole": self.whole}

    def lines(self) -> list[str]:
        """For people."""
        found, whole = [], self.whole
        for name, run in self.runs.items():
            words = "length not yet known" if run.seconds is None else in_words(run.cost(), run.machine)
            found.append(f"              {name:<20} {words}")
        machine = next(iter(self.runs.values())).machine
        words = "known once its data are made" if whole is None else in_words(whole, machine)
        return [f"family      {len(found)} runs in all: {words}", *found]
