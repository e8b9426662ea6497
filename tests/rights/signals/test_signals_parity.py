"""The readers beside others: robots.txt beside protego and the standard library, markup beside a browser's parser."""

from __future__ import annotations

import tarfile
import urllib.robotparser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protego import Protego
from signal_files import SITE, site_file

from groundup.rights.signals.markup import elements
from groundup.rights.signals.page import page_signals
from groundup.rights.signals.patterns import Pattern, path_of
from groundup.rights.signals.robots import robots_signals
from groundup.rights.signals.structured import FieldError, dictionary

SHARED = Path(__file__).parents[4] / "shared" / "data" / "extraction" / "trafilatura_eval" / "pages.tar.xz"

AGENTS = ["groundup", "other", "*"]
PIECE = st.sampled_from(["/", "a", "b", "ab", ".html", "%7E", "~", "%c3%a9", "?x=1", "-"])
PLAIN = st.lists(PIECE, max_size=5).map(lambda parts: "/" + "".join(parts))
NO_HOST = PLAIN.filter(lambda path: not path.startswith("//"))
"""The standard library takes what stands behind two slashes for the name of a host, and forgets it."""
WILD = st.lists(PIECE | st.just("*"), max_size=6).map(lambda parts: "/" + "".join(parts))
PATTERN = st.one_of(WILD, WILD.map(lambda text: text + "$"))


def rules(paths: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(st.sampled_from(["Allow", "Disallow"]), paths), max_size=5)


def text_of(groups: list[tuple[str, list[tuple[str, str]]]]) -> str:
    return "\n\n".join(
        "\n".join([f"User-agent: {agent}", *(f"{name}: {path}" for name, path in lines)]) for agent, lines in groups
    )


def may_fetch(text: str, path: str, agent: str) -> bool:
    return robots_signals(SITE + path, site_file("robots.txt", text), agent, ())[0].verdict == "allowed"


@given(st.lists(st.tuples(st.sampled_from(AGENTS), rules(PATTERN)), max_size=4), PLAIN)
def test_robots_agrees_with_protego_on_whole_files(groups: list[tuple[str, list[tuple[str, str]]]], path: str) -> None:
    text = text_of(groups)
    assert may_fetch(text, path, "groundup") == Protego.parse(text).can_fetch(SITE + path, "groundup")


@given(st.sampled_from(AGENTS[:2]), st.lists(NO_HOST, max_size=4, unique=True), NO_HOST)
def test_robots_agrees_with_the_standard_library_where_only_one_rule_can_match(
    agent: str, disallowed: list[str], path: str
) -> None:
    # The library takes the first rule that matches, and knows no wildcards: so only Disallow, and no special letters.
    text = text_of([(agent, [("Disallow", one) for one in disallowed])])
    parser = urllib.robotparser.RobotFileParser()
    parser.parse(text.splitlines())
    assert may_fetch(text, path, "groundup") == parser.can_fetch("groundup", SITE + path)


@given(PATTERN, PLAIN)
def test_patterns_match_what_protego_matches(pattern: str, path: str) -> None:
    theirs = not Protego.parse(f"User-agent: *\nDisallow: {pattern}").can_fetch(SITE + path, "x")
    assert Pattern.of(pattern).matches(path_of(SITE + path)) == theirs


def metas(content: bytes) -> list[tuple[str | None, str | None]]:
    found = [
        (one.attributes.get("name"), one.attributes.get("content")) for one in elements(content) if one.name == "meta"
    ]
    return [_same_lines(pair) for pair in found if pair != (None, None)]


def theirs(content: bytes) -> list[tuple[str | None, str | None]]:
    from resiliparse.parse.html import HTMLTree

    document = HTMLTree.parse_from_bytes(content, "utf-8").document
    found = [(one.getattr("name"), one.getattr("content")) for one in document.get_elements_by_tag_name("meta")]
    return [_same_lines(pair) for pair in found if pair != (None, None)]


