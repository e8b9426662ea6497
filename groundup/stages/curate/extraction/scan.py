"""From a page in canonical HTML to blocks of text and the elements around them, in one compiled pass.

resiliparse's parser (Lexbor) builds the tree that a browser would and writes it out again: every element closed, every
attribute in double quotes, five entities and no more. Reading that form needs no parser of its own, so blocks come at
hundreds of megabytes a second, where asking for the tree's nodes one by one from Python would cost more than all else.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from groundup.stages.curate.extraction import elements as el
from groundup.stages.curate.extraction import layout as col
from groundup.stages.curate.extraction.layout import Blocks

_CLASS: Final = el.name_hash(b"class")
_ID: Final = el.name_hash(b"id")
_ROLE: Final = el.name_hash(b"role")
_ITEMPROP: Final = el.name_hash(b"itemprop")
_STYLE: Final = el.name_hash(b"style")
_HIDDEN: Final = el.name_hash(b"hidden")
_HIDDEN_BIT: Final = 1 << el.HIDDEN_HINT
_BULLET: Final = -1
_NEAREST: Final = 64
"""How many open elements up a closing tag looks for its own: all of them match in what a parser wrote."""

# Columns of the stack of open elements.
_CODE: Final = 0
_OWN_FLAGS: Final = 1
_FLAGS: Final = 2
_HINTS: Final = 3
_NEAR: Final = 4
_NODE: Final = 5
_TABLE: Final = 6
_ROW: Final = 7
_CELL: Final = 8
_COUNTER: Final = 9
_STACK_FIELDS: Final = 10

# What is known of the block being read, and of the page so far.
_AT: Final = 0  # where the next byte of text goes
_BEGIN: Final = 1  # where the block begins
_BLANK: Final = 2  # white space is due before the next letter
_BREAKS: Final = 3  # <br> since the last letter
_CHARS: Final = 4
_LINK_CHARS: Final = 5
_LINKS: Final = 6
_STRONG: Final = 7
_LINES: Final = 8
_MARKER: Final = 9  # the mark of the list item that the next block begins
_PARAGRAPH: Final = 10  # a paragraph ended before the next block
_RAW: Final = 11  # up to here ``<`` is text: the content of <script>, <xmp> and their kin is not markup
_NUM_BLOCKS: Final = 12
_NUM_NODES: Final = 13
_NUM_ROWS: Final = 14
_TOP: Final = 15
_STATE_FIELDS: Final = 16

# How much ends at a tag.
_NOTHING: Final = 0
_LINE_END: Final = 1
_PARAGRAPH_END: Final = 2


def scan(html: str) -> Blocks:
    """The blocks of canonical HTML, as ``HTMLTree.document.html`` gives it."""
    data = np.frombuffer(html.encode("utf-8", "replace"), np.uint8)
    tags, hints, words = el.tags(), el.hint_automaton(), el.word_automaton()
    return Blocks(*_scan(data, tags.codes, tags.flags, hints.symbols, hints.step, hints.found, words.step, words.found))


@numba.njit(cache=True, nogil=True)
def _scan(
    data: Any,
    codes: Any,
    tag_flags: Any,
    symbols: Any,
    hint_step: Any,
    hint_found: Any,
    word_step: Any,
    word_found: Any,
) -> Any:
    size = len(data)
    num_tags = 0
    for i in range(size):
        if data[i] == 60:
            num_tags += 1
    text = np.empty(size + 1, np.uint8)
    blocks = np.zeros((num_tags + 1, col.BLOCK_FIELDS), np.int32)
    bits = np.zeros((num_tags + 1, col.BIT_FIELDS), np.int64)
    nodes = np.zeros((num_tags + 1, col.NODE_FIELDS), np.int32)
    node_bits = np.zeros((num_tags + 1, 2), np.int64)
    stack = np.zeros((num_tags + 1, _STACK_FIELDS), np.int64)  # entry 0 is the document
    state = np.zeros(_STATE_FIELDS, np.int64)
    nodes[0, col.PARENT] = -1
    stack[0, _TABLE], stack[0, _ROW] = -1, -1
    state[_NUM_NODES], state[_PARAGRAPH] = 1, 1
    i = 0
    while i < size:
        if data[i] != 60 or i < state[_RAW]:
            i = _read_text(data, i, text, stack[state[_TOP], _FLAGS], state)
        elif i + 1 < size and (data[i + 1] == 33 or data[i + 1] == 63):  # <! and <?
            i = _pass_comment(data, i)
        elif i + 1 < size and data[i + 1] == 47:  # </name>
            i, code = _read_name(data, i + 2)
            i += 1
            level = _opened(stack, state[_TOP], code)
            if level > 0:
                end = _NOTHING
                for k in range(level, state[_TOP] + 1):
                    end = max(end, _ends(stack[k, _OWN_FLAGS]))
                if end:
                    _end_block(end, text, blocks, bits, stack, nodes, node_bits, state, symbols, word_step, word_found)
                _pop(level, stack, nodes, state)
        else:  # <name attributes>
            i, code, hints = _read_tag(data, i + 1, symbols, hint_step, hint_found)
            place = np.searchsorted(codes, code)
            flags = tag_flags[place] if place < len(codes) and codes[place] == code else 0
            end = _ends(flags)
            if flags & el.BREAK:
                end = _break(text, stack[state[_TOP], _FLAGS], state)
            elif flags & el.LINK:
                state[_LINKS] += 1
            if end:
                _end_block(end, text, blocks, bits, stack, nodes, node_bits, state, symbols, word_step, word_found)
            if not flags & el.VOID:
                _push(code, flags, hints, stack, nodes, node_bits, state)
            if flags & el.RAW:
                state[_RAW] = i
                while state[_RAW] < size and not _closes(data, state[_RAW], code):
                    state[_RAW] += 1
    _end_block(_PARAGRAPH_END, text, blocks, bits, stack, nodes, node_bits, state, symbols, word_step, word_found)
    _pop(1, stack, nodes, state)
    nodes[0, col.LAST] = state[_NUM_BLOCKS]
    return (
        text[: state[_AT]].copy(),
        blocks[: state[_NUM_BLOCKS]].copy(),
        bits[: state[_NUM_BLOCKS]].copy(),
        nodes[: state[_NUM_NODES]].copy(),
        node_bits[: state[_NUM_NODES]].copy(),
    )


@numba.njit(nogil=True)
def _ends(flags: int) -> int:
    """What ends where an element of these flags begins or ends."""
    if not flags & el.BLOCK:
        return _NOTHING
    return _PARAGRAPH_END if flags & el.SPACED else _LINE_END


@numba.njit(nogil=True)
def _read_text(data: Any, i: int, text: Any, flags: int, state: Any) -> int:
    """Take in text up to the next tag; returns where that is."""
    size, raw = len(data), state[_RAW]
    if flags & el.SKIP:
        i = max(i, raw)
        while i < size and data[i] != 60:
            i += 1
        return i
    at, begin, blank, chars, blanks = state[_AT], state[_BEGIN], state[_BLANK], 0, 0
    pre = flags & el.PRE
    while i < size and (data[i] != 60 or i < raw):
        c = data[i]
        i += 1
        if c == 38 and not flags & el.RAW:  # &
            if i + 2 < size and data[i + 1] == 116 and data[i + 2] == 59:  # lt; gt;
                c = np.uint8(60) if data[i] == 108 else np.uint8(62)
                i += 3
            elif i + 3 < size and data[i] == 97 and data[i + 1] == 109 and data[i + 3] == 59:  # amp;
                i += 4
            elif i + 4 < size and data[i] == 110 and data[i + 4] == 59:  # nbsp;
                c = np.uint8(32)
                i += 5
            elif i + 4 < size and data[i] == 113 and data[i + 4] == 59:  # quot;
                c = np.uint8(34)
                i += 5
        if c <= 32 and not pre:
            blank = 1
            continue
        if c > 32:
            if blank and at > begin and text[at - 1] != 10:
                text[at] = 32
                at += 1
                blanks += 1
            blank = 0
            state[_BREAKS] = 0
            chars += (c & 0xC0) != 0x80
        elif c == 10:
            state[_LINES] += 1
        text[at] = c
        at += 1
    state[_AT], state[_BLANK] = at, blank
    state[_CHARS] += chars + blanks
    if flags & el.LINK:
        state[_LINK_CHARS] += chars + blanks
    if flags & el.STRONG:
        state[_STRONG] += chars
    return i


@numba.njit(nogil=True)
def _pass_comment(data: Any, i: int) -> int:
    """Past a comment, a doctype or a processing instruction."""
    size = len(data)
    if i + 3 < size and data[i + 2] == 45 and data[i + 3] == 45:
        i += 4
        while i < size and not (data[i] == 62 and data[i - 1] == 45 and data[i - 2] == 45):
            i += 1
    else:
        while i < size and data[i] != 62:
            i += 1
    return i + 1


@numba.njit(nogil=True)
def _read_name(data: Any, i: int) -> tuple[int, int]:
    """Where a tag's name ends, and its hash."""
    code = 0
    while i < len(data) and data[i] != 62 and data[i] > 32:
        code = (code * 31 + data[i]) & 0x7FFFFFFF
        i += 1
    return i, code


