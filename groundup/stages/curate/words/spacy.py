"""spaCy's words, exactly, at the price of a table look-up.

datatrove takes English words from ``spacy.blank("en")``: tokens with the white space stripped, empty ones dropped. That
tokenizer works on each white-space-delimited chunk alone, but for one thing: emoticons and abbreviations (special
cases) are also looked for across chunks (``Tokenizer._apply_special_cases``), where a longer match hides a shorter one:
in "x:) )" the smiley is not found. Rows where that can happen are handed to spaCy whole.

Chunks on which spaCy's rules take quadratic time are one word: those longer than ``LONGEST`` bytes, and those with so
many marks at their ends that marks times characters are more than ``MOST_WORK``. That is the one difference from spaCy.
"""

from __future__ import annotations

import re
import threading
from functools import cache
from importlib import metadata
from itertools import takewhile
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import missing_extra
from groundup.stages.curate.engine.columns import Texts
from groundup.stages.curate.words import chunks as kernels
from groundup.stages.curate.words.chunks import Chunks, Known, Pieces
from groundup.stages.curate.words.classes import table
from groundup.stages.curate.words.kernels import BASE
from groundup.stages.curate.words.words import Words

EXTRA: Final = "spacy"
_TOGETHER: Final = 1000
_MARKS: Final = re.compile(r"[\W_]*")
LONGEST: Final = 20_000
MOST_WORK: Final = 2_000_000
MAX_ENTRIES: Final = 2_000_000
"""The table is emptied between batches when it holds more chunks than this (about 100 bytes each)."""


def split_spacy(texts: Texts, skip: NDArray[np.bool_], language: str) -> Words:
    """The words of every row as spaCy's blank pipeline of ``language`` ("en", "fr", ...) cuts them.

    Raises :class:`RequestError` if spaCy is not installed.
    """
    memory = _memory(language)
    with memory.lock:
        return memory.split(texts, skip)


def forget() -> None:
    """Empty all tables of chunks: the next text is split as in a new process. For measurements."""
    _memory.cache_clear()


@cache
def _memory(language: str) -> _Memory:
    return _Memory(language)


class _Joins(NamedTuple):
    """When neighbouring chunks may be one special case: for each special case, the tokens that bind it."""

    behind: dict[str, frozenset[bytes]]
    before: dict[str, frozenset[bytes]]


