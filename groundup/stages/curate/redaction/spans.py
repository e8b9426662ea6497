"""What is found: where, of which kind, by which rule; and which of two that overlap is right."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

Kind = Literal["secret", "email", "iban", "card", "national_id", "ip", "phone", "name", "address"]

KINDS: Final[tuple[Kind, ...]] = (
    "secret",
    "email",
    "iban",
    "card",
    "national_id",
    "ip",
    "phone",
    "name",
    "address",
)
"""In order of precedence: of two finds that overlap, the kind named first is right (a card is no phone number)."""

LABELS: Final[dict[Kind, str]] = {
    "secret": "[secret]",
    "email": "[email]",
    "iban": "[bank account]",
    "card": "[card number]",
    "national_id": "[national identifier]",
    "ip": "[ip address]",
    "phone": "[phone number]",
    "name": "[name]",
    "address": "[address]",
}
"""What stands in the text instead."""


class Span(NamedTuple):
    """``text[start:end]`` is of this kind; ``rule`` says what found it, such as ``es_dni``. Never holds the value."""

    start: int
    end: int
    kind: Kind
    rule: str


def resolve(spans: Iterable[Span]) -> list[Span]:
    """The spans in order of the text, none overlapping: precedence first, then the longer, then the earlier."""
    ranked = sorted(spans, key=lambda span: (KINDS.index(span.kind), span.start - span.end, span.start, span.rule))
    kept: list[Span] = []
    for span in ranked:
        # What is kept is in order and apart, so only the neighbours can overlap.
        at = bisect(kept, span)
        if (at == 0 or kept[at - 1].end <= span.start) and (at == len(kept) or span.end <= kept[at].start):
            kept.insert(at, span)
    return kept


@lru_cache(maxsize=512)
def compiled(source: str, flags: int = 0) -> re.Pattern[str]:
    """The pattern, compiled when it is first needed: all of them together take longer than an import may."""
    return re.compile(source, flags)


def said_before(text: str, start: int, cue: str, reach: int = 48) -> bool:
    """Whether the cue (a pattern, in any case) stands in the ``reach`` characters before, outside our labels."""
    before = compiled(r"\[[a-z ]+\]").sub("[]", text[max(0, start - reach) : start])
    return compiled(cue, re.IGNORECASE).search(before) is not None
