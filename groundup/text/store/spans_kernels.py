"""The compiled parts of the index of spans: choosing what to keep, sorting it, and looking a text up in it.

Winnowing: Schleimer, Wilkerson and Aiken 2003, "Winnowing: Local Algorithms for Document Fingerprinting", section 3: of
every ``window`` consecutive k-grams the one with the least hash is kept, the rightmost if several are least; the robust
form keeps the former choice while it is as good, so that a run of one repeated token gives one entry a window.

Arrays: ``ids`` (n,) of any integer type; ``offsets`` int64 (documents + 1,); ``stops`` bool (vocab,), the ids that no
span goes across; ``spelled`` uint8 with the bytes of id i at ``at[i]:at[i + 1]``, int64 (vocab + 1,), none for a stop;
``text`` uint8 (m,), a text spelled in the same way.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from groundup.base.errors import missing_extra

try:
    import numba  # type: ignore[import-untyped,unused-ignore]
except ModuleNotFoundError:
    raise missing_extra("numba", "tokenize") from None

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_DIGIT: Final = 11

_kernel: Any = numba.njit(cache=True, nogil=True)
_inlined: Any = numba.njit(cache=True, nogil=True, inline="always")


@_inlined  # type: ignore[untyped-decorator,unused-ignore]
def _mixed(value: Any) -> Any:
    """The finalizer of SplitMix64 (Steele et al. 2014): the least of hashes must not follow the size of ids."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


@_kernel  # type: ignore[untyped-decorator,unused-ignore]
def hash_grams(ids: Any, k: int, out: Any) -> None:
    """The hash of each k-gram of ``ids`` (n,) into ``out`` uint64 (n - k + 1,)."""
    for start in range(len(ids) - k + 1):
        value = np.uint64(0)
        for at in range(start, start + k):
            value = value * _BASE + np.uint64(ids[at] + 1)
        out[start] = _mixed(value)


@_kernel  # type: ignore[untyped-decorator,unused-ignore]
def winnow(
    ids: Any, first: int, limit: int, fresh: bool, last: int, k: int, window: int, offsets: Any, stops: Any,
    counts: Any, hashes: Any, places: Any,
) -> int:  # fmt: skip
    """Choose k-grams of the tokens ``first`` to ``first + len(ids)``; the number written to ``hashes`` and ``places``.

    Only windows that begin before ``limit`` (counted in ``ids``) are looked at; what stands behind completes them.
    ``fresh`` says whether a stretch without stops begins with the first id, ``last`` is the place chosen last before.
    ``counts`` int64 (vocab,) counts the ids before ``limit``.
    """
    ring = np.empty(window, np.uint64)
    leaving = np.uint64(1)
    for _ in range(k):
        leaving *= _BASE
    bound = np.searchsorted(offsets, first, side="right")
    found = 0
    value = np.uint64(0)
    length, grams, best, best_hash, whole = 0, 0, 0, np.uint64(0), fresh
    for at in range(len(ids) + 1):
        ends = at == len(ids)
        stopped = False
        if not ends:
            token = ids[at]
            known = 0 <= token < len(stops)
            if at < limit and known:
                counts[token] += 1
            stopped = not known or stops[token]
            while bound < len(offsets) and offsets[bound] <= first + at:
                ends = ends or offsets[bound] == first + at
                bound += 1
        if (ends or stopped) and length:
            # A stretch that is shorter than a window has one entry too: short documents can be found.
            if whole and 0 < grams < window and at - length < limit:
                best, best_hash = 0, ring[0]
                for gram in range(1, grams):
                    if ring[gram] <= best_hash:
                        best, best_hash = gram, ring[gram]
                hashes[found], places[found] = best_hash, first + at - length + best
                found += 1
            length, grams, value, whole = 0, 0, np.uint64(0), True
        if stopped or at == len(ids):
            length, grams, value, whole = 0, 0, np.uint64(0), True
            continue
        if length == 0 and at >= limit:
            break
        value = value * _BASE + np.uint64(ids[at] + 1)
        if length >= k:
            value -= np.uint64(ids[at - k] + 1) * leaving
        length += 1
        if length < k:
            continue
        mixed, start = _mixed(value), at - k + 1
        ring[grams % window] = mixed
        grams += 1
        if grams < window:
            continue
        if start - window + 1 >= limit:
            break
        if grams == window or best <= start - window:
            best, best_hash = start, mixed
            for back in range(1, window):
                older = ring[(grams - 1 - back) % window]
                if older < best_hash:
                    best, best_hash = start - back, older
        elif mixed < best_hash:
            best, best_hash = start, mixed
        else:
            continue
        if first + best != last:
            last = first + best
            hashes[found], places[found] = best_hash, last
            found += 1
    return found


@_kernel  # type: ignore[untyped-decorator,unused-ignore]
def sort_pairs(keys: Any, values: Any, low: int, high: int) -> None:
    """Sort uint64 ``keys`` (n,) and their ``values`` in place by bits ``low`` to ``high``, equal ones as they are."""
    other_keys, other_values = np.empty_like(keys), np.empty_like(values)
    size = 1 << _DIGIT
    mask = np.uint64(size - 1)
    for shift in range(low, high, _DIGIT):
        begins = np.zeros(size + 1, np.int64)
        right = np.uint64(shift)
        for key in keys:
            begins[np.int64((key >> right) & mask) + 1] += 1
        for digit in range(size):
            begins[digit + 1] += begins[digit]
        for at in range(len(keys)):
            mine = np.int64((keys[at] >> right) & mask)
            place = begins[mine]
            begins[mine] += 1
            other_keys[place], other_values[place] = keys[at], values[at]
        keys[:], values[:] = other_keys, other_values


