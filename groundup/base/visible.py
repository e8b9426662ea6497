"""Text of people's for a terminal: what a terminal would obey, or not show, is written out."""

from __future__ import annotations

from typing import Final

_JOINERS: Final = "\u200c\u200d"
"""Parts of letters and of emoji: they show by what they join."""


def visible(text: str, *, lines: bool = True) -> str:
    """A text that is safe to print; its lines stay lines, or become one.

    >>> visible("a\\x1b[31m\\tb\\n"), visible("\\n\\t", lines=False)
    ('a␛[31m→\\tb↵\\n', '↵→')
    """
    made = text if text.isprintable() else "".join(map(_visible, text))
    return made if lines else made.replace("\n", "").replace("\t", "")


def _visible(char: str) -> str:
    if char == "\n":
        return "↵\n"
    if char == "\t":
        return "→\t"
    if ord(char) < 0x20:
        return chr(0x2400 + ord(char))
    is_plain = char.isprintable() or (char.isspace() and char not in "\x85\u2028\u2029")
    return char if is_plain or char in _JOINERS else f"⟨U+{ord(char):04X}⟩"
