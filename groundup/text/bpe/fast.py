"""Byte-level BPE, compiled: the ids that the ``tokenizers`` library gives, many times as fast.

What makes it fast: text is read where it lies in Arrow's buffers, cut by an automaton instead of a backtracking
matcher, and a piece that was seen before costs one look into a table; no piece is an object. What makes it exact:
pieces are compared byte by byte, and the table only remembers what the merges gave, so that ids never depend on it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import DataError
from groundup.text.bpe import encode_kernels as kernels
from groundup.text.bpe.byte_level import ALPHABET, unspell
from groundup.text.bpe.columns import Texts, chunks
from groundup.text.bpe.encode_kernels import COUNT, NEEDED, NEEDS_MEMORY, NEEDS_OUT, NEEDS_SCRATCH, Memory, Model
from groundup.text.bpe.encoded import Encoded
from groundup.text.bpe.left_out import LeftOut
from groundup.text.bpe.merge_kernels import NONE, Merges, Scratch, fill
from groundup.text.bpe.pattern import CannotCompileError
from groundup.text.bpe.splitter import Splitter
from groundup.text.bpe.table import PieceTable
from groundup.text.bpe.table_kernels import Table

MEMORY_LIMIT: Final = 96 * 2**20
"""Bytes of remembered pieces above which all are forgotten, and remembering begins anew."""
NO_ID: Final = -1
"""Of a byte that the vocabulary lacks: texts with it are left out."""
_OUT: Final = 1 << 20
_FIRST_IDS: Final = 1 << 16
_FIRST_SCRATCH: Final = 1 << 12

_UNUSED: Final = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")


class FastEncoder:
    """Encodes columns of text. One column at a time: threads that share an encoder wait for each other.

    As :class:`~groundup.text.tokenizer.Tokenizer` has it, special tokens are never made from text.
    """

    def __init__(self, splitter: Splitter, model: Model, left_out: LeftOut) -> None:
        self._splitter = splitter
        self._model = model
        self._left_out = left_out
        self._lock = threading.Lock()
        self._table = PieceTable(width=4)
        self._ids = np.empty(_FIRST_IDS, np.uint32)
        self._used = np.zeros(1, np.int64)
        self._limit = MEMORY_LIMIT

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> FastEncoder:
        """From what a ``tokenizer.json`` holds; CannotCompileError with the reason if the library is needed."""
        if description.get("truncation") or description.get("padding"):
            raise CannotCompileError("truncation or padding")
        splitter, model = Splitter.parse(description.get("pre_tokenizer")), _model(description["model"])
        return cls(splitter, model, LeftOut.parse(description))

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> FastEncoder | None:
        """As :meth:`parse`; None if the library is needed."""
        try:
            return cls.parse(description)
        except CannotCompileError:
            return None

    @property
    def nbytes(self) -> int:
        """Memory of what is remembered, now."""
        return self._table.nbytes + self._ids.nbytes

    def leaves_out(self, texts: Any) -> NDArray[np.bool_]:
        """Rows that only the library can encode: in another form than NFC, with added tokens, or with bytes unknown."""
        return self._left_out.rows(texts)

    def encode(self, texts: Any, skip: NDArray[np.bool_] | None = None) -> Encoded:
        """The ids of a column of strings (Array or ChunkedArray; nulls are empty), those of ``skip`` without any.

        DataError if ``skip`` isn't given and there are rows that :meth:`leaves_out` names.
        """
        if skip is None:
            skip = self.leaves_out(texts)
            if skip.any():
                raise DataError("some texts can only be encoded by the library")
        parts: list[NDArray[np.uint32]] = []
        bounds = [np.zeros(1, np.int64)]
        done = written = 0
        with self._lock:
            for chunk in chunks(self._splitter.prepared(texts)):
                rows = len(chunk.offsets) - 1
                found = self._encode(chunk, skip[done : done + rows], parts)
                bounds.append(written + found[1:])
                written += int(found[-1])
                done += rows
        return Encoded(np.concatenate([np.empty(0, np.uint32), *parts]), np.concatenate(bounds))

    def _encode(self, texts: Texts, skip: NDArray[np.bool_], parts: list[NDArray[np.uint32]]) -> NDArray[np.int64]:
        """Append the ids of a chunk to ``parts``; the bounds of its rows."""
        split = self._splitter.split
        chain, scratch = self._splitter.chain(), Scratch.of(_FIRST_SCRATCH)
        position = np.array([0, -1, 0, 0], np.int64)
        bounds = np.zeros(len(texts.offsets), np.int64)
        written = 0
        size = int(texts.offsets[-1] - texts.offsets[0])
        out = np.empty(min(_OUT, size + 16), np.uint32)
        while True:
            first = int(position[0])
            memory = Memory(self._table.table, self._ids, self._used)
            reason = kernels.encode_rows(texts, skip, split, self._model, memory, chain, scratch, position, out, bounds)
            bounds[first + 1 : int(position[0]) + 1] += written
            if reason == NEEDS_MEMORY:
                self._make_room(int(position[NEEDED]))
                continue
            if reason == NEEDS_SCRATCH:
                scratch = Scratch.of(int(position[NEEDED]))
                continue
            parts.append(out[: position[COUNT]].copy())
            written += int(position[COUNT])
            position[COUNT] = 0
            if reason != NEEDS_OUT:
                return bounds
            if position[NEEDED] + 16 > len(out):
                out = np.empty(int(position[NEEDED]) + 16, np.uint32)

    def _make_room(self, size: int) -> None:
        if self.nbytes > self._limit // 2:  # what grows, doubles
            self._forget()
        if self._used[0] + size > len(self._ids):
            self._ids = np.concatenate([self._ids, np.empty_like(self._ids)])
        self._table.make_room(size)

    def _forget(self) -> None:
        self._table.clear()
        self._ids = np.empty(_FIRST_IDS, np.uint32)
        self._used[0] = 0


def _model(model: Mapping[str, Any]) -> Model:
    """The merges of a BPE model; CannotCompileError if it is of another kind."""
    if model.get("type", "BPE") != "BPE" or any(model.get(name) for name in _UNUSED):
        raise CannotCompileError("a model that is no plain BPE")
    vocab: dict[str, int] = model["vocab"]
    if len(set(vocab.values())) < len(vocab):
        raise CannotCompileError("two tokens of one id")
    try:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        ids = np.array([(vocab[left], vocab[right]) for left, right in pairs], np.int64).reshape(-1, 2)
        made = np.array([vocab[left + right] for left, right in pairs], np.int32)
    except (KeyError, ValueError):
        raise CannotCompileError("merges of tokens that are not in the vocabulary") from None
    byte_ids = np.array([vocab.get(character, NO_ID) for character in ALPHABET], np.int32)
    return Model(_merges(byte_ids, ids, made), _whole(vocab if model.get("ignore_merges") else {}))


def _merges(byte_ids: NDArray[np.int32], pairs: NDArray[np.int64], made: NDArray[np.int32]) -> Merges:
    slots = 1 << max(4, (4 * len(pairs)).bit_length())
    keys, ranks = np.empty(slots, np.uint64), np.full(slots, NONE, np.int32)
    fill(keys, ranks, pairs)
    first = np.full(65536, NONE, np.int32)
    byte_of = np.full(int(max(byte_ids.max(), pairs.max(initial=0))) + 1, -1, np.int64)
    there = np.nonzero(byte_ids != NO_ID)[0]
    byte_of[byte_ids[there]] = there
    left, right = byte_of[pairs[:, 0]], byte_of[pairs[:, 1]]
    both = (left >= 0) & (right >= 0)
    first[left[both] << 8 | right[both]] = np.nonzero(both)[0]
    return Merges(byte_ids, first, keys, ranks, made)


def _whole(vocab: Mapping[str, int]) -> Table:
    """A table of the tokens by their bytes; those that can't be spelled by bytes are no piece of text."""
    spelled = [(piece, index) for token, index in vocab.items() if (piece := unspell(token))]
    offsets = np.zeros(len(spelled) + 1, np.int64)
    np.cumsum([len(piece) for piece, _ in spelled], out=offsets[1:])
    table = Table(
        np.zeros((2 << len(spelled).bit_length(), 3), np.uint64),
        np.empty(int(offsets[-1]) + 1, np.uint8),
        np.zeros(len(spelled) + 2, np.int64),
        np.zeros(3, np.int64),
    )
    data = np.frombuffer(b"".join(piece for piece, _ in spelled) or b"\0", np.uint8)
    kernels.fill_whole(table, data, offsets, np.array([index for _, index in spelled], np.int64))
    return table
