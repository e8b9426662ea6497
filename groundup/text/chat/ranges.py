"""What a template's generation blocks mark, beside what is derived: the common part, and a line on the difference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from groundup.text.chat.traced import GENERATION_END, GENERATION_START

Range = tuple[int, int]
"""Characters [start, end)."""

_MARK: Final = re.compile(f"[{GENERATION_START}{GENERATION_END}]")


def take_marks(raw: str) -> tuple[str, list[Range]]:
    """A filled-in template without the marks of generation blocks, and the ranges that they marked.

    >>> take_marks("ab" + GENERATION_START + "cd" + GENERATION_END + "e")
    ('abcde', [(2, 4)])
    """
    if GENERATION_START not in raw:
        return raw, []
    ranges, depth, start = [], 0, 0
    for number, match in enumerate(_MARK.finditer(raw)):
        place = match.start() - number
        if match.group() == GENERATION_START:
            depth += 1
            start = place if depth == 1 else start
        else:
            depth -= 1
            if depth == 0 and place > start:
                ranges.append((start, place))
    return _MARK.sub("", raw), ranges


def both(ours: Sequence[Range], theirs: Sequence[Range]) -> tuple[Range, ...]:
    """What lies in a range of each; both lists are in order and without overlap.

    >>> both([(0, 5), (8, 9)], [(3, 10)])
    ((3, 5), (8, 9))
    """
    found, mine, other = [], 0, 0
    while mine < len(ours) and other < len(theirs):
        start, end = max(ours[mine][0], theirs[other][0]), min(ours[mine][1], theirs[other][1])
        if start < end:
            found.append((start, end))
        if ours[mine][1] < theirs[other][1]:
            mine += 1
        else:
            other += 1
    return tuple(found)


def explain(text: str, derived: Sequence[Range], blocks: Sequence[Range]) -> str:
    """A line on what only one of the two holds, white space at an end aside; empty if they agree.

    The text quoted is of one place and at most a few characters long.
    """
    found = []
    for kept, other, what in (
        (derived, blocks, "the assistant's turns hold {} characters that no generation block does"),
        (blocks, derived, "generation blocks hold {} characters outside the assistant's turns"),
    ):
        lone = [(start, end) for start, end in _without(kept, other) if text[start:end].strip()]
        if lone:
            start, end = lone[0]
            quoted = text[start:end].strip()[:_QUOTED]
            found.append(f"{what.format(sum(end - start for start, end in lone))}, such as {quoted!r}")
    return "; ".join([*found, "only what both hold is trained"]) if found else ""


_QUOTED: Final = 24


def _without(kept: Sequence[Range], other: Sequence[Range]) -> list[Range]:
    """The parts of ``kept`` that are in no range of ``other``."""
    found = []
    for start, end in kept:
        for left, right in other:
            if right <= start or left >= end:
                continue
            if left > start:
                found.append((start, left))
            start = max(start, right)
        if start < end:
            found.append((start, end))
    return found
