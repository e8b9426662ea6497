"""A text with its words and lines, split once and shared by all filters.

Words are runs of letters and digits with their inner apostrophes ("don't" is one word); a run of punctuation is a
word of its own, as in the tokenizers that the published filters use. datatrove takes words from spaCy (and took them
from NLTK when FineWeb was made), which cut "don't" in two and give each mark alone; counts near a threshold can
differ by that much. Scripts without spaces between words are not cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_WORD: Final = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]+")


@dataclass(frozen=True)
class Split:
    """``words`` with punctuation; ``lines`` as between line breaks, empty ones included."""

    text: str
    words: tuple[str, ...]
    lines: tuple[str, ...]


def split(text: str) -> Split:
    """
    >>> split('"Don\\'t!" she said...').words
    ('"', "Don't", '!"', 'she', 'said', '...')
    """
    return Split(text, tuple(_WORD.findall(text)), tuple(text.split("\n")))


def is_symbol(word: str) -> bool:
    """Whether a word is all punctuation."""
    return not word[0].isalnum() and not any(character.isalnum() for character in word)
