"""Rules about prose leave source code alone: a program has no stop words and no sentences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.stages.curate.engine.operator import Operator, Spec, with_column
from groundup.stages.curate.judging.code_files import is_code

NO_LANGUAGE = "zxx_Zxxx"
"""ISO 639-3 and ISO 15924: no linguistic content, no script."""


@dataclass(frozen=True)
class ForProse:
    """An operator for the rows that are not source code; of those that are, what it adds is null."""

    operator: Operator

    @cached_property
    def spec(self) -> Spec:
        """The operator's own, which also reads what tells code from prose."""
        inner = self.operator.spec
        return replace(inner, reads=(*inner.reads, "media_type"), parameters={**inner.parameters, "for": "prose"})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the operator's columns."""
        code = code_rows(batch)
        if not code.any():
            return self.operator(batch)
        prose = self.operator(batch.filter(pa.array(~code)))
        rest = batch.filter(pa.array(code))
        there = set(rest.schema.names)
        columns = {
            field.name: rest.column(field.name) if field.name in there else pa.nulls(rest.num_rows, field.type)
            for field in prose.schema
        }
        both = pa.Table.from_batches([prose, pa.RecordBatch.from_pydict(columns, schema=prose.schema)])
        order = np.argsort(np.concatenate([np.flatnonzero(~code), np.flatnonzero(code)]), kind="stable")
        return both.take(order).combine_chunks().to_batches()[0]


@dataclass(frozen=True)
class CodeLanguage:
    """Says of source code that it is in no language."""

    @property
    def spec(self) -> Spec:
        """What defines the result."""
        reads = ("media_type", "language", "language_score")
        return Spec("code_language", 1, "tag", reads, ("language", "language_score"))

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the language of every row."""
        code = code_rows(batch)
        if not code.any():
            return batch
        for name, value in (("language", NO_LANGUAGE), ("language_score", 1.0)):
            values = batch.column(name).to_pylist()
            filled = [value if mine else old for mine, old in zip(code.tolist(), values, strict=True)]
            batch = with_column(batch, name, pa.array(filled, batch.column(name).type))
        return batch


def code_rows(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which rows are source code, by media type: (rows,) bool."""
    return np.array([is_code(kind) for kind in batch.column("media_type").to_pylist()], bool)
