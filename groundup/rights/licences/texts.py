"""Full texts of licences, known by fingerprints: which licences a LICENSE file holds, however it is set and headed.

A text becomes the set of hashes of its runs of five words (Broder 1997), in small letters without signs. ``texts.tsv``
has for each licence how many runs its text has and the 96 smallest hashes of them, made of texts that are installed on
a Debian machine and in Python packages, of each licence those runs that most of its copies share: so names of holders
are not in it. A licence is in a file if at least 80 % of its 96 are. Texts that contain another (BSD-3-Clause holds all
of BSD-2-Clause) win if what they say beyond it is there too.

For licences that are not in the table the index of ScanCode is asked, if ``scancode-toolkit-mini`` is installed.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from groundup.rights.licences.expression import together, try_normal

WORDS: Final = 5
KEPT: Final = 96
LEAST: Final = 0.8
OWN: Final = 0.6
"""Share of what a licence says beyond a similar one that must be there."""
EXPLAINED: Final = 0.5
"""Share of a file that the licences in it must make up: a short one in a long file may be that of a small part."""
LONGEST: Final = 1 << 20
"""Characters of a file that are read: collections of notices can be long."""

_WORD: Final = re.compile(r"[a-z0-9]+")
_NOTICE: Final = re.compile(
    r"^[^\n]{0,20}(?:copyright\W{1,3}(?:\(c\)|©|\d{4}|by\b|the\b|[<\[{])|\(c\)\s|©)[^\n]{0,200}$",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Fingerprint:
    """A licence's text: ``size`` runs of words, of which ``hashes`` are the smallest."""

    licence: str
    size: int
    hashes: frozenset[int]


@dataclass(frozen=True)
class Match:
    """A licence in a text: the share of its runs of words that are there, and about how many that are."""

    licence: str
    share: float
    size: float


def runs(text: str) -> set[int]:
    """The hashes, 32 bits each, of a text's runs of five words; lines of copyright left out."""
    words = _WORD.findall(_NOTICE.sub(" ", text[:LONGEST]).lower())
    pieces = (" ".join(words[at : at + WORDS]) for at in range(max(0, len(words) - WORDS + 1)))
    return {int.from_bytes(hashlib.blake2b(piece.encode(), digest_size=4).digest(), "big") for piece in pieces}


def fingerprint(licence: str, copies: Sequence[str]) -> Fingerprint:
    """The fingerprint of a licence from copies of its text: the runs that at least 60 % of them share."""
    counts = Counter(run for copy in copies for run in runs(copy))
    common = sorted(run for run, count in counts.items() if count >= 0.6 * len(copies))
    return Fingerprint(licence, len(common), frozenset(common[:KEPT]))


def licences_in(text: str) -> list[Match]:
    """The licences whose full texts a text holds, the longest first."""
    found = runs(text)
    left, matches = found, list[Match]()
    while (best := _best(left, found)) is not None:
        matches.append(best[0])
        left = left - best[1].hashes
    return matches


def text_licence(text: str, whole: bool = True) -> str | None:
    """The licences whose full texts a text is made of, all of which hold; None if it is mostly something else.

    ``whole``: ask ScanCode, if it is there, about what is not known.
    """
    matches = licences_in(text)
    if not matches:
        return _by_scancode(text) if whole else None
    explained = sum(match.size for match in matches) >= EXPLAINED * len(runs(text))
    return together([match.licence for match in matches]) if explained else None


def _best(left: set[int], found: set[int]) -> tuple[Match, Fingerprint] | None:
    """The licence that explains most of a text; ``left`` is what no other has explained yet."""
    fitting = []
    for one in fingerprints():
        share = len(one.hashes & found) / len(one.hashes)
        if share >= LEAST and len(one.hashes & left) >= len(one.hashes) / 2:
            fitting.append((Match(one.licence, share, share * one.size), one))
    own = [(match, one) for match, one in fitting if all(_has_own(one, other, found) for _, other in fitting)]
    return max(own, key=lambda pair: (pair[0].size, pair[0].share), default=None)


def _has_own(one: Fingerprint, other: Fingerprint, found: set[int]) -> bool:
    """Whether what a licence says beyond a similar one is there, such as the third clause of BSD-3-Clause."""
    # Above the largest hash that is kept of the other, nothing is known of it.
    beyond = {run for run in one.hashes - other.hashes if run <= max(other.hashes)}
    return len(beyond & found) >= OWN * len(beyond)


@lru_cache(maxsize=1)
def fingerprints() -> tuple[Fingerprint, ...]:
    """Those of ``texts.tsv``."""
    lines = resources.files(__package__).joinpath("texts.tsv").read_text("utf-8").splitlines()
    return tuple(_read(line) for line in lines if line and not line.startswith("#"))


def _read(line: str) -> Fingerprint:
    licence, size, hashes = line.split("\t")
    return Fingerprint(licence, int(size), frozenset(int(hashes[at : at + 8], 16) for at in range(0, len(hashes), 8)))


def write_fingerprints(path: Path, found: Iterable[Fingerprint], note: str) -> None:
    """Write a table as :func:`fingerprints` reads it."""
    rows = [f"{one.licence}\t{one.size}\t{''.join(f'{run:08x}' for run in sorted(one.hashes))}" for one in found]
    path.write_text("".join(f"# {line}\n" for line in note.splitlines()) + "\n".join(rows) + "\n", "utf-8")


def _by_scancode(text: str) -> str | None:
    """What ScanCode's index makes of a text, if its package is there and it is sure of one licence."""
    index = _scancode()
    if index is None:
        return None
    found = {match.rule.license_expression for match in index.match(query_string=text[:LONGEST]) if _is_sure(match)}
    if len(found) != 1:
        return None
    from licensedcode.cache import build_spdx_license_expression  # type: ignore[import-not-found]

    return try_normal(str(build_spdx_license_expression(found.pop())))


def _is_sure(match: Any) -> bool:
    """Whether ScanCode found nearly all of a text of its own, and one long enough to be a licence."""
    return bool(match.coverage() >= 90 and match.len() >= 40)


@lru_cache(maxsize=1)
def _scancode() -> Any:
    """ScanCode's index of licence texts, which takes seconds to load; None without its package.

    Its import fails in many ways beside other versions of what it needs (ValueError with pluggy 1.6 and later), and
    it is never required: then it counts as not there.
    """
    try:
        from licensedcode.cache import get_index
    except Exception:
        return None
    return get_index()
