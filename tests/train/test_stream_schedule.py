"""What each step reads, and at which rate it learns: pure functions of the step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import stream_store

from groundup.base.errors import RequestError
from groundup.text.store.store import TokenStore
from groundup.train.schedule import learning_rate_factor
from groundup.train.settings import ScheduleName
from groundup.train.stream import PackedSteps


def store_of(tokens: int, seq_len: int, epochs: int) -> TokenStore:
    ids = np.random.default_rng(tokens).integers(0, 60_000, tokens).astype(np.uint16)
    rows = (tokens - 1) // seq_len
    return stream_store(ids, seq_len, [np.random.default_rng(e).permutation(rows).tolist() for e in range(epochs)])


@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 7), st.integers(10, 90), st.data())
@settings(max_examples=150, deadline=None)
def test_steps_are_slices_of_the_shuffled_epochs_one_after_another(
    seq_len: int, rows_per_step: int, rows_per_batch: int, tokens: int, data: st.DataObject
) -> None:
    store = store_of(tokens, seq_len, epochs=3)
    rows = (tokens - 1) // seq_len
    num_steps = 3 * rows // rows_per_step
    if num_steps == 0:
        return
    steps = PackedSteps(store, seq_len, rows_per_step, rows_per_batch, num_steps)
    # Written out: every row of every epoch, in order.
    assert store.order is not None
    plan = [int(start) // seq_len for start in store.order.starts]
    step = data.draw(st.integers(0, num_steps - 1))
    wanted = plan[step * rows_per_step : (step + 1) * rows_per_step]
    batches = steps.batches(step)
    assert [len(batch.inputs) for batch in batches[:-1]] == [rows_per_batch] * (len(batches) - 1)
    assert sum(len(batch.inputs) for batch in batches) == rows_per_step
    inputs = [row for batch in batches for row in batch.inputs.tolist()]
    targets = [row for batch in batches for row in batch.targets.tolist()]
    for row, given_ids, target_ids in zip(wanted, inputs, targets, strict=True):
        start = row * seq_len
        assert given_ids == store.ids[start : start + seq_len].tolist()
        assert target_ids == store.ids[start + 1 : start + 1 + seq_len].tolist()
    assert sum(batch.weight for batch in batches) == rows_per_step * seq_len
    # Nothing is remembered: another object, asked for this step alone, gives the same.
    again = PackedSteps(store, seq_len, rows_per_step, rows_per_batch, num_steps).batches(step)
    for batch, other in zip(batches, again, strict=True):
        assert batch.inputs.equal(other.inputs)
        assert batch.targets.equal(other.targets)


def test_an_epoch_reads_every_row_once() -> None:
    store = store_of(101, 5, epochs=2)
    steps = PackedSteps(store, 5, 4, 3, 10)
    inputs = [tuple(row) for step in range(5) for batch in steps.batches(step) for row in batch.inputs.tolist()]
    assert sorted(inputs) == sorted(tuple(store.ids[start : start + 5].tolist()) for start in range(0, 100, 5))


def test_more_than_there_is_is_refused_with_the_epochs_needed() -> None:
    store = store_of(101, 5, epochs=2)  # 40 rows in two epochs
    PackedSteps(store, 5, 4, 4, 10)
    with pytest.raises(RequestError, match="epochs to 3"):
        PackedSteps(store, 5, 4, 4, 11)
    with pytest.raises(RequestError, match="no order"):
        PackedSteps(TokenStore(store.ids, store.offsets, None), 5, 4, 4, 1)


NAMES: tuple[ScheduleName, ...] = ("cosine", "linear", "constant", "warmup_stable_decay")


@given(st.sampled_from(NAMES), st.integers(1, 400), st.floats(0, 0.6), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_rates_rise_to_the_peak_then_never_rise_again(
    name: ScheduleName, num_steps: int, warmup: float, final: float
) -> None:
    warmup_steps = math.ceil(warmup * num_steps)
    rates = [
        learning_rate_factor(step, num_steps, schedule=name, warmup_steps=warmup_steps, final_factor=final)
        for step in range(num_steps)
    ]
    assert all(0 < rate <= 1 for rate in rates[:warmup_steps])
    assert all(final - 1e-12 <= rate <= 1 for rate in rates[warmup_steps:])
    rising, falling = rates[:warmup_steps], rates[warmup_steps:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert max(rates) == 1.0


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("linear", [0.5, 1.0, *[1 - 0.9 * step / 98 for step in range(98)]]),
        ("cosine", [0.5, 1.0, *[0.1 + 0.45 * (1 + math.cos(math.pi * step / 98)) for step in range(98)]]),
        ("constant", [0.5, *[1.0] * 99]),
        ("warmup_stable_decay", [0.5, *[1.0] * 79, *[1 - 0.9 * step / 20 for step in range(20)]]),
    ],
)
def test_schedules_by_their_formulas(name: ScheduleName, want: list[float]) -> None:
    got = [learning_rate_factor(step, 100, schedule=name, warmup_steps=2, final_factor=0.1) for step in range(100)]
    assert got == pytest.approx(want)
