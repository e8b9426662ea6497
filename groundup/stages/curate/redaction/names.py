"""Names of persons, where the words around say that they are names.

A list of names would strike Paris and Will; a model costs a thousand times more. So only what a text itself calls a
name is taken: after ``my name is``, a title in a salutation, a closing, a label such as ``Contact:``, and before an
e-mail address. The phrases of the languages are in ``names.tsv``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Final

from groundup.stages.curate.redaction.scan import AT, Windows
from groundup.stages.curate.redaction.spans import Span, compiled

_BEFORE, _AFTER = 40, 160
_BEFORE_MAIL: Final = r"[ ]?[<(\[](?=[\w.%+'-]{1,64}@)"
_WORD_START: Final = r"(?<![^\W_])"


def names(text: str, windows: Windows) -> Iterator[Span]:
    """Names, without what says that they are."""
    for start, end in _hinted(text):
        for rule, pattern, fewest in _patterns():
            for match in compiled(pattern).finditer(text, start, end):
                if _is_name(match["name"], fewest) and (rule != "signed" or _ends_line(text, match.end())):
                    yield Span(*match.span("name"), "name", rule)
    for start, end in windows.get(AT, ()):
        for match in compiled(f"{_WORD_START}(?P<name>{_name()}){_BEFORE_MAIL}").finditer(text, start, end):
            if _is_name(match["name"], 2):
                yield Span(*match.span("name"), "name", "with_email")


def _is_name(found: str, fewest: int) -> bool:
    words = [word for word in found.split() if word[0].isupper()]
    return len(words) >= fewest and not any(word.rstrip(".,").lower() in _phrases()["no_name"][1] for word in words)


def _ends_line(text: str, end: int) -> bool:
    return text[end : end + 2].strip(" ,.") == "" or text[end : end + 1] in "\n,"


def _hinted(text: str) -> Iterator[tuple[int, int]]:
    """Windows around the hint of every phrase, in order and not overlapping."""
    found = [match.start() for hint in _hints() if hint in text for match in compiled(re.escape(hint)).finditer(text)]
    start, end = -1, -1
    for place in sorted(found):
        if place - _BEFORE > end:
            if end >= 0:
                yield start, end
            start = max(0, place - _BEFORE)
        end = min(len(text), place + _AFTER)
    if end >= 0:
        yield start, end


@lru_cache(maxsize=1)
def _hints() -> tuple[str, ...]:
    """For each phrase what it can't do without, whatever the case of its first letter: what plain search looks for."""
    found = {phrase[1:].split("'")[-1] for phrase in (*_phrases()["introduced"][1], *_phrases()["signed"][1])}
    found |= {f"{phrase[1:]}:" for phrase in _phrases()["labelled"][1]}
    found |= {f"{phrase.capitalize()} " for phrase in _phrases()["salutation"][1]}
    # Where a shorter one is looked for, one that holds it needn't be.
    return tuple(sorted(hint for hint in found if not any(other != hint and other in hint for other in found)))


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, str, int], ...]:
    """(rule, pattern, fewest words) of each kind of context."""
    found = []
    for rule in ("introduced", "salutation", "signed", "labelled"):
        fewest, phrases = _phrases()[rule]
        cue = "|".join(_either_case(phrase) for phrase in phrases)
        match rule:
            case "salutation":
                cue = "|".join(phrase.capitalize() for phrase in phrases)
                titles = "|".join(_either_case(title) for title in _phrases()["title"][1])
                gap = rf"[ ](?:{titles})\.?[ \u00a0]"
            case "signed":
                gap = r"[,:.]?\s{1,4}(?:–|-|/s/)?\s{0,2}"
            case "labelled":
                gap = r":[ \u00a0]{1,2}"
            case _:
                gap = r"[ \u00a0]{1,2}"
        found.append((rule, f"{_WORD_START}(?:{cue}){gap}(?P<name>{_name()})", fewest))
    return tuple(found)


def _either_case(phrase: str) -> str:
    """The phrase, its first letter of either case, and either apostrophe."""
    first = phrase[0]
    return f"[{first}{first.upper()}]" + re.escape(phrase[1:]).replace("'", "['’]")


@lru_cache(maxsize=1)
def _name() -> str:
    """A pattern for one to five capitalised words, with particles and initials."""
    upper = "".join(chr(point) for point in range(0x41, 0x530) if chr(point).isupper())
    word = rf"(?:[{upper}][^\W\d_]*(?:['’-][^\W\d_]+)*|[{upper}]\.)"
    particle = r"(?:van|von|de|da|do|dos|del|della|di|la|le|der|den|ten|ter|bin|ibn|al|el|y|zu)"
    return rf"{word}(?:[ ](?:{particle}[ ]){{0,2}}{word}){{0,4}}"


@lru_cache(maxsize=1)
def _phrases() -> dict[str, tuple[int, frozenset[str] | tuple[str, ...]]]:
    """By rule: the fewest words of a name, and the phrases."""
    written = resources.files(__package__).joinpath("names.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in written.splitlines() if not line.startswith("#")]
    return {
        rule: (int(fewest), frozenset(phrases.split("|")) if rule == "no_name" else tuple(phrases.split("|")))
        for rule, fewest, phrases in rows
    }
