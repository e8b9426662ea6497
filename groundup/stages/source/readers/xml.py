"""Elements out of XML of any size, one at a time, none kept.

The parser is Python's expat. It is fed piece by piece, so that an element can be given up before it fills the memory.
Entities of the document's own (the XML bomb) are refused: dumps have none.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator
from typing import IO, Final
from xml.parsers import expat

from groundup.stages.source.unpack import DamageError

_PIECE: Final = 1 << 16


class _Builder:
    """Builds each wanted element, tags without namespaces, and None for one with more than ``limit`` characters."""

    def __init__(self, names: Collection[str], limit: int) -> None:
        self.ready: list[ElementTree.Element | None] = []
        self._names = names
        self._limit = limit
        self._tree: ElementTree.TreeBuilder | None = None
        self._depth = 0
        self._size = 0

    def start(self, name: str, fields: dict[str, str]) -> None:
        name = name.rpartition("}")[2]
        if self._tree is None and name in self._names:
            self._tree, self._depth, self._size = ElementTree.TreeBuilder(), 0, 0
        if self._tree is not None:
            self._depth += 1
            self._size += sum(map(len, fields.values()))
            if self._size <= self._limit:
                self._tree.start(name, fields)

    def data(self, text: str) -> None:
        if self._tree is not None:
            self._size += len(text)
            if self._size <= self._limit:
                self._tree.data(text)

    def end(self, name: str) -> None:
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
    parser.EntityDeclHandler = _no_entities
    final = False
    while not final:
        piece = stream.read(_PIECE)
        final = not piece
        try:
            parser.Parse(piece, final)
        except (expat.ExpatError, ValueError) as error:
            yield from builder.ready
            raise DamageError(title, f"is damaged or cut off ({error}); fetch it again") from None
        yield from builder.ready
        builder.ready.clear()
