"""Texts to hashed tokens and what is made of them, compiled: features, scores, gradients, counts of listed words.

A token is a run of ASCII letters, digits and bytes of other alphabets; a single character of a script that is written
without spaces (by its UTF-8 lead byte: kana, Han, Thai, Lao, and what lies beyond the first 65,536 code points); a line
end; or a single ASCII sign. ASCII capitals are read as small letters, other capitals are not. Repeated signs (``!!!``)
are one token, white space is none.

A feature is a token, or two neighbours, hashed to a bucket (Weinberger et al. 2009, "Feature Hashing for Large Scale
Multitask Learning", without the sign). A text's features count once each and weigh ``1 / sqrt(features)``, so that its
vector has length 1 whatever the text's length.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from groundup.stages.curate.judging.compiled import inlined, kernel

SIGN: Final = 0
"""A kind of token: an ASCII sign or a line end."""
WORD: Final = 1
"""All others."""

_SEED: Final = np.uint64(0xCBF29CE484222325)
_PRIME: Final = np.uint64(0x100000001B3)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(32)
_ONE: Final = np.uint64(1)


@inlined
def _alone(data: Any, at: int, end: int) -> int:
    """The bytes of the character at ``at`` if it is a token of its own, else 0."""
    lead = data[at]
    if lead < 0xE0:
        return 0
    size = 0
    if 0xE3 <= lead <= 0xE9:
        size = 3
    elif lead >= 0xF0:
        size = 4
    elif lead == 0xE0 and at + 1 < end and 0xB8 <= data[at + 1] <= 0xBB:
        size = 3
    return min(size, end - at)


@kernel
def next_token(data: Any, at: int, end: int) -> tuple[int, int, np.uint64, int]:
    """(start, stop, hash, kind) of the first token from ``at`` on; start is ``end`` if there is none.

    The hash is FNV-1a of the bytes (in small letters), mixed; a sign's too.
    """
    while at < end and (data[at] == 32 or (data[at] < 32 and data[at] != 10)):
        at += 1
    code_hash = _SEED
    if at >= end:
        return end, end, code_hash, SIGN
    start = at
    size = _alone(data, at, end)
    kind = WORD
    if size:
        while at < start + size:
            code_hash = (code_hash ^ np.uint64(data[at])) * _PRIME
            at += 1
    else:
        while at < end:
            byte = data[at]
            if 65 <= byte <= 90:
                byte |= 32
            elif not (97 <= byte <= 122 or 48 <= byte <= 57 or (byte >= 0x80 and not _alone(data, at, end))):
                break
            code_hash = (code_hash ^ np.uint64(byte)) * _PRIME
            at += 1
        if at == start:
            kind = SIGN
            sign = data[at]
            code_hash = (code_hash ^ np.uint64(sign)) * _PRIME
            while at < end and data[at] == sign:
                at += 1
    code_hash = (code_hash ^ (code_hash >> _SHIFT)) * _MIX
    return start, at, code_hash ^ (code_hash >> _SHIFT), kind


@inlined
def pair(first: Any, second: Any) -> Any:
    """The hash of two hashes in order."""
    mixed = (first * _PRIME ^ second) * _MIX
    return mixed ^ (mixed >> _SHIFT)


@kernel
def token_hashes(data: Any, hashes: Any) -> int:
    """Fill ``hashes`` with those of the words (not signs) of one text; returns their number."""
    count = at = 0
    while True:
        start, at, code_hash, kind = next_token(data, at, len(data))
        if start >= len(data):
            return count
        if kind == WORD:
            hashes[count] = code_hash
            count += 1


@kernel
def chain(hashes: Any, number: int) -> Any:
    """The hash of a phrase: its first ``number`` words' hashes, paired from the left."""
    whole = hashes[0]
    for place in range(1, number):
        whole = pair(whole, hashes[place])
    return whole


