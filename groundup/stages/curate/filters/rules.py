"""Rules as a table: a statistic, a limit, and which side of it is wrong; and the operator that decides by them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from groundup.stages.curate.engine.operator import VERDICT, Spec, refuse, staying

Side = Literal["above", "below"]


class Rule(NamedTuple):
    """A row goes by ``name`` if ``statistic`` lies strictly on the wrong ``side`` of ``limit``."""

    statistic: str
    side: Side
    limit: float
    name: str


@dataclass(frozen=True)
class Decide:
    """The first rule in order that a row breaks is its verdict. A statistic that is NaN or null breaks none."""

    step: str
    rules: tuple[Rule, ...]

    @cached_property
    def spec(self) -> Spec:
        """The whole table of rules is part of it."""
        reads = tuple(dict.fromkeys(f"{self.step}.{rule.statistic}" for rule in self.rules))
        return Spec(self.step, 1, "decide", reads, VERDICT, {"rules": [list(rule) for rule in self.rules]})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with verdicts."""
        rows = batch.num_rows
        first = np.full(rows, len(self.rules))
        for number, rule in reversed(list(enumerate(self.rules))):
            values = self._values(batch, rule)
            first[values > rule.limit if rule.side == "above" else values < rule.limit] = number
        first[~staying(batch)] = len(self.rules)
        names: list[str | None] = [None] * rows
        details: list[str | None] = [None] * rows
        for row in np.flatnonzero(first < len(self.rules)).tolist():
            rule = self.rules[first[row]]
            value = float(self._values(batch, rule)[row])
            names[row] = rule.name
            details[row] = f"{value:.4g} is {rule.side} {rule.limit:g}"
        return refuse(batch, self.step, names, details)

    def _values(self, batch: pa.RecordBatch, rule: Rule) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        column = batch.column(f"{self.step}.{rule.statistic}")
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
