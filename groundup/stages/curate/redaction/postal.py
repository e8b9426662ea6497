"""Postal addresses in full: street, number, postal code and town, as seven countries write them.

Less than all four is left alone: a street name is in every novel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from groundup.stages.curate.redaction.scan import POSTCODE, Windows
from groundup.stages.curate.redaction.spans import Span, compiled

_WORD: Final = r"[^\W\d_]+(?:['’.-]+[^\W\d_]+)*\.?"
_TOWN: Final = rf"{_WORD}(?:[ ]{_WORD}){{0,2}}"
_WORDS: Final = rf"(?:{_WORD}[ ]){{0,4}}{_WORD}"
_FORMS: Final = (
    (
        "us",
        rf"\d{{1,5}}[ ](?:[NSEW]\.? )?(?:{_WORD}[ ]){{1,4}}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|"
        r"Ln|Drive|Dr|Court|Ct|Place|Pl|Way|Terrace|Parkway|Pkwy|Circle)\.?"
        r"(?:,? (?:Apt|Suite|Unit|Ste|#)\.? ?\w{1,5})?,?\s{1,2}"
        rf"{_TOWN},? [A-Z]{{2}} \d{{5}}(?:-\d{{4}})?",
    ),
    (
        "gb",
        rf"\d{{1,4}}[A-Za-z]?[ ](?:{_WORD}[ ]){{1,3}}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Drive|Close|Gardens|"
        rf"Square|Way|Terrace|Crescent|Court|Place|Hill|Grove),?"
        rf"\s{{1,2}}{_TOWN},?\s{{1,2}}[A-Z]{{1,2}}\d[A-Z\d]? \d[A-Z]{{2}}",
    ),
    (
        "de",
        rf"(?:{_WORD}[ -])?[^\W\d_]+(?:straße|strasse|str\.|weg|platz|allee|gasse|ring|damm|ufer) \d{{1,4}} ?[a-z]?,?"
        rf"\s{{1,2}}(?:D-)?\d{{5}} {_WORD}",
    ),
    (
        "fr",
        r"\d{1,4}(?: bis| ter)?,? (?:rue|avenue|boulevard|place|allée|impasse|chemin|quai|cours|route) "
        rf"{_WORDS},?\s{{1,2}}\d{{5}} {_WORD}",
    ),
    (
        "es",
        rf"(?:[Cc]alle|C/|[Aa]venida|Avda\.|[Pp]laza|[Pp]aseo) {_WORDS},? (?:n\.?º ?)?\d{{1,4}},"
        rf"\s{{1,2}}(?:\d{{1,2}}º ?\w?, )?\d{{5}} {_WORD}",
    ),
    ("it", rf"(?:[Vv]ia|[Vv]iale|[Pp]iazza|[Cc]orso) {_WORDS},? \d{{1,4}},?\s{{1,2}}\d{{5}} {_WORD}"),
    (
        "nl",
        r"[^\W\d_]+(?:straat|laan|weg|plein|gracht|kade|dijk|singel) \d{1,4} ?[a-z]?,?\s{1,2}"
        rf"\d{{4}} ?[A-Z]{{2}} {_WORD}",
    ),
)


def postal_addresses(text: str, windows: Windows) -> Iterator[Span]:
    """Addresses near what may be a postal code."""
    for start, end in windows.get(POSTCODE, ()):
        for rule, pattern in _patterns():
            for match in compiled(pattern).finditer(text, start, end):
                yield Span(*match.span(), "address", rule)


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, str], ...]:
    return tuple((rule, rf"(?<![^\W_])(?:{form})(?![^\W_])") for rule, form in _FORMS)
