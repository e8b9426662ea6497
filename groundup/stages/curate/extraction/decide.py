"""Which blocks of a page are its main content.

A forest judges every block by itself and its surroundings; a second one looks at its judgements of the neighbours as
well, so that a short line between two paragraphs stays and a long one in a menu goes (stacking, as Vogels et al. 2018
do with a Markov field). Then what belongs together is kept together: a table of data stays or goes as a whole, and so
does code inside the element that holds the main content.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.extraction import elements as el
from groundup.stages.curate.extraction import layout as col
from groundup.stages.curate.extraction.features import features
from groundup.stages.curate.extraction.forest import Model, model
from groundup.stages.curate.extraction.layout import Blocks

_REACH: Final = 3
_OUTSIDE: Final = -6.0
_CORE: Final = 0.97
"""The deepest element with this share of what the forest keeps holds the main content."""
_NEVER: Final = el.NAV | el.FOOTER | el.ASIDE
_LINK_TABLE: Final = 0.7
_PAGE_TABLE: Final = 0.5
_CELL_CHARS: Final = 400
"""Characters a cell, on average, above which a table is the layout of prose."""
_LAYOUT_CHARS: Final = 2000
_HEADING_ODDS: Final = -4.0
_HIDDEN_OR_NUMBERS: Final = 1 << el.HIDDEN_HINT | 1 << el.LINE_NUMBER_HINT


def main_content(page: Blocks, judge: Model | None = None) -> NDArray[np.bool_]:
    """(blocks,) bool. ``judge`` is the shipped model where none is given."""
    if not len(page.blocks):
        return np.zeros(0, bool)
    judge = judge or model()
    rows = features(page)
    odds = judge.second.log_odds(with_neighbours(rows, judge.first.log_odds(rows)))
    return _whole(page, odds > judge.threshold, odds)


def with_neighbours(rows: NDArray[np.float32], odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features with the log-odds of a block and its neighbours, and their mean and maximum in the page, added."""
    padded = np.pad(odds, _REACH, constant_values=_OUTSIDE)
    near = [padded[at : at + len(odds)] for at in range(2 * _REACH + 1)]
    page = [np.full(len(odds), value, np.float32) for value in ((odds.mean(), odds.max()) if len(odds) else (0.0, 0.0))]
    return np.concatenate([rows, np.stack([*near, *page], 1)], 1).astype(np.float32)


def _whole(page: Blocks, keep: NDArray[np.bool_], odds: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The decision with code, tables and headings in the main content made whole."""
    flags, chars = page.bits[:, col.FLAGS], page.blocks[:, col.CHARS]
    barred = ((flags & _NEVER) != 0) | ((page.bits[:, col.HINTS] & _HIDDEN_OR_NUMBERS) != 0)
    keep = keep | (((flags & el.PRE) != 0) & ~barred)
    tables = page.blocks[:, col.TABLE]
    simple = [np.flatnonzero(tables == table) for table in _simple_tables(page)]
    for rows in simple:
        if chars[rows].sum() > _PAGE_TABLE * chars.sum() and not barred[rows].any():
            keep[rows] = True  # the page is there for its table
    first, last = _core(page, keep)
    here = np.zeros(len(keep), bool)
    here[first:last] = True
    here &= ~barred
    for rows in simple:
        weight = chars[rows] + 1
        links = page.blocks[rows, col.LINK_CHARS].sum() / max(1, chars[rows].sum())
        wanted = (weight * keep[rows]).sum() > weight.sum() / 2
        keep[rows] = wanted or (here[rows].all() and links < _LINK_TABLE)
    # A heading inside the text goes with what follows it.
    heading = (flags & (el.HEADING | el.TOP_HEADING)) == el.HEADING
    after = False
    for at in range(len(keep) - 1, -1, -1):
        if heading[at]:
            if here[at] and after and keep[:at].any() and odds[at] > _HEADING_ODDS:
                keep[at] = True
        else:
            after = bool(keep[at])
    return keep


def _core(page: Blocks, keep: NDArray[np.bool_]) -> tuple[int, int]:
    """The blocks, from the first to before the last, of the element that holds the main content."""
    kept = np.append(0, np.cumsum(np.where(keep, page.blocks[:, col.CHARS], 0)))
    inside = kept[page.nodes[:, col.LAST]] - kept[page.nodes[:, col.FIRST]] >= _CORE * kept[-1]
    core = int(np.argmax(np.where(inside, page.nodes[:, col.LEVEL], -1)))
    return int(page.nodes[core, col.FIRST]), int(page.nodes[core, col.LAST])


def data_tables(page: Blocks) -> list[int]:
    """The nodes of tables that hold data, not the layout of a page: no table within them, most rows with several
    cells, and cells of moderate length."""
    result = []
    for table in _simple_tables(page):
        blocks = page.blocks[page.blocks[:, col.TABLE] == table]
        pairs = np.unique(blocks[:, [col.ROW, col.CELL]], axis=0)
        rows, cells = np.unique(pairs[:, 0], return_counts=True)
        moderate = blocks[:, col.CHARS].sum() / len(pairs) <= _CELL_CHARS
        if moderate and len(rows) > 1 and (cells > 1).sum() * 2 >= len(rows):
            result.append(table)
    return result


def _simple_tables(page: Blocks) -> list[int]:
    """Tables with no table within them, several cells, and none that holds a page."""
    tables = page.blocks[:, col.TABLE]
    found = np.unique(tables[tables >= 0]).tolist()
    outer: set[int] = set()
    for table in found:
        node = int(page.nodes[table, col.PARENT])
        while node >= 0 and node not in outer:
            if page.node_bits[node, 0] & el.TABLE:
                outer.add(node)
            node = int(page.nodes[node, col.PARENT])
    result = []
    for table in found:
        blocks = page.blocks[tables == table]
        rows = len(np.unique(blocks[:, col.ROW]))
        cells = len(np.unique(blocks[:, [col.ROW, col.CELL]], axis=0))
        if (
            table not in outer
            and (rows > 1 or blocks[:, col.CELL].max() > 1)
            and blocks[:, col.CHARS].sum() / cells <= _LAYOUT_CHARS
        ):
            result.append(table)
    return result
