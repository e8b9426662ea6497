"""A split pattern as a deterministic automaton that finds what a backtracking matcher finds first.

The states are ordered lists of threads (Cox 2010, "Regular Expression Matching in the Wild", on RE2): the first thread
is the one that a backtracking matcher would follow, and a thread that has matched cuts off those behind it. Threads go
on with the class of the next character known, or that none is left. So a look ahead at one character is exact, and a
match is noticed one character late: an entry says whether there was one *before* the character it is for.

Characters that no set of the pattern tells apart are one class; the sets are the library's own (:mod:`.members`).

A pattern that reads far without a match (``a+b|a`` in a run of ``a``) takes time by the square, as in the library; no
published split does. To refuse such patterns would only make them slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.text.bpe.members import NUM_CODES, Mask, members, version
from groundup.text.bpe.pattern import Ahead, CannotCompileError, Chars, Choice, Node, Repeat, Sequence, parse

MAX_STATES: Final = 4000
_MAX_PROGRAM: Final = 4000
_CHARS, _SPLIT, _AHEAD, _MATCH = range(4)


@dataclass(frozen=True)
class Automaton:
    """``classes``: uint8 (0x110000,), the class of every code point. ``entries``: int32 (states, classes + 1), what
    follows on a character of a class, or, in the last column, on the end: twice the next state, or -2 where nothing can
    match any more, plus 1 if the text before this character is a match. The first state is 0."""

    classes: NDArray[np.uint8]
    entries: NDArray[np.int32]

    @property
    def num_classes(self) -> int:
        """Classes of characters."""
        return int(self.entries.shape[1]) - 1


@lru_cache(maxsize=64)
def _cached(pattern: str, version: str) -> Automaton:
    return build(parse(pattern), members)


def compile_pattern(pattern: str) -> Automaton:
    """The automaton of a pattern; CannotCompileError says why it has none. RequestError without the library."""
    return _cached(pattern, version())


def build(node: Node, members_of: Callable[[Chars], Mask]) -> Automaton:
    """The automaton of a tree, given the members of its sets."""
    sets = list(dict.fromkeys(_sets(node)))
    classes, masks = _classes([members_of(chars) for chars in sets])
    end = int(classes.max()) + 1
    program = _Program(dict(zip(sets, masks, strict=True)), 1 << end)
    program.add(node)
    program.code.append((_MATCH, 0, 0))
    entries = _determine(program.code, end + 1)
    if (entries[0] & 1).any():
        raise CannotCompileError("a pattern that matches nothing at all")
    return Automaton(classes, entries)


def _sets(node: Node) -> list[Chars]:
    if isinstance(node, Chars):
        return [node]
    if isinstance(node, Ahead):
        return list(node.sets)
    if isinstance(node, Repeat):
        return _sets(node.item)
    items = node.items if isinstance(node, Sequence) else node.options
    return [chars for item in items for chars in _sets(item)]


def _classes(sets: list[Mask]) -> tuple[NDArray[np.uint8], list[int]]:
    """The class of every code point, and for each set its classes as bits."""
    changes = np.zeros(NUM_CODES, np.bool_)
    changes[0] = True
    for mask in sets:
        changes[1:] |= mask[1:] != mask[:-1]
    starts = np.nonzero(changes)[0]  # runs of code points that are in the same sets: few, so the rest is cheap
    classes = np.zeros(len(starts), np.int64)
    for mask in sets:
        # Renumbered each time, so that the numbers stay small however many sets there are.
        classes = np.unique(classes * 2 + mask[starts], return_inverse=True)[1].reshape(-1)
    count = int(classes.max()) + 1
    if count > 255:
        raise CannotCompileError("more than 255 classes of characters")
    bits = [sum(1 << int(one) for one in np.unique(classes[mask[starts]])) for mask in sets]
    return np.repeat(classes.astype(np.uint8), np.diff(starts, append=NUM_CODES)), bits


class _Program:
    """Thompson's construction: (operation, argument, argument). ``_SPLIT`` prefers its first target."""

    def __init__(self, masks: dict[Chars, int], end_bit: int) -> None:
        self.code: list[tuple[int, int, int]] = []
        self._masks = masks
        self._end = end_bit

    def add(self, node: Node) -> None:
        if len(self.code) > _MAX_PROGRAM:
            raise CannotCompileError("a pattern that is too long")
        if isinstance(node, Chars):
            self.code.append((_CHARS, self._masks[node], 0))
        elif isinstance(node, Ahead):
            mask = self._end if node.end else 0
            for chars in node.sets:
                mask |= self._masks[chars]
            self.code.append((_AHEAD, (2 * self._end - 1) & ~mask if node.negated else mask, 0))
        elif isinstance(node, Sequence):
            for item in node.items:
                self.add(item)
        elif isinstance(node, Choice):
            self._choose(node.options)
        else:
            self._repeat(node)

    def _choose(self, options: tuple[Node, ...]) -> None:
        leaving = []
        for option in options[:-1]:
            fork = self._hole()
            self.add(option)
            leaving.append(self._hole())
            self.code[fork] = (_SPLIT, fork + 1, len(self.code))
        self.add(options[-1])
        for place in leaving:
            self.code[place] = (_SPLIT, len(self.code), len(self.code))

    def _repeat(self, node: Repeat) -> None:
        for _ in range(node.least):
            self.add(node.item)
        if node.most is None:
            fork = self._hole()
            self.add(node.item)
            self.code.append((_SPLIT, fork, fork))
            self._fork(fork, node.lazy)
            return
        forks = []
        for _ in range(node.most - node.least):
            forks.append(self._hole())
            self.add(node.item)
        for fork in forks:
            self._fork(fork, node.lazy)

    def _fork(self, place: int, lazy: bool) -> None:
        """Go in or go on, in the order of preference."""
        inside, behind = place + 1, len(self.code)
        self.code[place] = (_SPLIT, behind, inside) if lazy else (_SPLIT, inside, behind)

    def _hole(self) -> int:
        self.code.append((_SPLIT, 0, 0))
        return len(self.code) - 1