def _same_lines(pair: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
    name, content = pair
    return name, content.replace("\r\n", "\n").replace("\r", "\n") if content else content


SCRAP = st.sampled_from([
    b"<", b">", b"<!--", b"-->", b"--!>", b"<script>", b"</script>", b"<script", b"</script", b" ", b"=", b'"', b"'",
    b"/", b"<meta name=robots content=noai>", b"a", b"<title>", b"</title>", b"<!", b"<?", b"</", b"-", b"!", b"<a ",
    b"<textarea>", b"</textarea >", b"&amp;", b"<meta ",
])  # fmt: skip


@given(st.lists(SCRAP, max_size=40))
@settings(max_examples=400)
def test_markup_agrees_with_a_browsers_parser_on_scraps(parts: list[bytes]) -> None:
    pytest.importorskip("resiliparse")
    page = b"".join(parts)
    assert metas(page) == theirs(page)


def test_markup_agrees_with_a_browsers_parser_on_real_pages() -> None:
    pytest.importorskip("resiliparse")
    if not SHARED.is_file():
        pytest.skip("the pages are not beside this checkout")
    compared = refused = 0
    with tarfile.open(SHARED, "r|xz") as archive:
        for member in archive:
            if not member.isfile() or not member.name.endswith(".html"):
                continue
            content = archive.extractfile(member).read()  # type: ignore[union-attr]
            refused += any(one.verdict == "refused" for one in page_signals(SITE, {}, content, "text/html"))
            try:
                content.decode()
            except UnicodeDecodeError:
                continue
            compared += 1
            assert metas(content) == theirs(content), member.name
            if compared == 250:
                break
    assert compared > 100
    assert not refused


# RFC 9651: examples of sections 3.2 and 4.2.2, and what a strict parser must not take.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('en="Applepie", da=:w4ZibGV0w6ZydGU=:', {"en": "Applepie", "da": b":w4ZibGV0w6ZydGU=:"}),
        ("a=?0, b, c; foo=bar", {"a": False, "b": True, "c": True}),
        ("rating=1.5, feelings=(joy sadness)", {"rating": 1.5, "feelings": ()}),
        ("a=(1 2), b=3, c=4;aa=bb, d=(5 6);valid", {"a": (), "b": 3.0, "c": 4.0, "d": ()}),
        ("foo=1, bar=2", {"foo": 1.0, "bar": 2.0}),
        ("a=1,b=2 \t,\t c=3", {"a": 1.0, "b": 2.0, "c": 3.0}),
        ('a=@1659578233, b=%"caf%c3%a9"', {"a": 1659578233.0, "b": "caf%c3%a9"}),
        ('a="x\\"y\\\\z"', {"a": 'x"y\\z'}),
        ('a=y;b="x, y";c, d=n', {"a": "y", "d": "n"}),
        ("a=1, a=2", {"a": 2.0}),
        ("", {}),
        ("  a=y  ", {"a": "y"}),
        ("*k=*/t", {"*k": "*/t"}),
    ],
)
def test_dictionaries_are_read(text: str, value: dict[str, object]) -> None:
    assert dictionary(text) == value


@pytest.mark.parametrize(
    "text",
    ["a=", "a=1,", ",a", "a==1", "A=1", "a=1 b=2", "a=1;B", "a=(1", "a=(1,2)", 'a="x', 'a="é"', "a=é", "é", "a=1.",
     "a=1.2345", "a=1234567890123456", "a=?2", "a=:x", "\ta=1", "a=1\n", "a =1", "a= 1", "a=1;", "a=%\"%C3\"",
     "a=-", "=1", "1=a", "a=\x7f"],
)  # fmt: skip
def test_what_is_no_dictionary_is_told(text: str) -> None:
    with pytest.raises(FieldError):
        dictionary(text)


@given(st.text(alphabet='ab=,;" \t()?:1.-*@%\\', max_size=20))
def test_any_text_is_a_dictionary_or_an_error(text: str) -> None:
    try:
        dictionary(text)
    except FieldError:
        return
