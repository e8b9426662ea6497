"""From learned merges to a tokenizer; and from texts in memory, for small ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from groundup.text.adopt.description import added_token, describe
from groundup.text.adopt.splits import SPLITS, Split
from groundup.text.bpe.learn import Vocabulary, learn
from groundup.text.bpe.splitter import Splitter
from groundup.text.bpe.words import WordCounter
from groundup.text.chat.template import CHAT_TEMPLATE
from groundup.text.special import STANDARD
from groundup.text.tokenizer import Roles, Tokenizer


def tokenizer_of(learned: Vocabulary, split: Split, reserved: Sequence[str] = ()) -> Tokenizer:
    """The tokenizer of a learned vocabulary, with ``reserved`` special tokens behind it."""
    decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    added = [added_token(index, token) for index, token in enumerate(learned.special_tokens)]
    added += [added_token(index, token) for index, token in enumerate(reserved, len(learned.pieces))]
    description = describe(
        learned.model(),
        normalizer=split.normalizer(),
        pre_tokenizer=split.pre_tokenizer(),
        decoder=decoder,
        added=added,
    )
    return Tokenizer.parse(description, CHAT_TEMPLATE, Roles())


def train_bpe(texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = STANDARD) -> Tokenizer:
    """Byte-level BPE with the split of Llama 3; what the tokenizer stage learns from the same texts.

    DataError if they don't hold enough different words for ``vocab_size`` entries.
    """
    split = SPLITS["llama3"]
    counter = WordCounter(Splitter.parse(split.pre_tokenizer()))
    counter.add(pa.array(texts, pa.large_string()))
    return tokenizer_of(learn(counter.table(), vocab_size, special_tokens=special_tokens), split)