@numba.njit(nogil=True)
def _closes(data: Any, at: int, code: int) -> bool:
    """Whether ``</name>`` stands here, its name of that hash."""
    if data[at] != 60 or at + 1 >= len(data) or data[at + 1] != 47:
        return False
    return bool(_read_name(data, at + 2)[1] == code)


@numba.njit(nogil=True)
def _read_tag(data: Any, i: int, symbols: Any, hint_step: Any, hint_found: Any) -> tuple[int, int, int]:
    """Past a tag; the hash of its name, and what its attributes hint at."""
    size = len(data)
    i, code = _read_name(data, i)
    hints = 0
    while i < size and data[i] != 62:
        if data[i] <= 32:
            i += 1
            continue
        name = 0
        while i < size and data[i] != 61 and data[i] != 62 and data[i] > 32:
            name = (name * 31 + data[i]) & 0x7FFFFFFF
            i += 1
        if name == _HIDDEN:
            hints |= _HIDDEN_BIT
        if i + 1 < size and data[i] == 61 and data[i + 1] == 34:
            i += 2
            style = name == _STYLE
            reads = style or name in (_CLASS, _ID, _ROLE, _ITEMPROP)
            at = hint_step[0, 1]
            while i < size and data[i] != 34:
                if reads and not (style and data[i] <= 32):
                    at = hint_step[at, symbols[data[i]]]
                    hints |= hint_found[at] & (_HIDDEN_BIT if style else -1)
                i += 1
            if reads and not style:
                hints |= hint_found[hint_step[at, 1]]
            i += 1
        elif i < size and data[i] == 61:
            i += 1
    return i + 1, code, hints


