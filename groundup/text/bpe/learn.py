"""Byte-level BPE merges from a table of counted words (Sennrich et al. 2016, algorithm 1; bytes as in GPT-2).

The result is that of ``tokenizers.trainers.BpeTrainer`` on the same counts: the most frequent pair first, of equals the
one with the least ids; special tokens first, then the 256 bytes in the order of the characters that spell them, then
what was merged. Counts are of 64 bits: the library's are of 32, and wrap silently (tokenizers#1170).

Memory, for words of n bytes in all: 4 bytes a byte of text, 8 to 12 for the places of pairs (4 a pair of neighbours
that still stand together, and room), 16 a word. The pairs of neighbours that there are take about 100 bytes each; of
text they are few. ``BYTES_A_POSITION`` and ``BYTES_A_WORD`` say what to reckon with; a test holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import DataError, RequestError
from groundup.text.bpe import learn_kernels as kernels
from groundup.text.bpe import learn_tables as tables
from groundup.text.bpe.byte_level import ALPHABET, spell, unspell
from groundup.text.bpe.learn_kernels import Pieces, Text
from groundup.text.bpe.learn_tables import Pairs, Queue

BYTES_A_POSITION: Final = 24
BYTES_A_WORD: Final = 34

Report = Callable[[int, int], None]
"""Called now and then with the entries that there are, and those that are wanted."""

_AT_ONCE: Final = 256
"""Merges between reports."""
_MOST_POSITIONS: Final = (1 << 31) - (1 << 20)
_MOST_COUNT: Final = 1 << 62


@dataclass(frozen=True)
class Vocabulary:
    """What was learned. ``pieces[i]`` is the bytes of id i, None for a special token of that id; ``merges`` are the
    pairs of ids in the order in which an encoder applies them, and the id of each pair's piece."""

    special_tokens: tuple[str, ...]
    pieces: tuple[bytes | None, ...]
    merges: tuple[tuple[int, int, int], ...]

    def spelling(self, index: int) -> str:
        """How ``tokenizer.json`` writes an id: a special token as it is, a byte as one character."""
        piece = self.pieces[index]
        return self.special_tokens[index] if piece is None else spell(piece)

    def model(self) -> dict[str, Any]:
        """The ``model`` of a ``tokenizer.json``."""
        words = [self.spelling(index) for index in range(len(self.pieces))]
        return {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {word: index for index, word in enumerate(words)},
            "merges": [[words[left], words[right]] for left, right, _ in self.merges],
        }


def learn(
    words: pa.Table,
    vocab_size: int,
    *,
    special_tokens: Sequence[str] = (),
    num_reserved: int = 0,
    min_frequency: int = 0,
    max_token_length: int | None = None,
    report: Report | None = None,
) -> Vocabulary:
    """Learn merges until there are ``vocab_size`` entries, special tokens, the 256 bytes and reserved ones among them.

    ``words`` has a column ``word`` (binary: UTF-8, as the splitter cut it) and ``count`` (int64). A pair that stands
    less than ``min_frequency`` times is not joined. ``max_token_length`` is that of the library: a pair is not
    considered once it has as many bytes, pairs of single bytes always are. The last ``num_reserved`` ids are left for
    others. DataError if the words don't support so many entries; RequestError if there is no room for the bytes.
    """
    special = tuple(special_tokens)
    least = len(special) + 256 + num_reserved
    if vocab_size < least:
        raise RequestError(
            f"vocab_size is {vocab_size}; {len(special) + num_reserved} special tokens and 256 bytes need {least}"
        )
    pieces: list[bytes | None] = [unspell(token) for token in special]
    ids = np.zeros(256, np.int32)
    for byte in sorted(range(256), key=lambda number: ALPHABET[number]):
        try:
            ids[byte] = pieces.index(bytes([byte]))
        except ValueError:
            ids[byte] = len(pieces)
            pieces.append(bytes([byte]))
    data, offsets, counts = _columns(words)
    learner = Learner.of_bytes(data, offsets, counts, ids, pieces)
    learner.run(vocab_size, min_frequency, max_token_length, report, num_reserved=num_reserved)
    return learner.vocabulary(special)


