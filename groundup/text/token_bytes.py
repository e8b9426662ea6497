"""How many bytes of text each token stands for, read off its spelling; decoding would mis-size parts of characters."""

from __future__ import annotations

from groundup.text.tokenizer import Tokenizer


def bytes_of_tokens(tokenizer: Tokenizer, vocab_size: int) -> list[int] | None:
    """The bytes of each of ``vocab_size`` ids; special tokens and entries beyond the tokenizer's stand for none.

    A byte-level vocabulary spells each byte as one character. None for tokenizers of another kind.
    """
    described = tokenizer.describe()
    if (described.get("decoder") or {}).get("type") != "ByteLevel":
        return None
    sizes = [0] * vocab_size
    for piece, index in described["model"]["vocab"].items():
        if index < vocab_size:
            sizes[index] = len(piece)
    for index in tokenizer.special_tokens.values():
        if index < vocab_size:
            sizes[index] = 0
    return sizes
