"""A rendered conversation as ids, with the mask of what is trained on: the same ids that transformers gives.

Each piece between two special tokens is encoded by itself, and special tokens by their ids, so that no text of
people's is ever searched for special tokens. Two habits of the ``tokenizers`` library are carried over: a special
token may swallow the white space beside it (``lstrip``, ``rstrip``), and a Metaspace tokenizer may put its mark
before the first piece only.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from groundup.base.errors import DataError, missing_extra
from groundup.text.chat.template import Rendered
from groundup.text.well_formed import well_formed

try:
    import tokenizers
except ImportError as error:
    raise missing_extra("tokenizers", "train") from error

_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space, which is what the library strips."""


@dataclass(frozen=True)
class ChatTokens:
    """An encoded conversation; ``trained[i]`` says whether token ``ids[i]`` is one the model should learn to say.

    ``note`` is a line on what the template's own generation blocks say otherwise, if they do.
    """

    ids: list[int]
    trained: list[bool]
    note: str = ""


class ChatEncoder:
    """Encodes rendered conversations with ``backend``, whose special tokens have the ids ``special_tokens``."""

    def __init__(self, backend: tokenizers.Tokenizer, special_tokens: dict[str, int]) -> None:
        self._first = backend
        self._special_tokens = special_tokens
        added = backend.get_added_tokens_decoder().values()
        self._strips_left = {token.content for token in added if token.special and token.lstrip}
        self._strips_right = {token.content for token in added if token.special and token.rstrip}

    @cached_property
    def _rest(self) -> tokenizers.Tokenizer:
        return _later_pieces(self._first)

    def encode(self, rendered: Rendered) -> ChatTokens:
        """Ids and mask. A token is trained if its first character is."""
        ids: list[int] = []
        trained: list[bool] = []
        borders = _borders(rendered)
        for found, _, places in self._pieces(rendered):
            ids += found
            trained += [bisect_right(borders, start) % 2 == 1 for start, _ in places]
        return ChatTokens(ids, trained, rendered.note)

    def places(self, rendered: Rendered) -> Iterator[tuple[int, bool, int, int, bool]]:
        """(id, special or not, start, end, trained or not) of each token; characters [start, end) of the text."""
        borders = _borders(rendered)
        for found, is_special, places in self._pieces(rendered):
            for token, (start, end) in zip(found, places, strict=True):
                yield token, is_special, start, end, bisect_right(borders, start) % 2 == 1

    def _pieces(self, rendered: Rendered) -> Iterator[tuple[list[int], bool, list[tuple[int, int]]]]:
        """The ids of each piece, whether it is a special token, and where in the whole text its tokens are.

        DataError if the template writes what is no Unicode.
        """
        position = 0
        for number, piece in enumerate(rendered.pieces):
            if piece.special:
                yield [self._special_tokens[piece.text]], True, [(position, position + len(piece.text))]
            else:
                text, skipped = self._stripped(rendered, number)
                if well_formed(text) != text:  # people's was looked at before: it is the template's own
                    raise DataError("the chat template writes a lone surrogate, which is no character")
                encoding = (self._rest if number else self._first).encode(text, add_special_tokens=False)
                shift = position + skipped
                yield encoding.ids, False, [(shift + start, shift + end) for start, end in encoding.offsets]
            position += len(piece.text)

    def _stripped(self, rendered: Rendered, number: int) -> tuple[str, int]:
        """A piece of text without what its neighbours swallow, and how many characters went at its start."""
        pieces, text = rendered.pieces, rendered.pieces[number].text
        kept = text
        if number and pieces[number - 1].text in self._strips_right:
            kept = kept.lstrip(_SPACE)
        skipped = len(text) - len(kept)
        if number + 1 < len(pieces) and pieces[number + 1].text in self._strips_left:
            kept = kept.rstrip(_SPACE)
        return kept, skipped


def _borders(rendered: Rendered) -> list[int]:
    """Where trained ranges start and end, in order: a character with an odd number of them up to it is in one."""
    return [border for one in rendered.trained for border in one]


def _later_pieces(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The tokenizer for pieces that do not begin the text: without the mark that Metaspace puts at a beginning."""
    step = backend.pre_tokenizer
    described = json.loads(step.__getstate__()) if step is not None else {}  # its part of tokenizer.json
    found = [one for one in _steps(described) if one.get("prepend_scheme") == "first"]
    if not found:
        return backend
    for one in found:
        one["prepend_scheme"] = "never"
    made = tokenizers.Tokenizer.from_str(json.dumps({**json.loads(backend.to_str()), "pre_tokenizer": described}))
    made.encode_special_tokens = True
    return made


def _steps(pre_tokenizer: dict[str, Any]) -> Sequence[dict[str, Any]]:
    inner = pre_tokenizer.get("pretokenizers")
    return [step for one in inner for step in _steps(one)] if inner is not None else (pre_tokenizer,)
