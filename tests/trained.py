"""Small tokenizers of a few texts, with few special tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from groundup.text import learned
from groundup.text.chat.template import END_OF_TEXT, PAD, TURN_END, TURN_START
from groundup.text.tokenizer import Tokenizer

SPECIAL_TOKENS: Final = (END_OF_TEXT, PAD, TURN_START, TURN_END, *(f"<|reserved_{i}|>" for i in range(4)))


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE; DataError if the texts don't hold enough different words."""
    return learned.train_bpe(texts, vocab_size, SPECIAL_TOKENS)
