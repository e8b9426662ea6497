"""What a block of text looks like, as numbers: its own text, its neighbours, the elements around it, the page.

The ideas are those of boilerplate detection since Kohlschütter et al. 2010 (lengths and link densities of a block and
of its neighbours) and of readability-like extractors (which element holds most of the page's prose, and what its class
names say). Every number is a ratio, a logarithm or a bit: sizes of pages and languages don't shift them much.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.extraction import elements as el
from groundup.stages.curate.extraction import layout as col
from groundup.stages.curate.extraction.layout import Blocks

_HINT_KINDS: Final = 25
_WORD_KINDS: Final = 16
_FLAGS: Final = np.array(
    [
        el.CELL,
        el.ITEM,
        el.HEADING,
        el.PARAGRAPH,
        el.NAV,
        el.ASIDE,
        el.FOOTER,
        el.HEADER,
        el.ARTICLE,
        el.MAIN,
        el.FORM,
        el.FIGURE,
        el.LIST,
        el.QUOTE,
        el.DEFINITIONS,
        el.PRE,
        el.TOP_HEADING,
    ],
    np.int64,
)
_SHARES: Final = np.array([0.5, 0.75, 0.9])
"""The element that holds this share of the page's prose, as deep down as possible, is taken for its main content."""

# What running sums are of.
_CHARS: Final = 0
_LINKS: Final = 1
_PROSE: Final = 2
_STOPS: Final = 3

_OWN: Final = 14
_AROUND: Final = 6
_LEVELS: Final = 3
_PAGE: Final = 8
_NEIGHBOURS: Final = (-3, -2, -1, 1, 2, 3)
NUM_FEATURES: Final = (
    _OWN
    + len(_NEIGHBOURS) * 3
    + _LEVELS * _AROUND
    + len(_SHARES) * 3
    + _PAGE
    + len(_FLAGS)
    + _HINT_KINDS * 2
    + _WORD_KINDS
)


def features(page: Blocks) -> NDArray[np.float32]:
    """(blocks, NUM_FEATURES) float32."""
    return np.asarray(_features(page.blocks, page.bits, page.nodes, _FLAGS, _SHARES))


@numba.njit(cache=True, nogil=True)
def _features(blocks: Any, bits: Any, nodes: Any, kinds: Any, shares: Any) -> Any:
    n = len(blocks)
    out = np.zeros((n, NUM_FEATURES), np.float32)
    sums, log_chars, link_share = _running_sums(blocks, bits)
    core = np.zeros((len(shares), 2), np.int64)
    for s in range(len(shares)):
        node = _deepest(nodes, sums[:, _PROSE], shares[s])
        core[s, 0], core[s, 1] = nodes[node, col.FIRST], nodes[node, col.LAST]
    title = -1
    for b in range(n):
        if bits[b, col.FLAGS] & el.TOP_HEADING:
            title = b
            break
    for b in range(n):
        row = out[b]
        _own(row, blocks[b], log_chars[b], link_share[b])
        k = _OWN
        for step in _NEIGHBOURS:
            near = b + step
            if 0 <= near < n:
                here, there = blocks[b, col.NODE], blocks[near, col.NODE]
                row[k], row[k + 1] = log_chars[near], link_share[near]
                row[k + 2] = 1.0 * (there == here) + 1.0 * (nodes[there, col.PARENT] == nodes[here, col.PARENT])
            else:
                row[k], row[k + 1], row[k + 2] = -1, -1, -1
            k += 3
        k = _around(row, k, blocks[b, col.NODE], nodes, sums)
        k = _in_page(row, k, b, core, sums, title)
        for flag in kinds:
            row[k] = 1.0 * ((bits[b, col.FLAGS] & flag) != 0)
            k += 1
        for bit in range(_HINT_KINDS):
            row[k] = (bits[b, col.NEAR] >> bit) & 1
            row[k + _HINT_KINDS] = (bits[b, col.HINTS] >> bit) & 1
            k += 1
        k += _HINT_KINDS
        for bit in range(_WORD_KINDS):
            row[k] = (bits[b, col.WORD_KINDS] >> bit) & 1
            k += 1
    return out


