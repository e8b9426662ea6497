"""What an ablation reads and predicts: keyed orders, held-out text by source, documents that would leak."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ablation_stores import SEQ_LEN, documents, store
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import stream_store
from tiny import tiny_engine

from groundup.base.errors import DataError, RequestError
from groundup.stages.pretrain.ablation.data import Reads, distance, predicted, reads
from groundup.stages.pretrain.validation import PART, HeldOut, drawn, held_out_documents
from groundup.text.store.store import TokenStore
from groundup.train.stream import PackedSteps, Part, Source

# -- the order of a seed -------------------------------------------------------------------------------------------


def memory_store(tokens: int, epochs: int, seq_len: int = 4) -> TokenStore:
    rows = (tokens - 1) // seq_len
    orders = [np.random.default_rng(epoch).permutation(rows).tolist() for epoch in range(epochs)]
    return stream_store(np.arange(tokens, dtype=np.uint16), seq_len, orders)


def rows_of(steps: PackedSteps) -> list[tuple[int, int]]:
    return [row for step in range(steps.num_steps) for row in steps.rows_of(step)]


@given(st.integers(0, 2**31), st.integers(9, 80))
@settings(max_examples=60)
def test_a_keyed_order_reads_every_row_once_an_epoch(seed: int, tokens: int) -> None:
    each = (tokens - 1) // 4
    steps = PackedSteps(memory_store(tokens, 3), 4, 1, 1, 3 * each, order_seed=seed)
    read = [row for _, row in rows_of(steps)]
    for epoch in range(3):
        assert sorted(read[epoch * each : (epoch + 1) * each]) == list(range(epoch * each, (epoch + 1) * each))


def test_seeds_read_other_rows_in_other_orders_and_the_same_ones_again() -> None:
    def steps(seed: int | None, num_steps: int = 5, sources: int = 1) -> PackedSteps:
        stores = [Source(str(number), memory_store(801, 2), 1.0) for number in range(sources)]
        return PackedSteps(stores, 4, 4, 2, num_steps, order_seed=seed)

    orders = [rows_of(steps(seed)) for seed in (None, 0, 1, 2)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(set(one) != set(other) for at, one in enumerate(orders) for other in orders[:at])
    assert rows_of(steps(1)) == orders[2]
    # A longer run begins like a shorter one: what is read at a step depends on nothing but the step.
    assert rows_of(steps(1, num_steps=80))[:20] == orders[2]
    assert len({steps(seed).fingerprint for seed in (None, 0, 1)}) == 3
    assert steps(1).fingerprint == steps(1).fingerprint
    two = rows_of(steps(1, num_steps=10, sources=2))
    assert [row for s, row in two if s == 0] != [row for s, row in two if s == 1], "two stores share an order"
    halves = [row for rank in (0, 1) for batch in steps(1).batches(3, Part(rank, 2)) for row in batch.inputs[:, 0]]
    one = steps(1)
    assert sorted(map(int, halves)) == sorted(int(one.sources[s].order.starts[row]) for s, row in one.rows_of(3))


def test_a_keyed_order_is_no_longer_than_the_recorded_one() -> None:
    PackedSteps(memory_store(41, 2), 4, 1, 1, 20, order_seed=1)
    with pytest.raises(RequestError, match="set its epochs to 3"):
        PackedSteps(memory_store(41, 2), 4, 1, 1, 21, order_seed=1)


# -- held-out text by source ---------------------------------------------------------------------------------------


def test_figures_by_source_are_those_of_their_targets(tmp_path: Path) -> None:
    held_out = documents("s", "stories", 5, length=20) + documents("m", "manual", 4, length=31)
    tokens = store(tmp_path / "tokens", documents("t", "stories", 9), held_out)
    other = store(tmp_path / "other", documents("u", "stories", 9), documents("w", "web", 3))
    model = tiny_engine(peak=3.0, max_seq_len=SEQ_LEN).model
    measured = HeldOut.by_source([tokens, other], SEQ_LEN, 10_000)
    assert dict(measured.parts) == {"tokens/stories": 300, "tokens/manual": 372, "other/web": 207}
    with torch.inference_mode():
        found = measured.bits_per_byte(model)
        # Written out: every target by itself, at its place in the documents as they were drawn.
        nats: dict[str, float] = {}
        for artifact in (tokens, other):
            chosen = drawn(artifact, 10_000)
            flat = np.concatenate([one.ids for one in chosen]).astype(np.int64)
            names = [f"{artifact.record.name}/{one.source}" for one in chosen for _ in one.ids]
            flat = np.concatenate([flat[-1:], flat])
            for start in range(0, len(flat) - 1, SEQ_LEN):
                row = torch.from_numpy(flat[start : start + SEQ_LEN + 1])
                hidden = model(row[None, :-1])[0]
                losses = torch.nn.functional.cross_entropy(hidden @ model.output_weight.T, row[1:], reduction="none")
                for name, loss in zip(names[start:], losses.tolist(), strict=False):
                    nats[name] = nats.get(name, 0.0) + loss
    for name, num_bytes in measured.parts:
        assert found[PART + name] == pytest.approx(nats[name] / math.log(2) / num_bytes, rel=1e-5), name
    assert found["bits_per_byte"] == pytest.approx(sum(nats.values()) / math.log(2) / (300 + 372 + 207), rel=1e-5)


def test_many_sources_are_told_apart_as_far_as_they_are_large(tmp_path: Path) -> None:
    held_out = [one for n in range(20) for one in documents(f"d{n:02d}-", f"source{n:02d}", 1, length=40 - n)]
    tokens = store(tmp_path / "tokens", documents("t", "x", 9), held_out)
    measured = HeldOut.by_source([tokens], SEQ_LEN, 10_000)
    names = [name for name, _ in measured.parts]
    assert names == [f"source{n:02d}" for n in range(11)] + ["other sources"]
    assert sum(size for _, size in measured.parts) == measured.num_bytes
    assert measured.part_of is not None and measured.rows[:, 1:].shape == measured.part_of.shape
    assert torch.equal(measured.part_of >= 0, measured.rows[:, 1:] >= 0)


def test_what_is_drawn_does_not_depend_on_the_order_of_a_store(tmp_path: Path) -> None:
    held_out = documents("a", "first", 30) + documents("b", "second", 30)
    one = store(tmp_path / "one", documents("t", "x", 9), held_out)
    other = store(tmp_path / "other", documents("t", "x", 9), held_out[::-1])
    small = [document.id for document in drawn(one, 24 * 12)]
    assert small == [document.id for document in drawn(other, 24 * 12)]
    assert len(small) == 12 and {name[0] for name in small} == {"a", "b"}
    assert small == [document.id for document in drawn(one, 10_000)][:12]
    assert len(drawn(one, 1)) == 1
    # The curve of a model without named stores is measured as it always was: the first ones, in the store's order.
    assert HeldOut.open([one], SEQ_LEN, 24 * 3).rows[:, 1:].flatten().tolist()[:72] == [
        int(token) for document in held_out_documents(one)[:3] for token in document.ids
    ]


def test_a_store_without_held_out_documents_is_refused(tmp_path: Path) -> None:
    tokens = store(tmp_path / "tokens", documents("t", "x", 9), [])
    with pytest.raises(DataError, match="'tokens' has no held-out documents"):
        predicted([tokens], 1000)


# -- what a variant reads ------------------------------------------------------------------------------------------


def steps_on(*stores: Path, weights: tuple[float, ...] = (1.0,), num_steps: int = 8) -> PackedSteps:
    sources = [Source(path.name, TokenStore.open(path), weight) for path, weight in zip(stores, weights, strict=True)]
    return PackedSteps(sources, SEQ_LEN, 2, 2, num_steps)


def test_leaks_are_found_by_page_and_by_text(tmp_path: Path) -> None:
    held_out = documents("h", "stories", 6)
    renamed = [(f"copy{one}", "web", ids) for one, _, ids in held_out[:2]]
    changed = [(held_out[3][0], "stories", held_out[3][2][:-4])]  # the same page after another redaction
    nearly = [("near", "web", [*held_out[4][2][:-1], 249])]
    train = documents("t", "stories", 10)
    for name, extra, pages, texts in (
        ("clean", [], 0, 0),
        ("copies", renamed + nearly, 0, 2),
        ("twice", renamed + renamed, 0, 2),
        ("page", changed + renamed[:1], 1, 1),
    ):
        tokens = store(tmp_path / name, train + extra, held_out)
        found = reads(steps_on(tokens.path), [tokens], predicted([tokens], 10_000))
        assert (found.same_page, found.same_text) == (pages, texts), name


def test_what_is_read_is_counted_by_source_and_without_repeats(tmp_path: Path) -> None:
    once = documents("a", "stories", 12, length=23) + documents("b", "manual", 4, length=23)
    twice = once + documents("b", "manual", 4, length=23)  # as a mixture writes a document that it reads twice
    one = store(tmp_path / "one", once, documents("h", "x", 2))
    other = store(tmp_path / "two", twice, documents("h", "x", 2))
    plain = reads(steps_on(one.path), [one], [])
    mixed = reads(steps_on(other.path), [other], [])
    assert plain.tokens == mixed.tokens == 8 * 2 * SEQ_LEN
    assert plain.different == mixed.different == 16 * 24
    assert plain.shares == pytest.approx({"manual": 0.25, "stories": 0.75})
    assert mixed.shares == pytest.approx({"manual": 0.4, "stories": 0.6})
    assert distance(plain, mixed) == pytest.approx(0.15)
    assert plain.passes == pytest.approx(256 / 384)
    both = reads(steps_on(one.path, other.path, weights=(3.0, 1.0)), [one, other], [])
    assert both.shares["manual"] == pytest.approx(0.75 * 0.25 + 0.25 * 0.4)
    assert distance(plain, Reads(1, 1, {"web": 1.0}, 0, 0)) == 1.0
