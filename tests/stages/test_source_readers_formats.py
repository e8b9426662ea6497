"""Every format that a source may have, from small files written by its published definition."""

from __future__ import annotations

import bz2
import gzip
import json
import mailbox
import sys
import types
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdf_files import pdf
from source_run import TERMS, counts, run_source, tar, zipped

from groundup.base.errors import DataError, RequestError
from groundup.stages.source.config import SourceConfig, SourceFile
from groundup.stages.source.readers.encodings import decode_any
from groundup.stages.source.readers.seen import Hashes
from groundup.stages.source.readers.wikitext import plain_text

# -- rows ----------------------------------------------------------------------------------------------------------


def test_parquet(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(500)]
    table = pa.table({"text": [*texts, None, " "], "url": ["http://x/"] * 502, "n": range(502)})
    pq.write_table(table, tmp_path / "r.parquet", row_group_size=100)
    pages, outcome = run_source(tmp_path, "r.parquet")
    assert [page["content"].decode() for page in pages] == texts
    assert (pages[499]["record"], pages[499]["url"]) == ("row 500", "http://x/")
    assert counts(outcome) == {"no_text": 1, "empty": 1}
    with pytest.raises(DataError, match=r"r\.parquet lacks the field 'txt' \(fields: n, text, url\)"):
        run_source(tmp_path, "r.parquet", file={"text_field": "txt"})
    (tmp_path / "r.parquet").write_bytes((tmp_path / "r.parquet").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"r\.parquet is damaged or no Parquet file"):
        run_source(tmp_path, "r.parquet")


def test_rows_of_html_with_dates(tmp_path: Path) -> None:
    rows = [{"html": "<p>a", "date": "2024-01-02"}, {"html": "<p>b", "timestamp": "2020-02-26T11:56:40Z", "date": "x"}]
    (tmp_path / "r.jsonl.zst").write_bytes(pa.compress("\n".join(map(json.dumps, rows)).encode(), "zstd", asbytes=True))
    pages, _ = run_source(tmp_path, "r.jsonl.zst", file={"text_field": "html", "rows": "html"})
    assert [(page["media_type"], page["date"]) for page in pages] == [
        ("text/html", "2024-01-02"), ("text/html", "2020-02-26T11:56:40Z"),
    ]  # fmt: skip


# -- wikis ---------------------------------------------------------------------------------------------------------

