"""Text whose characters know where they come from, so that people can't spell a special token in a conversation.

A chat template joins its own text with people's, and the special tokens are then looked for in the whole. Whatever
people wrote must not take part in one, be it whole (``<|im_end|>``), cut at a border between two turns, or completed
by the template (a role named ``end`` between ``<|`` and ``|>``). So, while a template runs, each character of people's
text that occurs in any special token is another character: a lone surrogate, which no valid text has. The map is one
to one, so places in the text stay the same, and a character keeps its origin through every cut and join.

A template must not notice. It is handed :class:`Traced` strings, which compare, search and split as if they were the
text that people wrote. Where a template escapes that (some operation of Python's that yields a plain string), its
*logic* may see a surrogate; a special token is still out of reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, SupportsIndex

from groundup.base.errors import DataError

GENERATION_START: Final = "\ud800"
GENERATION_END: Final = "\ud801"
"""Stand in rendered text where a template's ``{% generation %}`` block begins and ends."""

_FIRST, _LAST = 0xD802, 0xDFFF
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Shadow:
    """The map from the characters of ``special_tokens`` to surrogates, and back.

    DataError if they have more different characters than there are surrogates (2,046).
    """

    def __init__(self, special_tokens: Sequence[str]) -> None:
        alphabet = sorted(set("".join(special_tokens)))
        if len(alphabet) > _LAST - _FIRST + 1:
            raise DataError(f"the special tokens have {len(alphabet)} different characters: too many to guard")
        self._hide = {ord(char): _FIRST + place for place, char in enumerate(alphabet)}
        self._show = {place: char for char, place in self._hide.items()}
        self._any = re.compile(f"[{re.escape(''.join(alphabet))}]") if alphabet else re.compile("(?!)")

    def hide(self, text: str) -> str:
        """A text of people's, its dangerous characters replaced: ``Traced``, or as it is if it has none."""
        return Traced(text.translate(self._hide), self) if self._any.search(text) else text

    def show(self, text: str) -> str:
        """The text that people wrote, as a plain string."""
        return str.translate(text, self._show)

    def cover(self, value: Any, plain: Mapping[str, frozenset[str]]) -> Any:
        """A copy of JSON-like data with all strings hidden, keys too; DataError for text that isn't Unicode.

        ``plain`` names keys that stay as they are, and the values of each that are known words and do so too.
        """
        if isinstance(value, str):
            return self.hide(checked(value))
        if isinstance(value, Mapping):
            return {
                key if key in plain else self.cover(key, {}): item
                if isinstance(item, str) and item in plain.get(str(key), ())
                else self.cover(item, {})
                for key, item in value.items()
            }
        return [self.cover(item, {}) for item in value] if isinstance(value, list | tuple) else value

    def bare(self, value: Any) -> tuple[Any, bool]:
        """A copy of JSON-like data as people wrote it, and whether anything in it was hidden."""
        if isinstance(value, str):
            shown = self.show(value)
            return shown, shown != str.__str__(value)
        if isinstance(value, Mapping):
            pairs = [(self.bare(key), self.bare(item)) for key, item in value.items()]
            return {key[0]: item[0] for key, item in pairs}, any(key[1] or item[1] for key, item in pairs)
        if isinstance(value, list | tuple):
            items = [self.bare(item) for item in value]
            return [item for item, _ in items], any(hidden for _, hidden in items)
        return value, False

    def trace(self, text: str) -> str:
        """A joined text as ``Traced`` if a part of it is people's."""
        return Traced(text, self) if not text.isascii() and _SURROGATE.search(text) else text


def checked(text: str) -> str:
    """The text; DataError if it holds a lone surrogate, which is no character."""
    if not text.isascii() and (found := _SURROGATE.search(text)):
        raise DataError(f"a turn is not valid Unicode: a lone surrogate at character {found.start()}")
    return text


