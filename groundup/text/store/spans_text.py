"""A text made ready to be looked up in an index of spans: its bytes as tokens spell them, and its k-grams.

Tokens are looked up, bytes are compared: where a document goes on inside a word, its tokens at the edge are others than
those of the text that ends there, though the letters are the same. So the k-grams of a text are those of its own
tokens, and at both ends those of every way in which the few bytes there can be cut into tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from groundup.base.errors import DataError
from groundup.text.store.spans import GRAM, grams_of
from groundup.text.store.spans_kernels import Hashes, Numbers
from groundup.text.tokenizer import Tokenizer
from groundup.text.well_formed import well_formed

_EDGE: Final = 16
"""Bytes at an end of a text that are cut in every way: longer than all but a few tokens."""
_WAYS: Final = 256
"""Ways of cutting them that are tried, those of fewest tokens first."""
_SHIFTS: Final = 4
"""Characters after which the whole text is tokenised once more: numbers are cut into threes from their first digit."""
_NEAR: Final = 256
"""Characters that are tokenised once more behind a later one of the first."""

_NO_TEXT: Final = b"\xff"

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Spelled:
    """A vocabulary as bytes: id i is ``data[at[i]:at[i + 1]]``, nothing if it is in ``stops``, bool (vocab,).

    Stops are the special tokens, and the one for what a tokenizer doesn't know: it stands for any text.

    ``exact`` is False where the tokenizer doesn't say how tokens are spelled: then each id stands for itself, and
    stretches are found by whole tokens only.
    """

    data: Bytes
    at: Numbers
    stops: npt.NDArray[np.bool_]
    ids: dict[bytes, int]
    exact: bool

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Spelled:
        """The vocabulary of a tokenizer."""
        special = {*tokenizer.special_tokens.values(), *_unknown(tokenizer)}
        size = 1 + max([tokenizer.vocab_size - 1, *special])
        try:
            known, exact = tokenizer.pieces, True
        except DataError:
            known, exact = {index: b"%08x" % index for index in range(size)}, False
        pieces = [b"" if index in special else known.get(index, b"") for index in range(size)]
        at = np.zeros(size + 1, np.int64)
        np.cumsum([len(piece) for piece in pieces], out=at[1:])
        stops = np.array([not piece for piece in pieces])
        ids = {piece: index for index, piece in enumerate(pieces) if piece}
        return cls(np.frombuffer(b"".join(pieces), np.uint8), at, stops, ids, exact)

    def spell(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids; a stop is one byte that is in no text, so that nothing goes across it."""
        return b"".join(self.data[self.at[one] : self.at[one + 1]].tobytes() or _NO_TEXT for one in ids)

    def begins(self, ids: Numbers) -> Numbers:
        """Where each of ids (n,) begins in what they spell, and the end: int64 (n + 1,)."""
        begins = np.zeros(len(ids) + 1, np.int64)
        np.cumsum(np.maximum(1, self.at[ids + 1] - self.at[ids]), out=begins[1:])
        return begins


@dataclass(frozen=True)
class Grams:
    """The k-grams to look up: a hash (q,), a byte of the text (q,), and which of the k tokens begins there (q,)."""

    hashes: Hashes
    bytes: Numbers
    shifts: Numbers


@dataclass(frozen=True)
class Text:
    """A text of people's: ``data`` uint8 (m,) spells its ``ids`` (n,), which begin at ``begins`` int64 (n + 1,).

    Character c of ``text`` is made of the bytes from ``chars[0, c]`` to ``chars[1, c]``, int64 (2, characters).
    """

    text: str
    ids: Numbers
    data: Bytes
    begins: Numbers
    chars: Numbers
    grams: Grams

    @classmethod
    def read(cls, text: str, tokenizer: Tokenizer, spelled: Spelled) -> Text:
        """Tokenise a text; lone surrogates in it become U+FFFD."""
        text = well_formed(text)
        places = tokenizer.encode_spans(text)
        ids = np.array([token for token, _, _ in places], np.int64)
        begins = spelled.begins(ids)
        data = spelled.spell(ids.tolist())
        chars = _characters(text, data, begins, places)
        grams = _grams(text, data, ids, begins, tokenizer, spelled)
        return cls(text, ids, np.frombuffer(data, np.uint8), begins, chars, grams)

    def counts(self) -> tuple[Numbers, Numbers]:
        """How many tokens begin before each byte, and how many end there or before: int64 (m + 1,) each."""
        bytes_ = np.arange(len(self.data) + 1)
        return (
            np.searchsorted(self.begins[:-1], bytes_, side="left").astype(np.int64),
            np.searchsorted(self.begins[1:], bytes_, side="right").astype(np.int64),
        )

    def characters(self, start: int, end: int) -> tuple[int, int]:
        """The characters that lie whole within the bytes ``start`` to ``end``."""
        first = int(np.searchsorted(self.chars[0], start, side="left"))
        behind = int(np.searchsorted(self.chars[1], end, side="right"))
        return first, max(first, behind)