WIKI = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="de"><siteinfo>
<base>https://de.example.org/wiki/Hauptseite</base><namespaces><namespace key="0" case="x" />
<namespace key="6" case="x">Datei</namespace><namespace key="14" case="x">Kategorie</namespace></namespaces></siteinfo>
<page><title>Ada Lovelace</title><ns>0</ns><id>1</id><revision><id>9</id><timestamp>2024-01-02T03:04:05Z</timestamp>
<contributor><username>somebody</username></contributor><model>wikitext</model><text bytes="9">'''Ada''' was a
[[Mathematik|mathematician]].[[Datei:Ada.jpg|mini]] &lt;ref&gt;x&lt;/ref&gt;
[[Kategorie:Frau|A]]</text></revision></page>
<page><title>Ada</title><ns>0</ns><id>2</id><redirect title="Ada L" /><revision><text>#R [[A]]</text></revision></page>
<page><title>Diskussion:Ada</title><ns>1</ns><id>3</id><revision><text>talk</text></revision></page>
<page><title>Leer</title><ns>0</ns><id>4</id><revision><text /></revision></page>
</mediawiki>"""


@pytest.mark.parametrize(
    ("name", "pack"), [("d-articles.xml", bytes), ("d.xml.bz2", bz2.compress), ("d.xml.gz", gzip.compress)]
)
def test_wikipedia(tmp_path: Path, name: str, pack: Any) -> None:
    (tmp_path / name).write_bytes(pack(WIKI.encode()))
    pages, outcome = run_source(tmp_path, name)
    (page,) = pages
    assert page["content"].decode() == "# Ada Lovelace\n\nAda was a\nmathematician."
    assert (page["record"], page["url"], page["date"], page["media_type"]) == (
        "Ada Lovelace", "https://de.example.org/wiki/Ada_Lovelace", "2024-01-02T03:04:05Z", "text/plain",
    )  # fmt: skip
    assert counts(outcome) == {"redirect": 1, "other_namespace": 1, "empty": 1}
    raw, _ = run_source(tmp_path, name, file={"wikitext": "raw", "namespaces": [0, 1], "format": "wikipedia"})
    assert [(page["record"], page["media_type"]) for page in raw] == [
        ("Ada Lovelace", "text/x-wiki"), ("Diskussion:Ada", "text/x-wiki"),
    ]  # fmt: skip
    assert raw[0]["content"].startswith(b"'''Ada''' was")


def test_a_dump_that_breaks_off_keeps_its_articles(tmp_path: Path) -> None:
    (tmp_path / "d.xml").write_bytes(WIKI.encode()[: WIKI.index("<page><title>Leer")])
    pages, outcome = run_source(tmp_path, "d.xml")
    assert [page["record"] for page in pages] == ["Ada Lovelace"]
    assert counts(outcome) == {"redirect": 1, "other_namespace": 1, "damaged": 1}


def test_entities_of_a_document_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.xml").write_text(
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + WIKI.replace("was", "&b;")
    )
    with pytest.raises(DataError, match="it declares entities of its own"):
        run_source(tmp_path, "d.xml", file={"format": "wikipedia"})


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("a {{t|x={{u}}}} b", "a b"),
        ("{| class=x\n|-\n| cell {{t}}\n|}\nafter", "after"),
        ("[[bus]]es and [[a b|c]] [[:Category:X]]", "buses and c Category:X"),
        ("[[File:a.png|thumb|with [[link]]]]end", "end"),
        ("[[Category:X|key]][[fr:Bonjour]]x", "x"),
        ("[[2001: A Space Odyssey]]", "2001: A Space Odyssey"),
        ("see [https://x.org the site] and [https://y.org]", "see the site and"),
        ("a<ref name=b/> c<ref>d</ref>.", "a c."),
        ("a<!-- b -->c<br/>d", "ac\nd"),
        ("== A ==\n=== B ===\n== C ==\ntext\n== D ==", "## C\n\ntext"),
        ("* one\n** two\n# three\n: four", "* one\n  * two\n1. three\nfour"),
        ("<nowiki>[[x]]</nowiki> &amp; &lt;b&gt;", "[[x]] & <b>"),
        ("<syntaxhighlight lang=c>\nif (a[[0]]) {{ }}\n</syntaxhighlight>", "```\nif (a[[0]]) {{ }}\n```"),
        ("unclosed {{ brace and [[ link", "unclosed brace and [[ link"),
        ("stray }} and ]] here", "stray and ]] here"),
        ("''i'' '''b''' '''''both'''''", "i b both"),
        ("Paris ({{lang|fr|x}}) is", "Paris is"),
        ("__NOTOC__text", "text"),
    ],
)
def test_wikitext(wikitext: str, expected: str) -> None:
    assert plain_text(wikitext) == expected


@given(st.text(alphabet="[]{}|'=<>!-ab \n:#*&;/", max_size=80))
def test_any_wikitext_is_read(wikitext: str) -> None:
    assert "{{" not in plain_text(wikitext) or "<" in wikitext or "&" in wikitext


@pytest.mark.timeout(20)  # each takes minutes if the time is quadratic
@pytest.mark.parametrize(
    "wikitext",
    ["{{" * 200_000 + "x", "[[" * 200_000 + "x" + "]]" * 200_000, "<ref>" * 100_000 + "x", "[//a" * 100_000 + " x",
     " " * 200_000 + "x", "(" * 100_000 + "x", "<!--x-->" * 50_000 + "x", "=" * 100_000 + " x"],
)  # fmt: skip
def test_hostile_wikitext_takes_no_longer(wikitext: str) -> None:
    assert plain_text(wikitext).count("x") == 1


# -- code ----------------------------------------------------------------------------------------------------------

TREE = {
    "p/a.py": b"x = 1\n",
    "p/b.C": "// caf\xe9 au lait, s'il vous pla\xeet\n".encode("latin-1"),
    "p/run": b"#!/usr/bin/env python3\nprint()\n",
    "p/Makefile": b"all:\n",
    "p/README.md": b"# P\n",
    "p/node_modules/m/i.js": b"1",
    "p/third_party/z.c": b"1",
    "p/dist/p.js": b"1",
    "p/jquery.min.js": b"1",
    "p/yarn.lock": b"1",
    "p/data.py": b"\0\1\2",
    "p/logo.xyz": b"1",
    "p/LICENSE": b"MIT\n",
    "p/empty.py": b"\n",
}


@pytest.mark.parametrize("name", ["x.tar", "x.zip", "folder"])
def test_code(tmp_path: Path, name: str) -> None:
    if name == "folder":
        for member, content in TREE.items():
            (tmp_path / name / member).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / member).write_bytes(content)
    else:
        (tmp_path / name).write_bytes(tar(TREE) if name == "x.tar" else zipped(TREE))
    pages, outcome = run_source(tmp_path, name, file={"format": "code"})
    found = {page["record"]: page["media_type"].removeprefix("text/x-code; language=") for page in pages}
    assert found == {
        "p/a.py": "python", "p/b.C": "c", "p/run": "python", "p/Makefile": "makefile", "p/README.md": "text/markdown",
    }  # fmt: skip
    assert {page["record"]: page["content"] for page in pages}["p/b.C"] == TREE["p/b.C"]
    assert counts(outcome) == {"vendored": 2, "generated": 3, "binary": 1, "unknown_ending": 2, "empty": 1}


# -- mail and forums -----------------------------------------------------------------------------------------------


def _mail(subject: str, body: str, *, html: bool = False, attach: bytes | None = None) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["Date"] = subject, "Thu, 02 May 2024 10:00:00 +0200"
    message["Archived-At"] = "<https://lists.example.org/1>"
    message.set_content(body, subtype="html" if html else "plain")
    if attach:
        message.add_attachment(attach, maintype="image", subtype="png", filename="x.png")
    return message


def test_mbox_and_maildir_give_the_same_pages(tmp_path: Path) -> None:
    messages = [
        _mail("Gr\xfc\xdfe", "Hello\n\nFrom here on, caf\xe9\n", attach=b"\x89PNG"),
        _mail("two", "<p>two", html=True),
        _mail("three", " "),
    ]
    box, folder = mailbox.mbox(tmp_path / "l.mbox"), mailbox.Maildir(tmp_path / "l")
    for message in messages:
        box.add(mailbox.mboxMessage(message))
        folder.add(mailbox.MaildirMessage(message))
    box.close()
    pages, outcome = run_source(tmp_path, "l.mbox")
    assert [page["record"] for page in pages] == ["message 1", "message 2"]
    assert pages[0]["content"].decode() == "Gr\xfc\xdfe\n\nHello\n\nFrom here on, caf\xe9\n"
    assert (pages[0]["date"], pages[0]["url"]) == ("2024-05-02T10:00:00+02:00", "https://lists.example.org/1")
    assert (pages[1]["media_type"], pages[1]["content"]) == ("text/html", b"<p>two\n")
    assert counts(outcome) == {"empty": 1}
    again, _ = run_source(tmp_path, "l", file={"format": "maildir"})
    assert {page["content"] for page in again} == {page["content"] for page in pages}


def test_mail_that_lies_about_its_encoding(tmp_path: Path) -> None:
    body = (
        "From a Sat Jan 1\nContent-Type: text/plain; charset=ascii\n\nna\xefve caf\xe9 gar\xe7on\n\nFrom b\n\n".encode(
            "latin-1"
        )
    )
    (tmp_path / "x.mbox").write_bytes(body)
    pages, outcome = run_source(tmp_path, "x.mbox")
    assert pages[0]["content"].decode() == "na\xefve caf\xe9 gar\xe7on\n"
    assert counts(outcome) == {"empty": 1}
    (tmp_path / "x.mbox").write_bytes(b"no mail\n")
    with pytest.raises(DataError, match="is no mbox file"):
        run_source(tmp_path, "x.mbox")


POSTS = """<?xml version="1.0" encoding="utf-8"?><posts>
<row Id="1" PostTypeId="1" AcceptedAnswerId="5" Score="3" Title="How &amp; why?"
  Body="&lt;p&gt;Q1&lt;/p&gt;" CreationDate="2020-01-01T00:00:00.000" />