@_kernel  # type: ignore[untyped-decorator,unused-ignore]
def look_up(hashes: Any, starts: Any, keys: Any, bits: int, low: Any, high: Any) -> None:
    """The entries of each of ``hashes`` (q,): [``low``, ``high``), int64 (q,). ``bits`` of a hash name its bucket."""
    for number in range(len(hashes)):
        whole = hashes[number]
        bucket = np.int64(whole >> np.uint64(64 - bits))
        key = np.int64((whole >> np.uint64(32 - bits)) & np.uint64(0xFFFFFFFF))
        first, end = starts[bucket], starts[bucket + 1]
        left, right = first, end
        while left < right:
            middle = (left + right) // 2
            if np.int64(keys[middle]) < key:
                left = middle + 1
            else:
                right = middle
        low[number] = left
        right = end
        while left < right:
            middle = (left + right) // 2
            if np.int64(keys[middle]) <= key:
                left = middle + 1
            else:
                right = middle
        high[number] = left


@_kernel  # type: ignore[untyped-decorator,unused-ignore]
def _extend(place: int, byte: int, ids: Any, offsets: Any, spelled: Any, at: Any, text: Any, out: Any) -> None:
    """The longest stretch that text and document share around the token ``place``, which should begin at ``byte``.

    ``out`` int64 (7,): first byte of the text and the one behind; first whole token and the one behind the last; the
    document; the first token that has any of its bytes in the stretch, and the byte of the text at which it begins.
    """
    document = np.searchsorted(offsets, place, side="right") - 1
    begins, ends = offsets[document], offsets[document + 1]
    token, end, last_whole = place, byte, place
    while token < ends:
        index = ids[token]
        if not 0 <= index < len(at) - 1:
            break
        piece, piece_end = at[index], at[index + 1]
        if piece == piece_end:
            break
        while piece < piece_end and end < len(text) and spelled[piece] == text[end]:
            piece += 1
            end += 1
        if piece < piece_end:
            break
        token += 1
        last_whole = token
    token, start, first_whole, touched, touched_byte = place, byte, place, place, byte
    while token > begins:
        index = ids[token - 1]
        if not 0 <= index < len(at) - 1:
            break
        piece, piece_begin = at[index + 1], at[index]
        length = piece - piece_begin
        if length == 0:
            break
        before = start
        while piece > piece_begin and start > 0 and spelled[piece - 1] == text[start - 1]:
            piece -= 1
            start -= 1
        token -= 1
        if start < before:
            touched, touched_byte = token, before - length
        if piece > piece_begin:
            break
        first_whole = token
    out[0], out[1], out[2], out[3] = start, end, first_whole, last_whole
    out[4], out[5], out[6] = document, touched, touched_byte


@_inlined  # type: ignore[untyped-decorator,unused-ignore]
def _tokens(out: Any, starts_before: Any, ends_until: Any) -> Any:
    """The length of a stretch: whole tokens of the document or of the text, whichever are more."""
    return max(out[3] - out[2], ends_until[out[1]] - starts_before[out[0]])


@_kernel  # type: ignore[untyped-decorator,unused-ignore]
def verify(
    places: Any, bytes_: Any, ids: Any, offsets: Any, spelled: Any, at: Any, text: Any, starts_before: Any,
    ends_until: Any, min_tokens: int, found: Any,
) -> int:  # fmt: skip
    """Extend every candidate: the token ``places`` (c,), ascending, and the byte of the text at which it should begin.

    The stretches of ``min_tokens`` and more go to ``found`` int64 (c, 4): first byte, the one behind, document, tokens.
    Several candidates of one stretch are extended once if they follow each other. ``starts_before[b]`` and
    ``ends_until[b]`` int64 (m + 1,) count the text's tokens that begin before byte b, and that end there or before.
    """
    count = 0
    out = np.zeros(7, np.int64)
    token, token_byte, token_end = np.int64(0), np.int64(0), np.int64(-1)  # walks along the stretch found last
    for number in range(len(places)):
        place, byte = places[number], bytes_[number]
        if not 0 <= place < len(ids):
            continue
        while token < place and token < token_end:
            token_byte += at[ids[token] + 1] - at[ids[token]]
            token += 1
        if place < token_end and token == place and token_byte == byte:
            continue
        _extend(place, byte, ids, offsets, spelled, at, text, out)
        if out[1] <= out[0]:
            continue
        token, token_byte, token_end = out[5], out[6], out[3]
        tokens = _tokens(out, starts_before, ends_until)
        if tokens >= min_tokens:
            found[count, 0], found[count, 1], found[count, 2], found[count, 3] = out[0], out[1], out[4], tokens
            count += 1
    return count


@_kernel  # type: ignore[untyped-decorator,unused-ignore]
def first_source(
    low: int, high: int, places: Any, shift: int, byte: int, ids: Any, offsets: Any, spelled: Any, at: Any, text: Any,
    starts_before: Any, ends_until: Any, min_tokens: int, found: Any,
) -> int:  # fmt: skip
    """The first entry of [``low``, ``high``) that gives ``min_tokens`` and more, to ``found`` (4,); how many were seen.

    Minus that number if there is none.
    """
    out = np.zeros(7, np.int64)
    for number in range(low, high):
        place = np.int64(places[number]) + shift
        if not 0 <= place < len(ids):
            continue
        _extend(place, byte, ids, offsets, spelled, at, text, out)
        tokens = _tokens(out, starts_before, ends_until)
        if tokens >= min_tokens:
            found[0], found[1], found[2], found[3] = out[0], out[1], out[4], tokens
            return number - low + 1
    return low - high
