"""Extraction: from pages to text, what is kept and how it is set, whatever the page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.extraction import elements, layout, scan
from groundup.stages.curate.extraction.decide import data_tables, main_content
from groundup.stages.curate.extraction.encoding import decode
from groundup.stages.curate.extraction.extractors import MODES, Mode, blocks_of, extract_html
from groundup.stages.curate.extraction.operator import Extract
from groundup.stages.curate.extraction.render import render

PROSE = [
    "The river rises in the hills north of the town, where the rain of a whole winter is stored in the peat.",
    "By the time it reaches the mill it is twenty metres wide, and slow enough for boats, as the miller says.",
    "In summer, however, it falls so low that children cross it on foot; the ferry, of course, lies idle then.",
    "Nobody knows who built the first bridge. The second, of stone, was finished in 1742 and still carries carts.",
]
TABLE = (
    "<table><tr><th>Year</th><th>Width</th><th>Depth</th></tr><tr><td>1742</td><td></td><td>3 m</td></tr>"
    "<tr><td>1800</td><td>21 m</td><td>2 m</td></tr></table>"
)
CODE = "def width(year):\n    if year &lt; 1800:\n        return None\n\n    return 21"
ARTICLE = (
    "<html><head><title>River</title><script>if (a<b) document.write('<p>never')</script><style>p{}</style></head>"
    "<body><nav><ul><li><a href='/'>Home page</a><li><a href='/news'>All the news</a></ul></nav>"
    f"<article><h1>The river</h1><p>{PROSE[0]}<p>{PROSE[1]}<h2>Widths</h2><p>{PROSE[2]}{TABLE}<pre>{CODE}</pre>"
    f"<ol><li>First go upstream, along the bank and past the mill.<li>Then cross the river by the bridge.</ol>"
    f"<p>{PROSE[3]}</article>"
    "<footer class='footer'><a href='/imprint'>Imprint</a> <a href='/privacy'>Privacy policy</a></footer></body></html>"
)


def all_text(html: str) -> str:
    page = blocks_of(html)
    return render(page, np.ones(len(page.blocks), bool))


def batch(contents: list[bytes | None], media_type: str = "text/html", encoding: str | None = None) -> pa.RecordBatch:
    size = len(contents)
    return pa.RecordBatch.from_pydict(
        {
            "content": pa.array(contents, pa.large_binary()),
            "media_type": pa.array([media_type] * size),
            "encoding": pa.array([encoding] * size, pa.string()),
        }
    )


@pytest.fixture(scope="module")
def extract() -> Iterator[Extract]:
    operator = Extract(seconds=10.0)
    yield operator
    operator.close()


def test_an_article_without_its_surroundings() -> None:
    text, extractor = extract_html(ARTICLE.encode(), None, "best")
    assert extractor == "blocks"
    assert all(sentence in text for sentence in PROSE)
    assert "Year | Width | Depth\n1742 |  | 3 m\n1800 | 21 m | 2 m" in text
    assert CODE.replace("&lt;", "<") in text
    assert "1. First go upstream, along the bank and past the mill.\n2. Then cross" in text
    assert "\n\nWidths\n\n" in text
    assert not any(word in text for word in ("never", "Home page", "Imprint", "Privacy", "p{}"))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_finds_the_article(mode: Mode) -> None:
    text, extractor = extract_html(ARTICLE.encode(), None, mode)
    assert all(sentence in text for sentence in PROSE)
    assert extractor.split("+")[0] in MODES


def test_union_holds_what_any_of_the_three_holds() -> None:
    union = re.sub(r"\s+", " ", extract_html(ARTICLE.encode(), None, "union").text)
    for mode in ("blocks", "resiliparse", "trafilatura"):
        for line in extract_html(ARTICLE.encode(), None, mode).text.split("\n"):  # type: ignore[arg-type]
            if len(line) > 60 and "|" not in line:
                assert line.strip() in union


def test_best_asks_others_where_it_finds_hardly_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.stages.curate.extraction import extractors

    monkeypatch.setattr(extractors, "by_trafilatura", lambda html: "a longer text. " * 5)
    monkeypatch.setattr(extractors, "by_resiliparse", lambda html: "a longer text. " * 6)
    assert extract_html(b"<p>short", None, "best").extractor == "trafilatura"
    deep = b"<div>" * 2000 + b"short"
    assert extract_html(deep, None, "best").extractor == "blocks"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>one<p>two", "one\n\ntwo"),
        ("<div>one</div><div>two</div>", "one\ntwo"),
        ("one <b>bold</b><i>italic</i>\n\t two", "one bolditalic two"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("<ul><li>a<li>b</ul>", "• a\n• b"),
        ("<ol><li>a<ul><li>b</ul><li>c</ol>", "1. a\n\n• b\n\n2. c"),
        ("<p>&lt;b&gt; &amp;amp; &quot;x&quot;&nbsp;y", '<b> &amp; "x" y'),
        ("<pre>\n  a\n    b &lt; c\n</pre>", "  a\n    b < c"),
        ("<pre>\n\n  a<br>  b</pre>", "  a\n  b"),
        ("<xmp><b>bold</b></xmp>", "<b>bold</b>"),
        ("<p>a<script>'</p>' < '<p>'</script>b", "ab"),
        ("a<!-- <p>no --> b", "a b"),
        ("<iframe><p>no</iframe>yes", "yes"),
        ("<textarea>no</textarea><select><option>no</select><button>no</button>yes", "yes"),
        ("<p title='a > b'>yes", "yes"),
        ("<table><tr><td>a<td>b<tr><td>c<td><p>d<p>e</table>", "a | b\nc | d e"),
        ("<table><tr><td>a<td><td>b<tr><td>c</table>", "a |  | b\nc"),
        ("<dl><dt>a<dd>b</dl>", "a\nb"),
        ("", ""),
    ],
)
def test_how_blocks_are_set(html: str, text: str) -> None:
    assert all_text(html) == text


def test_a_layout_table_is_no_data() -> None:
    layout = f"<table><tr><td>{TABLE}<td>menu</table>"
    page = blocks_of(layout)
    assert len(data_tables(page)) == 1
    assert all_text(layout).startswith("Year | Width | Depth\n1742 |  | 3 m")
    assert not data_tables(blocks_of("<table><tr><td>one row<td>only</table>"))


def test_code_and_tables_stay_whole_and_line_numbers_go() -> None:
    html = ARTICLE.replace("<pre>", "<pre class='linenos'>1\n2\n3</pre><pre class='source'>")
    text = extract_html(html.encode(), None, "blocks").text
    assert CODE.replace("&lt;", "<") in text
    assert "1\n2\n3" not in text


def test_hints_are_found_in_class_names_whatever_their_spelling() -> None:
    machine = elements.automaton([["sidebar"], ["-ad-"], ["display:none"]])

    def kinds(value: str) -> set[int]:
        state, found = int(machine.step[0, 1]), 0
        for byte in value.encode() + b" ":
            state = int(machine.step[state, machine.symbols[byte]])
            found |= int(machine.found[state])
        return {bit for bit in range(3) if found >> bit & 1}

    assert kinds("leftSideBar wide") == {0}
    assert kinds("top ad") == kinds("top_ad-x") == {1}
    assert kinds("shade") == kinds("loading") == set()
    assert kinds("display:none") == {2}


@given(
    st.lists(
        st.sampled_from([*"<>/=\"'&; abé\n\0", "<p>", "</p>", "<td>", "<!--", "<pre>", "<a b", "<xmp>", "<script"])
    )
)
@settings(max_examples=200, deadline=None)
def test_the_scanner_reads_anything(parts: list[str]) -> None:
    """Not only what a parser wrote: it must stay in bounds on any bytes."""
    html = "".join(parts)
    for page in (scan.scan(html), blocks_of(html)):
        starts, ends = page.blocks[:, layout.START], page.blocks[:, layout.END]
        assert (starts < ends).all() and (ends[:-1] <= starts[1:]).all() and (ends <= len(page.text)).all()
        page.text.tobytes().decode()  # the text is whole characters
        assert main_content(page).shape == (len(page.blocks),)


@pytest.mark.parametrize(
    ("content", "encoding", "text"),
    [
        ("é".encode(), None, "é"),
        ("é".encode(), "iso-8859-1", "é"),
        ("é".encode("latin-1"), "iso-8859-1", "é"),
        (b"\x93x\x94", "iso-8859-1", "\u201cx\u201d"),  # the web's latin-1 is Windows' superset
        ("é".encode("utf-8-sig"), "ascii", "é"),
        ("é漢".encode("utf-16"), None, "é漢"),
        ("plain text".encode("utf-16-le"), None, "plain text"),
        ("plain text".encode("utf-16-be"), None, "plain text"),
        ("日本語".encode("iso2022_jp"), "iso-2022-jp", "日本語"),
        ("<meta charset=shift_jis>日本語".encode("shift_jis"), None, "<meta charset=shift_jis>日本語"),
        ("<meta charset=windows-1251>слово".encode("cp1251"), None, "<meta charset=windows-1251>слово"),
        (b"a\xff\xfe\xfdb", "utf-8", "a\ufffd\ufffd\ufffdb"),
        (b"abc", "no-such-encoding", "abc"),
        (b"abc", "base64", "abc"),
        (b"", None, ""),
    ],
)
def test_encodings(content: bytes, encoding: str | None, text: str) -> None:
    assert decode(content, encoding) == text


@given(st.binary(max_size=200), st.sampled_from([None, "utf-8", "utf-16", "gbk", "x-user-defined", "idna", "utf-7"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_become_characters(content: bytes, encoding: str | None) -> None:
    decode(content, encoding).encode("utf-8", "surrogatepass")


def test_the_operator_fills_texts_and_verdicts(extract: Extract) -> None:
    assert isinstance(extract, Operator)
    found = extract(batch([ARTICLE.encode(), b"", None, b"<html><body></body></html>", ARTICLE.encode()]))
    assert found.column("extractor").to_pylist() == ["blocks", None, None, None, "blocks"]
    assert found.column("rule").to_pylist() == [None, "no_text", "no_text", "no_text", None]
    assert PROSE[0] in found.column("text")[0].as_py()
    assert found.column("text")[1].as_py() is None
    assert found.schema.field("text").type == pa.large_string()


@pytest.mark.parametrize("media_type", ["text/plain", "text/markdown", "text/x-wiki", "text/x-python"])
def test_text_passes_as_it_is(media_type: str) -> None:
    content = "# title\n\n  é <b>\n".encode()
    found = Extract()(batch([content, b" \n"], media_type))
    assert found.column("text").to_pylist() == [content.decode(), None]
    assert found.column("extractor").to_pylist() == ["decode", None]


def test_guarded_and_unguarded_give_the_same(extract: Extract) -> None:
    pages: list[bytes | None] = [ARTICLE.encode(), b"<p>short", ARTICLE.replace("river", "brook").encode()]
    plain = Extract(guarded=False)
    assert extract(batch(pages)).equals(plain(batch(pages)))
    assert extract.spec.digest == Extract(seconds=10.0, guarded=False).spec.digest
    assert extract.spec.digest != plain.spec.digest  # other limits


@pytest.mark.parametrize(
    ("name", "page", "rule"),
    [
        ("nested elements", b"<div>" * 100_000 + PROSE[0].encode(), None),
        ("nested tables", b"<table><tr><td>" * 20_000 + PROSE[0].encode(), None),
        ("spans", b"<table>" + b"<tr><td colspan=999999999 rowspan=999999999>x" * 1000, None),
        ("NUL bytes", b"<p>" + PROSE[0].encode() + b"\0" * 1000, None),
        ("unclosed comments", b"<!--" * 100_000, "no_text"),
        ("half surrogates", b"<p>&#xD800;&#0;&#x110000;", None),
        ("too many bytes", b"x" * 2_000_001, "too_large"),
    ],
)
def test_hostile_pages_cost_themselves(name: str, page: bytes, rule: str | None) -> None:
    good = ARTICLE.encode()
    operator = Extract("blocks", seconds=20.0, max_bytes=2_000_000, guarded=False)
    found = operator(batch([good, page, good]))
    rules = found.column("rule").to_pylist()
    assert rules[0] is rules[2] is None
    if rule is not None:
        assert rules[1] == rule
    assert found.column("text")[0] == found.column("text")[2]


def test_time_and_memory_end_a_page_and_no_other() -> None:
    attributes = b"<p " + b" ".join(b"a%d=1" % number for number in range(60_000)) + b">x"
    operator = Extract("blocks", seconds=0.25, memory_bytes=400 << 20)
    good = ARTICLE.encode()
    found = operator(batch([good, attributes, b"<p>a</p>" * 1_500_000, good]))
    rules = found.column("rule").to_pylist()
    operator.close()
    assert rules[0] is rules[3] is None
    assert rules[1] == "too_slow"
    assert rules[2] in ("too_slow", "too_large", "failed")


def test_an_unknown_mode_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 'blocks'"):
        Extract("block")  # type: ignore[arg-type]
