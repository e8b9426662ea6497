"""The formats of MosaicML streaming and litdata: written, read back, pinned, damaged, and handed over."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_record import record

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError, RequestError
from groundup.text.store import litdata, mds
from groundup.text.store.handover import hand_over_tokens
from groundup.text.store.megatron import token_dtype, write_store

FORMATS = pytest.mark.parametrize("kind", [mds, litdata])
DOCUMENTS = [("a", np.arange(5)), ("b", np.arange(300)), ("ü", np.array([0])), ("d", np.arange(40))]


@FORMATS
@given(st.lists(st.lists(st.integers(0, 69_999), min_size=1, max_size=80), max_size=12), st.integers(100, 900))
@settings(max_examples=40, deadline=None)
def test_documents_come_back(kind: ModuleType, documents: list[list[int]], limit: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "out"
        named = [(f"d{number}", np.array(ids)) for number, ids in enumerate(documents)]
        kind.write(folder, named, token_dtype(70_000), limit)
        found = list(kind.read(folder))
        assert [ids.tolist() for _, ids in found] == documents
        if kind is mds:
            assert [name for name, _ in found] == [name for name, _ in named]
        sizes = [path.stat().st_size for path in folder.iterdir() if path.name != "index.json"]
        assert all(size <= limit + 400 + 4 * 84 for size in sizes)


# Pinned when litdata 0.2.76 and mosaicml-streaming 0.13.0 had written the same (benchmarks/store_parity.py).
GOLDEN = {
    "mds": "7e3276e51542dd751493f3f14bdca3cd9d85db1b69002e6c1b27ff623f0fb715",
    "litdata": "e65009be4b952321c31dc986abef8c06b4028c029e4bfaeb32a73640d76ef577",
}


@FORMATS
def test_the_bytes_are_those_of_the_packages(kind: ModuleType, tmp_path: Path) -> None:
    kind.write(tmp_path / "out", DOCUMENTS, token_dtype(1000), 700)
    whole = hashlib.sha256()
    for path in sorted((tmp_path / "out").iterdir()):
        if kind is mds or path.name != "index.json":  # litdata's index has the time in it
            whole.update(path.name.encode() + path.read_bytes())
    assert whole.hexdigest() == GOLDEN[kind.__name__.rpartition(".")[2]]


@FORMATS
def test_what_is_damaged_is_refused(kind: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    kind.write(folder, DOCUMENTS, token_dtype(1000), 700)
    shard = next(path for path in sorted(folder.iterdir()) if path.name != "index.json")
    whole, index = shard.read_bytes(), json.loads((folder / "index.json").read_text())
    for damaged in (b"", whole[:3], whole[:-1], whole[:20], whole + b"\0", b"\xff" * len(whole)):
        shard.write_bytes(damaged)
        with pytest.raises(DataError) as error:
            list(kind.read(folder))
        assert "\n" not in str(error.value)
    shard.unlink()
    with pytest.raises(DataError, match="not a readable"):
        list(kind.read(folder))
    for bad in ("", "{}", "[]", json.dumps({"shards": [{}], "chunks": [{}], "config": {}})):
        (folder / "index.json").write_text(bad)
        with pytest.raises(DataError, match="not a readable"):
            list(kind.read(folder))
    shard.write_bytes(whole)
    if kind is mds:
        for field, value in (("compression", "zstd"), ("version", 3), ("column_encodings", ["str", "pkl"])):
            other = {**index, "shards": [{**index["shards"][0], field: value}]}
            (folder / "index.json").write_text(json.dumps(other))
            with pytest.raises(DataError):
                list(kind.read(folder))
    else:
        for field, value in (
            ("compression", "zstd"),
            ("data_format", ["jpeg"]),
            ("data_format", ["no_header_tensor:1"]),
        ):
            other = {**index, "config": {**index["config"], field: value}}
            (folder / "index.json").write_text(json.dumps(other))
            with pytest.raises(DataError):
                list(kind.read(folder))


def test_samples_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    """Every size in the only sample of a shard: those of its columns, and that of its array."""
    mds.write(tmp_path / "out", [("ab", np.arange(5))], token_dtype(1000))
    shard, index = tmp_path / "out" / "shard.00000.mds", tmp_path / "out" / "index.json"
    whole = shard.read_bytes()
    first = int.from_bytes(whole[4:8], "little")
    assert whole[first:] == bytes([2, 0, 0, 0, 12, 0, 0, 0, *b"ab", 4, 5]) + np.arange(5, dtype="<u2").tobytes()
    for place, value in ((0, 1), (0, 3), (4, 10), (4, 14), (10, 8), (10, 5), (11, 4), (11, 6)):
        damaged = bytearray(whole)
        damaged[first + place] = value
        shard.write_bytes(damaged)
        with pytest.raises(DataError):
            list(mds.read(tmp_path / "out"))
    shard.write_bytes(whole)
    index.write_text(index.read_text().replace("ndarray:uint16", "ndarray:float16"))
    with pytest.raises(DataError, match="float16, not of whole numbers"):
        list(mds.read(tmp_path / "out"))


def test_a_name_in_an_index_leads_to_no_other_folder(tmp_path: Path) -> None:
    mds.write(tmp_path / "out", DOCUMENTS, token_dtype(1000))
    mds.write(tmp_path / "other", [("secret", np.arange(9))], token_dtype(1000))
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    index["shards"][0]["raw_data"]["basename"] = "../other/shard.00000.mds"
    (tmp_path / "out" / "index.json").write_text(json.dumps(index))
    assert [name for name, _ in mds.read(tmp_path / "out")] == [name for name, _ in DOCUMENTS]


@pytest.mark.parametrize("target", ["mds", "litdata"])
def test_a_token_store_is_handed_over(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    splits = {"train": [[5, 6, 0], [7, 0]], "held_out": [[8, 9, 10, 0]]}
    for split, documents in splits.items():
        write_store(folder / split, documents, token_dtype(100))
    pq.write_table(pa.table({"id": ["x", "y", "z"]}), folder / "documents.parquet")
    tokens = Artifact(folder, record("tokens", "tokens"))
    assert hand_over_tokens(tokens, tmp_path / "out", target) == [tmp_path / "out" / split for split in splits]
    reader = mds.read if target == "mds" else litdata.read
    found = {split: list(reader(tmp_path / "out" / split)) for split in splits}
    assert {split: [ids.tolist() for _, ids in rows] for split, rows in found.items()} == splits
    if target == "mds":
        assert [name for rows in found.values() for name, _ in rows] == ["x", "y", "z"]
    with pytest.raises(RequestError, match="already there"):
        hand_over_tokens(tokens, tmp_path / "out", target)
    with pytest.raises(RequestError, match="'base' is a model, not a token store"):
        hand_over_tokens(Artifact(folder, record("model", "base")), tmp_path / "new", target)
