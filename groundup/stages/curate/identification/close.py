"""Languages too close for letter statistics, told apart by words that one of them has and the other hasn't.

Croatian, Bosnian and Serbian in Latin letters; Indonesian and Malay; Modern and Ancient Greek. Lists of exclusive
words do better there than n-grams: Ranaivo-Malançon 2006 ("Automatic identification of close languages: Malay and
Indonesian"); Tiedemann and Ljubešić 2012 ("Efficient discrimination between closely related languages", Bosnian,
Croatian and Serbian). ``markers.tsv`` was written from what grammars say (Serbian ``vreme`` for Croatian ``vrijeme``),
not counted in a corpus.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.identification.labels import rows

NATS_A_WORD: Final = 2.0
"""How much one word of a language adds to its log odds within the group."""

MOST_WORDS: Final = 12
"""Words beyond this many change nothing."""

HANDICAP: Final = {"bos": 1}
"""Words that a language needs more than its neighbours. Every Bosnian word is Croatian or Serbian too, so on equal
counts one of these is likelier; Bosnian proves itself by words of both."""

_WORD: Final = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Group:
    """Languages to tell apart, and a pattern for the words of each set of them."""

    languages: tuple[str, ...]
    markers: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]

    def words(self, text: str) -> dict[str, int]:
        """How many words of the text each language has that another of the group hasn't."""
        found = dict.fromkeys(self.languages, 0)
        for word in _WORD.findall(_plain(text)):
            for owners, pattern in self.markers:
                if pattern.fullmatch(word):
                    for owner in owners:
                        found[owner] += 1
        return found


@lru_cache(maxsize=1)
def groups() -> tuple[Group, ...]:
    """All groups of ``markers.tsv``."""
    sets: dict[tuple[str, ...], list[tuple[tuple[str, ...], re.Pattern[str]]]] = {}
    for owners, members, words in rows("markers.tsv"):
        patterns = "|".join(re.escape(_plain(word)).replace(r"\*", r"\w*") for word in words.split())
        sets.setdefault(tuple(members.split(",")), []).append((tuple(owners.split(",")), re.compile(patterns)))
    return tuple(Group(members, tuple(markers)) for members, markers in sets.items())


def settle(probabilities: NDArray[np.float64], places: Mapping[str, int], text: str) -> None:
    """Share out anew, in place, what a group's languages have together, by the words found in the text.

    ``probabilities``: (languages,) of one text; ``places``: the index of each language. Only the group that the likely
    language belongs to is looked at.
    """
    best = int(probabilities.argmax())
    for group in groups():
        members = [places[code] for code in group.languages]
        if best not in members:
            continue
        words = group.words(text)
        if not any(words.values()):
            return
        counts = np.array([words[code] - HANDICAP.get(code, 0) for code in group.languages], float)
        excess = np.minimum(counts.max() - counts, MOST_WORDS)
        share = np.sqrt(probabilities[members] + 1e-6) * np.exp(-NATS_A_WORD * excess)
        probabilities[members] = probabilities[members].sum() * share / share.sum()
        return


def _plain(text: str) -> str:
    """Small letters without accents: web text often lacks them, and the two Greeks write theirs differently."""
    return "".join(mark for mark in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(mark))