class Learner:
    """Words as tokens, and the pairs among them. Made by ``of_bytes`` or ``of_pieces``; ``run`` may be called once."""

    def __init__(self, state: NDArray[np.int64], text: Text, pieces: Pieces) -> None:
        self._state, self._text, self._pieces = state, text, pieces
        self._merges = np.zeros((0, 3), np.int32)
        self.nbytes = 0
        """The most bytes of arrays that there were at a time."""

    @classmethod
    def of_bytes(
        cls,
        data: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        counts: NDArray[np.int64],
        ids: NDArray[np.int32],
        pieces: Sequence[bytes | None],
    ) -> Learner:
        """Word w is ``data[offsets[w]:offsets[w + 1]]``, which isn't empty; ``ids`` (256,) is the id of each byte."""
        return cls._of(ids[data], offsets, np.diff(offsets), counts, pieces)

    @classmethod
    def of_pieces(
        cls,
        ids: NDArray[np.int32],
        offsets: NDArray[np.int64],
        counts: NDArray[np.int64],
        pieces: Sequence[bytes | None],
    ) -> Learner:
        """Word w is the tokens ``ids[offsets[w]:offsets[w + 1]]`` of a vocabulary that is to be extended.

        ``pieces`` are all its entries; None for those that no pair may be spelt like, such as special tokens.
        """
        sizes = np.array([0 if piece is None else len(piece) for piece in pieces], np.int64)
        before = np.concatenate([[0], np.cumsum(sizes[ids])])
        return cls._of(ids, offsets, before[offsets[1:]] - before[offsets[:-1]], counts, pieces)

    @classmethod
    def _of(
        cls,
        ids: NDArray[np.int32],
        offsets: NDArray[np.int64],
        sizes: NDArray[np.int64],
        counts: NDArray[np.int64],
        pieces: Sequence[bytes | None],
    ) -> Learner:
        text = _room(sizes, counts)
        state, spelling = _spelling(pieces)
        kernels.lay_out(ids, offsets, spelling, text)
        return cls(state, text, spelling)

    def run(
        self,
        vocab_size: int,
        min_frequency: int = 0,
        max_token_length: int | None = None,
        report: Report | None = None,
        *,
        num_reserved: int = 0,
    ) -> None:
        """Learn until there are ``vocab_size`` entries with those reserved; DataError if the words support fewer."""
        state = self._state
        wished, vocab_size = vocab_size, vocab_size - num_reserved
        longest = 1 << 62 if max_token_length is None else max_token_length
        most = min(vocab_size, int(state[tables.IDS]) + len(self._text.symbols))  # a new entry takes a place at least
        self._pieces = _entries(state, self._pieces, most)
        self._merges = np.zeros((max(1, most), 3), np.int32)
        pairs, queue, positions = self._count()
        events = kernels.Events(np.zeros(1 << 12, np.int64), np.zeros(1 << 12, np.int32))
        while True:
            self._measure(pairs, queue, positions, events)
            why = kernels.merge(
                state, self._text, self._pieces, pairs, queue, positions, events, self._merges,
                vocab_size, min_frequency, longest, _AT_ONCE,
            )  # fmt: skip
            if report is not None:
                report(int(state[tables.IDS]), vocab_size)
            wanted = int(state[tables.WANTED])
            if why == kernels.FULL:
                return
            if why == kernels.EXHAUSTED:
                raise DataError(
                    f"the corpus supports only {int(state[tables.IDS]) + num_reserved} vocabulary entries of {wished}; "
                    "lower vocab_size" + (" or min_frequency" if min_frequency > 1 else "")
                )
            if why == kernels.MORE_EVENTS:
                events = kernels.Events(np.zeros(wanted * 5 // 4, np.int64), np.zeros(wanted * 5 // 4, np.int32))
            elif why == kernels.MORE_POSITIONS:
                positions = self._swept(pairs, queue, positions, wanted)
            elif why == kernels.MORE_PAIRS:
                pairs = _rehashed(state, pairs, wanted)
            elif why == kernels.MORE_QUEUE:
                kernels.count_live(state, pairs, queue)
                queue = _longer(queue, int(state[tables.QUEUED]) + wanted)
                if state[tables.MERGES] == len(self._merges):  # pairs whose pieces are there take no entry
                    self._merges = np.concatenate([self._merges, np.zeros_like(self._merges)])
            elif why == kernels.MORE_SPELLING:
                self._pieces = _more_spelling(self._pieces, int(state[tables.SPELT]) + wanted)

    def vocabulary(self, special_tokens: tuple[str, ...] = ()) -> Vocabulary:
        """What was learned; ids from 0 on that have no bytes are ``special_tokens``."""
        bounds = self._pieces.bounds
        spelling = self._pieces.spelling.tobytes()
        number = int(self._state[tables.IDS])
        edges = bounds[: number + 1].tolist()
        pieces = [spelling[low:high] or None for low, high in pairwise(edges)]
        # As in the library, a pair that was joined twice has the rank of the second time.
        last = {(left, right): new for left, right, new in self._merges[: self._state[tables.MERGES]].tolist()[::-1]}
        merges = tuple((left, right, new) for (left, right), new in list(last.items())[::-1])
        return Vocabulary(special_tokens, tuple(pieces), merges)

    def _count(self) -> tuple[Pairs, Queue, NDArray[np.int32]]:
        """All pairs and where they stand."""
        state = self._state
        pairs = _pairs(1 << 17)
        word, words = 0, len(self._text.starts)
        while (word := kernels.count_pairs(state, self._text, self._pieces, pairs, word)) < words:
            longest = int(self._text.starts[word + 1] if word + 1 < words else len(self._text.symbols))
            pairs = _rehashed(state, pairs, longest - int(self._text.starts[word]))
        number = int(pairs.fresh.sum())
        queue = _longer(None, int(state[tables.PAIRS]) + (1 << 12))
        positions = np.zeros(number + number // 4 + (1 << 12), np.int32)
        kernels.fill_queue(state, self._text, self._pieces, pairs, queue, positions)
        return pairs, queue, positions

    def _swept(self, pairs: Pairs, queue: Queue, positions: NDArray[np.int32], wanted: int) -> NDArray[np.int32]:
        """The positions without those at which nothing stands any more, and room for more."""
        live = int(kernels.count_live(self._state, pairs, queue))
        kept = np.zeros(live + max(wanted, live // 4), np.int32)  # pages that are not written to take no memory
        self._measure(pairs, queue, positions, kept)
        kernels.sweep(self._state, self._text, self._pieces, queue, positions, kept)
        return kept

    def _measure(self, *arrays: Any) -> None:
        flat: list[Any] = [*self._text, *self._pieces, self._merges]
        for one in arrays:
            flat += [one] if isinstance(one, np.ndarray) else list(one)
        self.nbytes = max(self.nbytes, sum(array.nbytes for array in flat))


def _columns(words: pa.Table) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """(bytes of all words, where each starts and the last ends, how often it stands), without empty words."""
    column = words.column("word").cast(pa.large_binary())
    array: Any = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.large_binary())
    counts = words.column("count").to_numpy().astype(np.int64, copy=False)
    _, edges, data = array.buffers()
    offsets = np.frombuffer(edges, np.int64, len(array) + 1, 8 * array.offset) if edges else np.zeros(1, np.int64)
    there = (np.diff(offsets) > 0) & (counts > 0)
    if (counts < 0).any():
        raise DataError("a word's count is negative")
    if not there.all():
        return _columns(words.filter(pa.array(there)))
    return np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8), offsets, counts


def _room(sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> Text:
    """An empty text for words of ``sizes`` bytes."""
    total = int(sizes.sum()) + len(counts) + 1
    if total > _MOST_POSITIONS:
        raise DataError(f"{len(counts):,} words of {total:,} bytes in all: merges are learned from less than 2 GiB")
    if float(np.dot(counts.astype(np.float64), sizes)) > _MOST_COUNT:
        raise DataError("the words' counts are too large for 64 bits")
    return kernels.Text(
        np.zeros(total, np.int32),
        np.zeros((total >> kernels.BLOCK) + 1, np.int32),
        np.zeros(len(counts), np.int32),
        np.ascontiguousarray(counts),
    )


def _spelling(pieces: Sequence[bytes | None]) -> tuple[NDArray[np.int64], Pieces]:
    """The state at the start, and the vocabulary without its table."""
    state = np.zeros(tables.STATE, np.int64)
    bounds = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece or b"") for piece in pieces], out=bounds[1:])
    spelling = np.frombuffer(b"".join(piece or b"" for piece in pieces), np.uint8)
    state[tables.IDS], state[tables.SPELT] = len(pieces), len(spelling)
    return state, kernels.Pieces(spelling, bounds, np.zeros(0, np.int32))


def _entries(state: NDArray[np.int64], pieces: Pieces, vocab_size: int) -> Pieces:
    """The vocabulary with its table and room for ``vocab_size`` entries (and one that is only looked up)."""
    number = int(state[tables.IDS])
    bounds = np.zeros(max(vocab_size, number) + 2, np.int64)
    bounds[: number + 1] = pieces.bounds
    slots = np.full(1 << (2 * len(bounds)).bit_length(), -1, np.int32)
    made = _more_spelling(kernels.Pieces(pieces.spelling, bounds, slots), len(pieces.spelling) + (1 << 16))
    for index in range(number):
        if bounds[index + 1] > bounds[index]:
            kernels.add_spelling(made, index)
    return made


def _more_spelling(pieces: Pieces, size: int) -> Pieces:
    spelling = np.zeros(size * 5 // 4, np.uint8)
    spelling[: len(pieces.spelling)] = pieces.spelling
    return kernels.Pieces(spelling, pieces.bounds, pieces.slots)


def _pairs(slots: int) -> Pairs:
    return tables.Pairs(np.full(slots, -1, np.int64), np.zeros(slots, np.int64), np.zeros(slots, np.int64))


def _rehashed(state: NDArray[np.int64], pairs: Pairs, wanted: int) -> Pairs:
    """The pairs that there are in a table with room for ``wanted`` more."""
    live = int((pairs.counts > 0).sum())
    made = _pairs(max(1 << 17, 1 << ((live + wanted) * 2).bit_length()))
    state[tables.PAIRS] = tables.rehash(pairs, made)
    return made


def _longer(queue: Queue | None, size: int) -> Queue:
    """A queue of the same items with room for ``size``, and a quarter more."""
    made = tables.Queue(*(np.zeros(size * 5 // 4, np.int64) for _ in range(4)))
    if queue is not None:
        for old, new in zip(queue, made, strict=True):
            number = min(len(old), len(new))
            new[:number] = old[:number]
    return made