@numba.njit(nogil=True)
def _break(text: Any, flags: int, state: Any) -> int:
    """A ``<br>``: a new line of the block; the second in a row ends a paragraph."""
    if flags & el.SKIP:
        return _NOTHING
    state[_BREAKS] += 1
    if state[_BREAKS] > 1 and not flags & el.PRE:
        return _PARAGRAPH_END
    if state[_AT] > state[_BEGIN] or flags & el.PRE:
        text[state[_AT]] = 10
        state[_AT] += 1
        state[_LINES] += 1
    state[_BLANK] = 0
    return _NOTHING


@numba.njit(nogil=True)
def _opened(stack: Any, top: int, code: int) -> int:
    """The open element that a closing tag means; 0 if none near is."""
    level = top
    while level > 0 and stack[level, _CODE] != code and top - level < _NEAREST:
        level -= 1
    return level if level > 0 and stack[level, _CODE] == code else 0


@numba.njit(nogil=True)
def _pop(level: int, stack: Any, nodes: Any, state: Any) -> None:
    """Close the open elements from ``level`` on."""
    for k in range(level, state[_TOP] + 1):
        if stack[k, _OWN_FLAGS] & el.BLOCK:
            nodes[stack[k, _NODE], col.LAST] = state[_NUM_BLOCKS]
    state[_TOP] = min(state[_TOP], level - 1)


@numba.njit(nogil=True)
def _push(code: int, flags: int, hints: int, stack: Any, nodes: Any, node_bits: Any, state: Any) -> None:
    """Open an element: what it hands down is its own and what it was handed."""
    over = stack[state[_TOP]]
    state[_TOP] += 1
    this = stack[state[_TOP]]
    for field in range(_STACK_FIELDS):
        this[field] = over[field]
    this[_CODE], this[_OWN_FLAGS], this[_COUNTER] = code, flags, 0
    this[_FLAGS] = (over[_FLAGS] & ~(el.BLOCK | el.RAW)) | flags
    this[_HINTS] = over[_HINTS] | hints
    this[_NEAR] = over[_NEAR] | hints
    if not flags & el.BLOCK:
        return
    node, parent = state[_NUM_NODES], over[_NODE]
    state[_NUM_NODES] += 1
    nodes[node, col.PARENT], nodes[node, col.FIRST] = parent, state[_NUM_BLOCKS]
    nodes[node, col.LEVEL] = nodes[parent, col.LEVEL] + 1
    node_bits[node, 0], node_bits[node, 1] = flags, hints
    # Near are this element and the block-level element around it.
    this[_NEAR] = hints | node_bits[parent, 1]
    this[_NODE] = node
    if flags & el.TABLE:
        this[_TABLE], this[_ROW], this[_CELL] = node, -1, 0
    elif flags & el.ROW:
        this[_ROW] = state[_NUM_ROWS]
        state[_NUM_ROWS] += 1
    elif flags & (el.CELL | el.ITEM):
        over[_COUNTER] += 1
        if flags & el.CELL:
            this[_CELL] = over[_COUNTER]
        else:
            state[_MARKER] = over[_COUNTER] if over[_OWN_FLAGS] & el.ORDERED else _BULLET