def _unknown(tokenizer: Tokenizer) -> list[int]:
    """The id of text that a tokenizer has no token for, if it has one."""
    model = tokenizer.describe()["model"]
    if model.get("unk_id") is not None:
        return [int(model["unk_id"])]
    index = tokenizer.backend.token_to_id(model["unk_token"]) if model.get("unk_token") else None
    return [] if index is None else [index]


def _characters(text: str, data: bytes, begins: Numbers, places: list[tuple[int, int, int]]) -> Numbers:
    """Where each character begins and ends in ``data``: int64 (2, characters).

    That of its UTF-8, if this is what the tokens spell, perhaps with a blank in front. A tokenizer that normalises text
    spells something else: there a character goes with the token that it belongs to, and is found whole or not at all.
    """
    plain = text.encode()
    ahead = len(data) - len(plain)
    if ahead >= 0 and data[:ahead].strip(b" ") == b"" and data[ahead:] == plain:
        sizes = np.ones(len(text), np.int64) if text.isascii() else np.array([len(char.encode()) for char in text])
        ends = ahead + np.cumsum(sizes, dtype=np.int64)
        return np.stack([ends - sizes, ends])
    chars = np.full((2, len(text)), -1, np.int64)
    for (_, start, end), first, behind in zip(places, begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        chars[1, start:end] = behind
        chars[0, start:end] = np.where(chars[0, start:end] < 0, first, chars[0, start:end])
    last = int(begins[-1])
    for char in range(len(text) - 1, -1, -1):  # what no token is made of goes with what follows
        if chars[0, char] < 0:
            chars[:, char] = last
        last = int(chars[0, char])
    return chars


def _grams(text: str, data: bytes, ids: Numbers, begins: Numbers, tokenizer: Tokenizer, spelled: Spelled) -> Grams:
    streams = [(ids.tolist(), 0)]
    if spelled.exact and len(ids):
        streams += _variants(text, data, ids.tolist(), begins.tolist(), tokenizer, spelled)
    streams = [(stream, first) for stream, first in streams if len(stream) >= GRAM]
    if not streams:
        return Grams(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    lengths = [len(stream) for stream, _ in streams]
    whole = np.fromiter(chain.from_iterable(stream for stream, _ in streams), np.int64, sum(lengths))
    which = np.repeat(np.arange(len(streams)), lengths)
    places = spelled.begins(whole)[:-1]
    places += (np.array([first for _, first in streams]) - places[np.cumsum(lengths) - lengths])[which]
    hashes = grams_of(whole)
    count = len(hashes)
    ahead = (places[:count] < 0).astype(np.int64)  # the leading blank of a variant is no byte of the text: look behind
    table = np.stack([hashes.view(np.int64), places[np.arange(count) + ahead], ahead])
    table = table[:, which[:count] == which[len(which) - count :]]
    order = np.lexsort(table)
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(table[:, order], axis=1) != 0).any(axis=0)
    once = table[:, np.sort(order[new])]
    return Grams(once[0].view(np.uint64), once[1].copy(), once[2].copy())


def _variants(
    text: str, data: bytes, ids: list[int], begins: list[int], tokenizer: Tokenizer, spelled: Spelled
) -> Iterator[tuple[list[int], int]]:
    """Other tokens for the same bytes, with the byte at which they begin: what a document around them may have had."""
    yield tokenizer.encode(" " + text), -1
    if data != text.encode():
        return
    for char in range(1, min(_EDGE, len(text) - 1) + 1):
        head = text[:char].encode()
        behind = tokenizer.encode(text[char:] if char <= _SHIFTS else text[char : char + _NEAR])
        for way in _ways(head, spelled, _WAYS // _EDGE) or [[]]:
            yield [*way, *behind], 0 if way else len(head)
    for cut in range(1, len(ids)):
        if begins[cut] > _EDGE:
            break
        for way in _ways(data[: begins[cut]], spelled, _WAYS):
            yield [*way, *ids[cut : cut + GRAM]], 0
    for cut in range(len(ids) - 1, -1, -1):
        if len(data) - begins[cut] > _EDGE:
            break
        before = max(0, cut - GRAM)
        for way in _ways(data[begins[cut] :], spelled, _WAYS):
            yield [*ids[before:cut], *way], begins[before]


def _ways(data: bytes, spelled: Spelled, most: int) -> list[list[int]]:
    """The ways of cutting bytes into tokens, ``most`` of them at most, those of few tokens first.

    Of each rest the best are kept, from the end to the beginning: a dynamic programme, for there are 2^n ways.
    """
    best: list[list[list[int]]] = [[] for _ in range(len(data) + 1)]
    best[len(data)] = [[]]
    for start in range(len(data) - 1, -1, -1):
        found: list[list[int]] = []
        for end in range(start + 1, len(data) + 1):
            token = spelled.ids.get(data[start:end])
            if token is not None:
                found += [[token, *way] for way in best[end]]
        best[start] = sorted(found, key=len)[:most]
    return best[0]
