"""Who wrote a page: what HTML and rows say of it, what doesn't count, and that nothing else depends on it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html
from source_run import run_source

from groundup.base.errors import DataError
from groundup.stages.source.readers.author import LONGEST, clean_author, html_author

META = '<meta name="author" content="Ada">'


def linked(data: object) -> str:
    return f'<script type="application/ld+json">{json.dumps(data)}</script>'


@pytest.mark.parametrize(
    ("page", "author"),
    [
        (META, "Ada"),
        ("<META NAME='Author' CONTENT='Ada'>", "Ada"),
        ("<meta content=Ada name=author>", "Ada"),
        ("<meta\n content = 'Ada'\n name = author />", "Ada"),
        ('<meta property="article:author" content="https://example.org/ada">', "https://example.org/ada"),
        (f'<meta property="article:author" content="Bob">{META}', "Ada"),
        (f"{META}<meta name=author content=Bob>", "Ada"),
        ('<meta name="author" content="">\n<meta name="author" content="Ada">', "Ada"),
        ('<meta name="author" content="A &amp; B">', "A & B"),
        ('<meta name="author" content="  Ada\n\tLovelace ">', "Ada Lovelace"),
        ('<meta name="author" content="a > b">', "a > b"),
        ('<meta name="author" name="keywords" content="Ada" content="Bob">', "Ada"),
        (linked({"@type": "Article", "author": {"@type": "Person", "name": "Ada"}}), "Ada"),
        (linked({"author": "Ada"}), "Ada"),
        (linked({"author": [{"name": "Ada"}, {"name": "Bob"}, {"name": "Ada"}]}), "Ada; Bob"),
        (linked([{"@type": "WebSite"}, {"@type": "BlogPosting", "author": {"name": "Ada"}}]), "Ada"),
        (linked({"@graph": [{"@type": "Article", "author": {"@id": "#a"}}, {"@id": "#a", "name": "Ada"}]}), "Ada"),
        (linked({"@graph": [{"@type": "Comment", "author": "Troll"}, {"@type": "Article", "author": "Ada"}]}), "Ada"),
        (f'<meta property="article:author" content="Bob">{linked({"author": "Ada"})}', "Ada"),
        (f"<!-- {META} -->", None),
        (f"<!-->{META}", "Ada"),
        (f"<!-- {META}", None),
        (f"<script>var x = '{META}';</script>", None),
        (f"<style>{META}</style><title>{META}</title><textarea>{META}</textarea><noscript>{META}</noscript>", None),
        (f"<script>{META}", None),
        (f"<script>'</scripture>{META}'</script><meta name=author content=Bob>", "Bob"),
        ("<p>by the author</p><metadata name=author content=Ada>", None),
        ('<meta name="authors" content="Ada"><meta name="author">', None),
        (linked({"@type": "Comment", "author": "Troll"}), None),
        ('<script type="application/ld+json">{"author": </script>', None),
        ('<script type="application/ld+json">' + '{"author":' * 5000 + "</script>", None),
        (linked({"author": {"@id": ["#a"]}, "@graph": 7, "@type": {"a": 1}}), None),
        (linked({"author": "\ud800"}), None),
        (f'<meta name="author" content="{"x" * (LONGEST + 1)}">', None),
        ('<meta name="author" content="A\x1b[31mda">', None),
        ("", None),
    ],
)  # fmt: skip
def test_what_a_page_says(page: str, author: str | None) -> None:
    assert html_author(f"<html><head>{page}</head><body><p>Text</p></body>".encode()) == author


@pytest.mark.parametrize(
    ("encoding", "given"),
    [("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("utf-16-le", None), ("utf-16-be", "utf-16-be"),
     ("iso-8859-1", "iso-8859-1"), ("cp1252", None), ("utf-8", "no such encoding")],
)  # fmt: skip
def test_encodings(encoding: str, given: str | None) -> None:
    page = '<html><head><meta name="author" content="Zoë Müller"></head>'
    assert html_author(page.encode(encoding), given) == "Zoë Müller"


def test_the_encoding_that_a_page_names_and_bytes_that_it_has_not() -> None:
    page = '<meta charset="iso-8859-2"><meta name="author" content="Łukasz">'
    assert html_author(page.encode("iso-8859-2")) == "Łukasz"
    broken = b'<meta charset="utf-8"><meta name="author" content="Ada \xff"><meta name="author" content="Bob">\xff'
    assert html_author(broken) == "Bob"


def _plain(page: bytes) -> str | None:
    """The first meta author with a name, by lxml's parser."""
    found = lxml_html.document_fromstring(page).xpath("//meta[@name='author']/@content")
    return next((name for one in found if (name := clean_author(str(one)))), None)


PIECES = st.sampled_from(
    [META, "<!-- x -->", "<!--" + META + "-->", "<p>author</p>", "<title>author</title>", "<br/>",
     "<meta name='author' content='Bob &lt;b&gt;'>", "<script>author</script>", "<a href=\"x>y\">author</a>",
     "<meta charset=utf-8>", "<style>p{}</style>", "<meta content='' name=author>"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=8))
