"""The library that a tokenizer came from, as a function from text to ids: what an adopted one is compared with.

tiktoken and SentencePiece are asked only if they are installed; adopting needs neither.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers

from groundup.base.errors import DataError
from groundup.text.adopt.ranks import Ranks
from groundup.text.adopt.splits import Split

Encode = Callable[[str], list[int]]


def by_tiktoken(ranks: Ranks, split: Split) -> Encode | None:
    """tiktoken with these ranks and this split, special tokens taken as text; None if it isn't installed.

    DataError if it can't read the split.
    """
    try:
        import tiktoken
    except ImportError:
        return None
    pieces = dict(ranks.ranks)
    try:
        encoding = tiktoken.Encoding("adopted", pat_str=split.pattern, mergeable_ranks=pieces, special_tokens={})
    except ValueError as error:
        raise DataError(f"tiktoken can't split text by {split.pattern[:80]!r}: {_line(error)}") from None

    def encode(text: str) -> list[int]:
        composed = unicodedata.normalize("NFC", text) if split.nfc else text
        return [index + ranks.offset for index in encoding.encode_ordinary(composed)]

    return encode


def by_sentencepiece(data: bytes) -> Encode | None:
    """SentencePiece with this model; None if it isn't installed, DataError if it can't read the model."""
    try:
        import sentencepiece
    except ImportError:
        return None
    try:
        processor: Any = sentencepiece.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
        raise DataError(f"sentencepiece can't read the model: {_line(error)}") from None

    def encode(text: str) -> list[int]:
        ids: list[int] = processor.encode(text)
        return ids

    return encode


def by_tokenizers(path: Path) -> Encode:
    """The ``tokenizers`` library with the file as it is, special tokens taken as text."""
    backend = tokenizers.Tokenizer.from_file(str(path))
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()

    def encode(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