class Traced(str):
    """A string with hidden characters that behaves as the one that is shown."""

    __slots__ = ("_shadow",)
    _shadow: Shadow

    def __new__(cls, text: str, shadow: Shadow) -> Traced:
        made = super().__new__(cls, text)
        made._shadow = shadow
        return made

    def __str__(self) -> str:
        return self  # str() of it must not lose what it knows

    def __repr__(self) -> str:
        return self._shadow.hide(repr(self._shadow.show(self)))

    def __hash__(self) -> int:
        return hash(self._shadow.show(self))

    def __add__(self, other: str) -> str:
        return self._like(str.__add__(self, other))

    def __radd__(self, other: str) -> str:
        return self._like(str.__add__(other, self))

    def __mul__(self, times: SupportsIndex) -> str:
        return self._like(str.__mul__(self, times))

    __rmul__ = __mul__

    def __getitem__(self, place: Any) -> str:
        return self._like(str.__getitem__(self, place))

    def __iter__(self) -> Iterator[str]:
        return map(self._like, str.__iter__(self))

    def join(self, parts: Any) -> str:
        return self._like(str.join(self, parts))

    # -- cutting: decided on what is shown, done on what is hidden ------------------------------------------------

    def lstrip(self, chars: str | None = None) -> str:
        shown = self._shadow.show(self)
        return self[len(shown) - len(shown.lstrip(_shown(chars))) :]

    def rstrip(self, chars: str | None = None) -> str:
        return self[: len(self._shadow.show(self).rstrip(_shown(chars)))]

    def strip(self, chars: str | None = None) -> str:
        return self.lstrip(chars).rstrip(chars)

    def removeprefix(self, prefix: str, /) -> str:
        return self[len(prefix) :] if self.startswith(prefix) else self

    def removesuffix(self, suffix: str, /) -> str:
        return self[: len(self) - len(suffix)] if self.endswith(suffix) else self

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._cut(self._shadow.show(self).split(_shown(sep), maxsplit), len(sep or ""))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._cut(self._shadow.show(self).rsplit(_shown(sep), maxsplit), len(sep or ""))

    def splitlines(self, keepends: bool = False) -> list[str]:
        lines = self._cut(self._shadow.show(self).splitlines(keepends=True), 0)
        return lines if keepends else [line.rstrip("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029") for line in lines]

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        place = self.find(sep)
        return self._around(place, len(sep)) if place >= 0 else (self, "", "")

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        place = self.rfind(sep)
        return self._around(place, len(sep)) if place >= 0 else ("", "", self)

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        parts = self.split(old, count) if old else list(str.__iter__(self))
        return self._like(str.join(new, parts) if old else str.replace(self, old, new, count))

    def _cut(self, pieces: list[str], gap: int) -> list[str]:
        """Where ``pieces`` of the shown text, ``gap`` characters or white space apart, lie in this one."""
        shown, found, place = self._shadow.show(self), [], 0
        for piece in pieces:
            place = place if gap else shown.index(piece, place)
            found.append(self[place : place + len(piece)])
            place += len(piece) + gap
        return found

    def _around(self, place: int, size: int) -> tuple[str, str, str]:
        return self[:place], self[place : place + size], self[place + size :]

    def _like(self, text: str) -> str:
        return Traced(text, self._shadow)


def _shown(value: Any) -> Any:
    """An argument as people see it; tuples, as ``startswith`` takes them, part by part."""
    if isinstance(value, Traced):
        return value._shadow.show(value)
    return tuple(map(_shown, value)) if isinstance(value, tuple) else value


def _asked(name: str) -> Callable[..., Any]:
    """A method that tells something about a string: it tells it of what is shown."""

    def method(self: Traced, *arguments: Any) -> Any:
        return getattr(self._shadow.show(self), name)(*map(_shown, arguments))

    method.__name__ = name
    return method


def _changed(name: str) -> Callable[..., str]:
    """A method that changes characters: what came of hidden ones is hidden again."""

    def method(self: Traced) -> str:
        shown = self._shadow.show(self)
        made: str = getattr(shown, name)()
        if len(made) != len(shown):  # places are lost (as in "ß" to "SS"), so all of it counts as people's
            return self._shadow.hide(made)
        hidden = [
            char if own == old else self._shadow.hide(char)
            for own, old, char in zip(str.__iter__(self), shown, made, strict=True)
        ]
        return self._like(str.join("", hidden))

    method.__name__ = name
    return method


for _name in (
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__"),
    *("startswith", "endswith", "find", "rfind", "index", "rindex", "count"),
    *("isalpha", "isdigit", "isalnum", "isspace", "isupper", "islower", "istitle", "isnumeric", "isdecimal", "isascii"),
):
    setattr(Traced, _name, _asked(_name))
for _name in ("lower", "upper", "title", "capitalize", "casefold", "swapcase"):
    setattr(Traced, _name, _changed(_name))
