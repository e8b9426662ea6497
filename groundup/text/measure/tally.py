"""Counting what a tokenizer makes of texts, in one pass: by language, script and source, and each entry's uses.

Memory is bounded by the number of groups, the size of the vocabulary, and one batch of texts.

- *bytes a token*: UTF-8 bytes of the text over tokens, the compression.
- *fertility*: tokens a word (Rust et al. 2021, section 3). Words stand between white space; for scripts that write
  without spaces characters are counted instead (:data:`UNSPACED`), so these are compared among themselves only.
- *premium*: how many times the tokens of the language with the fewest a language needs (Petrov et al. 2023,
  arXiv 2305.15425, section 2, there relative to English). Exact on parallel text; else for an equal number of bytes,
  which favours scripts that take two or three bytes a letter: it understates what their speakers pay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from groundup.text.measure.scripts import UNSPACED, count_words, script_of

UNLABELLED: Final = "und"
"""ISO 639-2 for an undetermined language."""
_BATCH_BYTES: Final = 1 << 20
_BATCH_ROWS: Final = 512


class Encoder(Protocol):
    """What is measured: a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Entries, special tokens among them."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts."""


@dataclass
class Tally:
    """Sums over the texts of a group. ``signs`` of its ``words`` are characters: where words don't stand apart."""

    documents: int = 0
    bytes: int = 0
    chars: int = 0
    tokens: int = 0
    words: int = 0
    signs: int = 0

    @property
    def bytes_per_token(self) -> float:
        """Compression; 0 without tokens."""
        return self.bytes / self.tokens if self.tokens else 0.0

    @property
    def tokens_per_word(self) -> float:
        """Fertility: tokens a word, or a character where words don't stand apart; 0 without words."""
        return self.tokens / self.words if self.words else 0.0

    @property
    def counts_words(self) -> bool:
        """Whether ``words`` are words in all texts; a group may have characters in some, or in all."""
        return not self.signs

    @property
    def counts_both(self) -> bool:
        """Whether ``words`` are words in some texts and characters in others: then fertility says nothing."""
        return 0 < self.signs < self.words

    def merge(self, other: Tally) -> None:
        """Count another group's texts too."""
        self.documents += other.documents
        self.bytes += other.bytes
        self.chars += other.chars
        self.tokens += other.tokens
        self.words += other.words
        self.signs += other.signs


@dataclass
class Measured:
    """What a pass found. ``uses`` int64 (vocab_size,): how often each entry was used.

    ``parallel`` holds the tokens of each content by language, for rows that name their ``content``.
    """

    uses: NDArray[np.int64]
    all: Tally = field(default_factory=Tally)
    by_language: dict[str, Tally] = field(default_factory=dict)
    by_script: dict[str, Tally] = field(default_factory=dict)
    by_source: dict[str, Tally] = field(default_factory=dict)
    parallel: dict[str, dict[str, int]] = field(default_factory=dict)
    others: dict[str, Tally] = field(default_factory=dict)
    spaced: Tally = field(default_factory=Tally)

    def premiums(self) -> dict[str, float]:
        """Tokens for an equal number of bytes, or for the same content where it is parallel, over the fewest.

        A language of which the tokenizer knows nothing is no measure for the others.
        """
        costs = self.costs()
        least = min(filter(None, costs.values()), default=0.0)
        return {name: cost / least for name, cost in costs.items()} if least else {}

    def costs(self) -> dict[str, float]:
        """Tokens for all contents that every language has, if any, else tokens a byte; by language."""
        if self.is_parallel:
            shared = [by for by in self.parallel.values() if len(by) == len(self.by_language)]
            return {name: float(sum(by[name] for by in shared)) for name in sorted(self.by_language)}
        return {name: one.tokens / one.bytes for name, one in sorted(self.by_language.items()) if one.bytes}

    @property
    def is_parallel(self) -> bool:
        """Whether there is content that every language has."""
        return len(self.by_language) > 1 and any(len(by) == len(self.by_language) for by in self.parallel.values())


def measure(
    tokenizer: Encoder,
    rows: Iterable[Mapping[str, Any]],
    others: Mapping[str, Encoder] | None = None,
    compare_bytes: int = 4 << 20,
) -> Measured:
    """Encode every row (``text``, and where known ``language``, ``source``, ``content``) and count.

    ``others`` encode the first ``compare_bytes`` of text only, beside this tokenizer under the name ``""``.
    """
    found = Measured(np.zeros(tokenizer.vocab_size, np.int64))
    others = others or {}
    for batch in _batches(rows):
        texts = [str(row["text"]) for row in batch]
        encoded = tokenizer.encode_batch(texts)
        for row, text, ids in zip(batch, texts, encoded, strict=True):
            _count(found, row, text, len(ids))
        flat = np.fromiter((token for ids in encoded for token in ids), np.int64)
        found.uses += np.bincount(flat, minlength=len(found.uses))
        if others and found.others.get("", _NONE).bytes < compare_bytes:
            for name, other in {"": tokenizer, **others}.items():
                tally = found.others.setdefault(name, Tally())
                counts = map(len, encoded if other is tokenizer else other.encode_batch(texts))
                for text, tokens in zip(texts, counts, strict=True):
                    tally.merge(Tally(1, len(text.encode()), len(text), tokens))
    return found


_NONE: Final = Tally()


def _count(found: Measured, row: Mapping[str, Any], text: str, tokens: int) -> None:
    language = str(row.get("language") or UNLABELLED)
    script = script_of(language, text)
    words = count_words(text, script)
    one = Tally(1, len(text.encode()), len(text), tokens, words, words if script in UNSPACED else 0)
    for group, name in (
        (found.by_language, language),
        (found.by_script, script),
        (found.by_source, str(row.get("source") or "")),
    ):
        group.setdefault(name, Tally()).merge(one)
    found.all.merge(one)
    if script not in UNSPACED:
        found.spaced.merge(one)
    if content := row.get("content"):
        by = found.parallel.setdefault(str(content), {})
        by[language] = by.get(language, 0) + tokens


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows together until they hold about a mebibyte of text."""
    batch: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row["text"])
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def gini(values: Iterable[float]) -> float:
    """The Gini coefficient of what each language pays: 0 if all pay the same, near 1 if one pays all.

    Half the mean difference of all pairs over the mean (Foroutan et al. 2025, arXiv 2508.04796, use it so).

    >>> gini([2, 2, 2]), round(gini([0, 0, 0, 1]), 2)
    (0.0, 0.75)
    """
    ordered = sorted(values)
    total, number = sum(ordered), len(ordered)
    if not total:
        return 0.0
    return sum((2 * place - number + 1) * value for place, value in enumerate(ordered)) / (number * total)
