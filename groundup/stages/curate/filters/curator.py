"""What NeMo Curator's English heuristics add to Gopher's rules (``heuristic_filter.py``; adapted there from Gopher,
C4 and mC4): shares of characters, of paragraphs with boilerplate and of lines without an end mark.

Boilerplate is ``lorem ipsum`` (the whole page counts) and C4's phrases about policies and cookies; Curator also lists
eleven whole sentences of cookie banners.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from groundup.stages.curate.engine.columns import Texts
from groundup.stages.curate.filters.counting import Matrix
from groundup.stages.curate.words.words import Lines, Skip, Words

STATISTICS: Final = (
    "non_alphanumeric",
    "numbers",
    "urls",
    "white_space",
    "parentheses",
    "boilerplate",
    "no_end_mark",
    "longest_word",
)
READINGS: Final[dict[str, tuple[Any, ...]]] = {}
WORD_LISTS: Final = ("end_marks",)

_ALNUM: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789\n?!,.", np.uint8)
_DIGITS: Final = np.frombuffer(b"0123456789", np.uint8)
_WHITE: Final = np.frombuffer(b"\t\n\r\b ", np.uint8)
_PARENTHESES: Final = np.frombuffer(b"{}[]()", np.uint8)
_URL: Final = re.compile(r"https?://(?:[a-zA-Z0-9$-_@.&+!*(),]|%[0-9a-fA-F]{2})+")
_POLICY: Final = re.compile(r"terms of use|privacy policy|cookie policy|uses? cookies|use of cookies")


def measure(texts: Texts, words: Words, lines: Lines, skip: Skip, readings: dict[str, Any]) -> Matrix:
    """(rows, statistics) float64; NaN in skipped rows."""
    out = np.full((len(skip), len(STATISTICS)), np.nan)
    marks = tuple(readings["end_marks"])
    for row in np.flatnonzero(~skip).tolist():
        data = texts.data[texts.offsets[row] : texts.offsets[row + 1]]
        text = data.tobytes().decode(errors="replace")
        chars = max(1, len(text))
        counts = np.bincount(data, minlength=256)
        pointed = text.count("⟨") + text.count("⟩")
        sentences = [line for line in text.split("\n") if line]
        lengths = words.chars[words.bounds[row] : words.bounds[row + 1]]
        out[row] = (
            1 - counts[_ALNUM].sum() / chars,
            counts[_DIGITS].sum() / chars,
            sum(map(len, _URL.findall(text))) / chars if "://" in text else 0.0,
            counts[_WHITE].sum() / chars,
            (counts[_PARENTHESES].sum() + pointed) / chars,
            _boilerplate(text),
            sum(not line.strip().endswith(marks) for line in sentences) / max(1, len(sentences)),
            lengths.max(initial=0),
        )
    return out


def _boilerplate(text: str) -> float:
    """The share of paragraphs that speak of policies or cookies; 1 if the page has filler text."""
    lowered = text.lower()
    if "lorem ipsum" in lowered:
        return 1.0
    if _POLICY.search(lowered) is None:
        return 0.0
    paragraphs = [paragraph for paragraph in lowered.split("\n\n") if paragraph]
    return sum(_POLICY.search(paragraph) is not None for paragraph in paragraphs) / len(paragraphs)