@numba.njit(nogil=True)
def _running_sums(blocks: Any, bits: Any) -> Any:
    """Sums over the blocks before each: what any element holds is a difference of two of them. And of each block the
    logarithm of its length, and its share of link text."""
    n = len(blocks)
    sums = np.zeros((n + 1, 4))
    log_chars, link_share = np.zeros(n), np.zeros(n)
    for b in range(n):
        size = blocks[b, col.CHARS]
        link_share[b] = blocks[b, col.LINK_CHARS] / max(1, size)
        log_chars[b] = np.log1p(size)
        signs = blocks[b, col.STOPS] + blocks[b, col.COMMAS]
        prose = 0.0
        if size >= 25 and link_share[b] < 0.5:
            prose = (1 - link_share[b]) * (min(size / 100.0, 6.0) + min(signs, 8.0))
        if bits[b, col.FLAGS] & (el.NAV | el.FOOTER | el.ASIDE):
            prose *= 0.2
        sums[b + 1, _CHARS] = sums[b, _CHARS] + size
        sums[b + 1, _LINKS] = sums[b, _LINKS] + blocks[b, col.LINK_CHARS]
        sums[b + 1, _PROSE] = sums[b, _PROSE] + prose
        sums[b + 1, _STOPS] = sums[b, _STOPS] + blocks[b, col.STOPS]
    return sums, log_chars, link_share


@numba.njit(nogil=True)
def _deepest(nodes: Any, prose: Any, share: float) -> int:
    """The deepest element that holds this share of the page's prose."""
    best = 0
    for node in range(len(nodes)):
        inside = prose[nodes[node, col.LAST]] - prose[nodes[node, col.FIRST]]
        if inside >= share * prose[-1] and nodes[node, col.LEVEL] > nodes[best, col.LEVEL]:
            best = node
    return best


@numba.njit(nogil=True)
def _own(row: Any, block: Any, log_chars: float, link_share: float) -> None:
    """The block's own text."""
    size, words = max(1, block[col.CHARS]), max(1, block[col.WORDS])
    row[0] = log_chars
    row[1] = link_share
    row[2] = np.log1p(words)
    row[3] = size / words
    row[4] = block[col.STOPS] / words
    row[5] = block[col.COMMAS] / words
    row[6] = block[col.DIGITS] / size
    row[7] = block[col.UPPER] / size
    row[8] = min(block[col.LINKS], 20)
    row[9] = block[col.STRONG_CHARS] / size
    row[10] = min(block[col.LINES], 20)
    row[11] = block[col.STOPS]
    row[12] = block[col.PARAGRAPH_BREAK]
    row[13] = min(block[col.DEPTH], 40)


@numba.njit(nogil=True)
def _around(row: Any, k: int, node: int, nodes: Any, sums: Any) -> int:
    """The three elements around the block's own; returns the next free place."""
    page_chars, page_prose = max(1.0, sums[-1, _CHARS]), max(1e-6, sums[-1, _PROSE])
    for _ in range(_LEVELS):
        if nodes[node, col.PARENT] >= 0:
            node = nodes[node, col.PARENT]
        first, last = nodes[node, col.FIRST], nodes[node, col.LAST]
        held = sums[last] - sums[first]
        inside = max(1.0, held[_CHARS])
        row[k] = inside / page_chars
        row[k + 1] = held[_LINKS] / inside
        row[k + 2] = np.log1p(1.0 * (last - first))
        row[k + 3] = held[_PROSE] / page_prose
        row[k + 4] = np.log1p(inside / max(1, last - first))
        row[k + 5] = held[_STOPS] / inside
        k += _AROUND
    return k


@numba.njit(nogil=True)
def _in_page(row: Any, k: int, b: int, core: Any, sums: Any, title: int) -> int:
    """Where the block stands in its page and in what seems to be the main content; returns the next free place."""
    n = len(sums) - 1
    page_chars, page_prose = max(1.0, sums[-1, _CHARS]), max(1e-6, sums[-1, _PROSE])
    for s in range(len(core)):
        first, last = core[s, 0], core[s, 1]
        row[k] = 1.0 * (first <= b < last)
        row[k + 1] = (b - first) / max(1, last - first)
        row[k + 2] = (sums[b, _CHARS] - sums[first, _CHARS]) / page_chars
        k += 3
    row[k] = sums[b, _CHARS] / page_chars
    row[k + 1] = b / n
    row[k + 2] = np.log1p(page_chars)
    row[k + 3] = sums[-1, _LINKS] / page_chars
    row[k + 4] = sums[b, _PROSE] / page_prose
    row[k + 5] = sums[b + 1, _PROSE] / page_prose
    row[k + 6] = -1000 if title < 0 else min(max(b - title, -50), 200)
    row[k + 7] = np.log1p(page_prose)
    return k + _PAGE
