"""SentencePiece ``.model`` files: the few fields that decide about ids, read from protobuf's wire format.

A message is a row of (field number and wire type, value); see https://protobuf.dev/programming-guides/encoding and
``sentencepiece_model.proto`` of SentencePiece for the numbers. Our own reader, so that adopting needs no package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from groundup.base.errors import DataError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PIECES, _TRAINER, _NORMALIZER, _DENORMALIZER = 1, 2, 3, 5


class PieceType(IntEnum):
    """What a piece is, by the numbers of the format."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Algorithm(IntEnum):
    """How a model cuts text, by the numbers of the format."""

    UNIGRAM = 1
    BPE = 2
    WORD = 3
    CHAR = 4


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary; ``score`` is a float32: a log probability, or minus the rank of a merge."""

    text: str
    score: float
    type: PieceType


@dataclass(frozen=True)
class PieceModel:
    """What a ``.model`` file says, the format's defaults filled in. A piece's id is its place.

    ``charsmap`` is the compiled table of the normaliser, empty for none; ``denormalizes`` if there is one for decoding.
    """

    pieces: tuple[Piece, ...]
    algorithm: Algorithm
    bos_id: int
    eos_id: int
    pad_id: int
    byte_fallback: bool
    suffix_spaces: bool
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    denormalizes: bool

    def role(self, index: int) -> str | None:
        """The text of the piece of a role, None if the model has none."""
        return self.pieces[index].text if 0 <= index < len(self.pieces) else None


# field number: our name, how to read it, default
_Fields = dict[int, tuple[str, Callable[[Any], Any], Any]]


def _int(value: Any) -> int:
    """A signed number: negative ones are stored in 64 bits of two's complement."""
    number = int(value)
    return number - (1 << 64) if number >= 1 << 63 else number


def _text(value: Any) -> str:
    return str(bytes(value), "utf-8")


def _float(value: Any) -> float:
    (number,) = struct.unpack("<f", value)
    return float(number)


_PIECE: Final[_Fields] = {1: ("text", _text, ""), 2: ("score", _float, 0.0), 3: ("type", _int, 1)}
_TRAINER_SPEC: Final[_Fields] = {
    3: ("algorithm", _int, 1),
    24: ("suffix_spaces", bool, False),
    35: ("byte_fallback", bool, False),
    41: ("bos_id", _int, 1),
    42: ("eos_id", _int, 2),
    43: ("pad_id", _int, -1),
}
_NORMALIZER_SPEC: Final[_Fields] = {
    2: ("charsmap", bytes, b""),
    3: ("add_dummy_prefix", bool, True),
    4: ("remove_extra_whitespaces", bool, True),
    5: ("escape_whitespaces", bool, True),
}


def parse_model(data: bytes) -> PieceModel:
    """Read a ``.model`` file's bytes; DataError if they are damaged or no such file."""
    pieces: list[Piece] = []
    parts: dict[int, bytes] = {_TRAINER: b"", _NORMALIZER: b"", _DENORMALIZER: b""}
    try:
        for number, value in _fields(data):
            if number == _PIECES:
                found = _read(value, _PIECE)
                pieces.append(Piece(found["text"], found["score"], PieceType(found["type"])))
            elif number in parts:
                parts[number] += value  # a message in several parts is their concatenation
        trainer = _read(parts[_TRAINER], _TRAINER_SPEC)
        trainer["algorithm"] = Algorithm(trainer["algorithm"])
        normalizer = _read(parts[_NORMALIZER], _NORMALIZER_SPEC)
        denormalizer = _read(parts[_DENORMALIZER], _NORMALIZER_SPEC)
    except (ValueError, IndexError, TypeError, struct.error) as error:
        raise DataError(f"not a readable SentencePiece model ({error}): fetch the file again") from None
    if not pieces:
        raise DataError("not a readable SentencePiece model: it has no pieces")
    return PieceModel(tuple(pieces), **trainer, **normalizer, denormalizes=bool(denormalizer["charsmap"]))


def _read(data: bytes, wanted: _Fields) -> dict[str, Any]:
    """The fields of a message that we know by name; the last one counts where one is there twice."""
    found = {name: default for name, _, default in wanted.values()}
    for number, value in _fields(data):
        if number in wanted:
            name, convert, _ = wanted[number]
            found[name] = convert(value)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: int for a varint, bytes for the rest. ValueError at damage."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        if at + size > end:
            raise ValueError(f"cut off at byte {end}")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, least first, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError(f"cut off at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