class _Memory:
    """The chunks seen so far and their tokens; both arrays grow."""

    def __init__(self, language: str) -> None:
        self.lock = threading.Lock()
        self._nlp = _blank(language)
        # Only for English was it checked which chunks are one token without asking spaCy.
        self._simple = language == "en"
        self._joins = _joins(self._nlp.tokenizer)
        self._forget()

    def _forget(self) -> None:
        size = 1 << 15
        self._entries = self._count = 0
        self._known = Known(
            np.full(2 * size, -1, np.int32),
            np.zeros(size, np.uint64),
            np.zeros(size, np.int32),
            np.zeros(size, np.int64),
        )
        self._pieces = Pieces(
            np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.uint64), np.zeros(size, np.uint8)
        )
        self._needs: dict[int, tuple[set[bytes], set[bytes]]] = {}
        self._bound = np.zeros(size, np.bool_)
        for text in sorted(self._nlp.tokenizer.rules):
            if not any(character.isspace() for character in text):
                self._add(text.encode(), [token.text for token in self._nlp.tokenizer(text)], _hash(text.encode()))
        self._rebuild()

    def split(self, texts: Texts, skip: NDArray[np.bool_]) -> Words:
        """All rows' words."""
        if self._entries > MAX_ENTRIES:
            self._forget()
        data, offsets = texts
        rows = len(offsets) - 1
        room = int(offsets[-1] - offsets[0] + rows + 1) // 2 + 1
        starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
        bounds = np.zeros(rows + 1, np.int64)
        chunks = Chunks(np.empty(room, np.int32), starts, ends, np.empty(room, np.bool_), bounds)
        row = 0
        while row < rows:
            before = self._entries
            row, self._entries = kernels.find_chunks(
                texts, skip, table(), row, before, self._simple, self._known, chunks
            )
            self._learn(data, chunks, before)
            if row < rows:
                self._grow(self._entries + int(offsets[row + 1] - offsets[row] + 1) // 2 + 1)
        self._apart(texts, chunks)
        entries = chunks.entries[: bounds[-1]]
        words = Words.empty(int(self._known.counts[entries].sum()), rows)
        kernels.emit_words(offsets, chunks, self._known, self._pieces, words)
        return words

    def _learn(self, data: NDArray[np.uint8], chunks: Chunks, before: int) -> None:
        """Fill in the entries from ``before`` on: their pieces, by spaCy where the kernel did not know them."""
        new = np.arange(before, self._entries)
        at_chunk = self._known.firsts[new]
        begins, ends = chunks.starts[at_chunk], chunks.ends[at_chunk]
        split: list[tuple[int, ...]] = [()] * len(new)
        asked: list[int] = []
        for at, (count, first, last) in enumerate(
            zip(self._known.counts[new].tolist(), begins.tolist(), ends.tolist(), strict=True)
        ):
            if count == kernels.UNKNOWN:
                asked.append(at)
            size = -2 - count if count < kernels.UNKNOWN else last - first
            split[at] = (size,) if first + size == last else (size, last - first - size)
        unknown = [data[begins[at] : ends[at]].tobytes() for at in asked]
        for at, tokens in zip(asked, self._tokenize(unknown), strict=True):
            if len(tokens) > 1:
                split[at] = tuple(len(token.encode()) for token in tokens)
                needs = self._neighbours(tokens)
                if needs[0] or needs[1]:
                    self._bound[before + at], self._needs[before + at] = True, needs
        counts = np.fromiter(map(len, split), np.int32, len(split))
        sizes = np.fromiter((size for sizes in split for size in sizes), np.int32)
        # A piece begins where its chunk begins, plus the pieces of the chunk before it.
        gone = np.cumsum(sizes, dtype=np.int64) - sizes
        heads = np.cumsum(counts, dtype=np.int64) - counts
        starts = np.repeat(begins - gone[heads], counts) + gone if len(new) else begins
        self._known.firsts[new] = self._measure(data, starts, sizes) + heads
        self._known.counts[new] = counts

    def _measure(self, data: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int32]) -> int:
        """Append pieces that begin at ``starts`` in ``data``; returns the number of the first."""
        first, self._count = self._count, self._count + len(starts)
        while self._count > len(self._pieces.sizes):
            old = self._pieces
            self._pieces = Pieces(*(_doubled(values) for values in old))
        self._pieces.sizes[first : self._count] = sizes
        kernels.measure_pieces(data, starts, first, table(), self._pieces)
        return first

    def _tokenize(self, chunks: list[bytes]) -> list[list[str]]:
        """The tokens of each chunk, as if it stood alone; none where a chunk is not to be cut."""
        texts = ["" if len(chunk) > LONGEST or _is_costly(text := _text(chunk)) else text for chunk in chunks]
        split: list[list[str]] = []
        with self._nlp.memory_zone():
            for first in range(0, len(texts), _TOGETHER):
                # A line feed is a token by itself, and in no special case: so chunks stay apart in one document.
                part = texts[first : first + _TOGETHER]
                tokens = iter(self._nlp.tokenizer("\n".join(text or "-" for text in part)))
                for text in part:
                    own = [token.text for token in takewhile(_not_space, tokens)]
                    split.append(own if text else [])
        return split

    def _neighbours(self, tokens: list[str]) -> tuple[set[bytes], set[bytes]]:
        """What must stand (behind, before) the chunk to make a longer special case of one at its end or beginning."""
        behind, before, whole = set[bytes](), set[bytes](), "".join(tokens)
        for size in range(1, min(4, len(tokens)) + 1):
            if (tail := "".join(tokens[-size:])) != whole:
                behind |= self._joins.behind.get(tail, frozenset())
            if (head := "".join(tokens[:size])) != whole:
                before |= self._joins.before.get(head, frozenset())
        return behind, before

    def _apart(self, texts: Texts, chunks: Chunks) -> None:
        """Where a special case may reach across chunks, take the tokens of the whole row from spaCy."""
        data, offsets = texts
        bounds, starts, ends = chunks.bounds, chunks.starts, chunks.ends
        suspects = np.flatnonzero(self._bound[chunks.entries[: bounds[-1]]])
        rows = np.searchsorted(bounds, suspects, side="right") - 1
        joined = set[int]()
        for chunk, row in zip(suspects.tolist(), rows.tolist(), strict=True):
            behind, before = self._needs[int(chunks.entries[chunk])]
            if chunk + 1 < bounds[row + 1]:
                follower = data[starts[chunk + 1] : ends[chunk + 1]].tobytes()
                joined |= {row} if follower.startswith(tuple(behind)) else set()
            if chunk > bounds[row]:
                leader = data[starts[chunk - 1] : ends[chunk - 1]].tobytes()
                joined |= {row} if leader.endswith(tuple(before)) else set()
        for row in sorted(joined):
            with self._nlp.memory_zone():
                document = self._nlp.tokenizer(_text(data[offsets[row] : offsets[row + 1]].tobytes()))
                tokens = [token.text for token in document if not token.is_space]
            at = 0
            for chunk in range(bounds[row], bounds[row + 1]):
                left, own = int(ends[chunk] - starts[chunk]), list[str]()
                while left > 0:
                    own.append(tokens[at])
                    left -= len(tokens[at].encode())
                    at += 1
                if self._tokenize(["".join(own).encode()])[0] != own:
                    chunks.entries[chunk] = self._add(data[starts[chunk] : ends[chunk]].tobytes(), own, key=0)

    def _add(self, chunk: bytes, tokens: list[str], key: int) -> int:
        """A new entry; with ``key`` 0 it is for one place only and not found again."""
        if self._entries == len(self._known.keys):
            self._grow(self._entries + 1)
        data = np.frombuffer(chunk, np.uint8)
        sizes = np.array([len(token.encode()) for token in tokens], np.int32)
        number = self._entries
        self._known.keys[number], self._known.counts[number] = key, len(tokens)
        self._known.firsts[number] = self._measure(data, np.cumsum(sizes, dtype=np.int64) - sizes, sizes)
        self._entries += 1
        return number

    def _grow(self, entries: int) -> None:
        while entries > len(self._known.keys):
            slots, keys, counts, firsts = self._known
            self._known = Known(slots, _doubled(keys), _doubled(counts), _doubled(firsts))
            self._bound = _doubled(self._bound)
        self._rebuild()

    def _rebuild(self) -> None:
        slots = np.empty(2 * len(self._known.keys), np.int32)
        kernels.rebuild(slots, self._known.keys, self._entries)
        self._known = self._known._replace(slots=slots)


