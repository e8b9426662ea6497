"""The loop that learns merges, compiled, over flat arrays; :mod:`.learn` says what they take.

Words lie back to back. A token of n bytes has n places in ``Text.symbols``: its id stands in the first and in the last
of them, so its neighbours are found without links, for an id tells its length. What lies between is stale, and can't
be mistaken for a token: a position is only ever looked up as the start of tokens that did start there, those grow, and
the place of a token that was swallowed holds a longer one's id (if it was one byte at the end) or DEAD.

Counts of pairs are exact at all times; the queue is lazy. The order of merges, and what is counted when tokens overlap,
are those of ``BpeTrainer`` in the library ``tokenizers`` (``models/bpe/trainer.rs`` and ``word.rs``), but for its
32-bit counts. Python makes room: a kernel that lacks some returns and is called again.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.text.bpe.jit import inlined, kernel
from groundup.text.bpe.learn_tables import (
    IDS,
    MERGES,
    PAIRS,
    QUEUED,
    SPELT,
    STORED,
    WANTED,
    find,
    key_of,
    pop,
    push,
    sink,
)

SEPARATOR: Final = -1
"""Stands before, between and behind words."""
DEAD: Final = -2
"""Stands where a token started that was swallowed by the one before it."""

BLOCK: Final = 4
"""The word of a position is looked up by its block of 2**BLOCK positions."""

# What ``merge`` returns.
PAUSED: Final = 0
FULL: Final = 1
EXHAUSTED: Final = 2
MORE_PAIRS: Final = 3
MORE_QUEUE: Final = 4
MORE_EVENTS: Final = 5
MORE_POSITIONS: Final = 6
MORE_SPELLING: Final = 7


class Text(NamedTuple):
    """All words. Word w starts at ``starts[w]`` and counts ``weights[w]`` times; ``blocks[p >> BLOCK]`` is the word
    that the first position of p's block is in (a separator belongs to the word before it)."""

    symbols: NDArray[np.int32]
    blocks: NDArray[np.int32]
    starts: NDArray[np.int32]
    weights: NDArray[np.int64]


class Pieces(NamedTuple):
    """The vocabulary: id i is spelt ``spelling[bounds[i]:bounds[i + 1]]``; ``slots`` is a hash table of ids."""

    spelling: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    slots: NDArray[np.int32]


class Events(NamedTuple):
    """Pairs that a merge makes: the slot of each, and its position."""

    slots: NDArray[np.int64]
    positions: NDArray[np.int32]


_PRIME: Final = np.uint64(0x100000001B3)
_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_RIGHT: Final = (1 << 32) - 1


@kernel
def lay_out(ids: Any, offsets: Any, pieces: Any, text: Any) -> None:
    """Fill ``text`` with words of pieces: word w is ``ids[offsets[w]:offsets[w + 1]]``; none is empty."""
    symbols = text.symbols
    at = 0
    symbols[0] = SEPARATOR
    for word in range(len(offsets) - 1):
        at += 1
        text.starts[word] = at
        for number in range(offsets[word], offsets[word + 1]):
            size = pieces.bounds[ids[number] + 1] - pieces.bounds[ids[number]]
            symbols[at : at + size] = DEAD
            symbols[at] = ids[number]
            symbols[at + size - 1] = ids[number]
            at += size
        symbols[at] = SEPARATOR
    _blocks(text)


@kernel
def _blocks(text: Any) -> None:
    word = 0
    for block in range(len(text.blocks)):
        while word + 1 < len(text.starts) and text.starts[word + 1] <= block << BLOCK:
            word += 1
        text.blocks[block] = word


@kernel
def count_pairs(state: Any, text: Any, pieces: Any, pairs: Any, word: int) -> int:
    """Count the pairs of words from ``word`` on; the first word for which the table may lack room, or their number.

    ``fresh`` counts the places of each pair.
    """
    symbols = text.symbols
    room = len(pairs.keys) * 3 // 5
    while word < len(text.starts):
        end = text.starts[word + 1] - 1 if word + 1 < len(text.starts) else len(symbols) - 1
        at = text.starts[word]
        if state[PAIRS] + end - at > room:
            return word
        while True:
            left = symbols[at]
            at += pieces.bounds[left + 1] - pieces.bounds[left]
            if at >= end:
                break
            slot = find(pairs.keys, key_of(left, symbols[at]))
            if pairs.keys[slot] == -1:
                pairs.keys[slot] = key_of(left, symbols[at])
                state[PAIRS] += 1
            pairs.counts[slot] += text.weights[word]
            pairs.fresh[slot] += 1
        word += 1
    return word


