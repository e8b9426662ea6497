"""How many bytes of text each token stands for, read off its spelling; decoding would mis-size parts of characters."""

from __future__ import annotations

from groundup.base.errors import DataError
from groundup.text.tokenizer import Tokenizer


def bytes_of_tokens(tokenizer: Tokenizer, vocab_size: int) -> list[int] | None:
    """The bytes of each of ``vocab_size`` ids; special tokens and entries beyond the tokenizer's stand for none.

    The blank that some tokenizers put before a text is counted. None if it isn't known how tokens are spelled.
    """
    try:
        pieces = tokenizer.pieces
    except DataError:
        return None
    return [len(pieces.get(index, b"")) for index in range(vocab_size)]
