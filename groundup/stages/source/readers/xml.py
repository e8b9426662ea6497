"""Elements out of XML of any size, one at a time, none kept.

The parser is Python's expat. It is fed piece by piece, so that an element can be given up before it fills the memory.
What no dump has and what would fill the memory of expat itself is refused: entities of the document's own (the XML
bomb), endless depth, endlessly many names, a single tag or comment that goes on and on.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator
from typing import IO, Final
from xml.parsers import expat

from groundup.stages.source.bounded import DamageError

_PIECE: Final = 1 << 16
_ELEMENT: Final = 64
"""What an element counts in characters, be it empty: it takes about as many bytes of memory."""
_DEEPEST: Final = 1000
_HELD: Final = 4
"""Bytes of one tag for each character that an element may have: UTF-8 takes no more."""
_MOST_NAMES: Final = 100_000
"""Names of elements and fields, which expat and its binding keep to the end. A dump has some thirty."""


class _Builder:
    """Builds each wanted element, tags without namespaces, and None for one with more than ``limit`` characters."""

    def __init__(self, names: Collection[str], limit: int) -> None:
        self.ready: list[ElementTree.Element | None] = []
        self._names = names
        self._limit = limit
        self._tree: ElementTree.TreeBuilder | None = None
        self._depth = 0
        self._size = 0
        self._level = 0
        self.moved = False

    def start(self, name: str, fields: dict[str, str]) -> None:
        self.moved = True
        self._level += 1
        if self._level > _DEEPEST:
            raise ValueError("it is nested too deeply")
        name = name.rpartition("}")[2]
        if self._tree is None and name in self._names:
            self._tree, self._depth, self._size = ElementTree.TreeBuilder(), 0, 0
        if self._tree is not None:
            self._depth += 1
            self._size += _ELEMENT + sum(map(len, fields.values()))
            if self._size <= self._limit:
                self._tree.start(name, fields)

    def data(self, text: str) -> None:
        self.moved = True
        if self._tree is not None:
            self._size += len(text)
            if self._size <= self._limit:
                self._tree.data(text)

    def other(self, _: str) -> None:
        """Comments, instructions and the like: nothing is built, but the parser came on."""
        self.moved = True

    def end(self, name: str) -> None:
        self.moved = True
        self._level -= 1
        if self._tree is None:
            return
        self._depth -= 1
        if self._size <= self._limit:
            self._tree.end(name.rpartition("}")[2])
        if self._depth == 0:
            self.ready.append(self._tree.close() if self._size <= self._limit else None)
            self._tree = None


def _no_entities(*_: object) -> None:
    raise ValueError("it declares entities of its own")


def elements(stream: IO[bytes], title: str, names: Collection[str], limit: int) -> Iterator[ElementTree.Element | None]:
    """Each element of one of these names, whole, in order; None for one with more than ``limit`` characters.

    DamageError if the XML is broken or ends too early; what came before was yielded.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    builder = _Builder(names, limit)
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.DefaultHandlerExpand = builder.other
    parser.EntityDeclHandler = _no_entities
    final = False
    held = 0  # bytes since the parser last came on
    while not final:
        piece = stream.read(_PIECE)
        final = not piece
        builder.moved = False
        try:
            parser.Parse(piece, final)
            held = 0 if builder.moved else held + len(piece)
            if held > _HELD * limit:
                raise ValueError("a tag in it has no end")
            if len(parser.intern) > _MOST_NAMES:
                raise ValueError("it has too many names")
        except (expat.ExpatError, ValueError) as error:
            yield from builder.ready
            raise DamageError(title, f"is damaged or cut off ({error}); fetch it again") from None
        yield from builder.ready
        builder.ready.clear()
