"""Finding benchmark items inside training text by shared runs of words.

Brown et al. 2020 ("Language Models are Few-Shot Learners"), appendix C: words are lower-cased and punctuation is
ignored; a document that shares a run of 13 words with a test item is taken out; a run that more than 10 training
documents have in common is a set phrase ("once upon a time there was a ...") and no evidence. Our choices where
the paper leaves room:

- An item shorter than 13 words counts when the document holds all of it, from 5 words on. Below 5 words ("Who are
  you?") containment means nothing; such texts are left out of the index and counted in ``too_short``.
- A set phrase is no evidence, but a whole text of an item is, however many documents hold it: otherwise a
  benchmark that leaked often enough would be let through.
- The document goes as a whole. The paper cuts 200 characters around the match and keeps the rest, which suits
  documents of book length.

Runs are compared by 64-bit hashes, and each hash that matches is checked word by word.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

NGRAM_WORDS: Final = 13
SHORTEST_ITEM_WORDS: Final = 5
SET_PHRASE_DOCUMENTS: Final = 10

_APOSTROPHES: Final = str.maketrans("", "", "'’ʼ")
_WORD: Final = re.compile(r"[^\W_]+")
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Hit:
    """A document shares ``ngrams`` distinct runs of words with an item; ``whole`` if one of its texts is there in full.

    ``runs`` are the hashes of those runs, by which :func:`evidence` tells set phrases from leaks.
    """

    benchmark: str
    item_id: str
    ngrams: int
    whole: bool
    runs: frozenset[int]


def words_of(text: str) -> list[str]:
    """Lower-cased words; apostrophes vanish, all other punctuation separates.

    >>> words_of("Don't stop—it's 5 o'clock!")
    ['dont', 'stop', 'its', '5', 'oclock']
    """
    return _WORD.findall(text.lower().translate(_APOSTROPHES))


@lru_cache(maxsize=1 << 18)
def word_hash(word: str) -> int:
    """A 64-bit hash of a word that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class OverlapIndex:
    """The runs of words of benchmark items. Build once, then ask of any text which items it shares runs with."""

    def __init__(self, texts: Sequence[tuple[str, str, tuple[str, ...]]], too_short: int) -> None:
        """``texts``: (benchmark, item id, words), each of at least SHORTEST_ITEM_WORDS words."""
        self.too_short = too_short
        self._texts = tuple(texts)
        self._places: dict[int, list[tuple[int, int]]] = {}
        for number, (_, _, words) in enumerate(self._texts):
            length = min(len(words), NGRAM_WORDS)
            for start, run in enumerate(_runs(words, (length,))[length].tolist()):
                self._places.setdefault(run, []).append((number, start))
        self._lengths = tuple(sorted({min(len(words), NGRAM_WORDS) for _, _, words in self._texts}))
        self._sorted: Hashes = np.array(sorted(self._places), dtype=np.uint64)

    @classmethod
    def build(cls, items: Iterable[tuple[str, str, str]]) -> OverlapIndex:
        """An index of (benchmark, item id, text); one item may bring several texts."""
        split = [(benchmark, item, tuple(words_of(text))) for benchmark, item, text in items]
        long_enough = [entry for entry in split if len(entry[2]) >= SHORTEST_ITEM_WORDS]
        return cls(long_enough, len(split) - len(long_enough))

    @property
    def texts(self) -> list[str]:
        """The words of each text in the index, joined by spaces."""
        return [" ".join(words) for _, _, words in self._texts]

    def find(self, text: str) -> list[Hit]:
        """The items that ``text`` shares runs with, most shared runs first, ties by benchmark and item."""
        if not self._texts:
            return []
        words = words_of(text)
        found: dict[int, set[int]] = {}
        for length, hashes in _runs(words, self._lengths).items():
            at = np.searchsorted(self._sorted, hashes)
            at[at == len(self._sorted)] = 0
            for position in np.flatnonzero(self._sorted[at] == hashes).tolist():
                run = int(hashes[position])
                for number, start in self._places[run]:
                    if self._same(number, start, words, position, length):
                        found.setdefault(number, set()).add(run)
        return self._hits(found)

    def _same(self, number: int, start: int, words: list[str], position: int, length: int) -> bool:
        item = self._texts[number][2]
        if min(len(item), NGRAM_WORDS) != length:
            return False
        return item[start : start + length] == tuple(words[position : position + length])

    def _hits(self, found: dict[int, set[int]]) -> list[Hit]:
        shared: dict[tuple[str, str], set[int]] = {}
        whole: set[tuple[str, str]] = set()
        for number, runs in found.items():
            benchmark, item, words = self._texts[number]
            shared.setdefault((benchmark, item), set()).update(runs)
            length = min(len(words), NGRAM_WORDS)
            if runs.issuperset(_runs(words, (length,))[length].tolist()):
                whole.add((benchmark, item))
        hits = [Hit(*item, len(runs), item in whole, frozenset(runs)) for item, runs in shared.items()]
        return sorted(hits, key=lambda hit: (-hit.ngrams, hit.benchmark, hit.item_id))


def evidence(documents: Sequence[Sequence[Hit]], most: int = SET_PHRASE_DOCUMENTS) -> list[Hit | None]:
    """For each document its strongest hit, or None when all it shares with items are set phrases.

    A run that more than ``most`` of the documents hold is a set phrase; a whole item is evidence all the same.
    """
    spread = Counter(run for hits in documents for run in set().union(*(hit.runs for hit in hits)))
    phrases = frozenset(run for run, count in spread.items() if count > most)
    return [evidence_beyond(hits, phrases) for hits in documents]


def evidence_beyond(hits: Sequence[Hit], phrases: frozenset[int]) -> Hit | None:
    """The strongest of a document's hits that is a whole item, or shares a run that is no set phrase."""
    return next((hit for hit in hits if hit.whole or not hit.runs <= phrases), None)


def _runs(words: Sequence[str], lengths: Sequence[int]) -> dict[int, Hashes]:
    """The hash of every run of words, for each wanted length: {length: (len(words) - length + 1,) uint64}."""
    single: Hashes = np.fromiter((word_hash(word) for word in words), dtype=np.uint64, count=len(words))
    found: dict[int, Hashes] = {}
    rolling = single.copy()
    for length in range(1, max(lengths, default=0) + 1):
        if length > len(words):
            break
        if length > 1:
            rolling = rolling[:-1] * _FACTOR + single[length - 1 :]
        if length in lengths:
            found[length] = rolling
    return found
