from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import DataError
from groundup.text.document import CORPUS, PAGES, REJECTS, count_rows, document_id, read_rows, write_rows


def _page(number: int) -> dict[str, object]:
    return {
        "id": f"{number:032x}",
        "source": "s",
        "record": f"r{number}",
        "media_type": "text/plain",
        "encoding": None,
        "url": None,
        "licence": "CC0-1.0",
        "date": None,
        "headers": None,
        "author": None,
        "found_licence": None,
        "permission": None,
        "content": b"\xff\x00" * number,
    }


def test_document_id_is_pinned() -> None:
    # Ids name documents across versions and machines: a change here breaks every ledger.
    parts = [b"books", b"Emma#1", b"It began."]
    expected = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()[:32]
    assert document_id("books", "Emma#1", b"It began.") == expected


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4), st.binary(max_size=4)), unique=True, max_size=20))
def test_document_ids_differ_when_any_part_does(parts: list[tuple[str, str, bytes]]) -> None:
    assert len({document_id(*part) for part in parts}) == len(parts)


def test_rows_come_back_and_bytes_repeat(tmp_path: Path) -> None:
    rows = [_page(number) for number in range(2500)]
    for name in ("a", "b"):
        assert write_rows(tmp_path / name, PAGES, iter(rows)) == 2500
    assert list(read_rows(tmp_path / "a")) == rows
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert count_rows(tmp_path / "a") == 2500
    assert next(iter(read_rows(tmp_path / "a", ["record"]))) == {"record": "r0"}


def test_batching_of_the_producer_does_not_show(tmp_path: Path) -> None:
    write_rows(tmp_path / "none", REJECTS, [])
    assert list(read_rows(tmp_path / "none")) == []
    assert {"id", "text", "source", "record", "url", "licence", "language", "split", "chars"} <= set(CORPUS.names)


def test_damaged_parquet_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "pages.parquet"
    write_rows(path, PAGES, [_page(1)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"pages\.parquet is not a readable Parquet"):
        list(read_rows(path))
