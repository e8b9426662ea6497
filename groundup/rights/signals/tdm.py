"""TDM Reservation Protocol (W3C Community Group, final report of 10 May 2024): rights to mine text and data reserved.

It may be said in ``/.well-known/tdmrep.json``, in header fields and in the ``meta`` elements of a page; of these each
supersedes the one before it, and a missing statement resets nothing. A policy says how a licence could be had; we
have none, so a reservation refuses with or without one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from groundup.rights.signals.patterns import Pattern, path_of
from groundup.rights.signals.signal import EVIDENCE, Place, Signal, SiteFile, Verdict

RESERVATION: Final = "tdm-reservation"
POLICY: Final = "tdm-policy"

_MAX_RULES: Final = 10_000
_DECODER: Final = json.JSONDecoder()
_SPACE: Final = re.compile(r"[ \t\r\n]*+")
_ORIGIN: Final = re.compile(r"https?://[^/]*", re.I)
_VERDICTS: Final[Mapping[str, Verdict]] = {"1": "refused", "0": "allowed"}

Rule = tuple[Pattern, str | None, str, bytes]
"""Pattern, reservation ("1", "0", None for anything else), policy, and the bytes of the rule."""


def tdm_value(reservation: str, policy: str = "") -> str:
    """The statement in one form."""
    return f"{RESERVATION}={reservation}" + (f", {POLICY}={policy}" if policy else "")


def field_signals(url: str, fields: Iterable[tuple[str, str]], place: Place, evidence: bytes = b"") -> list[Signal]:
    """What header fields, or meta elements given as such, say; a value other than 0 and 1 counts as unset (2.1).

    ``evidence`` are the bytes that say it, where they are not the lines of a header.
    """
    reserved: list[str] = []
    policy = ""
    lines: list[str] = []
    for name, value in fields:
        name = name.replace("tdm:", "tdm-", 1)
        if name == RESERVATION:
            reserved += [part.strip() for part in value.split(",")]
            lines.append(f"{name}: {value}")
        elif name == POLICY:
            policy = policy or value.strip()
            lines.append(f"{name}: {value}")
    evidence = evidence or "\n".join(lines).encode("utf-8", "replace")
    return [
        Signal("tdm", place, _VERDICTS[one], tdm_value(one, policy), evidence, url)
        for one in dict.fromkeys(reserved)
        if one in _VERDICTS
    ]


def site_signals(url: str, file: SiteFile) -> list[Signal]:
    """What tdmrep.json says of a page: the first rule in it that matches (3.1)."""
    if file.absent or (file.found and is_page(file)):
        return []
    if not file.found or not file.complete:
        why = "cut off" if file.found else file.trouble()
        return [Signal("tdm", "well-known", "unknown", why, b"", file.url)]
    found = rules(file.body)
    if found is None:
        return [Signal("tdm", "well-known", "unknown", "no JSON array of rules", file.body[:256], file.url)]
    path = path_of(url)
    for pattern, reservation, policy, raw in found:
        if pattern.matches(path):
            if reservation is None:
                return []
            value = tdm_value(reservation, policy)
            return [Signal("tdm", "well-known", _VERDICTS[reservation], value, raw, file.url)]
    return []


def is_page(file: SiteFile) -> bool:
    """Whether a site that has no such file answered with a page instead, with status 200: many do."""
    kind = file.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") or file.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


@lru_cache(maxsize=64)
def rules(body: bytes) -> tuple[Rule, ...] | None:
    """The rules of a tdmrep.json in order; None if it is damaged or something else.

    One rule without the brackets, which must be there, is taken for what it means.
    """
    try:
        held = list(islice(_items(body.decode("utf-8-sig").strip()), _MAX_RULES))
    except (ValueError, RecursionError):
        return None
    return tuple(rule for one, raw in held if (rule := _rule(one, raw)))


def _items(text: str) -> Iterator[tuple[Any, str]]:
    """(value, its text) for each item of a JSON array; ValueError if it is none."""
    if text.startswith("{"):
        yield json.loads(text), text
        return
    if not text.startswith("["):
        raise ValueError("no array")
    at = _behind_space(text, 1)
    if text[at:] == "]":
        return
    while True:
        value, end = _DECODER.raw_decode(text, at)
        yield value, text[at:end]
        at = _behind_space(text, end)
        if text[at:] == "]":
            return
        if text[at : at + 1] != ",":
            raise ValueError("no comma between items")
        at = _behind_space(text, at + 1)


def _behind_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _rule(held: Any, raw: str) -> Rule | None:
    if not isinstance(held, dict) or not isinstance(held.get("location"), str):
        return None
    location = _ORIGIN.sub("", held["location"], count=1) or "/"
    said = held.get(RESERVATION)
    reservation = str(said) if isinstance(said, (int, str)) and str(said) in _VERDICTS else None
    policy = held.get(POLICY)
    found = policy if isinstance(policy, str) else ""
    return Pattern.of(location), reservation, found, raw[:EVIDENCE].encode("utf-8", "replace")