@kernel
def features(data: Any, offsets: Any, bits: int, pairs: bool, stamps: Any, indices: Any, bounds: Any) -> int:
    """Fill ``indices`` ((2 * bytes,) int32) with each row's distinct buckets; ``bounds``: (rows + 1,). Their number.

    ``stamps``: (2 ** bits,) uint32 zeros.
    """
    shift = np.uint64(64 - bits)
    count = 0
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        tick = np.uint32(row + 1)
        before = np.uint64(0)
        seen = False
        while True:
            start, at, code_hash, _ = next_token(data, at, end)
            if start >= end:
                break
            bucket = code_hash >> shift
            if stamps[bucket] != tick:
                stamps[bucket] = tick
                indices[count] = bucket
                count += 1
            if pairs and seen:
                bucket = pair(before, code_hash) >> shift
                if stamps[bucket] != tick:
                    stamps[bucket] = tick
                    indices[count] = bucket
                    count += 1
            before = code_hash
            seen = True
        bounds[row + 1] = count
    return count


@kernel
def score(
    data: Any, offsets: Any, skip: Any, weights: Any, bias: float, bits: int, pairs: bool, window: int, stamps: Any,
    means: Any, worst: Any,
) -> None:  # fmt: skip
    """Each row's probability: of the whole (``window`` 0), or mean and highest over windows of that many tokens.

    A row of ``n`` tokens has ``max(1, round(n / window))`` windows of equal size, so that no scrap at the end is judged
    by a word or two. Skipped rows keep what is in ``means`` and ``worst``. ``stamps``: (2 ** bits,) uint32 zeros.
    """
    shift = np.uint64(64 - bits)
    tick = np.uint32(0)
    for row in range(len(offsets) - 1):
        if skip[row]:
            continue
        at, end = offsets[row], offsets[row + 1]
        size = np.int64(end - at + 1)
        if window:
            tokens = 0
            while True:
                start, at, _, _ = next_token(data, at, end)
                if start >= end:
                    break
                tokens += 1
            number = max(1, (2 * tokens + window) // (2 * window))
            size = max(np.int64(1), np.int64((tokens + number - 1) // number))
            at = offsets[row]
        total = 0.0
        highest = 0.0
        number = 0
        more = True
        while more:
            tick += np.uint32(1)
            before = np.uint64(0)
            margin = 0.0
            distinct = tokens = 0
            while tokens < size:
                start, at, code_hash, _ = next_token(data, at, end)
                if start >= end:
                    more = False
                    break
                bucket = code_hash >> shift
                if stamps[bucket] != tick:
                    stamps[bucket] = tick
                    margin += weights[bucket]
                    distinct += 1
                if pairs and tokens:
                    bucket = pair(before, code_hash) >> shift
                    if stamps[bucket] != tick:
                        stamps[bucket] = tick
                        margin += weights[bucket]
                        distinct += 1
                before = code_hash
                tokens += 1
            if tokens == 0 and number:
                break
            chance = 1.0 / (1.0 + np.exp(-(bias + margin / np.sqrt(max(1, distinct)))))
            total += chance
            highest = max(highest, chance)
            number += 1
        means[row] = total / number
        worst[row] = highest


@kernel
def loss_gradient(indices: Any, bounds: Any, signs: Any, costs: Any, weights: Any, gradient: Any) -> float:
    """The logistic loss ``sum costs * log(1 + exp(-sign * margin))`` of rows of features, and its gradient.

    ``signs``: (rows,) 1 or -1. ``weights`` and ``gradient``: (buckets + 1,) float64, the bias last; the gradient is
    added to.
    """
    loss = 0.0
    last = len(weights) - 1
    for row in range(len(bounds) - 1):
        first, stop = bounds[row], bounds[row + 1]
        value = 1.0 / np.sqrt(max(1, stop - first))
        margin = 0.0
        for at in range(first, stop):
            margin += weights[indices[at]]
        margin = signs[row] * (margin * value + weights[last])
        # log(1 + exp(-m)) without overflow for m far below 0.
        loss += costs[row] * (max(0.0, -margin) + np.log1p(np.exp(-abs(margin))))
        pull = -signs[row] * costs[row] / (1.0 + np.exp(min(margin, 700.0)))
        gradient[last] += pull
        pull *= value
        for at in range(first, stop):
            gradient[indices[at]] += pull
    return loss


@inlined
def _kind_of(key: Any, keys: Any, kinds: Any) -> int:
    """The kind of a key in a table with open addressing (0 in ``keys`` is an empty place); 0 if it isn't there."""
    mask = len(keys) - 1
    place = np.int64(key & np.uint64(mask))
    found = 0
    while keys[place] != 0:
        if keys[place] == key:
            found = int(kinds[place])
            break
        place = (place + 1) & mask
    return found


@kernel
def count_listed(
    data: Any, offsets: Any, skip: Any, keys: Any, kinds: Any, longest: int, counts: Any, words: Any
) -> None:
    """How many listed words and phrases of each kind a row has: ``counts`` (rows, kinds), ``words`` (rows,).

    ``keys``: (places,) uint64, a power of two with empty places; ``kinds``: (places,) uint8, the bits of the kinds a
    phrase belongs to. Phrases of up to ``longest`` words (4 at most) are found across signs (``click-here``).
    """
    ring = np.zeros(8, np.uint64)
    for row in range(len(offsets) - 1):
        if skip[row]:
            continue
        at, end = offsets[row], offsets[row + 1]
        number = 0
        while True:
            start, at, code_hash, kind = next_token(data, at, end)
            if start >= end:
                break
            if kind != WORD:
                continue
            # ring[i] is the hash of this word and the i words before it, chained in order.
            for length in range(min(longest, number + 1) - 1, 0, -1):
                ring[length] = pair(ring[length - 1], code_hash)
            ring[0] = code_hash
            number += 1
            for length in range(min(longest, number)):
                bits = _kind_of(ring[length] | _ONE, keys, kinds)
                which = 0
                while bits:
                    counts[row, which] += bits & 1
                    bits >>= 1
                    which += 1
        words[row] = number


@kernel
def line_hashes(data: Any, hashes: Any, bounds: Any) -> int:
    """Fill ``hashes`` with a 64-bit hash of each line, without white space at its ends and what follows a ``#``.

    Empty lines give none. ``bounds``: (lines, 3) where each hashed line begins and ends, and whether it is more than a
    bare domain: has one of ``/:*@?``, or begins with ``.`` or ``www.``. Returns their number. ASCII capitals count as
    small letters.
    """
    count = at = 0
    size = len(data)
    while at < size:
        stop = at
        while stop < size and data[stop] != 10:
            stop += 1
        first, last = at, at
        while last < stop and not (data[last] == 35 and (last == at or data[last - 1] <= 32)):
            last += 1
        while first < last and data[first] <= 32:
            first += 1
        while last > first and data[last - 1] <= 32:
            last -= 1
        if last > first:
            code_hash = _SEED
            odd = data[first] == 46
            odd |= (
                last - first > 4 and data[first] | 32 == 119 and data[first + 2] | 32 == 119 and data[first + 3] == 46
            )
            for place in range(first, last):
                byte = data[place]
                if 65 <= byte <= 90:
                    byte |= 32
                odd |= byte == 47 or byte == 58 or byte == 42 or byte == 64 or byte == 63
                code_hash = (code_hash ^ np.uint64(byte)) * _PRIME
            code_hash = (code_hash ^ (code_hash >> _SHIFT)) * _MIX
            hashes[count] = code_hash ^ (code_hash >> _SHIFT)
            bounds[count, 0] = first
            bounds[count, 1] = last
            bounds[count, 2] = odd
            count += 1
        at = stop + 1
    return count
