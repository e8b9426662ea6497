"""A random model and a tokenizer of a few sentences: enough to talk nonsense quickly."""

from __future__ import annotations

import copy
from functools import cache

import torch
from trained import train_bpe

from groundup.infer.engine import Engine
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.text.tokenizer import Tokenizer

SENTENCES = (
    "Once upon a time, there was a little girl who lived in a small house near the sea.",
    "The dog ran to the park. He was happy because the sun was shining, and he found a big red ball!",
    '"Let\'s play," said the cat. They played until the evening came and the stars were in the sky.',
    "Die Straße führt über den Fluß; naïve façades cost 12,345.67 crowns — 猫と犬 😀🎉",
)


@cache
def tiny_tokenizer() -> Tokenizer:
    """A tokenizer of 320 entries."""
    return train_bpe(SENTENCES * 4, 320)


def tiny_engine(seed: int = 1, max_seq_len: int = 128, peak: float = 1.0, never_stops: bool = False) -> Engine:
    """An engine with random weights; a larger ``peak`` makes its choices less even."""
    tokenizer = copy.copy(tiny_tokenizer())
    if never_stops:
        tokenizer.stop_ids = frozenset()
    config = ModelConfig(
        vocab_size=320,
        num_layers=2,
        hidden_size=32,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_seq_len=max_seq_len,
    )
    model = Transformer(config)
    initialise(model, seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(peak)
    return Engine(model, tokenizer)