@kernel
def fill_queue(state: Any, text: Any, pieces: Any, pairs: Any, queue: Any, positions: Any) -> None:
    """After ``count_pairs``: put every pair into the queue with its positions, ascending."""
    start = 0
    for slot in range(len(pairs.keys)):
        if pairs.keys[slot] != -1:
            size = pairs.fresh[slot]
            push(state, queue, pairs.counts[slot], pairs.keys[slot], start, size)
            pairs.fresh[slot] = start
            start += size
    state[STORED] = start
    symbols = text.symbols
    at = 1
    while at < len(symbols):
        left = symbols[at]
        if left == SEPARATOR:
            at += 1
            continue
        after = at + pieces.bounds[left + 1] - pieces.bounds[left]
        if symbols[after] != SEPARATOR:
            slot = find(pairs.keys, key_of(left, symbols[after]))
            positions[pairs.fresh[slot]] = at
            pairs.fresh[slot] += 1
        at = after
    pairs.fresh[:] = 0


@kernel
def add_spelling(pieces: Any, number: int) -> int:
    """Look up the spelling of id ``number``, which stands behind those of the others; the id that has it, or
    ``number``, which has it from now on."""
    start, stop = pieces.bounds[number], pieces.bounds[number + 1]
    value = _OFFSET
    for byte in pieces.spelling[start:stop]:
        value = (value ^ np.uint64(byte)) * _PRIME
    mask = len(pieces.slots) - 1
    at = np.int64(value >> np.uint64(20)) & mask
    while pieces.slots[at] != -1:
        other = pieces.slots[at]
        low, high = pieces.bounds[other], pieces.bounds[other + 1]
        if high - low == stop - start:
            byte = 0
            while low + byte < high and pieces.spelling[low + byte] == pieces.spelling[start + byte]:
                byte += 1
            if low + byte == high:
                return other  # type: ignore[no-any-return]
        at = (at + 1) & mask
    pieces.slots[at] = number
    return number


@kernel
def _joined(state: Any, pieces: Any, left: int, right: int) -> int:
    """The id of two pieces joined: a new one, unless there is one that is spelt like it."""
    number, at = state[IDS], state[SPELT]
    for piece in (left, right):
        for byte in range(pieces.bounds[piece], pieces.bounds[piece + 1]):
            pieces.spelling[at] = pieces.spelling[byte]
            at += 1
    pieces.bounds[number + 1] = at
    found = add_spelling(pieces, number)
    if found == number:
        state[IDS] += 1
        state[SPELT] = at
    return found


@inlined
def _weight(text: Any, position: int) -> int:
    word = text.blocks[position >> BLOCK]
    while word + 1 < len(text.starts) and text.starts[word + 1] <= position:
        word += 1
    return text.weights[word]  # type: ignore[no-any-return]


@inlined
def _lose(pairs: Any, left: int, right: int, weight: int) -> None:
    slot = find(pairs.keys, key_of(left, right))
    if pairs.keys[slot] != -1:  # pairs that would be too long were never counted
        pairs.counts[slot] -= weight


@inlined
def _gain(state: Any, pairs: Any, events: Any, number: int, left: int, right: int, weight: int, position: int) -> None:
    key = key_of(left, right)
    slot = find(pairs.keys, key)
    if pairs.keys[slot] == -1:
        pairs.keys[slot] = key
        state[PAIRS] += 1
    pairs.counts[slot] += weight
    pairs.fresh[slot] += 1
    events.slots[number] = slot
    events.positions[number] = position


@kernel
def _join_all(
    state: Any, text: Any, pieces: Any, pairs: Any, places: Any, left: int, right: int, new: int, longest: int,
    events: Any,
) -> int:  # fmt: skip
    """Join a pair at all its places, left to right; how many events that made."""
    symbols, bounds = text.symbols, pieces.bounds
    left_size, right_size = bounds[left + 1] - bounds[left], bounds[right + 1] - bounds[right]
    size = left_size + right_size
    number = 0
    for place in places:
        if symbols[place] != left:
            continue
        middle = place + left_size
        if symbols[middle] != right:
            continue
        end = middle + right_size
        weight = _weight(text, place)
        previous, following = symbols[place - 1], symbols[end]
        if previous != SEPARATOR:
            _lose(pairs, previous, left, weight)
            previous_size = bounds[previous + 1] - bounds[previous]
            if previous_size + size < longest:
                _gain(state, pairs, events, number, previous, new, weight, place - previous_size)
                number += 1
        if following != SEPARATOR:
            _lose(pairs, right, following, weight)
            if bounds[following + 1] - bounds[following] + size < longest:
                _gain(state, pairs, events, number, new, following, weight, place)
                number += 1
        symbols[middle] = DEAD
        symbols[place] = new
        symbols[end - 1] = new
    return number


