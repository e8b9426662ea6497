"""The source stage: what it reads, what it refuses, what it leaves out."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_run import TERMS, counts, left_out, run_source, tar, zipped

from groundup.base.errors import DataError, RequestError
from groundup.stages.source.config import SourceConfig
from groundup.stages.source.readers.text import split_at_headings

HTML = "<p>caf\u00e9".encode("latin-1")


MEMBERS = {"d/a.html": HTML, "d/b.txt": b"\xef\xbb\xbfplain", "d/c.bin": b"?", "d/e.html": b" \n"}


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.tar", lambda data: data),
        ("x.tar.gz", gzip.compress),
        ("x.tgz", gzip.compress),
        ("x.tar.xz", lzma.compress),
        ("x.tar.bz2", bz2.compress),
        ("x.tar.zst", lambda data: pa.compress(data, "zstd", asbytes=True)),
        ("x.zip", None),
        ("folder", None),
    ],
)
def test_archives_and_folders_give_the_same_pages(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes] | None
) -> None:
    if name == "folder":
        for member, content in MEMBERS.items():
            (tmp_path / name / member).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / member).write_bytes(content)
    else:
        (tmp_path / name).write_bytes(pack(tar(MEMBERS)) if pack else zipped(MEMBERS))
    rows, outcome = run_source(tmp_path, name, file={"name": "s"})
    assert [(row["record"], row["media_type"], row["encoding"], row["content"]) for row in rows] == [
        ("d/a.html", "text/html", None, HTML),
        ("d/b.txt", "text/plain", "utf-8", b"plain"),
    ]
    assert outcome.metrics["sources"]["s"] == {
        "pages": 2, "found": 2, "bytes": len(HTML) + 5, "unknown_ending": 1, "empty": 1,
    }  # fmt: skip


def test_rows_and_terms(tmp_path: Path) -> None:
    rows = [{"text": "a\r\n", "url": "http://x/"}, {"text": " "}, {"text": "b", "title": "T"}]
    data = "\n".join(map(json.dumps, rows)).encode()
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(data, mtime=1))
    pages, outcome = run_source(tmp_path, "r.jsonl.gz")
    assert [(page["record"], page["url"], page["content"]) for page in pages] == [
        ("line 1", "http://x/", b"a\r\n"),
        ("line 3", None, b"b"),
    ]
    (terms,) = outcome.terms.sources
    assert (terms.source, terms.licence, terms.origin, terms.documents) == ("r.jsonl.gz", "CC0-1.0", "made here", 2)
    assert len({page["id"] for page in pages}) == 2
    assert outcome.metrics["pages"] == 2


def test_same_names_in_an_archive_stay_apart(tmp_path: Path) -> None:
    whole = tar({"a.txt": b"one"})[:1024] + tar({"a.txt": b"two"})[:1024] + tar({"a.txt": b"one", "b.txt": b"one"})
    (tmp_path / "x.tar").write_bytes(whole)
    pages, outcome = run_source(tmp_path, "x.tar")
    assert [(page["record"], page["content"]) for page in pages] == [
        ("a.txt", b"one"), ("a.txt (2)", b"two"), ("b.txt", b"one"),
    ]  # fmt: skip
    assert counts(outcome) == {"duplicate_id": 1}
    assert len({page["id"] for page in pages}) == 3


def test_titles_and_chapters(tmp_path: Path) -> None:
    book = (
        "# Title: Emma\n\n## Year: 1815\n\n--\n\n## VOLUME I \r\n\r\n## CHAPTER I \r\n\r\nOne\r\n## CHAPTER II\nTwo\n"
    )
    (tmp_path / "b.jsonl").write_text(json.dumps({"title": "Emma", "text": book}))
    pages, _ = run_source(tmp_path, "b.jsonl", file={"title_field": "title", "split_headings": True})
    assert [page["record"] for page in pages] == ["Emma#1 CHAPTER I", "Emma#2 CHAPTER II"]
    assert b"".join(page["content"] for page in pages).decode() == book
    assert pages[0]["media_type"] == "text/markdown"


@given(st.lists(st.sampled_from(["# A\n", "## B ##\r\n", "text\n", "\n", "```\n", "---\n", "#no\n", "x"]), max_size=15))
def test_splitting_loses_nothing(lines: list[str]) -> None:
    text = "".join(lines)
    sections = split_at_headings(text)
    assert "".join(section for _, section in sections) == text
    assert all(any(c.isalnum() for c in section) for _, section in sections) or len(sections) == 1


def test_code_fences_hold_no_headings() -> None:
    text = "# One\nbody\n```\n# comment\ncode\n```\n# Two\nbody\n"
    assert [title for title, _ in split_at_headings(text)] == ["One", "Two"]


def test_limit_draws_by_record_and_keeps_order(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"t{number}"}) for number in range(200)]
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    first, outcome = run_source(tmp_path, "r.jsonl", file={"limit": 20})
    numbers = [int(page["record"].split()[1]) for page in first]
    assert len(first) == 20
    assert numbers == sorted(numbers)
    assert numbers != list(range(1, 21))
    assert outcome.metrics["sources"]["r.jsonl"]["found"] == 200
    other, _ = run_source(tmp_path, "r.jsonl", file={"limit": 20, "seed": 1})
    assert other != first
    more, _ = run_source(tmp_path, "r.jsonl", file={"limit": 21})
    assert {page["id"] for page in first} < {page["id"] for page in more}


def test_too_large_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"a.txt": b"x" * 1001, "b.txt": b"x" * 1000}))
    pages, outcome = run_source(tmp_path, "x.zip", max_page_size="1 kB")
    assert [page["record"] for page in pages] == ["b.txt"]
    assert outcome.metrics["sources"]["x.zip"]["too_large"] == 1
    fits, over = json.dumps({"text": "y"}), json.dumps({"text": "x" * 5000})
    (tmp_path / "r.jsonl").write_text(f"{over}\n{fits}\n{over}")
    pages, outcome = run_source(tmp_path, "r.jsonl", max_page_size="1 kB")
    assert [page["record"] for page in pages] == ["line 2"]
    assert outcome.metrics["sources"]["r.jsonl"]["too_large"] == 2


NOISE = bytes(range(256)) * 40
LATIN = "na\xefve caf\xe9s in Z\xfcrich".encode("latin-1")
FLIPPED = zipped({"a.txt": b"abcdef", "b.txt": b"two"}).replace(b"abcdef", b"abcdeg")
CUT = [
    ("cut.txt.gz", gzip.compress(b"text " * 999)[:-12], "cut.txt.gz is damaged or cut off"),
    ("cut.txt.xz", lzma.compress(b"text " * 999)[:-12], "cut.txt.xz is damaged"),
    ("cut.jsonl.bz2", bz2.compress(b'{"text": "a"}\n' * 99)[:-9], "cut.jsonl.bz2 is damaged"),
    ("cut.tar.gz", gzip.compress(tar(MEMBERS))[:-12], "cut.tar.gz is damaged"),
    ("cut.tar.xz", lzma.compress(tar({"a.html": NOISE}))[:-40], "cut.tar.xz is damaged"),
    ("flip.tar.gz", gzip.compress(tar(MEMBERS))[:-8] + bytes(8), "flip.tar.gz is damaged"),
    ("cut.tar", tar({"a.html": b"x" * 5000})[:3000], r"cut\.tar: a\.html is"),
    ("cut.tar", tar({"a.html": b"x" * 512, "b.html": b"x"})[:1024], "cut.tar is cut off"),
    ("no.tar", b"hello", "no.tar is"),
    ("cut.zip", zipped(MEMBERS)[:-30], "cut.zip is damaged"),
    ("flip.zip", zipped({"a.txt": b"abcdef"}).replace(b"abcdef", b"abcdeg"), r"flip\.zip: a\.txt is damaged"),
    ("bad.txt", b"abc\xff", r"bad\.txt is not UTF-8: byte 0xff at offset 3"),
    ("bad.jsonl", b'{"text": "ok"}\n{"text": "\xe9"}', r"bad\.jsonl line 2 is not UTF-8: byte 0xe9 at offset 25"),
    ("bad.jsonl", b'{"text": "ok"}\n{"text": ', r"bad\.jsonl line 2 is not valid JSON"),
    ("bad.jsonl", b"[" * 100000, r"bad\.jsonl line 1 is "),
    ("bad.jsonl", b'"text"', r"line 1 is a str, expected a JSON object"),
    ("bad.jsonl", b'{"txt": "ok"}', r"line 1 lacks the field 'text' \(fields: txt\)"),
    ("bad.jsonl", b'{"text": 3}', r"line 1 has no text in the field 'text'"),
    ("bad.jsonl", b'{"text": "a\\ud800"}', r"line 1: the text has a lone surrogate"),
    ("empty.txt", b"", r"empty\.txt gave no pages"),
    ("empty.jsonl", b"\n\n", r"empty\.jsonl gave no pages"),
    ("empty.tar", tar({}), r"empty\.tar gave no pages"),
    ("odd.bin", b"x", r"can't tell what it holds from its name; set 'format'"),
    ("odd.zip", zipped({"a.bin": b"x"}), r"odd\.zip gave no pages \(left out: 1 unknown_ending\)"),
]


@pytest.mark.parametrize(("name", "data", "message"), CUT)
def test_bad_input_is_one_clear_line_if_strict(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        run_source(tmp_path, name, strict=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "kept", "reasons"),
    [
        ("a.tar", tar({"a.html": b"x" * 512, "b.html": b"x"})[:1024], [b"x" * 512], {"damaged": 1}),
        ("a.tar", tar({"a.txt": b"one", "b.txt": b"x" * 5000})[:3000], [b"one"], {"damaged": 1}),
        ("a.zip", FLIPPED, [b"two"], {"damaged": 1}),
        ("a.jsonl", b'{"text": "ok"}\n{"text": "\xe9"}\n{"text": "on"}', [b"ok", b"on"], {"not_utf8": 1}),
        ("a.jsonl", b'{"text": "ok"}\n{"text": \n{"text": "on"}', [b"ok", b"on"], {"bad_json": 1}),
        ("a.jsonl", b'{"text": "a\0b"}\n{"text": "on"}', [b"on"], {"bad_json": 1}),
        ("a.jsonl", b'{"text": null}\n{"text": "on"}\n{"t": 1}', [b"on"], {"no_text": 2}),
        ("a.jsonl", b'{"text": "a\\ud800"}\n{"text": "on"}', [b"on"], {"lone_surrogate": 1}),
        ("a.jsonl", b"[" * 100_000 + b'\n{"text": "on"}\n"text"', [b"on"], {"too_deep": 1, "no_object": 1}),
        ("a.txt", LATIN, [LATIN], {}),
    ],
)  # fmt: skip
def test_bad_input_costs_what_is_bad(
    tmp_path: Path, name: str, data: bytes, kept: list[bytes], reasons: dict[str, int]
) -> None:
    (tmp_path / name).write_bytes(data)
    pages, outcome = run_source(tmp_path, name)
    assert [page["content"] for page in pages] == kept
    assert counts(outcome) == reasons
    assert sum(reasons.values()) == len(left_out(tmp_path))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"txt": "a"}\n{"text": "b"}', r"line 1 lacks the field 'text' \(fields: txt\)"),
        ("a.jsonl", b"x\n" * 2000, "is not valid JSON .* 1000 times, with no page found"),
        ("a.tar.gz", gzip.compress(tar({"a.html": b"x" * 99}))[:60], "is damaged or cut off"),
        ("a.txt", bytes(range(256)), "is no text, or in an encoding that can't be told"),
    ],
)
def test_a_source_that_gives_nothing_says_why(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        run_source(tmp_path, name)


def test_a_missing_title_is_a_typo_at_first_and_a_gap_later(tmp_path: Path) -> None:
    rows = [{"text": "a", "title": "A"}, {"text": "b"}]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pages, _ = run_source(tmp_path, "r.jsonl", file={"title_field": "title"})
    assert [page["record"] for page in pages] == ["A", "line 2"]
    with pytest.raises(DataError, match="line 1 lacks the title field 'titel'"):
        run_source(tmp_path, "r.jsonl", file={"title_field": "titel"})


def test_a_damaged_file_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.html.gz").write_bytes(gzip.compress(b"<p>" * 99)[:-9])
    with pytest.raises(DataError, match=r"inner\.html\.gz is damaged"):
        run_source(tmp_path, "folder")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"path": "x", "origin": "o"}, "'files.0.licence' is required"),
        ({"path": "x", "licence": "MIT"}, "'files.0.origin' is required"),
        ({"path": "x", "licence": " ", "origin": "o"}, "known licence"),
        ({"path": "x", "licence": "MIT", "origin": "o", "licens": 1}, "did you mean 'licence'"),
        ({"path": "x", "licence": "MIT", "origin": "o", "limit": 0}, "limit"),
    ],
)
def test_bad_fields_are_refused(file: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        SourceConfig.parse({"files": [file]}, "t")


def test_two_files_of_one_name_are_refused() -> None:
    files = [{"path": f"{folder}/x.txt", **TERMS} for folder in "ab"]
    with pytest.raises(RequestError, match=r"two files are called 'x\.txt'; set 'name'"):
        SourceConfig.parse({"files": files}, "t")
    SourceConfig.parse({"files": [files[0], {**files[1], "name": "y"}]}, "t")
