"""``noai`` and ``noimageai`` (DeviantArt, November 2022) and ``noml``: rules for robots in headers and meta elements.

``X-Robots-Tag: noai`` and ``<meta name="robots" content="noai">`` are for everybody; ``googlebot: noai`` is said to one
crawler. It refuses us too: who doesn't want one crawler's models trained on a page doesn't want ours, just as with the
groups of AI crawlers in robots.txt. ``noimageai`` is about pictures, which we don't train on: it is kept, and allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from groundup.rights.signals.signal import Place, Signal, Verdict

HEADER: Final = "x-robots-tag"
_REFUSING: Final = frozenset({"noai", "noml"})
_TOLD: Final = _REFUSING | {"noimageai"}
_WITH_VALUE: Final = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_AGENT: Final = re.compile(r"\s*([A-Za-z0-9._-]{1,60})\s*:\s*(.*)", re.S)


def directives(value: str, agent: str = "") -> list[tuple[str, str]]:
    """(agent in lower case or "", directive in lower case) for the rules of a header or a meta element.

    >>> directives("noindex, googlebot: noai, NoArchive, max-snippet: 5")
    [('', 'noindex'), ('googlebot', 'noai'), ('googlebot', 'noarchive'), ('googlebot', 'max-snippet: 5')]
    """
    found = []
    for part in re.split(r"[,;\x00-\x08\x0a-\x1f]", value):
        named = _AGENT.fullmatch(part)
        if named and named[1].lower() not in _WITH_VALUE:
            agent, part = named[1].lower(), named[2]
        if word := part.strip().lower():
            found.append((agent, word))
    return found


def rule_signals(url: str, rules: Iterable[tuple[str, str]], place: Place, evidence: bytes = b"") -> list[Signal]:
    """What (agent or "robots", value) of headers or meta elements say about training.

    ``evidence`` are the bytes that say it, where they are not a line of a header.
    """
    signals = []
    for name, value in rules:
        agent = "" if name in ("robots", HEADER) else name
        for said_to, word in directives(value, agent):
            word = " ".join(word.split())
            if word in _TOLD:
                verdict: Verdict = "refused" if word in _REFUSING else "allowed"
                said = f"{said_to}: {word}" if said_to else word
                held = evidence or f"{name}: {value}".encode("utf-8", "replace")
                signals.append(Signal("noai", place, verdict, said, held, url))
    return signals
