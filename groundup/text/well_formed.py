"""Python strings that are no Unicode text: what becomes of halves of surrogate pairs."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """The text that can be written as UTF-8: pairs of surrogates joined, lone ones replaced, as tiktoken does.

    >>> well_formed("\\ud83d\\ude00 \\ud83d.") == "\\U0001f600 \\ufffd."
    True
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
