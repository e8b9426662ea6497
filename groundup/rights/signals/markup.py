"""The few elements of an HTML page in which signals stand, found in its bytes in time linear in their number.

A tokenizer by the HTML standard (WHATWG, 13.2.5) without a tree: comments, scripts, styles and other raw text are
passed over as a browser passes over them, so that nothing in them counts. It needs no package and holds nothing but
the page. Most pages hold no signal at all, and are told by looking for a few words (``may_hold``).
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

WANTED: Final = frozenset({b"meta", b"link", b"a", b"area", b"script"})
MAX_ELEMENTS: Final = 10_000
"""Elements with attributes of interest that are looked at in one page."""

_S: Final = rb"[ \t\n\f\r]"
_ATTRIBUTE: Final = (
    rb"(=[^ \t\n\f\r/>=]*+|[^ \t\n\f\r/>=]++)(?:" + _S + rb"*+=" + _S
    + rb"*+(?:\"([^\"]*+)\"|'([^']*+)'|(?![\"'])([^ \t\n\f\r>]*+))|(?!" + _S + rb"*+=))"
)  # fmt: skip
"""Name, then value in double, single or no quotes. It doesn't match where a quote is never closed."""
_ONE: Final = re.compile(_ATTRIBUTE)
_REST: Final = re.compile(rb"(?:[ \t\n\f\r/]*+" + _ATTRIBUTE + rb")*+[ \t\n\f\r/]*+>")
_OPEN: Final = re.compile(rb"<(?:!--|(/?)([a-zA-Z][^ \t\n\f\r/>]*+)|[!?/])")
_COMMENT_END: Final = re.compile(rb"--!?>")
_SCRIPT_PART: Final = re.compile(rb"<!--|-->|<(/?)script(?=[ \t\n\f\r/>])", re.I)
_RAW: Final = {
    name: re.compile(rb"</" + name + rb"(?=[ \t\n\f\r/>])", re.I)
    for name in (b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes")
}
_WORDS: Final = (b"noai", b"noimageai", b"noml", b"reservation")
_NEAR: Final = {
    # What is common in running text counts where it stands in markup.
    b"licen": re.compile(
        rb"(?:rel|name|property|itemprop)" + _S + rb"*+=" + _S + rb"*+[\"']?[^\"'<>]{0,80}licen[sc]e"
        rb"|licen[sc]e\"" + _S + rb"*+:"
    ),
    b"rights": re.compile(rb"(?:dc|terms)[.:]rights"),
}  # fmt: skip
_AROUND: Final = (120, 24)
"""Bytes before and behind a word that are looked at."""
_PATIENCE: Final = 2000
"""Occurrences of a word that are looked at before the page is read anyway."""


@dataclass(frozen=True)
class Element:
    """A start tag: its name and attributes (names in lower case, values decoded), its bytes, a script's text."""

    name: str
    attributes: Mapping[str, str]
    raw: bytes
    text: bytes = b""

    def get(self, name: str) -> str:
        """The value of an attribute, empty if it isn't there."""
        return self.attributes.get(name, "")


def in_utf8(content: bytes) -> bytes:
    """The page in an encoding whose markup is ASCII: UTF-16 becomes UTF-8, all else stays."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace").encode("utf-8", "replace")
    if b"\x00" in content[:64]:
        for encoding, opening in (("utf-16-le", b"<\x00"), ("utf-16-be", b"\x00<")):
            if content.startswith(opening):
                return content.decode(encoding, "replace").encode("utf-8", "replace")
    return content


def may_hold(content: bytes) -> bool:
    """Whether a page can hold a signal: False is sure, True is not.

    >>> may_hold(b"<p>Under a free license</p>"), may_hold(b"<a REL=License href=x>"), may_hold(b"<meta content=NoAI>")
    (False, True, True)
    """
    low = content.lower()
    return any(word in low for word in _WORDS) or any(_is_near(low, word, what) for word, what in _NEAR.items())


def _is_near(low: bytes, word: bytes, what: re.Pattern[bytes]) -> bool:
    """Whether ``word`` stands somewhere in ``what``."""
    at, (before, behind) = -1, _AROUND
    for _ in range(_PATIENCE):
        at = low.find(word, at + 1)
        if at < 0:
            return False
        if what.search(low, max(0, at - before), at + behind):
            return True
    return True


def elements(content: bytes) -> Iterator[Element]:
    """The start tags of ``WANTED`` names in a page, in order; of scripts those of JSON-LD, with their text."""
    at = found = 0
    while found < MAX_ELEMENTS and (opening := _OPEN.search(content, at)):
        start, at = opening.start(), opening.end()
        name = opening[2]
        if name is None:
            at = _behind_comment(content, start, at)
            if at < 0:
                return
            continue
        end = _behind_tag(content, at)
        if end < 0:  # the page ends within a tag: a browser drops it
            return
        name, tag_end, text = name.lower(), end, b""
        if not opening[1]:
            if name == b"plaintext":
                return
            if name == b"script" or name in _RAW:
                end = _end_of_raw(content, name, tag_end)
                text = content[tag_end:end]
            if name in WANTED:
                attributes = _attributes(content, at, tag_end)
                if attributes and (name != b"script" or "ld+json" in attributes.get("type", "").lower()):
                    found += 1
                    yield Element(name.decode(), attributes, content[start:tag_end], text)
        at = end


def _behind_comment(content: bytes, start: int, at: int) -> int:
    """Where a comment, a doctype or anything else that is no element ends; -1 if the page ends first."""
    if content.startswith(b"<!--", start):
        # The dashes that open may be those that close ("<!-->"), but not before an exclamation mark.
        end = _COMMENT_END.search(content, start + 2)
        if end and end.start() < start + 4 and end[0] == b"--!>":
            end = _COMMENT_END.search(content, start + 4)
        return end.end() if end else -1
    closed = content.find(b">", at)
    return closed + 1 if closed >= 0 else -1


def _behind_tag(content: bytes, at: int) -> int:
    """Behind the ``>`` of the tag whose name ends at ``at``; -1 if the page ends first."""
    rest = _REST.match(content, at)
    return rest.end() if rest else -1


def _end_of_raw(content: bytes, name: bytes, at: int) -> int:
    """Where the end tag of an element of raw text starts, or the end of the page."""
    if name != b"script":
        end = _RAW[name].search(content, at)
        return end.start() if end else len(content)
    escaped = double = False  # 13.2.5.20: a comment in a script can hold a script
    while part := _SCRIPT_PART.search(content, at):
        at = part.end()
        if part[0] == b"<!--":
            escaped = True
            at -= 2
        elif part[0] == b"-->":
            escaped = double = False
        elif part[1]:
            if not double:
                return part.start()
            double = False
        elif escaped:
            double = True
    return len(content)


def _attributes(content: bytes, at: int, end: int) -> dict[str, str]:
    """The attributes between the name of a tag and its end; of one that is there twice the first."""
    found: dict[str, str] = {}
    for match in _ONE.finditer(content, at, end - 1):
        value = next((part for part in match.group(2, 3, 4) if part is not None), b"")
        found.setdefault(_decoded(match[1]).lower(), html.unescape(_decoded(value)))
    return found


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "replace")