@settings(deadline=None, max_examples=150)
def test_a_parser_finds_the_same(pieces: list[str]) -> None:
    page = ("<html><head>" + "".join(pieces) + "</head><body><p>x</p></body></html>").encode()
    assert html_author(page) == _plain(page)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_give_a_name_or_none(data: bytes) -> None:
    for page in (b"author" + data, b"<meta name=author content='" + data, b"<script type='ld+json'>\"author\"" + data):
        found = html_author(page)
        assert found is None or (found == clean_author(found) and found.encode())


@pytest.mark.parametrize(
    "piece", ["<!--", "<script>", "<meta ", "<meta name=author content=", "</script", "<title", "<meta a = ", "<meta '"]
)
def test_hostile_pages_take_linear_time(piece: str) -> None:
    times = []
    for size in (1 << 17, 1 << 20):
        page = b"author" + piece.encode() * (size // len(piece))
        start = time.process_time()
        html_author(page)
        times.append(time.process_time() - start)
    assert times[1] < 2 and times[1] < 40 * max(times[0], 0.005)


# -- the stage ---------------------------------------------------------------------------------------------------


def authors(folder: Path, lines: list[dict[str, Any]], **file: Any) -> list[Any]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    found, _ = run_source(folder, "rows.jsonl", file=file)
    return [row["author"] for row in found]


def test_rows(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "author": "Ada"}, {"text": "b", "creator": "Bob"}, {"text": "c", "author": 7, "creator": "Cy"},
        {"text": "d", "author": None}, {"text": "e", "author": ["Eve"]}, {"text": "f", "by": "Fay"},
    ]  # fmt: skip
    assert authors(tmp_path, rows) == ["Ada", "Bob", "Cy", None, None, None]
    assert authors(tmp_path, rows[::-1], author_field="by") == ["Fay", None, None, None, None, None]
    with pytest.raises(DataError, match="lacks the author field 'writer'"):
        authors(tmp_path, rows, author_field="writer")


def test_rows_of_html_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": f"<head>{META}</head><p>a", "author": "Bob"}, {"text": f"<head>{META}</head><p>b"}]
    assert authors(tmp_path, rows, rows="html") == ["Bob", "Ada"]
    pq.write_table(
        pa.table({"text": ["a", "b"], "creator": ["Ada", None], "by": ["Fay", "Gil"]}), tmp_path / "a.parquet"
    )
    for fields, names in (({}, ["Ada", None]), ({"author_field": "by"}, ["Fay", "Gil"])):
        found, _ = run_source(tmp_path, "a.parquet", file=fields)
        assert [row["author"] for row in found] == names
    with pytest.raises(DataError, match="lacks the field 'writer'"):
        run_source(tmp_path, "a.parquet", file={"author_field": "writer"})


def test_files_and_archives_of_html(tmp_path: Path) -> None:
    page = f"<html><head>{META}</head><body><p>Text</p></body></html>".encode()
    (tmp_path / "page.html").write_bytes(page)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page
    head = (
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Target-URI: http://a.example/\r\n"
        b"Content-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n" % len(answer)
    )
    (tmp_path / "a.warc").write_bytes(head + answer + b"\r\n\r\n")
    arc = b"http://a.example/ 1.1.1.1 20070311002000 text/html %d\n" % len(page) + page + b"\n"
    first = b"filedesc://a.arc 0.0.0.0 20070311002000 text/plain 2\n1\n\n"
    (tmp_path / "a.arc").write_bytes(first + arc)
    for name in ("page.html", "a.warc", "a.arc"):
        (row,), _ = run_source(tmp_path, name)
        assert (row["author"], row["content"]) == ("Ada", page), name


def test_people_of_mail_and_forums_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_text("From ada@a.example Mon Jan  1 00:00:00 2024\nFrom: Ada <ada@a.example>\n"
                                     "Subject: Hello\n\nSome text that is long enough.\n")  # fmt: skip
    posts = (
        '<posts><row Id="1" PostTypeId="1" OwnerDisplayName="Ada" Title="T" Body="&lt;p&gt;text&lt;/p&gt;"/></posts>'
    )
    (tmp_path / "Posts.xml").write_text(posts)
    threads = {"title": "T", "author": "Ada", "posts": [{"text": "one", "author": "Bob"}]}
    (tmp_path / "threads.json").write_text(json.dumps([threads]))
    for name, file in (("a.mbox", {}), ("Posts.xml", {}), ("threads.json", {"format": "threads"})):
        (row,), _ = run_source(tmp_path, name, file=file)
        assert row["author"] is None and "Ada" not in row["record"], name


def test_ids_and_contents_do_not_depend_on_authors(tmp_path: Path) -> None:
    plain = [{"text": f"text {number}"} for number in range(5)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({**row, "author": "Ada"}) + "\n" for row in plain))
    without, _ = run_source(tmp_path, "a.jsonl", file={"name": "s"})
    with_, _ = run_source(tmp_path, "b.jsonl", file={"name": "s"})
    assert [{**row, "author": None} for row in with_] == without
    assert {row["author"] for row in with_} == {"Ada"}
