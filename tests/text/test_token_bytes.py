"""The bytes of tokens add up to those of the text."""

from __future__ import annotations

import json
from functools import cache

import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

from groundup.text.token_bytes import bytes_of_tokens
from groundup.text.tokenizer import Tokenizer

_ROLES = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
TOKENIZER = tiny_tokenizer()


@cache
def _with_added() -> Tokenizer:
    backend = tokenizers.Tokenizer.from_str(json.dumps(TOKENIZER.describe()))
    backend.add_tokens(["<tool>", "naïve"])
    return Tokenizer(backend)


@given(st.lists(st.text() | st.sampled_from(["<tool>", "naïve", "<|pad|>"])).map("".join))
def test_sizes_add_up_to_the_text(text: str) -> None:
    tokenizer = _with_added()
    sizes = bytes_of_tokens(tokenizer, tokenizer.vocab_size)
    assert sizes is not None
    assert sum(sizes[token] for token in tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.decode_bytes(tokenizer.encode(text)) == text.encode()


def test_special_tokens_and_entries_beyond_the_tokenizers_have_none() -> None:
    sizes = bytes_of_tokens(TOKENIZER, TOKENIZER.vocab_size + 3)
    assert sizes is not None
    assert [sizes[token] for token in TOKENIZER.special_tokens.values()] == [0] * len(TOKENIZER.special_tokens)
    assert sizes[-3:] == [0, 0, 0]


def test_tokenizers_that_fall_back_to_bytes_have_sizes_and_those_of_words_none() -> None:
    vocab = {token: index for index, token in enumerate([*(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"])}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [("▁", "a")], byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(_ROLES)
    tokenizer = Tokenizer(backend)
    sizes = bytes_of_tokens(tokenizer, tokenizer.vocab_size)
    assert sizes is not None
    assert [sizes[token] for token in tokenizer.encode("a aé")] == [1, 2, 1, 1]
    words = tokenizers.Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(_ROLES)
    assert bytes_of_tokens(Tokenizer(words), 6) is None
