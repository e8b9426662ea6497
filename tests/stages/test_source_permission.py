"""The source stage honours what pages say themselves, and keeps what they said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_run import TERMS, counts, left_out, run_source, tar

from groundup.base.errors import DataError, RequestError
from groundup.rights.signals.decision import SIGNALS, decisions
from groundup.stages.source.config import SourceConfig
from groundup.text.document import read_rows, tables

PAGE = b"<!doctype html><p>A page."
NOAI = b"<!doctype html><meta name=robots content=noai><p>Not for you."
RESERVED = b'<!doctype html><meta name="tdm-reservation" content="1"><p>Nor this.'
LICENSED = b'<!doctype html><link rel=license href="https://creativecommons.org/licenses/by/4.0/"><p>With a name.'


def evidence(folder: Path) -> list[Any]:
    found = tables(folder / "payload", "signals")
    return [one for table in found for one in decisions(read_rows(table))]


def response(number: int, body: bytes, *fields: str) -> bytes:
    http = "\r\n".join(["HTTP/1.1 200 OK", *fields, f"Content-Length: {len(body)}", "", ""]).encode() + body
    head = [
        "WARC/1.0", "WARC-Type: response", f"WARC-Record-ID: <urn:x:{number}>",
        f"WARC-Target-URI: https://e.org/{number}", "WARC-Date: 2026-11-25T10:00:00Z",
        "Content-Type: application/http; msgtype=response", f"Content-Length: {len(http)}", "", "",
    ]  # fmt: skip
    return "\r\n".join(head).encode() + http + b"\r\n\r\n"


def test_pages_of_a_folder_that_refuse_are_left_out_with_what_they_said(tmp_path: Path) -> None:
    members = {"a.html": PAGE, "b.html": NOAI, "c.html": RESERVED, "d.html": LICENSED, "e.txt": b"noai"}
    (tmp_path / "x.tar").write_bytes(tar(members))
    rows, outcome = run_source(tmp_path, "x.tar")
    assert [(row["record"], row["permission"]) for row in rows] == [
        ("a.html", "allowed"),
        ("d.html", "allowed"),
        ("e.txt", None),
    ]
    assert counts(outcome) == {"opted_out": 2}
    assert [(one["record"], one["reason"], one["detail"]) for one in left_out(tmp_path)] == [
        ("b.html", "opted_out", "noai (meta): noai"),
        ("c.html", "opted_out", "tdm (meta): tdm-reservation=1"),
    ]
    kept = evidence(tmp_path)
    assert [(one.url, one.at, one.verdict, one.signals[0].value) for one in kept] == [
        ("b.html", "", "refused", "noai"),
        ("c.html", "", "refused", "tdm-reservation=1"),
        ("d.html", "", "allowed", "https://creativecommons.org/licenses/by/4.0/"),
    ]
    assert kept[0].because[0].evidence == b"<meta name=robots content=noai>"


def test_headers_of_an_archive_are_read_with_the_time_of_the_capture(tmp_path: Path) -> None:
    html = "Content-Type: text/html"
    records = [
        response(1, PAGE, html),
        response(2, PAGE, html, "X-Robots-Tag: noai"),
        response(3, b"plain", "Content-Type: text/plain", "tdm-reservation: 1"),
        response(4, b"plain", "Content-Type: text/plain"),
        response(5, RESERVED, html, "tdm-reservation: 0"),
        response(6, PAGE, html, "Content-Usage: train-ai=y"),
        response(7, PAGE, html, "Set-Cookie: tdm-reservation=1"),
    ]
    (tmp_path / "x.warc").write_bytes(b"".join(records))
    rows, outcome = run_source(tmp_path, "x.warc")
    assert [(row["url"], row["permission"]) for row in rows] == [
        (f"https://e.org/{number}", "allowed") for number in (1, 4, 6, 7)
    ]
    assert counts(outcome) == {"opted_out": 3}
    assert [(one.url, one.at, one.verdict) for one in evidence(tmp_path)] == [
        ("https://e.org/2", "2026-11-25T10:00:00Z", "refused"),
        ("https://e.org/3", "2026-11-25T10:00:00Z", "refused"),
        ("https://e.org/5", "2026-11-25T10:00:00Z", "refused"),
        ("https://e.org/6", "2026-11-25T10:00:00Z", "allowed"),
    ]


def test_ignoring_takes_everything_and_says_of_nothing_that_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar({"a.html": PAGE, "b.html": NOAI}))
    rows, outcome = run_source(tmp_path, "x.tar", file={"signals": "ignore"})
    assert [(row["record"], row["permission"]) for row in rows] == [("a.html", None), ("b.html", None)]
    assert counts(outcome) == {} and evidence(tmp_path) == []


def test_a_limit_counts_pages_that_may_be_used(tmp_path: Path) -> None:
    members = {f"{number}.html": NOAI if number % 2 else PAGE for number in range(20)}
    (tmp_path / "x.tar").write_bytes(tar(members))
    rows, _ = run_source(tmp_path, "x.tar", file={"limit": 8})
    assert len(rows) == 8 and all(row["content"] == PAGE for row in rows)


def test_a_source_that_refuses_as_a_whole_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.html").write_bytes(NOAI)
    with pytest.raises(DataError, match=r"x.html gave no pages \(left out: 1 opted_out\)"):
        run_source(tmp_path, "x.html")


def test_another_word_than_respect_and_ignore_is_refused() -> None:
    with pytest.raises(RequestError, match="signals"):
        SourceConfig.parse({"files": [{"path": "x.html", "signals": "maybe", **TERMS}]}, "artifact 'pages'")


def test_whether_signals_are_respected_is_part_of_the_identity() -> None:
    def identity(**fields: str) -> Any:
        config = SourceConfig.parse({"files": [{"path": "x.html", **TERMS, **fields}]}, "artifact 'pages'")
        return config.identity({"x.html": "0"})

    assert identity() == identity(signals="respect") != identity(signals="ignore")


@given(st.lists(st.sampled_from([PAGE, NOAI, RESERVED, LICENSED]), min_size=1, max_size=6))
@settings(max_examples=25)
def test_what_is_kept_and_what_is_left_out_are_all_there_is(
    tmp_path_factory: pytest.TempPathFactory, pages: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "x.tar").write_bytes(
        tar({"0.html": PAGE + b"!", **{f"{n}.html": page for n, page in enumerate(pages, 1)}})
    )
    rows, outcome = run_source(folder, "x.tar")
    refused = sum(page in (NOAI, RESERVED) for page in pages)
    assert len(rows) == len(pages) + 1 - refused
    assert counts(outcome) == ({"opted_out": refused} if refused else {})
    assert sum(not one.usable for one in evidence(folder)) == refused
    assert next(iter(read_rows(tables(folder / "payload", "signals")[0])), {}).keys() <= set(SIGNALS.names)