<row Id="2" PostTypeId="1" Title="No answer" Body="&lt;p&gt;Q2&lt;/p&gt;" />
<row Id="3" PostTypeId="2" ParentId="1" Score="9" Body="&lt;p&gt;best by score&lt;/p&gt;" />
<row Id="4" PostTypeId="2" ParentId="1" Score="-1" Body="&lt;p&gt;worst&lt;/p&gt;" />
<row Id="5" PostTypeId="2" ParentId="1" Score="1" Body="&lt;p&gt;accepted&lt;/p&gt;" />
<row Id="6" PostTypeId="2" ParentId="77" Body="&lt;p&gt;lost&lt;/p&gt;" />
<row Id="7" PostTypeId="4" Body="a tag" /></posts>"""


def test_stackexchange(tmp_path: Path) -> None:
    (tmp_path / "Posts.xml").write_text(POSTS)
    pages, outcome = run_source(tmp_path, "Posts.xml")
    assert [(page["record"], page["media_type"], page["date"]) for page in pages] == [
        ("question 1", "text/html", "2020-01-01T00:00:00.000"), ("question 2", "text/html", None),
    ]  # fmt: skip
    text = pages[0]["content"].decode()
    places = [text.index(part) for part in ("How &amp; why?", "Q1", "accepted", "best by score", "worst")]
    assert places == sorted(places)
    assert counts(outcome) == {"answer_without_question": 1, "other_post": 1}
    (tmp_path / "Posts.xml").write_text(POSTS[: POSTS.index('<row Id="6"')])
    pages, outcome = run_source(tmp_path, "Posts.xml")
    assert len(pages) == 2
    assert counts(outcome) == {"damaged": 1}


THREADS = [
    {"title": "T", "url": "http://f/1", "posts": [{"author": "x", "text": "one"}, {"body": "two"}, "three"]},
    {"comments": [{"content": "four"}]},
    {"posts": []},
]


@pytest.mark.parametrize("form", ["lines", "list"])
def test_threads(tmp_path: Path, form: str) -> None:
    text = "\n".join(map(json.dumps, THREADS)) if form == "lines" else json.dumps(THREADS, indent=1)
    (tmp_path / "t.json").write_text(text)
    pages, outcome = run_source(tmp_path, "t.json", file={"format": "threads"})
    assert [page["content"].decode() for page in pages] == ["T\n\none\n\ntwo\n\nthree", "four"]
    assert pages[0]["url"] == "http://f/1"
    assert counts(outcome) == {"empty": 1}
    with pytest.raises(DataError, match=r"has no list of posts \(fields: a\)"):
        (tmp_path / "t.json").write_text('{"a": 1}')
        run_source(tmp_path, "t.json", file={"format": "threads"})


# -- PDF -----------------------------------------------------------------------------------------------------------


def test_pdf(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    members = {"a.pdf": pdf("Hello", "World"), "b.pdf": pdf(""), "c.pdf": b"%PDF-1.4 broken"}
    (tmp_path / "x.zip").write_bytes(zipped(members))
    pages, outcome = run_source(tmp_path, "x.zip")
    assert [(page["record"], page["content"], page["media_type"]) for page in pages] == [
        ("a.pdf", b"Hello\n\nWorld", "text/plain")
    ]
    assert counts(outcome) == {"no_text_layer": 1, "bad_pdf": 1}


# -- elsewhere -----------------------------------------------------------------------------------------------------


def test_addresses(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for name, content in {
        "a.txt": b"one",
        "d/b.txt.gz": gzip.compress(b"two"),
        "c.zip": zipped({"e.txt": b"six"}),
    }.items():
        with memory.open(f"/pages/{name}", "wb") as handle:
            handle.write(content)
    try:
        pages, outcome = run_source(tmp_path, "memory://pages")
        assert [(page["record"], page["content"]) for page in pages] == [
            ("a.txt", b"one"), ("e.txt", b"six"), ("d/b.txt", b"two"),
        ]  # fmt: skip
        (terms,) = outcome.terms.sources
        assert (terms.source, len(terms.sha256)) == ("pages", 64)
        pages, _ = run_source(tmp_path, "memory://pages/*.txt")
        assert [page["record"] for page in pages] == ["a.txt"]
        pages, _ = run_source(tmp_path, "memory://pages/d/b.txt.gz")
        assert [page["record"] for page in pages] == ["b.txt"]
        with pytest.raises(DataError, match=r"memory://nowhere\.txt can't be read"):
            run_source(tmp_path, "memory://nowhere.txt")
    finally:
        memory.rm("/pages", recursive=True)


def test_an_unknown_kind_of_address_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises((DataError, RequestError), match=r"teapot://x/y\.txt (can't be read|needs)"):
        run_source(tmp_path, "teapot://x/y.txt")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "a.txt", "url": "s3://b/c"}, "name one place"),
        ({}, "name one place"),
        ({"path": "https://me:secret@x.org/a.txt"}, "must not hold a password"),
        ({"path": "a.txt", "format": "huggingface"}, "goes with 'dataset'"),
        ({"dataset": "a/b", "format": "jsonl"}, "goes with 'dataset'"),
        ({"path": "a.txt", "format": "word"}, "format"),
    ],
)
def test_places_that_cannot_be(fields: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        SourceFile.parse({**TERMS, **fields}, "t")
    assert "secret" not in str(caught.value)


def test_an_address_needs_no_file_and_counts_by_itself() -> None:
    config = SourceConfig.parse({"files": [{"path": "s3://bucket/a.warc.gz?versionId=3", **TERMS}]}, "t")
    assert list(config.file_paths()) == []
    assert (config.files[0].name, config.files[0].place) == ("a.warc.gz", "s3://bucket/a.warc.gz")
    other = SourceConfig.parse({"files": [{"path": "s3://bucket/b.warc.gz", "name": "a.warc.gz", **TERMS}]}, "t")
    assert config.identity({}) != other.identity({})
    assert SourceConfig.parse(config.model_dump(mode="json", exclude_defaults=True), "t") == config


class _Rows(list[dict[str, Any]]):
    column_names = ("text", "id", "url")

    def select_columns(self, names: list[str]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in names} for row in self]


def _hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def load_dataset(name: str, subset: str | None, **more: Any) -> Any:
        calls.append((name, subset, more["split"], more["revision"], more["streaming"]))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return calls


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _hub(monkeypatch, _Rows([{"text": "a", "id": 1, "url": "http://x/"}, {"text": " ", "id": 2, "url": None}]))
    pages, outcome = run_source(tmp_path, "hf://owner/set", file={"subset": "en", "split": "validation"})
    assert calls == [("owner/set", "en", "validation", None, True)]
    assert [(page["record"], page["url"], page["content"]) for page in pages] == [("row 1", "http://x/", b"a")]
    assert counts(outcome) == {"empty": 1}
    with pytest.raises(DataError, match=r"hf://owner/set lacks the field 'txt' \(fields: id, text, url\)"):
        run_source(tmp_path, "hf://owner/set", file={"text_field": "txt"})


def test_no_hub_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hub(monkeypatch, ConnectionError("Couldn't reach 'owner/set'\non the hub"))
    with pytest.raises(DataError, match=r"^hf://owner/set can't be read \(ConnectionError: Couldn't reach") as caught:
        run_source(tmp_path, "hf://owner/set")
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RequestError, match=r"pip install 'groundup\[huggingface\]'"):
        run_source(tmp_path, "hf://owner/set")


# -- encodings and names -------------------------------------------------------------------------------------------

GERMAN = "Zw\xf6lf Boxk\xe4mpfer jagen Viktor quer \xfcber den gro\xdfen Sylter Deich, sagte die M\xfcllerin. "
RUSSIAN = "Съешь ещё этих мягких французских булок, да выпей же чаю, сказала она тихо и ушла домой. "
JAPANESE = "いろはにほへと散りぬるを我が世誰ぞ常ならむ有為の奥山今日越えて浅き夢見し酔ひもせず。"
KOREAN = (
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았다. "
)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"), (GERMAN, "utf-8-sig"), (GERMAN, "utf-16"), (GERMAN, "utf-16-le"), (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"), (GERMAN, "cp1252"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"), (KOREAN, "euc-kr"),
    ],
)  # fmt: skip
def test_encodings_are_found(text: str, encoding: str) -> None:
    found = decode_any((text * 3).encode(encoding))
    assert found is not None
    assert found[0] == text * 3
    assert (text * 3).encode(encoding).decode(found[1]) == text * 3


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(content: bytes) -> None:
    found = decode_any(content)
    assert found is None or content.decode(found[1]) == found[0]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_hashes_are_a_set(values: list[int]) -> None:
    hashes, plain = Hashes(), set()
    for value in values:
        assert hashes.add(value) == (value not in plain)
        plain.add(value)


def test_hashes_stay_a_set_when_they_are_many() -> None:
    hashes = Hashes()
    values = [(number * 0x9E3779B97F4A7C15) % 2**64 for number in range(140_000)]
    assert all(hashes.add(value) for value in values)
    assert not any(hashes.add(value) for value in values[::1000])
