"""Wikitext to plain text: what a reader of the page sees of its prose, by scanning, without a parser of all MediaWiki.

Templates are not expanded (that takes the whole wiki), so boxes and citations go; so do tables, references, files,
galleries and comments. Headings stay as Markdown headings, lists keep their bullets, links keep their words.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection
from typing import Final

STANDARD: Final = frozenset({"file", "image", "category"})
"""Namespaces that have these names in a wiki of any language."""

_COMMENT: Final = re.compile(r"<!--.*?(-->|\Z)", re.S)
_DROPPED: Final = frozenset(
    """ref gallery math chem timeline score imagemap graph templatedata mapframe hiero""".split()  # noqa: SIM905
)
_CODE: Final = frozenset({"syntaxhighlight", "source", "pre"})
_WHOLE: Final = re.compile(rf"<(/?)({'|'.join(sorted(_DROPPED | _CODE | {'nowiki'}))})\b[^<>]*?(/?)>", re.I)
_BREAK: Final = re.compile(r"<(br|hr)\s*/?>", re.I)
_TAG: Final = re.compile(r"</?[a-zA-Z][^<>]*>")
_MARK: Final = re.compile(r"\{\{|\}\}|\{\||\|\}|\[\[|\]\]")
_EXTERNAL: Final = re.compile(r"\[(?:https?:|ftp:|mailto:)?//[^\s\[\]]++([^\[\]\n]*+)\]")
_QUOTES: Final = re.compile(r"'{2,5}")
_HEADING: Final = re.compile(r"^(={1,6})(.{1,300}?)\1[ \t]*+$", re.M)
_SPACE_BEFORE: Final = re.compile(r"(?<![ \t])[ \t]++(?=\n|\Z|[.,;](?:\s|\Z))")
_SPACES: Final = re.compile(r"(?<=\S)[ \t]{2,}")
_DEEPEST: Final = 100
_SWITCH: Final = re.compile(r"__[A-Z]{3,}__")
_BULLET: Final = re.compile(r"^([*#:;]+)[ \t]*", re.M)
_BLANK: Final = re.compile(r"\n{3,}")
_MEDIA: Final = re.compile(r"\.(jpe?g|png|gif|svg|tiff?|webp|og[agv]|webm|pdf|djvu|mp3|wav|flac|midi?)\s*$", re.I)
_OTHER_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[a-z]{2,12})?:\S")
_LEVEL: Final = re.compile(r"(#{1,6}) \S")
_EMPTY_BRACKETS: Final = re.compile(r" ?\((?:[\s,;:]|&nbsp;)*\)")
_PRIVATE: Final = "\ue000{}\ue001"
_STORED: Final = re.compile("\ue000(\\d+)\ue001")
_WORD_AFTER: Final = re.compile(r"[^\W\d_]+")


def plain_text(wikitext: str, title: str = "", dropped: Collection[str] = STANDARD) -> str:
    """The prose of a page, with its title as a heading if there is one.

    ``dropped`` are the namespaces, in small letters, to which a link is no text: files and categories.

    >>> plain_text("'''Ada''' {{born|1815}} was a [[mathematics|mathematician]].<ref>x</ref>\\n== Life ==\\n* one")
    'Ada was a mathematician.\\n\\n## Life\\n\\n* one'
    """
    stored: list[str] = []

    def store(text: str) -> str:
        stored.append(text)
        return _PRIVATE.format(len(stored) - 1)

    text = wikitext.replace("\ue000", "").replace("\ue001", "").replace("\r\n", "\n")
    text = _COMMENT.sub("", text)
    text = _without_elements(text, store)
    text = _without_blocks(text, dropped)
    text = _EXTERNAL.sub(lambda match: match[1].strip(), text)
    text = _SWITCH.sub("", _QUOTES.sub("", text))
    text = _TAG.sub("", _BREAK.sub("\n", _BULLET.sub(_bullet, text)))
    text = _HEADING.sub(lambda match: f"\n{'#' * len(match[1])} {match[2].strip()}\n", text)
    text = html.unescape(text).replace("\xa0", " ")
    text = _EMPTY_BRACKETS.sub("", text)
    text = _SPACES.sub(" ", _SPACE_BEFORE.sub("", text))
    text = _BLANK.sub("\n\n", text).strip()
    text = _without_empty_sections(text)
    text = _STORED.sub(lambda match: html.unescape(stored[int(match[1])]), text)
    return f"# {title}\n\n{text}" if title and text else text


def _bullet(match: re.Match[str]) -> str:
    marks = match[1]
    last = {"*": "* ", "#": "1. "}.get(marks[-1], "")
    return "  " * (len(marks) - 1) + last if last else ""


def _without_empty_sections(text: str) -> str:
    """A heading with nothing below it but a heading of its level or above says nothing.

    >>> _without_empty_sections("a\\n## Notes\\n## Life\\n### Youth\\nb\\n## Links")
    'a\\n## Life\\n### Youth\\nb'
    """
    kept: list[str] = []
    follows: int | None = None  # nothing (None), text (0) or a heading of this level
    for line in reversed(text.split("\n")):
        heading = _LEVEL.match(line)
        if heading:
            level = len(heading[1])
            if follows is None or 0 < follows <= level:
                continue
            follows = level
        elif line.strip():
            follows = 0
        kept.append(line)
    return _BLANK.sub("\n\n", "\n".join(reversed(kept))).strip()


def _without_elements(text: str, store: Callable[[str], str]) -> str:
    """Without references and the like; code and what is marked as no markup is put by, as it is.

    One pass: an element that nothing closes is text.
    """
    last = {match[2].lower(): match.start() for match in _WHOLE.finditer(text) if match[1]}
    parts: list[str] = []
    name, opened, at = "", 0, 0
    for match in _WHOLE.finditer(text):
        kind, closes, alone = match[2].lower(), bool(match[1]), bool(match[3])
        if name:
            if not (closes and kind == name):
                continue
            inner = text[opened : match.start()]
            if name in _CODE:
                parts.append("\n" + store("```\n" + inner.strip("\n") + "\n```") + "\n")
            elif name == "nowiki":
                parts.append(store(inner))
            name, at = "", match.end()
            continue
        parts.append(text[at : match.start()])
        at = match.end()
        if not closes and not alone and last.get(kind, -1) >= match.end():
            name, opened = kind, match.end()
    return "".join([*parts, text[at:]])


def _without_blocks(text: str, dropped: Collection[str]) -> str:
    """Without templates and tables, and with the words of links: one pass with a stack.

    A mark that is never closed is left out of templates and tables and is text of links; what closes nothing likewise.
    """
    closes = {"}}": "{{", "|}": "{|", "]]": "[["}
    parts: list[str] = []
    opened: list[tuple[str, int]] = []
    depth = dict.fromkeys(closes.values(), 0)
    at = 0
    for match in _MARK.finditer(text):
        if match.start() < at:
            continue
        mark = match[0]
        parts.append(text[at : match.start()])
        at = match.end()
        if mark not in closes:
            if len(opened) < _DEEPEST or mark != "[[":
                opened.append((mark, len(parts)))
                depth[mark] += 1
            parts.append(mark if mark == "[[" else "")
        elif depth[closes[mark]]:
            begun, start = opened.pop()
            depth[begun] -= 1
            while begun != closes[mark]:  # opened inside and never closed: what it says stays
                begun, start = opened.pop()
                depth[begun] -= 1
            inner = "".join(parts[start + 1 :]) if mark == "]]" else ""
            del parts[start:]
            if mark == "]]":
                words, at = _link(inner, text, at, dropped)
                parts.append(words)
        elif mark == "]]":
            parts.append(mark)
    return "".join([*parts, text[at:]])


def _link(inner: str, text: str, at: int, dropped: Collection[str]) -> tuple[str, int]:
    """The words of a link, with the letters that follow it as in ``[[bus]]es``; nothing for files and categories."""
    target, bar, rest = inner.partition("|")
    prefix = target.partition(":")[0].strip().lower() if ":" in target else ""
    if prefix in dropped or _MEDIA.search(target) or (not bar and _OTHER_LANGUAGE.match(target)):
        return "", at
    words = (rest.rpartition("|")[2] if bar else target.lstrip(":")).strip()
    more = _WORD_AFTER.match(text, at)
    return words + (more[0] if more else ""), more.end() if more else at
