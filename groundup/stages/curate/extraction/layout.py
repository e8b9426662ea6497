"""How the blocks of a page lie in memory: the columns of its arrays.

A *block* is a run of text with no block-level element inside: a paragraph, a list item, a table cell, the text of a
``<pre>`` with its line breaks, or loose text between two elements. White space outside ``<pre>`` is one blank.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Columns of blocks.
START: Final = 0
END: Final = 1
NODE: Final = 2
CHARS: Final = 3
LINK_CHARS: Final = 4
LINKS: Final = 5
WORDS: Final = 6
STOPS: Final = 7
COMMAS: Final = 8
DIGITS: Final = 9
UPPER: Final = 10
DEPTH: Final = 11
TABLE: Final = 12
ROW: Final = 13
CELL: Final = 14
MARKER: Final = 15
PARAGRAPH_BREAK: Final = 16
STRONG_CHARS: Final = 17
LINES: Final = 18
BLOCK_FIELDS: Final = 19

# Columns of what bits say of a block.
FLAGS: Final = 0
HINTS: Final = 1
NEAR: Final = 2
WORD_KINDS: Final = 3
OWN: Final = 4
BIT_FIELDS: Final = 5

# Columns of nodes: block-level elements in document order.
PARENT: Final = 0
FIRST: Final = 1
LAST: Final = 2
LEVEL: Final = 3
NODE_FIELDS: Final = 4


class Blocks(NamedTuple):
    """A page's blocks. ``text``: (bytes,) uint8, UTF-8; ``blocks``: (n, BLOCK_FIELDS) int32; ``bits``:
    (n, BIT_FIELDS) int64; ``nodes``: (m, NODE_FIELDS) int32, node i holding blocks FIRST to LAST, end excluded;
    ``node_bits``: (m, 2) int64, each element's flags and hints."""

    text: NDArray[np.uint8]
    blocks: NDArray[np.int32]
    bits: NDArray[np.int64]
    nodes: NDArray[np.int32]
    node_bits: NDArray[np.int64]
