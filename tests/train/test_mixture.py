"""Mixtures: shares to within a row or so, a pure function of the index, each source in its own order."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import memory_store

from groundup.base.errors import DataError, RequestError
from groundup.text.store.store import TokenStore
from groundup.train.mixture import counts, interleave, position, shares
from groundup.train.stream import PackedSteps, Part, Source

WEIGHTS = st.lists(st.floats(0.001, 1000) | st.sampled_from([1.0, 2.0, 0.5]), min_size=1, max_size=7)


@settings(max_examples=80, deadline=None)
@given(WEIGHTS, st.integers(1, 300))
def test_every_prefix_has_the_shares_and_every_source_its_order(weights: list[float], count: int) -> None:
    sources, places = interleave(weights, 0, count)
    assert len(sources) == count
    for source, share in enumerate(shares(weights)):
        mine = sources == source
        assert places[mine].tolist() == list(range(mine.sum()))
        drift = np.abs(np.cumsum(mine) - share * np.arange(1, count + 1))
        assert drift.max() <= max(1.0, len(weights) / 2) + 1e-6


@settings(max_examples=80, deadline=None)
@given(WEIGHTS, st.integers(0, 10_000), st.integers(1, 50), st.integers(0, 49))
def test_a_row_is_the_same_whoever_asks(weights: list[float], first: int, count: int, skip: int) -> None:
    sources, places = interleave(weights, first, count + skip)
    again = interleave(weights, first + skip, count)
    assert again[0].tolist() == sources[skip:].tolist()
    assert again[1].tolist() == places[skip:].tolist()


@settings(max_examples=80, deadline=None)
@given(WEIGHTS, st.integers(0, 10_000))
def test_a_position_is_where_the_row_stands(weights: list[float], first: int) -> None:
    sources, places = interleave(weights, first, 20)
    found = [position(weights, s, place) for s, place in zip(sources.tolist(), places.tolist(), strict=True)]
    assert found == list(range(first, first + 20))


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(0, 400))
def test_counts_are_those_of_the_rows(weights: list[float], total: int) -> None:
    sources = interleave(weights, 0, total)[0] if total else np.zeros(0)
    assert counts(weights, total) == [int((sources == s).sum()) for s in range(len(weights))]


def test_far_into_a_run_nothing_is_slow_or_off() -> None:
    sources, places = interleave([0.7, 0.3], 10**12, 1000)
    assert (sources == 0).sum() == 700
    assert abs(int(places[sources == 0][0]) - 7 * 10**11) <= 1


@pytest.mark.parametrize("weights", [[], [0.0, 1.0], [-1.0], [float("nan")], [float("inf"), 1.0]])
def test_senseless_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(RequestError, match="above zero"):
        shares(weights)


def store(first: int, tokens: int = 400, epochs: int = 2, seq_len: int = 8) -> TokenStore:
    """Ids that tell where they come from: first, first + 1, …; documents of 5 tokens."""
    ids = np.arange(first, first + tokens, dtype=np.uint16)
    return memory_store(ids, range(0, tokens + 1, 5), seq_len, epochs, seed=first)


def mixed(**changes: object) -> PackedSteps:
    sources = (Source("web", store(0), 0.75), Source("books", store(1000), 0.25))
    fields = {"store": sources, "seq_len": 8, "rows_per_step": 8, "rows_per_batch": 3, "num_steps": 10, **changes}
    return PackedSteps(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_the_rows_of_a_step_do_not_depend_on_the_number_of_parts(size: int) -> None:
    steps = mixed()
    for step in range(10):
        want = sorted(row.tolist() for batch in steps.batches(step) for row in batch.inputs)
        parts = [steps.batches(step, Part(rank, size)) for rank in range(size)]
        got = sorted(row.tolist() for batches in parts for batch in batches for row in batch.inputs)
        assert got == want
        assert sum(row[0] >= 1000 for row in want) == 2  # a quarter of the rows from books


def test_each_source_is_read_in_its_recorded_order() -> None:
    steps = mixed()
    for number in range(len(steps.sources)):
        read = [row for step in range(10) for s, row in steps.rows_of(step) if s == number]
        assert read == list(range(len(read)))  # rows are numbered in the order in which they are read
        assert len(read) == steps.rows_read()[number]


def test_a_source_that_runs_out_is_named_before_anything_starts() -> None:
    with pytest.raises(RequestError, match=r"'books'.*set its epochs to 3"):
        mixed(store=(Source("web", store(0, 900), 0.5), Source("books", store(1000), 0.5)), num_steps=28)
    with pytest.raises(RequestError, match="'web' has no order"):
        mixed(store=(Source("web", TokenStore(store(0).ids, store(0).offsets, None), 1.0),))


def test_documents_are_numbered_within_a_row() -> None:
    batch = mixed(mask_documents=True).batches(0)[0]
    assert batch.documents is not None
    for row, numbers in zip((batch.targets % 1000 // 5).tolist(), batch.documents.tolist(), strict=True):
        changes = [a != b for a, b in itertools.pairwise(row)]
        assert numbers == [0, *itertools.accumulate(changes)]
    assert mixed().batches(0)[0].documents is None


def test_an_id_beyond_the_vocabulary_is_told_plainly() -> None:
    assert mixed(vocab_size=1400).batches(0)
    with pytest.raises(DataError, match=r"holds id 1\d\d\d, the model knows 1000: .*another tokenizer"):
        [mixed(vocab_size=1000).batches(step) for step in range(10)]


def test_fingerprints_tell_data_apart_and_nothing_else() -> None:
    same = mixed().fingerprint
    assert mixed().fingerprint == same
    assert mixed(rows_per_batch=1).fingerprint == same  # how it is carried out
    other = (Source("web", store(0), 0.75), Source("books", store(1001), 0.25))
    order = (Source("web", store(0), 0.75), Source("books", store(1000, epochs=3), 0.25))
    weights = (Source("web", store(0), 0.74), Source("books", store(1000), 0.26))
    changed = [mixed(store=other), mixed(store=order), mixed(store=weights), mixed(rows_per_step=9)]
    assert len({same, *(steps.fingerprint for steps in changed)}) == 5


def test_masked_documents_do_not_leak(tmp_path: Path) -> None:
    """Another first document in a row changes nothing about the later ones' loss."""
    from groundup.model.config import ModelConfig
    from groundup.model.init import initialise
    from groundup.model.transformer import Transformer
    from groundup.train.objective import NextToken
    from groundup.train.stream import TokenBatch

    config = ModelConfig(
        vocab_size=64, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16,
        intermediate_size=48, max_seq_len=8,
    )  # fmt: skip
    model = Transformer(config)
    initialise(model, 1)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9]])
    changed = ids.clone()
    changed[0, :3] = torch.tensor([11, 12, 13])
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    counted = torch.tensor([[False] * 3 + [True] * 5])
    losses = [
        [NextToken()(model, TokenBatch(row[:, :-1], row[:, 1:], counted, numbers))[0].item() for row in (ids, changed)]
        for numbers in (documents, None)
    ]
    assert losses[0][0] == pytest.approx(losses[0][1], abs=1e-6)
    assert losses[1][0] != pytest.approx(losses[1][1], abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=3), st.none() | st.integers(0, 99), st.integers(1, 25))
def test_the_step_of_a_row_is_the_one_that_reads_it(weights: list[float], order_seed: int | None, rows: int) -> None:
    made = [
        memory_store(np.arange(1500), np.cumsum([0, *[7, 3, 5] * 100]).tolist(), 8, 4, number, packing)
        for number, packing in zip(range(len(weights)), ("concat", "best-fit", "concat"), strict=False)
    ]
    sources = [Source(str(number), one, weight) for number, (one, weight) in enumerate(zip(made, weights, strict=True))]
    steps = PackedSteps(sources, 8, rows, 4, 250 // rows, order_seed=order_seed)
    want = {row: step for step in range(steps.num_steps) for row in steps.rows_of(step)}
    assert len(want) == steps.num_steps * rows
    for source, one in enumerate(made):
        every = np.arange(one.need_order().num_rows)
        assert steps.steps_of(source, every).tolist() == [want.get((source, row), -1) for row in every.tolist()]
        epochs = one.need_order().epochs.tolist()
        read = [row for s, row in sorted(want, key=lambda row: (row[0], want[row])) if s == source]
        # No epoch begins before the one before it was read.
        whole = [row for row in range(len(every)) if row < max((e for e in epochs if e <= len(read)), default=0)]
        assert set(whole) <= set(read)
