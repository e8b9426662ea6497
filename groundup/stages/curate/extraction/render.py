"""Blocks as text: paragraphs apart, lists with their marks, tables a row a line, code as it was set.

The rates:

Year | Rate
2024 | 3.1

• first
• second
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.extraction import elements as el
from groundup.stages.curate.extraction import layout as col
from groundup.stages.curate.extraction.decide import data_tables
from groundup.stages.curate.extraction.layout import Blocks

CELL_MARK: Final = " | "
_BULLET: Final = "• "


def render(page: Blocks, keep: NDArray[np.bool_]) -> str:
    """The text of the blocks to keep, (blocks,) bool, in the order of the page."""
    whole = page.text.tobytes()
    data = set(data_tables(page))
    parts: list[str] = []
    paragraphs = np.append(0, np.cumsum(page.blocks[:, col.PARAGRAPH_BREAK]))
    before = -1
    rows = page.blocks.tolist()
    flags = page.bits[:, col.FLAGS].tolist()
    for at in np.flatnonzero(keep).tolist():
        row = rows[at]
        text = whole[row[col.START] : row[col.END]].decode("utf-8", "replace")
        code = bool(flags[at] & el.PRE)
        if before >= 0:
            apart = paragraphs[at + 1] > paragraphs[before + 1]
            parts.append(_between(rows[before], row, apart, row[col.TABLE] in data, code))
        if row[col.TABLE] in data and not code:
            text = text.replace("\n", " ")
        elif row[col.MARKER] and not code:
            parts.append(_BULLET if row[col.MARKER] < 0 else f"{row[col.MARKER]}. ")
        parts.append(text)
        before = at
    return "".join(parts)


def _between(last: list[int], this: list[int], apart: bool, in_data: bool, code: bool) -> str:
    """What separates two blocks that follow each other in the text."""
    if in_data and last[col.TABLE] == this[col.TABLE] and not code:
        if last[col.ROW] != this[col.ROW]:
            return "\n"
        cells = this[col.CELL] - last[col.CELL]
        return CELL_MARK * cells if cells > 0 else " "
    return "\n\n" if apart else "\n"
