"""The regular expressions by which tokenizers split text, as a tree: the part of Oniguruma's syntax that they use.

What one character may be (a literal, an escape, a bracket) stays as written, because the library is asked for its
members (:mod:`.members`). What this module doesn't know, it refuses: :class:`CannotCompileError` says what.

Syntax: Oniguruma's doc/RE with its Ruby dialect, which ``tokenizers`` uses. Of note there: ``{n,m}+`` is a repeated
repetition and not a possessive one, and ``$`` also stands before a line feed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final


class CannotCompileError(Exception):
    """A split that has no automaton here, and why; the caller uses the library."""


@dataclass(frozen=True)
class Chars:
    """One character out of a set, which ``source`` describes in the library's syntax; ``folded``: of any case."""

    source: str
    folded: bool = False
    literal: str | None = None


@dataclass(frozen=True)
class Ahead:
    """Matches the place before a character of one of the sets, or with ``end`` before none; ``negated``: all others."""

    sets: tuple[Chars, ...]
    end: bool
    negated: bool


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """The first alternative with which the whole matches."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """Between ``least`` and ``most`` times (None: without end), as often as possible, or with ``lazy`` as rarely."""

    item: Node
    least: int
    most: int | None
    lazy: bool


Node = Chars | Ahead | Sequence | Choice | Repeat

_LINE_END: Final = Ahead((Chars("\\n", literal="\n"),), end=True, negated=False)
_LITERAL_ESCAPES: Final = {"r": "\r", "n": "\n", "t": "\t", "f": "\f", "v": "\v"}
_CLASS_ESCAPES: Final = "sSdDwW"
_PROPERTY: Final = re.compile(r"\\[pP]\{\^?[A-Za-z_ ]+\}")
_INTERVAL: Final = re.compile(r"\{(\d*)(,?)(\d*)\}")
_MAX_REPEAT: Final = 100
_MAX_DEPTH: Final = 50
_JOINED: Final = ("ff", "fi", "fl", "st", "ss")
"""Pairs of letters that some single character folds to, such as ß: Oniguruma then matches one for two."""
_LAST_ASKED: Final = 0x3FFFF
"""The last code point whose membership in a bracket is asked for one by one (:mod:`.members`)."""


def parse(pattern: str) -> Node:
    """The tree of a pattern; CannotCompileError if it uses what is not known here."""
    parser = _Parser(pattern)
    node = parser.choice(folded=False)
    if parser.at < len(pattern):
        raise CannotCompileError("unbalanced brackets")
    return node


class _Parser:
    """Recursive descent over one pattern."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.depth = 0

    def choice(self, folded: bool) -> Node:
        options = [self.sequence(folded)]
        while self.next_is("|"):
            self.at += 1
            options.append(self.sequence(folded))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self, folded: bool) -> Node:
        items: list[Node] = []
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            items.append(self.repeated(folded))
        for before, after in pairwise(items):
            _refuse_joined(before, after)
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def repeated(self, folded: bool) -> Node:
        item = self.atom(folded)
        while self.at < len(self.source):
            limits = self.limits()
            if limits is None:
                break
            if folded or isinstance(item, Ahead) or _can_be_empty(item):
                raise CannotCompileError("a repetition of what may be empty, or regardless of case")
            item = self.how(item, *limits)
        return item

    def limits(self) -> tuple[int, int | None, bool] | None:
        """(least, most, whether it was written in braces) of the repetition that stands here."""
        mark = self.source[self.at]
        if mark in "*+?":
            self.at += 1
            return int(mark == "+"), 1 if mark == "?" else None, False
        if mark != "{":
            return None
        found = _INTERVAL.match(self.source, self.at)
        if found is None or not (found[1] or found[3]):
            raise CannotCompileError("a brace that is no repetition")
        self.at = found.end()
        least = int(found[1] or 0)
        most = least if not found[2] else int(found[3]) if found[3] else None
        if max(least, most or 0) > _MAX_REPEAT or (most is not None and most < least):
            raise CannotCompileError("a repetition that is too long")
        return least, most, True

    def how(self, item: Node, least: int, most: int | None, braces: bool) -> Node:
        """The repetition, greedy, lazy or possessive by the mark behind it."""
        if self.next_is("?"):
            if braces and most == least:
                raise CannotCompileError("an optional fixed repetition")
            self.at += 1
            return Repeat(item, least, most, lazy=True)
        greedy = Repeat(item, least, most, lazy=False)
        if not self.next_is("+") or braces:
            if self.at < len(self.source) and self.source[self.at] in "*{" + "+" * (not braces):
                raise CannotCompileError("a repetition of a repetition")
            return greedy
        # A possessive repetition of one set gives nothing back: behind it stands no character of the set.
        self.at += 1
        if not isinstance(item, Chars):
            raise CannotCompileError("a possessive repetition of more than one character")
        stop = Ahead((item,), end=False, negated=True)
        return Choice((item, stop)) if most == 1 else Sequence((greedy, stop))

    def atom(self, folded: bool) -> Node:
        mark = self.source[self.at]
        if mark == "(":
            return self.group(folded)
        if mark == "$":
            self.at += 1
            return _LINE_END
        if mark in "*+?{^":
            raise CannotCompileError(f"{mark!r} here")
        start = self.at
        if mark == "[":
            self.skip_bracket()
        elif mark == "\\":
            self.skip_escape()
        else:
            self.at += 1
        return _chars(self.source[start : self.at], folded)

    def group(self, folded: bool) -> Node:
        opening = next(
            (known for known in ("(?:", "(?i:", "(?=", "(?!") if self.source.startswith(known, self.at)), "("
        )
        if opening == "(" and self.source.startswith("(?", self.at):
            raise CannotCompileError(f"the group {self.source[self.at : self.at + 4]}…")
        self.at += len(opening)
        if folded:
            raise CannotCompileError("a group in one regardless of case")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise CannotCompileError("groups too deep within each other")
        inside = self.choice(opening == "(?i:")
        self.depth -= 1
        if not self.next_is(")"):
            raise CannotCompileError("unbalanced brackets")
        self.at += 1
        return _ahead(inside, negated=opening == "(?!") if opening in ("(?=", "(?!") else inside

    def skip_bracket(self) -> None:
        """Past a bracket and those within it."""
        depth = 0
        while self.at < len(self.source):
            mark = self.source[self.at]
            if mark == "\\":
                self.skip_escape()
                continue
            self.at += 1
            if mark == "[":
                depth += 1
                self.at += self.next_is("^")
                if self.next_is("]"):
                    raise CannotCompileError("a bracket that begins with its end")
            elif mark == "]":
                depth -= 1
                if depth == 0:
                    return
            elif ord(mark) > _LAST_ASKED:
                raise CannotCompileError("a bracket with a rare character")
        raise CannotCompileError("unbalanced brackets")

    def skip_escape(self) -> None:
        found = _PROPERTY.match(self.source, self.at)
        if found:
            self.at = found.end()
            return
        escaped = self.source[self.at + 1 : self.at + 2]
        plain = escaped.isascii() and escaped.isprintable() and not escaped.isalnum()
        if not escaped or not (plain or escaped in _LITERAL_ESCAPES or escaped in _CLASS_ESCAPES):
            raise CannotCompileError(f"the escape \\{escaped}")
        self.at += 2

    def next_is(self, mark: str) -> bool:
        return self.source.startswith(mark, self.at)