def _determine(code: list[tuple[int, int, int]], columns: int) -> NDArray[np.int32]:
    """The table of all states that can be reached."""
    numbers: dict[tuple[int, ...], int] = {(0,): 0}
    rows: list[list[int]] = []
    waiting: list[tuple[int, ...]] = [(0,)]
    while len(rows) < len(waiting):
        threads = waiting[len(rows)]
        row = []
        for column in range(columns):
            following, matched = _step(code, threads, column, last=column == columns - 1)
            if following and following not in numbers:
                numbers[following] = len(waiting)
                waiting.append(following)
            row.append(2 * (numbers[following] if following else -1) + matched)
        rows.append(row)
        if len(waiting) > MAX_STATES:
            raise CannotCompileError("an automaton of too many states")
    return np.array(rows, np.int32)


def _step(
    code: list[tuple[int, int, int]], threads: tuple[int, ...], column: int, *, last: bool
) -> tuple[tuple[int, ...], bool]:
    """The threads after a character of a class, and whether one had matched before it.

    Depth first in the order of preference; who comes second to an instruction could only repeat what the first does.
    """
    seen: set[int] = set()
    following: dict[int, None] = {}
    stack = list(reversed(threads))
    while stack:
        place = stack.pop()
        if place in seen:
            continue
        seen.add(place)
        operation, first, second = code[place]
        if operation == _MATCH:
            return tuple(following), True
        if operation == _SPLIT:
            stack += [second, first]
        elif first >> column & 1:
            if operation == _AHEAD:
                stack.append(place + 1)
            elif not last:
                following[place + 1] = None
    return tuple(following), False


def side_by_side(automata: list[Automaton]) -> tuple[NDArray[np.uint8], NDArray[np.int32], int, int]:
    """Several automata for the kernels: classes (n * 0x110000,), entries (n * block,), the block and a row's length.

    A row's last column is for the end of the text. States are places: that of automaton k's first row is k * block, and
    an entry holds twice the place of the next state's row.
    """
    width = max(automaton.num_classes for automaton in automata) + 1
    block = width * max(len(automaton.entries) for automaton in automata)
    entries: NDArray[Any] = np.full((len(automata), block), -2, np.int32)
    for number, automaton in enumerate(automata):
        table = automaton.entries
        moved = np.where(table >= 0, 2 * (number * block + (table >> 1) * width) | (table & 1), table)
        rows = entries[number].reshape(-1, width)[: len(table)]
        rows[:, : automaton.num_classes] = moved[:, :-1]
        rows[:, -1] = moved[:, -1]
    return np.concatenate([automaton.classes for automaton in automata]), entries.reshape(-1), block, width
