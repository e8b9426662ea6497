"""Packing and order: what stands in a row, and that nothing but seed, epoch and documents decides it."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import keys_of, memory_store, write_order

from groundup.base.errors import ArtifactError
from groundup.text.store import order
from groundup.text.store.megatron import token_dtype, write_store
from groundup.text.store.packing import Packed, Packing, Waste, concatenate, fit_best, waste
from groundup.text.store.store import TokenStore

PACKINGS: tuple[Packing, ...] = ("concat", "best-fit")
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def epoch_of(made: order.Order, epoch: int) -> Packed:
    rows = slice(int(made.epochs[epoch]), int(made.epochs[epoch + 1]) + 1)
    bounds = made.rows[rows]
    segments = slice(int(bounds[0]), int(bounds[-1]))
    return Packed(made.starts[segments], made.lengths[segments], bounds - bounds[0])


def made_of(sizes: list[int], seq_len: int, packing: Packing, chunk: int = 0, epochs: int = 2) -> order.Order:
    offsets = np.cumsum([0, *sizes])
    return order.make(
        offsets, keys_of(len(sizes)), seq_len=seq_len, epochs=epochs, seed=3, packing=packing, chunk=chunk
    )


@given(SIZES, st.integers(2, 16), st.sampled_from(PACKINGS), st.integers(1, 16))
@settings(max_examples=150, deadline=None)
def test_every_token_stands_once_in_an_epoch(sizes: list[int], seq_len: int, packing: Packing, chunk: int) -> None:
    made = made_of(sizes, seq_len, packing, min(chunk, seq_len))
    total = sum(sizes)
    for epoch in range(2):
        packed = epoch_of(made, epoch)
        covered = order.ranges(packed.starts, packed.lengths.astype(np.int64))
        filled = np.add.reduceat(packed.lengths, packed.rows[:-1]) if packed.num_rows else np.zeros(0)
        assert len(set(covered.tolist())) == len(covered)
        assert (packed.lengths > 0).all() and (np.diff(packed.rows) > 0).all()
        if packing == "concat":
            assert (filled == seq_len).all()
            assert packed.num_rows == total // seq_len
        else:
            assert sorted(covered.tolist()) == list(range(-1, total - 1))
            assert (filled <= seq_len).all()
        # No segment reaches over a document's end.
        offsets = np.cumsum([0, *sizes])
        first = np.searchsorted(offsets, packed.starts + 1, side="right")
        assert (packed.starts + packed.lengths < offsets[first]).all()


@given(SIZES, st.integers(2, 16))
@settings(max_examples=100, deadline=None)
def test_whole_pieces_have_rows_by_themselves_and_best_fit_cuts_none(sizes: list[int], seq_len: int) -> None:
    offsets = np.cumsum([0, *sizes])
    pieces = order.Pieces.cut(offsets, keys_of(len(sizes)), seq_len, 3, 0)
    whole = {start for start, length in zip(pieces.starts.tolist(), pieces.lengths.tolist(), strict=True)
             if length == seq_len}  # fmt: skip
    for packing in PACKINGS:
        packed = epoch_of(made_of(sizes, seq_len, packing), 0)
        alone = packed.starts[packed.rows[:-1]][packed.lengths[packed.rows[:-1]] == seq_len]
        assert set(alone.tolist()) == whole
        if packing == "best-fit":
            assert sorted(zip(packed.starts.tolist(), packed.lengths.tolist(), strict=True)) == sorted(
                zip(pieces.starts.tolist(), pieces.lengths.tolist(), strict=True)
            )


def best_fit_by_hand(lengths: list[int], seq_len: int) -> list[list[int]]:
    """From the longest to the shortest, each into the row with the least room that suffices ."""
    rows: list[list[int]] = []
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fits = [free for free in room if free >= length]
        if fits:
            at = len(room) - 1 - room[::-1].index(min(fits))
            rows[at].append(length)
            room[at] -= length
        else:
            rows.append([length])
            room.append(seq_len - length)
    return rows


@given(st.lists(st.integers(1, 20), min_size=1, max_size=80), st.integers(20, 33))
@settings(max_examples=150, deadline=None)
def test_best_fit_is_best_fit_decreasing(lengths: list[int], seq_len: int) -> None:
    starts = np.cumsum([0, *lengths[:-1]])
    packed = fit_best(starts, np.array(lengths, np.int32), seq_len)
    got = [packed.lengths[a:b].tolist() for a, b in zip(packed.rows[:-1], packed.rows[1:], strict=True)]
    # Which of equally full rows is taken is free, and changes nothing about how full rows become.
    assert sorted(map(sum, got)) == sorted(map(sum, best_fit_by_hand(lengths, seq_len)))
    # Rows, and pieces in them, come as their first pieces did.
    heads = packed.starts[packed.rows[:-1]].tolist()
    assert heads == sorted(heads)


def test_a_window_bounds_what_best_fit_looks_at() -> None:
    lengths = np.array([6, 5, 4, 5] * 3, np.int32)
    starts = np.cumsum([0, *lengths[:-1]])
    assert fit_best(starts, lengths, 10).num_rows == 6
    packed = fit_best(starts, lengths, 10, window=2)
    assert packed.num_rows == 9  # 6 | 5, then 4 + 5
    assert packed.starts.tolist() == starts.tolist()


def test_waste_is_counted() -> None:
    offsets = np.array([0, 3, 7, 9, 12])
    packed = concatenate(offsets[:-1] - 1, np.diff(offsets).astype(np.int32), 5)
    found = waste(packed, offsets, 5)
    # Rows 0-4 and 5-9: the second document is cut, two tokens are left over.
    assert found == Waste(positions=10, padding=0, left_over=2, documents=4, long=0, cut=1)
    whole = waste(fit_best(offsets[:-1] - 1, np.diff(offsets).astype(np.int32), 5), offsets, 5)
    assert (whole.positions, whole.padding, whole.left_over, whole.cut) == (15, 3, 0, 0)


# -- the order -----------------------------------------------------------------------------------------------------


def pieces_in_order(made: order.Order, epoch: int) -> list[int]:
    return epoch_of(made, epoch).starts.tolist()


def test_a_document_keeps_its_place_whatever_stands_around_it() -> None:
    """The order of pieces that two corpora share is the same in both: it hangs on (seed, epoch, document, piece)."""
    names = [str(number) for number in range(200)]
    rng = np.random.default_rng(1)
    sizes = dict(zip(names, rng.integers(1, 9, 200).tolist(), strict=True))  # each shorter than a row

    def shuffled(chosen: list[str], epoch: int) -> list[str]:
        keys = np.array([order.document_key(name) for name in chosen], np.uint64)
        offsets = np.cumsum([0, *(sizes[name] for name in chosen)])
        pieces = order.Pieces.cut(offsets, keys, 16, 5, epoch)
        return [chosen[number] for number in order.shuffled(pieces.keys, 5, epoch)]

    some = names[::-1][:120]
    for epoch in (0, 1):
        assert [name for name in shuffled(names, epoch) if name in set(some)] == shuffled(some, epoch)
    assert shuffled(names, 0) != shuffled(names, 1) != names


def test_a_long_document_is_spread_over_the_epoch() -> None:
    sizes = [4000, *[30] * 1000]
    made = made_of(sizes, 40, "concat")
    packed = epoch_of(made, 0)
    rows = np.searchsorted(packed.rows, np.flatnonzero(packed.starts < 3999), side="right") - 1
    assert 100 <= len(rows) <= 103  # a short first and a short last piece, which a row's end may cut
    share = np.histogram(rows, 4, (0, packed.num_rows))[0] / len(rows)
    assert share.min() > 0.1, share
    places = (packed.starts[packed.starts < 3999] + 1) // 40
    assert abs(np.corrcoef(np.arange(len(places)), places)[0, 1]) < 0.35
    assert np.mean(np.abs(np.diff(places)) == 1) < 0.1


def test_epochs_and_seeds_differ_and_a_longer_plan_begins_like_a_shorter_one() -> None:
    sizes = np.random.default_rng(2).integers(1, 30, 300).tolist()
    offsets, keys = np.cumsum([0, *sizes]), keys_of(300)

    def make(seed: int, epochs: int) -> order.Order:
        return order.make(offsets, keys, seq_len=20, epochs=epochs, seed=seed)

    long, short = make(1, 3), make(1, 2)
    assert pieces_in_order(long, 0) == pieces_in_order(short, 0)
    assert pieces_in_order(long, 1) == pieces_in_order(short, 1)
    assert len({tuple(pieces_in_order(long, epoch)) for epoch in range(3)}) == 3
    assert pieces_in_order(make(2, 1), 0) != pieces_in_order(short, 0)
    # The copies of a document in a mixture go their own ways.
    assert order.document_key("a", 0) != order.document_key("a", 1) != order.document_key("b", 1)


def test_another_order_of_rows_is_a_permutation_by_seed_and_epoch() -> None:
    rows = [order.row_order(2000, 7, epoch) for epoch in range(3)]
    for row in rows:
        assert sorted(row.tolist()) == list(range(2000))
        assert abs(np.corrcoef(np.arange(2000), row)[0, 1]) < 0.1
        assert np.mean(np.abs(np.diff(row)) == 1) < 0.02
    assert len({row.tobytes() for row in [*rows, order.row_order(2000, 8, 0)]}) == 4
    assert order.row_order(0, 1, 0).shape == (0,)


@pytest.mark.parametrize("packing", ["concat", "best-fit"])
def test_the_memory_that_an_order_takes_is_what_is_promised(packing: Packing) -> None:
    sizes = np.random.default_rng(1).geometric(1 / 150, 100_000)
    offsets, keys = np.cumsum([0, *sizes]), np.random.default_rng(2).integers(0, 2**63, 100_000).astype(np.uint64)
    tracemalloc.start()
    for _ in order.epochs_of(offsets, keys, seq_len=2048, epochs=2, seed=1, packing=packing):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 * len(sizes) + 3_000_000  # and a window of best-fit


@given(SIZES, st.integers(2, 16), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_document_is_cut_elsewhere_in_every_epoch(sizes: list[int], chunk: int, epoch: int) -> None:
    offsets, keys = np.cumsum([0, *sizes]), keys_of(len(sizes))
    pieces = order.Pieces.cut(offsets, keys, chunk, 3, epoch)
    assert pieces.starts.tolist() == sorted(set(pieces.starts.tolist()))
    ends = (pieces.starts + pieces.lengths).tolist()
    assert ends == [*(pieces.starts[1:].tolist()), sum(sizes) - 1]  # nothing between, nothing twice
    document = np.searchsorted(offsets, pieces.starts + 1, side="right") - 1
    for number, size in enumerate(sizes):
        lengths = pieces.lengths[document == number].tolist()
        assert sum(lengths) == size and max(lengths) <= chunk
        assert all(length == chunk for length in lengths[1:-1])
        assert len(lengths) == 1 or size > chunk
    alone = order.Pieces.cut(np.array([0, sizes[-1]]), keys[-1:], chunk, 3, epoch)
    assert alone.lengths.tolist() == pieces.lengths[document == len(sizes) - 1].tolist()


def test_first_cuts_are_spread_evenly() -> None:
    offsets = np.arange(0, 4001 * 100, 100)
    pieces = order.Pieces.cut(offsets, keys_of(4000), 50, 1, 0)
    cuts = pieces.lengths[(pieces.starts + 1) % 100 == 0]
    assert len(cuts) == 4000
    assert (np.bincount(cuts, minlength=51)[1:] > 40).all()


# -- on disk -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", PACKINGS)
def test_an_order_comes_back_memory_mapped(packing: Packing, tmp_path: Path) -> None:
    sizes = np.random.default_rng(2).integers(1, 30, 50).tolist()
    write_store(tmp_path / "train", [list(range(size)) for size in sizes], token_dtype(100))
    write_store(tmp_path / "held_out", [[1]], token_dtype(100))
    rows = write_order(tmp_path, sizes, 16, 3, packing)
    found, want = TokenStore.open(tmp_path).need_order(), memory_store(
        np.zeros(sum(sizes)), np.cumsum([0, *sizes]).tolist(), 16, 3, packing=packing
    ).need_order()  # fmt: skip
    for name in ("starts", "lengths", "rows", "epochs"):
        assert np.array_equal(getattr(found, name), getattr(want, name)), name
        assert getattr(found, name).dtype == getattr(want, name).dtype
    assert (found.seq_len, found.packing, found.num_epochs, found.rows_in_epoch) == (16, packing, 3, rows)
    assert isinstance(found.starts.base, np.memmap)
    assert TokenStore.open(tmp_path, "held_out").order is None


def test_a_store_without_rows_is_no_error(tmp_path: Path) -> None:
    write_store(tmp_path / "train", [[1, 2]], token_dtype(100))
    assert write_order(tmp_path, [2], 16, 2) == 0
    assert TokenStore.open(tmp_path).need_order().num_rows == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("starts.npy", b""),
        ("starts.npy", b"\x93NUMPY\x01\x00nonsense"),
        ("rows.npy", b"plain text"),
        ("order.json", b"{"),
        ("order.json", b"[]"),
        ("order.json", b'{"format": 9, "seq_len": 16, "packing": "concat"}'),
        ("lengths.npy", None),
        ("epochs.npy", "starts.npy"),
        ("lengths.npy", "rows.npy"),
    ],
)
def test_a_damaged_order_is_refused(name: str, data: bytes | str | None, tmp_path: Path) -> None:
    sizes = [30, 20, 50]
    write_store(tmp_path / "train", [[1] * size for size in sizes], token_dtype(100))
    write_order(tmp_path, sizes, 16, 2)
    path = tmp_path / "order" / name
    if data is None:
        path.unlink()
    elif isinstance(data, str):
        shutil.copyfile(path.parent / data, path)
    else:
        path.write_bytes(data)
    with pytest.raises(ArtifactError, match="order of") as error:
        TokenStore.open(tmp_path)
    assert "\n" not in str(error.value)


def test_orders_of_an_older_version_and_of_other_documents_are_told(tmp_path: Path) -> None:
    write_store(tmp_path / "train", [[1] * 40], token_dtype(100))
    np.save(tmp_path / "order.npy", np.zeros((2, 2), np.int32))
    with pytest.raises(ArtifactError, match="made by an older version: make it again"):
        TokenStore.open(tmp_path)
    write_order(tmp_path, [80], 16, 1)
    write_store(tmp_path / "train", [[1] * 10], token_dtype(100))
    with pytest.raises(ArtifactError, match="one of other documents"):
        TokenStore.open(tmp_path)