def _chars(source: str, folded: bool) -> Chars:
    """The set that ``source`` stands for."""
    literal: str | None = None
    if len(source) == 1 and source != ".":
        literal = source
    elif len(source) == 2 and source[0] == "\\" and source[1] not in _CLASS_ESCAPES:
        literal = _LITERAL_ESCAPES.get(source[1], source[1])
    if not folded:
        return Chars(source, literal=literal)
    if literal is not None and literal.isascii():
        return Chars(source, folded=True) if literal.isalpha() else Chars(source, literal=literal)
    if literal is None and re.fullmatch(r"\[[A-Za-z' ]+\]", source):
        return Chars(source, folded=True)
    raise CannotCompileError(f"{source} regardless of case")


def _ahead(inside: Node, *, negated: bool) -> Ahead:
    """A look at the next character, if ``inside`` is no more than that."""
    sets: list[Chars] = []
    end = False
    for option in inside.options if isinstance(inside, Choice) else (inside,):
        if isinstance(option, Chars):
            sets.append(option)
        elif option == _LINE_END:
            sets += _LINE_END.sets
            end = True
        else:
            raise CannotCompileError("a look ahead at more than one character")
    return Ahead(tuple(sets), end, negated)


def _can_be_empty(node: Node) -> bool:
    if isinstance(node, Chars):
        return False
    if isinstance(node, Sequence):
        return all(_can_be_empty(item) for item in node.items)
    if isinstance(node, Choice):
        return any(_can_be_empty(option) for option in node.options)
    return isinstance(node, Ahead) or node.least == 0 or _can_be_empty(node.item)


def _refuse_joined(before: Node, after: Node) -> None:
    """Letters regardless of case side by side, if one character could stand for both."""
    if not (_has_folded(before) and _has_folded(after)):
        return
    if not (isinstance(before, Chars) and isinstance(after, Chars)):
        raise CannotCompileError("groups regardless of case side by side")
    if any(a in before.source.lower() and b in after.source.lower() for a, b in _JOINED):
        raise CannotCompileError(f"{before.source}{after.source} regardless of case")


def _has_folded(node: Node) -> bool:
    if isinstance(node, Chars):
        return node.folded
    if isinstance(node, Sequence):
        return any(_has_folded(item) for item in node.items)
    if isinstance(node, Choice):
        return any(_has_folded(option) for option in node.options)
    return isinstance(node, Repeat) and _has_folded(node.item)
