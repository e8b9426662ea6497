"""The token store, read back by a reader written from Megatron's format alone, and damaged in every way."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import ArtifactError, DataError
from groundup.text.store.megatron import DTYPES, Writer, read_index, token_dtype, write_store
from groundup.text.store.store import About, TokenStore

GOLDEN = {
    65499: (
        (
            "4d4d49444944580000010000000000000008040000000000000005000000000000000400000001000000030000000200"
            "0000000000000000000008000000000000000a0000000000000010000000000000000000000000000000010000000000"
            "0000020000000000000003000000000000000400000000000000"
        ),
        ("050006000700000000002c01e8fd000009000000"),
    ),
    65500: (
        (
            "4d4d49444944580000010000000000000004040000000000000005000000000000000400000001000000030000000200"
            "000000000000000000001000000000000000140000000000000020000000000000000000000000000000010000000000"
            "0000020000000000000003000000000000000400000000000000"
        ),
        ("05000000060000000700000000000000000000002c010000e8fd0000000000000900000000000000"),
    ),
}
"""By size of the vocabulary: the index and the ids of DOCUMENTS."""
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_store(folder / "train", documents, token_dtype(60_000))
        store = TokenStore.open(folder)
        assert [store.document(number).tolist() for number in range(store.num_documents)] == documents
        assert store.num_tokens == sum(map(len, documents))
        assert store.order is None


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


def test_missing_or_shorter_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        TokenStore.open(tmp_path)
    write_store(tmp_path / "train", DOCUMENTS, token_dtype(100))
    data = tmp_path / "train.bin"
    whole = data.read_bytes()
    for damaged in (whole[:-2], whole[:-1], whole + b"\0\0", b""):
        data.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            TokenStore.open(tmp_path)


def test_the_bytes_are_those_of_megatron() -> None:
    """Pinned when megatron-core 0.19.0 and datatrove 0.10.1 had written the same (benchmarks/store_parity.py)."""
    with tempfile.TemporaryDirectory() as name:
        for vocab_size, want in GOLDEN.items():
            path = Path(name) / str(vocab_size)
            write_store(path, DOCUMENTS, token_dtype(vocab_size))
            found = path.with_suffix(".idx").read_bytes().hex(), path.with_suffix(".bin").read_bytes().hex()
            assert found == want, vocab_size


@pytest.mark.parametrize("code", sorted(DTYPES))
def test_every_type_of_megatron_is_read_or_refused(code: int, tmp_path: Path) -> None:
    dtype = DTYPES[code]
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, 2, 3)
    sizes, starts = np.array([3, 1], "<i4"), np.array([0, 3 * dtype.itemsize], "<i8")
    (tmp_path / "train.idx").write_bytes(
        header + sizes.tobytes() + starts.tobytes() + np.arange(3, dtype="<i8").tobytes()
    )
    (tmp_path / "train.bin").write_bytes(np.array([7, 100, 2, 5], dtype).tobytes())
    if dtype.kind == "f":
        with pytest.raises(ArtifactError, match="not of token ids"):
            TokenStore.open(tmp_path)
        return
    store = TokenStore.open(tmp_path)
    assert [store.document(number).tolist() for number in range(2)] == [[7, 100, 2], [5]]


def test_documents_of_several_sequences_are_joined() -> None:
    """As Megatron's preprocessing writes them when it splits sentences."""
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 3, 3)
    body = np.array([3, 1, 2], "<i4").tobytes() + np.array([0, 6, 8], "<i8").tobytes()
    index = read_index(header + body + np.array([0, 2, 3], "<i8").tobytes(), "x.idx")
    assert index.offsets.tolist() == [0, 4, 6]
    for bounds in ([0, 2, 2], [1, 2, 3], [0, 4, 3]):
        with pytest.raises(ArtifactError, match="contradict"):
            read_index(header + body + np.array(bounds, "<i8").tobytes(), "x.idx")


@pytest.mark.parametrize("ids", [[3, 100], [-1, 3]])
def test_ids_that_the_vocabulary_does_not_have_are_not_written(ids: list[int], tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"a vocabulary of 100: .*another tokenizer"),
        Writer(tmp_path / "train", token_dtype(100), 100) as writer,
    ):
        writer.add(np.array(ids), np.array([2]))
    assert not (tmp_path / "train.idx").exists()
    with pytest.raises(DataError, match="fit a vocabulary of 65536"):  # not even wrapped round
        write_store(tmp_path / "other", [[70_000]], token_dtype(100))


def test_a_store_of_another_tokenizer_is_told_in_one_line(tmp_path: Path) -> None:
    write_store(tmp_path / "train", DOCUMENTS, token_dtype(100))
    TokenStore.open(tmp_path).check_tokenizer("a" * 64, 5, "tokens")  # one of another program says nothing
    about = About(tokenizer="a" * 64, vocab_size=65_100, eos_id=0)
    (tmp_path / "store.json").write_text(about.model_dump_json())
    store = TokenStore.open(tmp_path)
    store.check_tokenizer("a" * 64, 65_100, "tokens")
    for digest, size in (("b" * 64, 65_100), ("a" * 64, 65_101)):
        with pytest.raises(
            ArtifactError, match="'tokens' was made with tokenizer aaaaaaaaaaaa of 65100 entries"
        ) as error:
            store.check_tokenizer(digest, size, "tokens")
        assert "\n" not in str(error.value)
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"store\.json is damaged"):
        TokenStore.open(tmp_path)