@numba.njit(nogil=True)
def _end_block(
    end: int,
    text: Any,
    blocks: Any,
    bits: Any,
    stack: Any,
    nodes: Any,
    node_bits: Any,
    state: Any,
    symbols: Any,
    word_step: Any,
    word_found: Any,
) -> None:
    """The text since the last end is a block, if there is any."""
    over = stack[state[_TOP]]
    first, last = state[_BEGIN], state[_AT]
    while last > first and text[last - 1] <= 32:
        last -= 1
    if over[_FLAGS] & el.PRE:
        start = first
        while start < last and text[start] <= 32:  # the indentation of the first line is kept
            if text[start] == 10:
                first = start + 1
            start += 1
    if last > first:
        b = blocks[state[_NUM_BLOCKS]]
        kinds = _measure(text, first, last, b, symbols, word_step, word_found)
        if not over[_FLAGS] & el.PRE:
            b[col.CHARS] = state[_CHARS]
        b[col.LINK_CHARS], b[col.LINKS] = min(state[_LINK_CHARS], b[col.CHARS]), state[_LINKS]
        b[col.NODE], b[col.DEPTH] = over[_NODE], nodes[over[_NODE], col.LEVEL]
        b[col.TABLE], b[col.ROW], b[col.CELL] = over[_TABLE], over[_ROW], over[_CELL]
        b[col.MARKER], b[col.PARAGRAPH_BREAK] = state[_MARKER], state[_PARAGRAPH]
        b[col.STRONG_CHARS], b[col.LINES] = state[_STRONG], state[_LINES]
        mark = bits[state[_NUM_BLOCKS]]
        mark[col.FLAGS], mark[col.HINTS], mark[col.NEAR] = over[_FLAGS], over[_HINTS], over[_NEAR]
        mark[col.WORD_KINDS], mark[col.OWN] = kinds, node_bits[over[_NODE], 0]
        state[_NUM_BLOCKS] += 1
        state[_MARKER], state[_PARAGRAPH] = 0, 0
    state[_AT] = state[_BEGIN] = last
    for field in range(_BLANK, _MARKER):
        state[field] = 0
    if end == _PARAGRAPH_END:
        state[_PARAGRAPH] = 1


@numba.njit(nogil=True)
def _measure(text: Any, first: int, last: int, b: Any, symbols: Any, word_step: Any, word_found: Any) -> int:
    """Count in a block's text what its row ``b`` tells; returns the kinds of words found."""
    words, stops, commas, digits, upper, chars = 0, 0, 0, 0, 0, 0
    kinds, at, inside = 0, word_step[0, 1], False
    for k in range(first, last):
        c = text[k]
        if c <= 32:
            inside = False
        else:
            words += not inside
            inside = True
            if 48 <= c <= 57:
                digits += 1
            elif 65 <= c <= 90:
                upper += 1
            elif c == 44:
                commas += 1
            elif (c == 46 or c == 33 or c == 63 or c == 58) and (k + 1 >= last or text[k + 1] <= 34):
                stops += 1
            elif c == 0xE3 and k + 2 < last and text[k + 1] == 0x80 and text[k + 2] == 0x82:
                stops += 1  # the full stop of Chinese and Japanese
            chars += (c & 0xC0) != 0x80
        at = word_step[at, symbols[c]]
        kinds |= word_found[at]
    b[col.START], b[col.END], b[col.CHARS], b[col.WORDS] = first, last, chars, words
    b[col.STOPS], b[col.COMMAS], b[col.DIGITS], b[col.UPPER] = stops, commas, digits, upper
    return int(kinds | word_found[word_step[at, 1]])
