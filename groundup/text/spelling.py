"""Tokens as bytes: what each stands for, and how any bytes can be written, those that are no UTF-8 included."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from groundup.base.errors import DataError
from groundup.text.bpe.byte_level import ALPHABET, unspell

_NO_TEXT: Final = re.compile("([\udc80-\udcff]+)")
"""What Python's ``surrogateescape`` makes of bytes that are no UTF-8."""
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class Spelling:
    """``pieces[i]``: the bytes of id i, of special tokens none. ``byte_ids[b]``: the id of byte b alone. ``strip``: how
    many blanks the decoder takes away at the beginning of a text."""

    pieces: Mapping[int, bytes]
    byte_ids: tuple[int, ...]
    strip: int

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> Spelling:
        """From what a ``tokenizer.json`` holds; DataError if it is neither byte-level nor falls back to bytes."""
        decoders = _flat(description.get("decoder"))
        kinds = [decoder["type"] for decoder in decoders]
        vocab = description["model"]["vocab"]
        ids: dict[str, int] = vocab if isinstance(vocab, dict) else {entry[0]: i for i, entry in enumerate(vocab)}
        if kinds == ["ByteLevel"]:
            spell: Callable[[str], bytes] = _byte_level
            spell_added: Callable[[str], bytes] = str.encode  # the library takes even these for spelled bytes
            alphabet, strip = tuple(ALPHABET), 0
        elif "ByteFallback" in kinds and set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip"}:
            spell, strip = _falling_back(decoders)
            spell_added = spell
            alphabet = tuple(f"<0x{byte:02X}>" for byte in range(256))
        else:
            raise DataError("the tokenizer doesn't say how its tokens are spelled in bytes")
        if any(token not in ids for token in alphabet):
            raise DataError("the tokenizer doesn't have all 256 bytes")
        added = {token["id"]: token for token in description.get("added_tokens") or ()}
        pieces = {index: spell(token) for token, index in ids.items()}
        pieces |= {index: b"" if token["special"] else spell_added(token["content"]) for index, token in added.items()}
        return cls(pieces, tuple(ids[token] for token in alphabet), strip)

    def decode(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids; special tokens are left out. DataError if there is no such id."""
        data = self._join(ids)
        blanks = len(data) - len(data.lstrip(b" "))
        return data[min(blanks, self.strip) :]

    def encode(self, data: bytes, encode: Callable[[str], list[int]]) -> list[int]:
        """Ids that decode to these bytes; those of ``encode`` if they are UTF-8.

        Otherwise each stretch of text is encoded, what lies between is written byte by byte, and so is a stretch that
        wouldn't come back by itself, as where the tokenizer puts a blank before every text.
        """
        parts = _NO_TEXT.split(data.decode("utf-8", "surrogateescape"))
        if len(parts) == 1:
            return encode(parts[0])
        ids: list[int] = []
        lead = b" " * self.strip
        for number, part in enumerate(parts):
            wanted = lead + part.encode("utf-8", "surrogateescape")
            lead = b""
            found = encode(part) if number % 2 == 0 else []
            ids += found if self._join(found) == wanted else [self.byte_ids[byte] for byte in wanted]
        return ids

    def _join(self, ids: Sequence[int]) -> bytes:
        try:
            return b"".join([self.pieces[index] for index in ids])
        except KeyError as error:
            raise DataError(f"the tokenizer has no token {error.args[0]}") from None


def _flat(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [part for inner in decoder["decoders"] for part in _flat(inner)]
    return [decoder]


def _byte_level(token: str) -> bytes:
    """A token with characters outside the alphabet stands for itself, as in the library."""
    spelled = unspell(token)
    return token.encode() if spelled is None else spelled


def _falling_back(decoders: Sequence[Mapping[str, Any]]) -> tuple[Callable[[str], bytes], int]:
    """How a token is spelled, and how many blanks are taken away in front of a text; DataError for what is unknown."""
    replaced: list[tuple[str, str]] = []
    strip = 0
    for decoder in decoders:
        if decoder["type"] == "Replace":
            if "String" not in decoder["pattern"]:
                raise DataError("the tokenizer's decoder replaces by a pattern")
            replaced.append((decoder["pattern"]["String"], decoder["content"]))
        elif decoder["type"] == "Strip":
            if decoder["content"] != " " or decoder["stop"]:
                raise DataError("the tokenizer's decoder takes away more than blanks in front")
            strip = int(decoder["start"])

    def spell(token: str) -> bytes:
        for old, new in replaced:
            token = token.replace(old, new)
        byte = _BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.encode()

    return spell, strip