@kernel
def _store(state: Any, pairs: Any, queue: Any, positions: Any, events: Any, number: int) -> None:
    """Put the pairs of ``number`` events into the queue, each with its positions in their order.

    Meanwhile ``fresh`` of a pair is the next place for a position, as -2 - place; -1 if its positions aren't wanted.
    """
    for event in range(number):
        slot = events.slots[event]
        size = pairs.fresh[slot]
        if size > 0:
            if pairs.counts[slot] > 0:
                pairs.fresh[slot] = -2 - state[STORED]
                push(state, queue, pairs.counts[slot], pairs.keys[slot], state[STORED], size)
                state[STORED] += size
            else:
                pairs.fresh[slot] = -1
        if pairs.fresh[slot] < -1:
            positions[-2 - pairs.fresh[slot]] = events.positions[event]
            pairs.fresh[slot] -= 1
    for event in range(number):
        pairs.fresh[events.slots[event]] = 0


@kernel
def merge(
    state: Any, text: Any, pieces: Any, pairs: Any, queue: Any, positions: Any, events: Any, merges: Any,
    vocab_size: int, min_frequency: int, longest: int, most: int,
) -> int:  # fmt: skip
    """Join the most frequent pair, and again, at most ``most`` times; why it stopped.

    ``merges`` (n, 3) int32 receives left, right and new id. Room for ``state[WANTED]`` more is missing where the result
    is one of MORE.
    """
    for _ in range(most):
        if state[IDS] >= vocab_size:
            return FULL
        while state[QUEUED] > 0:
            key = queue.keys[0]
            slot = find(pairs.keys, key)
            count = pairs.counts[slot] if pairs.keys[slot] != -1 else 0
            if count == queue.counts[0]:
                break
            if count > 0:
                sink(state, queue, count, key, queue.starts[0], queue.sizes[0])
            else:
                pop(state, queue)
        if state[QUEUED] == 0 or queue.counts[0] < max(1, min_frequency):
            return EXHAUSTED
        start, size = queue.starts[0], queue.sizes[0]
        made = min(2 * size, 2 * state[IDS] + 2)
        state[WANTED] = 2 * size
        if 2 * size > len(events.slots):
            return MORE_EVENTS
        if state[STORED] + 2 * size > len(positions):
            return MORE_POSITIONS
        state[WANTED] = made
        if (state[PAIRS] + made) * 5 > len(pairs.keys) * 3:
            return MORE_PAIRS
        if state[QUEUED] + made > len(queue.keys) or state[MERGES] == len(merges):
            return MORE_QUEUE
        left, right = key >> 32, key & _RIGHT
        state[WANTED] = pieces.bounds[left + 1] - pieces.bounds[left] + pieces.bounds[right + 1] - pieces.bounds[right]
        if state[SPELT] + state[WANTED] > len(pieces.spelling):
            return MORE_SPELLING
        pop(state, queue)
        new = _joined(state, pieces, left, right)
        merges[state[MERGES], 0] = left
        merges[state[MERGES], 1] = right
        merges[state[MERGES], 2] = new
        state[MERGES] += 1
        places = positions[start : start + size]
        number = _join_all(state, text, pieces, pairs, places, left, right, new, longest, events)
        _store(state, pairs, queue, positions, events, number)
    return PAUSED


@kernel
def count_live(state: Any, pairs: Any, queue: Any) -> int:
    """Take what has no count left out of the queue; how many positions the others have."""
    total = 0
    number = state[QUEUED]
    state[QUEUED] = 0
    for item in range(number):
        key, start, size = queue.keys[item], queue.starts[item], queue.sizes[item]
        slot = find(pairs.keys, key)
        if pairs.keys[slot] != -1 and pairs.counts[slot] > 0:
            push(state, queue, pairs.counts[slot], key, start, size)
            total += size
    return total


@kernel
def sweep(state: Any, text: Any, pieces: Any, queue: Any, positions: Any, kept: Any) -> None:
    """Move the positions at which pairs still stand into ``kept``."""
    symbols, bounds = text.symbols, pieces.bounds
    at = 0
    for item in range(state[QUEUED]):
        left, right = queue.keys[item] >> 32, queue.keys[item] & _RIGHT
        size = bounds[left + 1] - bounds[left]
        start = queue.starts[item]
        queue.starts[item] = at
        for place in positions[start : start + queue.sizes[item]]:
            if symbols[place] == left and symbols[place + size] == right:
                kept[at] = place
                at += 1
        queue.sizes[item] = at - queue.starts[item]
    state[STORED] = at
