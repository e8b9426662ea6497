"""How byte-level vocabularies spell bytes: each of the 256 as one printable character (GPT-2, Radford et al. 2019).

Bytes that print in Latin-1 spell themselves; the others get U+0100, U+0101 and so on, in the order of the bytes.
"""

from __future__ import annotations

from typing import Final


def _alphabet() -> str:
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spelled, spare = [], 0x100
    for byte in range(256):
        if byte in printable:
            spelled.append(chr(byte))
        else:
            spelled.append(chr(spare))
            spare += 1
    return "".join(spelled)


ALPHABET: Final = _alphabet()
"""Character i spells byte i."""

_BYTES: Final = {ord(character): byte for byte, character in enumerate(ALPHABET)}


def spell(data: bytes) -> str:
    """Bytes as a byte-level vocabulary writes them.

    >>> spell(b" the")
    'Ġthe'
    """
    return data.decode("latin-1").translate({byte: ALPHABET[byte] for byte in data})


def unspell(token: str) -> bytes | None:
    """The bytes that a token stands for; None if some character of it spells no byte.

    >>> unspell("Ġthe")
    b' the'
    """
    try:
        return bytes([_BYTES[ord(character)] for character in token])
    except KeyError:
        return None
