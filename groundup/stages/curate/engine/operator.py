"""What an operator is: a pure function from Arrow record batch to record batch, with a frozen specification.

There are three forms. A *tag* adds columns and keeps every row. A *decision* reads columns and fills ``step``,
``rule`` and ``detail`` of rows that go; it removes none itself, so that the runner can keep them with their reason. A
*reduce* compares rows with each other by a key (:mod:`groundup.base.runner.runs`).

What a row becomes may depend on its own columns and the specification, never on its neighbours, the order of rows,
the process, or the clock: so any number of workers gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.files import sha256_json

Form = Literal["tag", "decide", "reduce"]

STEP: Final = "step"
RULE: Final = "rule"
DETAIL: Final = "detail"
VERDICT: Final = (STEP, RULE, DETAIL)
"""The three columns of a decision: strings, null while a row stays."""


@dataclass(frozen=True)
class Spec:
    """What defines an operator's result. ``assets`` maps the name of each file that it uses to its SHA-256."""

    name: str
    version: int
    form: Form
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all of it: equal digests give equal results."""
        return sha256_json(
            {
                "name": self.name,
                "version": self.version,
                "form": self.form,
                "reads": list(self.reads),
                "writes": list(self.writes),
                "parameters": dict(self.parameters),
                "assets": dict(self.assets),
            }
        )


@runtime_checkable
class Operator(Protocol):
    """One step on rows by themselves. Picklable; what is costly to load is loaded at the first batch, not before."""

    @property
    def spec(self) -> Spec:
        """What defines the result."""
        ...

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the columns that ``spec.writes`` names; the same rows in the same order."""
        ...


def with_column(batch: pa.RecordBatch, name: str, values: pa.Array[Any]) -> pa.RecordBatch:
    """The batch with a column added, or replaced where it has one of that name."""
    at = batch.schema.get_field_index(name)
    if at < 0:
        return batch.append_column(name, values)
    return batch.set_column(at, pa.field(name, values.type), values)


def refuse(
    batch: pa.RecordBatch, step: str, rules: Sequence[str | None], details: Sequence[str | None]
) -> pa.RecordBatch:
    """The batch with verdicts filled in: row i goes by ``rules[i]``, or stays where that is None.

    A row that an earlier step dropped keeps that verdict.
    """
    before = _verdicts(batch)
    merged = [
        old if old[0] is not None else ((step, rule, detail) if rule is not None else (None, None, None))
        for old, rule, detail in zip(before, rules, details, strict=True)
    ]
    for at, name in enumerate(VERDICT):
        batch = with_column(batch, name, pa.array([row[at] for row in merged], pa.string()))
    return batch


def staying(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which rows no step has dropped: (rows,) bool."""
    at = batch.schema.get_field_index(STEP)
    if at < 0:
        return np.ones(batch.num_rows, bool)
    return np.asarray(batch.column(at).is_null())


def _verdicts(batch: pa.RecordBatch) -> list[tuple[str | None, str | None, str | None]]:
    if batch.schema.get_field_index(STEP) < 0:
        return [(None, None, None)] * batch.num_rows
    columns = [batch.column(name).to_pylist() for name in VERDICT]
    return list(zip(*columns, strict=True))
