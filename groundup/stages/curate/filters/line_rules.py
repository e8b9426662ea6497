"""Lines that are not prose are taken out, and a page that loses too much goes. Penedo et al. 2023, "The RefinedWeb
Dataset for Falcon LLM", appendix G.2; order, patterns and limits as DCLM's code has them
(``baselines/mappers/modifiers.py``).

A line goes if upper-case characters are more than half of it; if it is all digits; if it is a counter ("3 likes"); if
it has one word. In lines of at most ten words "items in cart", "Read more..." at the end and "Sign-in" at the
beginning are cut out, with one white space before or behind; a line of which nothing is left goes. Words are those
between white space that begin with a letter or digit. In "Read more..." the dots stand for any three characters, as
in DCLM's pattern.

With ``tidy`` the page is first stripped of addresses and of more than two line feeds in a row, as in DCLM. An address
here is one with a scheme, with ``www.``, or an IPv4 address; DCLM also takes what ends in any of 1,500 top-level
domains.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa

from groundup.stages.curate.engine.operator import with_column
from groundup.stages.curate.filters.counting import Matrix
from groundup.stages.curate.words.words import Skip

STATISTICS: Final = ("words", "removed_words")
READINGS: Final = {"tidy": (False, True)}
NUMBERS: Final = ("max_upper_share", "max_digit_share", "min_line_words", "max_cut_words")

_COUNTER: Final = re.compile(
    r"\W*\d[,.\d]*[kmb]?\s+"
    r"(?:likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers)\W*"
)
_CUTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE) for pattern in (r"\s?items in cart", r"\s?Read more...$", r"^Sign-in\s?")
)
_CUT_HINTS: Final = ("items in cart", "read more", "sign-in")
_FEEDS: Final = re.compile(r"\n{3,}")
_ADDRESS: Final = re.compile(
    r"\s{0,10}(?:(?:https?|ftp)://|www\.)[-\w@:%.+~#=?&/()]+"
    r"|\s{0,10}\b(?:(?:https?|ftp)://)?(?:[0-2]?[0-9]{1,2}\.){3}[0-2]?[0-9]{1,2}[-\w()@:%+.~#?&/=]*",
    re.ASCII,
)


def apply(batch: pa.RecordBatch, skip: Skip, readings: dict[str, Any]) -> tuple[pa.RecordBatch, Matrix]:
    """The batch with edited ``text``, and (rows, statistics) float64, NaN in skipped rows."""
    out = np.full((len(skip), len(STATISTICS)), np.nan)
    texts = batch.column("text").to_pylist()
    for row in np.flatnonzero(~skip).tolist():
        text = tidied(texts[row] or "") if readings["tidy"] else texts[row] or ""
        new = edited(text, readings)
        before, after = _words(text), _words(new)
        texts[row] = new
        out[row] = before, (before - after) / before if before else 1.0
    return with_column(batch, "text", pa.array(texts, pa.large_string())), out


def tidied(text: str) -> str:
    """The text without addresses, and with at most two line feeds in a row."""
    return _FEEDS.sub("\n\n", _ADDRESS.sub("", text))


def edited(text: str, limits: dict[str, Any]) -> str:
    """The text without the lines and phrases that the rules name."""
    lines = [line for line in text.split("\n") if not line or _upper(line) <= limits["max_upper_share"] * len(line)]
    lines = [line for line in _stripped(lines) if not line or _digits(line) <= limits["max_digit_share"] * len(line)]
    lines = [line for line in _stripped(lines) if not _is_counter(line)]
    lines = [line for line in _stripped(lines) if not line or len(line.split()) >= limits["min_line_words"]]
    for hint, pattern in zip(_CUT_HINTS, _CUTS, strict=True):
        if any(hint in line.lower() for line in lines):
            lines = [cut for line in lines if (cut := _cut(line, pattern, limits["max_cut_words"])) is not None]
        lines = _stripped(lines)
    return "\n".join(lines)


def _stripped(lines: list[str]) -> list[str]:
    """The lines of the page after white space at its ends is gone."""
    return "\n".join(lines).strip().split("\n")


def _upper(line: str) -> int:
    return 0 if line.islower() else sum(map(str.isupper, line))


def _digits(line: str) -> int:
    # A line that ends and begins with something else can't be all digits; most do.
    return sum(map(str.isdigit, line)) if line[0].isdigit() or line[-1].isdigit() else 0


def _is_counter(line: str) -> bool:
    return any(map(str.isdigit, line)) and _COUNTER.fullmatch(line.lower()) is not None


def _cut(line: str, pattern: re.Pattern[str], longest: int) -> str | None:
    """The line without what the pattern finds; None if nothing but white space is left of it."""
    if len(line.split()) > longest:
        return line
    cut = pattern.sub("", line)
    return None if line and not cut.strip() else cut


def _words(text: str) -> int:
    return sum(word[0].isalnum() for word in text.split())
