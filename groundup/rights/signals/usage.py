"""Usage preferences: ``Content-Usage`` (AIPREF) and ``Content-Signal``, as header fields and as rules of robots.txt.

Content-Usage follows draft-ietf-aipref-attach-05 (19 August 2026) for where it stands and draft-ietf-aipref-vocab-08
(14 September 2026) for what it means, with the categories ``train-genai`` and ``bots`` of vocab-03 (September 2025),
which pages still use. Both are drafts. Every statement is combined with the others so that the most restrictive wins
(vocab, "Combining Preferences"): a header does not lift what robots.txt forbids, nor the other way round. Where the
drafts would say "no preference" of a damaged statement on training, we say ``unknown``: its owner wanted something.

Content-Signal is Cloudflare's (September 2025), written into the robots.txt of millions of sites: ``ai-train=no``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from groundup.rights.signals.patterns import Pattern, path_of
from groundup.rights.signals.robots import Line, Robots
from groundup.rights.signals.signal import Place, Signal, Verdict, strictest
from groundup.rights.signals.structured import FieldError, Token, Value, dictionary

FIELDS: Final = ("content-usage", "content-signal")

_OURS: Final[tuple[str, ...]] = ("train-ai", "train-genai")
"""Categories that training a generative model falls under; each counts for itself."""
_WIDER: Final = "bots"
"""The category that holds both (vocab-03); it counts where neither of them is named."""
_SIGNAL: Final = re.compile(r"\s*([a-z-]+)\s*=\s*([a-z-]+)\s*", re.I)


def usage_of(name: str, value: str) -> tuple[Verdict, str]:
    """(verdict, normal form) of the value of a field or rule.

    >>> usage_of("content-usage", "train-ai=n, search=y"), usage_of("content-usage", "search=n")
    (('refused', 'train-ai=n'), ('allowed', 'no preference on training'))
    >>> usage_of("content-signal", "search=yes,ai-train=no")
    ('refused', 'content-signal: ai-train=no')
    """
    return _content_signal(value) if name == "content-signal" else _content_usage(value)


def _content_usage(value: str) -> tuple[Verdict, str]:
    try:
        said = dictionary(value)
    except FieldError as error:
        return "unknown", f"unreadable ({error}): {value}"
    named = [key for key in _OURS if key in said] or [key for key in (_WIDER,) if key in said]
    if not named:
        return "allowed", "no preference on training"
    return strictest([_preference(said[key]) for key in named]), ", ".join(f"{k}={_told(said[k])}" for k in named)


def _preference(value: Value) -> Verdict:
    if isinstance(value, Token):
        return {"n": "refused", "y": "allowed"}.get(value, "unknown")  # type: ignore[return-value]
    return "unknown"


def _told(value: Value) -> str:
    if isinstance(value, bool):
        return "?1" if value else "?0"
    return str(value) if isinstance(value, Token) else repr(value)


def _content_signal(value: str) -> tuple[Verdict, str]:
    said = [match.groups() for part in value.split(",") if (match := _SIGNAL.fullmatch(part))]
    ours = [preference.lower() for name, preference in said if name.lower() == "ai-train"]
    if not ours:
        return "allowed", "content-signal: no preference on training"
    verdicts: dict[str, Verdict] = {"no": "refused", "yes": "allowed"}
    verdict = strictest([verdicts.get(one, "unknown") for one in ours])
    return verdict, "content-signal: " + ", ".join(f"ai-train={one}" for one in ours)


def field_signals(url: str, fields: Iterable[tuple[str, str]], place: Place, evidence: bytes = b"") -> list[Signal]:
    """What the header fields (lower-case name, value) of the answer say; all lines of a field are one dictionary.

    ``evidence`` are the bytes that say it, where they are not the lines of a header.
    """
    lines: dict[str, list[str]] = {}
    for name, value in fields:
        if name in FIELDS:
            lines.setdefault(name, []).append(value.strip())
    signals = []
    for name, values in lines.items():
        verdict, said = usage_of(name, ", ".join(values))
        held = evidence or "\n".join(f"{name}: {value}" for value in values).encode("utf-8", "replace")
        signals.append(Signal("content-usage", place, verdict, said, held, url))
    return signals


def robots_usage(url: str, robots: Robots, agent: str, document: str) -> list[Signal]:
    """What the rules of robots.txt for our agent say: those with the longest path that matches, each for itself.

    Lines before the first group, which belong to nobody, are taken to be meant for everybody.
    """
    group = robots.group(agent)
    path = path_of(url)
    signals = []
    for name in FIELDS:
        lines = [line for line in (*(group.lines if group else ()), *robots.loose) if line.name == name]
        for line, value in _longest(lines, path):
            verdict, said = usage_of(name, value)
            signals.append(Signal("content-usage", "robots.txt", verdict, said, line.raw, document))
    return signals


def _longest(lines: Sequence[Line], path: str) -> list[tuple[Line, str]]:
    """(line, preferences) of the rules that apply to a path; one without a path applies to all, at length 0."""
    found = []
    for line in lines:
        pattern, value = Pattern.of(""), line.value
        if value.startswith("/"):
            where, _, value = re.sub(r"[ \t]+", " ", value).partition(" ")
            pattern = Pattern.of(where)
        if pattern.matches(path):
            found.append((pattern.length, line, value.strip()))
    longest = max((length for length, _, _ in found), default=0)
    return [(line, value) for length, line, value in found if length == longest]