def _joins(tokenizer: Any) -> _Joins:
    """Which special cases can share a token with another one that goes on behind, or begins before, them.

    spaCy's matcher looks for special cases in tokens made without special cases; only those that have an affix in them
    are looked for.
    """
    from spacy.tokenizer import Tokenizer  # type: ignore[import-not-found, unused-ignore]

    bare = Tokenizer(
        tokenizer.vocab,
        rules={},
        prefix_search=tokenizer.prefix_search,
        suffix_search=tokenizer.suffix_search,
        infix_finditer=tokenizer.infix_finditer,
        token_match=tokenizer.token_match,
        url_match=tokenizer.url_match,
    )
    parts = {text: [token.text for token in bare(text)] for text in tokenizer.rules if not text.isspace()}
    parts = {text: tokens for text, tokens in parts.items() if len(tokens) > 1 or tokenizer.find_prefix(text)}
    changed = {text for text, tokens in parts.items() if [token.text for token in tokenizer(text)] != tokens}
    back = {text: tokens[::-1] for text, tokens in parts.items()}
    return _Joins(_continued(parts, changed), _continued(back, changed))


def _continued(parts: dict[str, list[str]], changed: set[str]) -> dict[str, frozenset[bytes]]:
    """For each special case the tokens that would stand behind it if another lay over its end and went on.

    The other begins inside it (a prefix of the other is its end), or before it (it lies whole within the other).
    """
    prefixes: dict[tuple[str, ...], set[bytes]] = {}
    inner: dict[tuple[str, ...], set[bytes]] = {}
    for tokens in parts.values():
        for last in range(1, len(tokens)):
            prefixes.setdefault(tuple(tokens[:last]), set()).add(tokens[last].encode())
            for first in range(1, last):
                inner.setdefault(tuple(tokens[first:last]), set()).add(tokens[last].encode())
    found: dict[str, frozenset[bytes]] = {}
    for text in changed:
        own = tuple(parts[text])
        behind = set(inner.get(own, ()))
        for first in range(len(own)):
            behind |= prefixes.get(own[first:], set())
        if behind:
            found[text] = frozenset(behind)
    return found


def _blank(language: str) -> Any:
    try:
        import spacy  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:
        raise missing_extra("spacy", EXTRA) from None
    nlp = spacy.blank(language)
    # A new word costs most for its twenty attributes (shape, like_num, …), of which one is looked at here.
    space, vocab = spacy.attrs.IS_SPACE, cast(Any, nlp.vocab)  # its stubs don't know the getters
    vocab.lex_attr_getters = {space: vocab.lex_attr_getters[space]}
    return nlp


def _hash(text: bytes) -> int:
    value = 0
    for byte in text:
        value = (value * BASE + byte + 1) % 2**64
    return value or 1


def _text(data: bytes) -> str:
    """The text as spaCy gets it, empty if it is not UTF-8. Its lengths are those of ``data``.

    The word IS_ALPHA is spelt otherwise: its number in spaCy is one that the hash tables under it use for themselves,
    so that it outlives its memory zone and corrupts what comes after (datatrove takes the word out when spaCy fails).
    """
    try:
        return data.decode().replace("IS_ALPHA", "IS_ALPHB")
    except UnicodeDecodeError:
        return ""


def _is_costly(text: str) -> bool:
    """Whether spaCy would take too long: it takes marks off the ends one by one, and looks at all that is left."""
    if len(text) < 1000:
        return False
    ends = _MARKS.match(text), _MARKS.match(text[::-1])
    return sum(end.end() for end in ends if end) * len(text) > MOST_WORK


def _not_space(token: Any) -> bool:
    return not token.is_space


def _doubled(values: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([values, np.zeros_like(values)])


def version() -> str:
    """The installed spaCy's version, without importing it. Raises :class:`RequestError` if there is none."""
    try:
        return metadata.version("spacy")
    except metadata.PackageNotFoundError:
        raise missing_extra("spacy", EXTRA) from None
