"""The token store, read back by a reader written from Megatron's format alone, and damaged in every way."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import ArtifactError
from groundup.text.shards import TokenStore, num_rows, shuffled_rows, token_dtype, write_store

DOCUMENTS = [[5, 6, 7, 0], [0], [300, 65_000, 0], [9, 0]]


def megatron_documents(path: Path) -> list[list[int]]:
    """What Megatron-LM's IndexedDataset would read.

    ``.idx``: the nine bytes "MMIDIDX" 0 0; uint64 version 1; uint8 type (4 int32, 8 uint16); uint64 number of
    sequences; uint64 number of document bounds; int32 sizes; int64 byte offsets; int64 bounds, from 0 to the number
    of sequences. All little-endian. ``.bin``: the ids.
    """
    raw = path.with_suffix(".idx").read_bytes()
    data = path.with_suffix(".bin").read_bytes()
    assert raw[:9] == b"MMIDIDX\x00\x00"
    version, code, count, bounds = struct.unpack("<QBQQ", raw[9:34])
    assert version == 1
    letter, width = {4: ("i", 4), 8: ("H", 2)}[code]
    place = 34
    sizes = struct.unpack_from(f"<{count}i", raw, place)
    place += 4 * count
    offsets = struct.unpack_from(f"<{count}q", raw, place)
    place += 8 * count
    ends = struct.unpack_from(f"<{bounds}q", raw, place)
    assert place + 8 * bounds == len(raw)
    assert ends == tuple(range(count + 1))
    assert len(data) == sum(sizes) * width
    return [
        list(struct.unpack_from(f"<{size}{letter}", data, offset)) for size, offset in zip(sizes, offsets, strict=True)
    ]


@pytest.mark.parametrize("vocab_size", [65_499, 65_500])
def test_megatron_reads_what_we_write(vocab_size: int, tmp_path: Path) -> None:
    dtype = token_dtype(vocab_size)
    assert dtype.itemsize == (2 if vocab_size == 65_499 else 4)
    written = write_store(tmp_path / "train", iter(DOCUMENTS), dtype)
    assert written == sum(map(len, DOCUMENTS))
    assert megatron_documents(tmp_path / "train") == DOCUMENTS


@given(st.lists(st.lists(st.integers(0, 65_499), min_size=1, max_size=6), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_documents_come_back(documents: list[list[int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_store(folder / "train", documents, token_dtype(60_000))
        store = TokenStore.open(folder)
        assert [store.document(number).tolist() for number in range(store.num_documents)] == documents
        assert store.num_tokens == sum(map(len, documents))
        assert store.order is None


def test_the_order_belongs_to_the_training_split(tmp_path: Path) -> None:
    order = shuffled_rows(4, 2, seed=1)
    np.save(tmp_path / "order.npy", order)
    for split in ("train", "held_out"):
        write_store(tmp_path / split, DOCUMENTS, token_dtype(100))
    train = TokenStore.open(tmp_path)
    assert train.order is not None
    assert np.array_equal(train.order, order)
    assert TokenStore.open(tmp_path, "held_out").order is None


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 80))
@settings(max_examples=100, deadline=None)
def test_rows_cut_the_stream_and_training_tokens_are_those_that_were_read(size: int, seq_len: int, seen: int) -> None:
    ids = np.arange(size, dtype=np.uint16)
    rows = num_rows(size, seq_len)
    store = TokenStore(ids, np.asarray([0, size]), shuffled_rows(rows, 2, seed=3))
    assert store.order is not None
    for row in range(rows):
        assert store.row(row, seq_len).tolist() == list(range(row * seq_len, (row + 1) * seq_len + 1))
    assert (rows + 1) * seq_len + 1 > size  # one more row would not be whole
    stream = [token for row in store.order[0] for token in range(row * seq_len, (row + 1) * seq_len)]
    got = store.training_tokens(seen, seq_len).tolist()
    if seen < rows * seq_len:
        assert got == stream[:seen]
    else:
        assert got == list(range(rows * seq_len + 1))[:size]
    assert len(set(got)) == len(got)


def test_an_empty_store_is_no_error(tmp_path: Path) -> None:
    assert write_store(tmp_path / "held_out", [], token_dtype(100)) == 0
    store = TokenStore.open(tmp_path, "held_out")
    assert (store.num_tokens, store.num_documents) == (0, 0)


def test_every_clipped_or_longer_index_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "train", DOCUMENTS, token_dtype(100))
    index = tmp_path / "train.idx"
    whole = index.read_bytes()
    for size in range(len(whole)):
        index.write_bytes(whole[:size])
        with pytest.raises(ArtifactError):
            TokenStore.open(tmp_path)
    index.write_bytes(whole + b"\0")
    with pytest.raises(ArtifactError):
        TokenStore.open(tmp_path)


@pytest.mark.parametrize(
    ("place", "data"),
    [
        (0, b"XX"),  # the magic
        (9, b"\x02"),  # the version
        (17, b"\x07"),  # the type
        (18, b"\x03"),  # the number of documents
        (18, b"\xff" * 8),
        (26, b"\xff" * 8),  # the number of bounds
        (34, b"\x05"),  # a size too large
        (34, b"\x03"),  # and too small
        (34, struct.pack("<ii", -1, 6)),  # sizes that add up all the same
        (34 + 16, struct.pack("<q", 2)),  # an offset that the sizes do not give
    ],
)
def test_a_damaged_index_is_refused(place: int, data: bytes, tmp_path: Path) -> None:
    write_store(tmp_path / "train", DOCUMENTS, token_dtype(100))
    index = tmp_path / "train.idx"
    whole = index.read_bytes()
    index.write_bytes(whole[:place] + data + whole[place + len(data) :])
    assert len(index.read_bytes()) == len(whole)
    with pytest.raises(ArtifactError):
        TokenStore.open(tmp_path)


def test_missing_or_shorter_data_and_a_damaged_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        TokenStore.open(tmp_path)
    write_store(tmp_path / "train", DOCUMENTS, token_dtype(100))
    data = tmp_path / "train.bin"
    whole = data.read_bytes()
    for damaged in (whole[:-2], whole[:-1], whole + b"\0\0", b""):
        data.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            TokenStore.open(tmp_path)
    data.write_bytes(whole)
    for bad in (b"", b"\x93NUMPY\x01\x00nonsense", b"plain text"):
        (tmp_path / "order.npy").write_bytes(bad)
        with pytest.raises(ArtifactError):
            TokenStore.open(tmp_path)


def test_the_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    order = shuffled_rows(2000, 3, seed=7)
    assert order.dtype == np.int32
    assert order.shape == (3, 2000)
    for row in order:
        assert sorted(row.tolist()) == list(range(2000))
    assert not np.array_equal(order[0], order[1])
    assert not np.array_equal(order, shuffled_rows(2000, 3, seed=8))
    assert np.array_equal(order[:2], shuffled_rows(2000, 2, seed=7))  # a longer plan begins like a shorter one
    fewer = shuffled_rows(700, 1, seed=7)[0]  # rows keep their relative order when others join
    assert np.array_equal(fewer, order[0][order[0] < 700])
    # It is a shuffle: places and rows are as good as uncorrelated, and neighbours are torn apart.
    for row in (*order, fewer):
        assert abs(np.corrcoef(np.arange(len(row)), row)[0, 1]) < 0.1
        assert np.mean(np.abs(np.diff(row)) == 1) < 0.02


def test_no_rows_are_no_error() -> None:
    assert shuffled_rows(0, 2, seed=1).shape == (2, 0)
    assert [num_rows(tokens, 4) for tokens in (0, 1, 4, 5, 8, 9)] == [0, 0, 0, 1, 1, 2]
