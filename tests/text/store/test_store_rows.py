"""What a row holds, against plain loops: ids, what follows them, what counts, which document it is."""

from __future__ import annotations

import uuid
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import memory_store, write_order

from groundup.base.errors import ArtifactError, RequestError
from groundup.text.store import order
from groundup.text.store.megatron import token_dtype, write_store
from groundup.text.store.packing import Packed, Packing
from groundup.text.store.store import TokenStore

PACKINGS: tuple[Packing, ...] = ("concat", "best-fit")
SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=40)


def store_of(sizes: list[int], seq_len: int, packing: Packing) -> TokenStore:
    return memory_store(np.arange(1, sum(sizes) + 1), np.cumsum([0, *sizes]).tolist(), seq_len, 2, packing=packing)


@given(SIZES, st.integers(2, 12), st.sampled_from(PACKINGS), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_rows_are_what_the_order_says(sizes: list[int], seq_len: int, packing: Packing, chance: object) -> None:
    store = store_of(sizes, seq_len, packing)
    made = store.need_order()
    firsts = set(np.cumsum([0, *sizes]).tolist())  # places at which documents begin
    numbers = list(range(made.num_rows))
    chance.shuffle(numbers)  # type: ignore[attr-defined]
    numbers = numbers[:7]
    if not numbers:
        return
    rows = store.rows(np.array(numbers), documents=True)
    assert rows.documents is not None
    for at, number in enumerate(numbers):
        places: list[int] = []
        labels: list[int] = []
        for segment in range(int(made.rows[number]), int(made.rows[number + 1])):
            start, length = int(made.starts[segment]), int(made.lengths[segment])
            goes_on = bool(places) and start == places[-1] + 1 and start + 1 not in firsts
            labels += [labels[-1] + (not goes_on) if labels else 0] * length
            places += range(start, start + length)
        padding = seq_len - len(places)
        # The id at place p is p + 1; before the first one stands the last.
        assert rows.inputs[at].tolist() == [place + 1 if place >= 0 else sum(sizes) for place in places] + [0] * padding
        assert rows.targets[at, : len(places)].tolist() == [place + 2 for place in places]
        assert rows.documents[at].tolist() == labels + [labels[-1] + 1] * padding
        trained = np.ones(seq_len, bool) if rows.trained is None else rows.trained[at]
        assert trained.tolist() == [True] * len(places) + [False] * padding
    without = store.rows(np.array(numbers))
    assert without.documents is None and np.array_equal(without.inputs, rows.inputs)


@given(SIZES, st.integers(2, 12), st.sampled_from(PACKINGS), st.integers(1, 900))
@settings(max_examples=100, deadline=None)
def test_training_tokens_are_those_that_were_read(sizes: list[int], seq_len: int, packing: Packing, seen: int) -> None:
    store = store_of(sizes, seq_len, packing)
    made = store.need_order()
    places = order.ranges(made.starts, made.lengths.astype(np.int64))[
        : int(made.lengths[: made.rows[made.rows_in_epoch]].sum())
    ]
    read = [place + 1 if place >= 0 else sum(sizes) for place in places.tolist()]
    got = store.training_tokens(seen).tolist()
    assert got == (read[:seen] if seen < len(read) else list(range(1, sum(sizes) + 1)))
    plain = TokenStore(store.ids, store.offsets, None)
    assert plain.training_tokens(seen).tolist() == list(range(1, sum(sizes) + 1))


def test_every_id_is_a_target_once_behind_what_stood_before_it() -> None:
    """The first id of each document behind an end-of-text id, the first document's too."""
    documents = [[5, 6, 7, 8, 0], [9, 0], [10, 11, 12, 0]]
    ids = np.array([token for ids in documents for token in ids])
    for packing in PACKINGS:
        store = memory_store(ids, [0, 5, 7, 11], 11 if packing == "concat" else 5, 1, packing=packing)
        rows = store.rows(np.arange(store.need_order().num_rows))
        trained = np.ones(rows.inputs.shape, bool) if rows.trained is None else rows.trained
        assert sorted(rows.targets[trained].tolist()) == sorted(ids.tolist())
        pairs = set(zip(rows.inputs[trained].tolist(), rows.targets[trained].tolist(), strict=True))
        assert pairs == {(a, b) for one in documents for a, b in pairwise([0, *one])}


# -- elsewhere -----------------------------------------------------------------------------------------------------


def to_memory(folder: Path) -> str:
    """The files of a folder in fsspec's memory."""
    import fsspec

    root = f"/{uuid.uuid4().hex}"
    for path in folder.rglob("*"):
        if path.is_file():
            fsspec.filesystem("memory").pipe_file(f"{root}/{path.relative_to(folder)}", path.read_bytes())
    return f"memory:/{root}"


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("vocab_size", [1000, 70_000])
def test_a_store_elsewhere_is_the_same_store(packing: Packing, vocab_size: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    docs = [[*rng.integers(1, vocab_size, size).tolist(), 0] for size in rng.integers(1, 50, 60)]
    for split in ("train", "held_out"):
        write_store(tmp_path / split, docs, token_dtype(vocab_size))
    write_order(tmp_path, [len(ids) for ids in docs], 16, 2, packing)
    here, there = TokenStore.open(tmp_path), TokenStore.open(to_memory(tmp_path))
    assert not isinstance(there.ids, np.ndarray)
    numbers = np.array([5, 3, 50, 0])
    for name in ("inputs", "targets", "trained", "documents"):
        a, b = (getattr(store.rows(numbers, documents=True), name) for store in (here, there))
        assert (a is None and b is None) or (np.array_equal(a, b) and a.dtype == b.dtype), name
    assert [there.document(n).tolist() for n in range(there.num_documents)] == docs
    assert there.training_tokens(100).tolist() == here.training_tokens(100).tolist()
    assert (there.num_tokens, there.need_order().num_rows) == (here.num_tokens, here.need_order().num_rows)


def test_what_is_missing_or_clipped_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nowhere://tokens can't be opened: Protocol not known"):
        TokenStore.open("nowhere://tokens")
    with pytest.raises(ArtifactError, match="memory://nowhere can't be read"):
        TokenStore.open("memory://nowhere")
    write_store(tmp_path / "train", [[1, 2, 3]], token_dtype(100))
    (tmp_path / "train.bin").write_bytes(b"\1\0\2\0\3")
    with pytest.raises(ArtifactError, match="no whole number of ids"):
        TokenStore.open(to_memory(tmp_path))
    (tmp_path / "train.bin").write_bytes(b"\1\0\2\0")
    with pytest.raises(ArtifactError, match="holds 2 tokens, its index says 3"):
        TokenStore.open(to_memory(tmp_path))


def test_rows_join_only_neighbours() -> None:
    """Two pieces of a document side by side are one text if the second goes on where the first ended."""
    store = memory_store(np.arange(1, 13), [0, 12], 12, 1)
    for starts, want in (
        ([-1, 3, 7], [0] * 12),
        ([3, 7, -1], [0] * 8 + [1] * 4),
        ([7, 3, -1], [0] * 4 + [1] * 4 + [2] * 4),
    ):
        packed = Packed(np.array(starts), np.array([4, 4, 4], np.int32), np.array([0, 3]))
        rows = TokenStore(store.ids, store.offsets, order.joined([packed], 12)).rows(np.array([0]), documents=True)
        assert rows.documents is not None and rows.documents[0].tolist() == want
