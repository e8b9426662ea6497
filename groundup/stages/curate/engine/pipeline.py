"""Operators in a row: each batch goes through all of them, and rows leave at the first that drops them.

A column is let go as soon as no later operator reads it, so that pages and word lists don't travel along. What the
dropped rows keep is named by the caller.

Which rules would drop the same rows? A row leaves at the first rule that it breaks, so counts alone can't say. A sample
of rows, drawn by id, is therefore shown to every rule (:meth:`Pipeline.verdicts`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from groundup.base.files import sha256_json
from groundup.stages.curate.engine.operator import RULE, STEP, VERDICT, Operator, staying


@dataclass
class Tally:
    """What operators cost and did: seconds a step (of no importance to the result), and rows seen."""

    seconds: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, seconds: float, rows: int) -> None:
        """Count one batch of one operator."""
        self.seconds[name] += seconds  # type: ignore[assignment]
        self.rows[name] += rows


@dataclass(frozen=True)
class Pipeline:
    """Operators in order. ``keep`` names the columns that rows must still have at the end, or when they are dropped."""

    operators: tuple[Operator, ...]
    keep: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of all specifications."""
        return sha256_json([operator.spec.digest for operator in self.operators])

    def run(self, batch: pa.RecordBatch, tally: Tally | None = None) -> tuple[pa.RecordBatch, list[pa.RecordBatch]]:
        """The rows that stay, with all their columns; and those dropped, by step, with columns of ``keep``."""
        dropped: list[pa.RecordBatch] = []
        for number, operator in enumerate(self.operators):
            if not batch.num_rows:
                break
            start = time.perf_counter()
            batch = operator(batch)
            if tally is not None:
                tally.add(operator.spec.name, time.perf_counter() - start, batch.num_rows)
            if operator.spec.form == "decide":
                stays = staying(batch)
                if not stays.all():
                    dropped.append(_only(batch.filter(pa.array(~stays)), {*self.keep, *VERDICT}))
                    batch = batch.filter(pa.array(stays))
                batch = _without(batch, VERDICT)
            batch = _only(batch, self._alive[number])
        return batch, dropped

    def verdicts(self, batch: pa.RecordBatch) -> list[list[str]]:
        """For each row, every ``step:rule`` that would drop it, whatever earlier rules say.

        A row without text ends there: no rule can look at it.
        """
        found: list[list[str]] = [[] for _ in range(batch.num_rows)]
        places = np.arange(batch.num_rows)
        for number, operator in enumerate(self.operators):
            if not batch.num_rows:
                break
            batch = operator(batch)
            if operator.spec.form == "decide":
                steps, rules = batch.column(STEP).to_pylist(), batch.column(RULE).to_pylist()
                for place, step, rule in zip(places.tolist(), steps, rules, strict=True):
                    if step is not None:
                        found[place].append(f"{step}:{rule}")
                batch = _without(batch, VERDICT)
            if batch.schema.get_field_index("text") >= 0:
                readable = np.asarray([bool(text) for text in batch.column("text").to_pylist()], bool)
                batch, places = batch.filter(pa.array(readable)), places[readable]
            batch = _only(batch, self._alive[number])
        return found

    def close(self) -> None:
        """End what operators started: processes that parse pages."""
        for operator in self.operators:
            close = getattr(operator, "close", None)
            if close is not None:
                close()

    @cached_property
    def _alive(self) -> list[frozenset[str]]:
        """For each operator, the columns that are needed after it."""
        needed: list[frozenset[str]] = []
        later = frozenset(self.keep)
        for operator in reversed(self.operators):
            needed.append(later)
            later |= frozenset(operator.spec.reads)
        return needed[::-1]


def _only(batch: pa.RecordBatch, names: frozenset[str] | set[str]) -> pa.RecordBatch:
    there: Sequence[str] = [name for name in batch.schema.names if name in names]
    return batch if len(there) == batch.num_columns else batch.select(list(there))


def _without(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    return _only(batch, {name for name in batch.schema.names if name not in names})
