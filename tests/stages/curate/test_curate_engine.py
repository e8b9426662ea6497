"""Operators and pipelines: what leaves, where, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from groundup.stages.curate.engine.operator import Spec, refuse, staying, with_column
from groundup.stages.curate.engine.pipeline import Pipeline, Tally


@dataclass(frozen=True)
class Length:
    """Tags each text with its length."""

    @property
    def spec(self) -> Spec:
        return Spec("length", 1, "tag", ("text",), ("length",))

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return with_column(batch, "length", pa.array([len(text) for text in batch.column("text").to_pylist()]))


@dataclass(frozen=True)
class AtLeast:
    """Drops texts below a length."""

    least: int
    name: str = "short"

    @property
    def spec(self) -> Spec:
        return Spec(self.name, 1, "decide", ("length",), (), {"least": self.least})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        lengths = np.asarray(batch.column("length"))
        rules = [f"below_{self.least}" if length < self.least else None for length in lengths.tolist()]
        return refuse(batch, self.name, rules, [None if rule is None else "it is" for rule in rules])


def _batch(*texts: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"id": [f"{at}" for at in range(len(texts))], "text": list(texts)})


def test_rows_leave_at_the_first_rule_that_drops_them() -> None:
    pipeline = Pipeline((Length(), AtLeast(2, "first"), AtLeast(4, "second")), keep=("id", "text"))
    tally = Tally()
    kept, dropped = pipeline.run(_batch("a", "bbb", "ccccc"), tally)
    assert kept.to_pylist() == [{"id": "2", "text": "ccccc"}]
    rows = [row for batch in dropped for row in batch.to_pylist()]
    assert [(row["id"], row["step"], row["rule"]) for row in rows] == [
        ("0", "first", "below_2"), ("1", "second", "below_4"),
    ]  # fmt: skip
    assert tally.rows == {"length": 3, "first": 3, "second": 2}


def test_every_rule_that_would_drop_a_row_is_found() -> None:
    pipeline = Pipeline((Length(), AtLeast(2, "first"), AtLeast(4, "second")), keep=("id", "text"))
    assert pipeline.verdicts(_batch("a", "bbb", "ccccc")) == [
        ["first:below_2", "second:below_4"],
        ["second:below_4"],
        [],
    ]


def test_an_earlier_verdict_stands() -> None:
    batch = refuse(_batch("a", "b"), "one", ["r", None], ["why", None])
    batch = refuse(batch, "two", ["s", "t"], ["because", "so"])
    assert [(row["step"], row["rule"], row["detail"]) for row in batch.to_pylist()] == [
        ("one", "r", "why"), ("two", "t", "so"),
    ]  # fmt: skip
    assert staying(batch).tolist() == [False, False]


def test_a_digest_tells_specifications_apart() -> None:
    assert Pipeline((Length(), AtLeast(2)), ()).digest != Pipeline((Length(), AtLeast(3)), ()).digest
    assert Spec("a", 1, "tag", (), ()).digest != Spec("a", 2, "tag", (), ()).digest
