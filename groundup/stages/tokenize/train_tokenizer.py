"""Make a tokenizer: count words, learn from them, and show what it does to text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from groundup.artifact.exhibit import Facts, Table
from groundup.artifact.stage import Outcome, Task
from groundup.base.errors import RequestError
from groundup.stages.tokenize.choose import Limits
from groundup.stages.tokenize.config import TokenizerConfig
from groundup.stages.tokenize.corpus import read_documents
from groundup.stages.tokenize.corpus_words import CorpusWords, corpus_words
from groundup.stages.tokenize.exhibits import tokenizer_exhibits
from groundup.text import sentencepiece_train as sentencepiece
from groundup.text.adopt.splits import SPLITS, Split, byte_level
from groundup.text.bpe import learn as bpe
from groundup.text.bpe.splitter import Splitter
from groundup.text.chat.template import CHAT_TEMPLATE
from groundup.text.learned import tokenizer_of
from groundup.text.tokenizer import Roles, Tokenizer

MODEL: Final = "tokenizer.model"
LEARNING_BYTES: Final = 2 << 30
"""Memory for learning from the words that are chosen, unless ``max_words`` says how many they are."""

_NO_LIMIT: Final = 1 << 62
_DEFAULT_SPLIT: Final = "llama3"


def run(config: TokenizerConfig, task: Task) -> Outcome:
    """Learn from the training split; measure on the held-out split."""
    learn = learn_bpe if config.algorithm == "bpe" else learn_sentencepiece
    tokenizer, words = learn(config, task)
    tokenizer.save(task.payload)
    columns = ["text", "source", "language"]
    exhibits, measured = tokenizer_exhibits(tokenizer, read_documents(task.input("corpus"), "held_out", columns))
    shares = _shares(words)
    task.show(*exhibits, *_exhibits(words, shares))
    return Outcome(
        metrics={
            **measured,
            "vocab_size": tokenizer.vocab_size,
            "training_bytes": sum(words.bytes.values()),
            "words": {
                "different": words.found,
                "learned_from": words.words.num_rows,
                "covered": round(words.covered, 6),
            },
            "counted_for": shares,
        }
    )


def _limits(config: TokenizerConfig, a_word: int, a_byte: int) -> Limits:
    if config.max_words is not None:
        return Limits(config.max_words, _NO_LIMIT, a_word, a_byte)
    return Limits(_NO_LIMIT, LEARNING_BYTES, a_word, a_byte)


def _special(config: TokenizerConfig, words: CorpusWords) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the special tokens at the beginning of the vocabulary, those at its end)."""
    found = config.all_special_tokens(words.languages if config.language_tokens else ())
    number = len(found) - config.num_reserved
    return found[:number], found[number:]


def learn_bpe(config: TokenizerConfig, task: Task) -> tuple[Tokenizer, CorpusWords]:
    """Byte-level BPE, and the words that it was learned from."""
    split = SPLITS[config.split or _DEFAULT_SPLIT]
    _refuse_spellable(split, config.special_tokens)
    limits = _limits(config, bpe.BYTES_A_WORD, bpe.BYTES_A_POSITION)
    words = corpus_words(config, task, split.pre_tokenizer(), split.nfc, limits)
    special, reserved = _special(config, words)
    learned = bpe.learn(
        words.words,
        config.vocab_size,
        special_tokens=special,
        num_reserved=len(reserved),
        min_frequency=config.min_frequency * words.parts,
        report=lambda done, total: task.progress.update("learning merges", done, total, "entries"),
    )
    return tokenizer_of(learned, split, reserved), words


def _refuse_spellable(split: Split, tokens: tuple[str, ...]) -> None:
    """RequestError for a special token that is one piece of text: what people write could then be taken for it."""
    splitter = Splitter.parse(split.pre_tokenizer())
    for token in tokens:
        if len(splitter.pieces(pa.array([token]))[0]) < 2:
            raise RequestError(
                f"the special token {token!r} could be a word of the text; call it <|{token.strip('<|>')}|>"
            )


def learn_sentencepiece(config: TokenizerConfig, task: Task) -> tuple[Tokenizer, CorpusWords]:
    """One of SentencePiece's kinds, which is also written as its ``.model``; and the words that it was learned from."""
    pattern = {"type": "Split", "pattern": {"Regex": sentencepiece.WORDS}, "behavior": "Isolated", "invert": False}
    pre_tokenizer = {"type": "Sequence", "pretokenizers": [pattern, byte_level(split_words=False)]}
    limits = _limits(config, sentencepiece.BYTES_A_WORD, sentencepiece.BYTES_A_POSITION)
    words = corpus_words(config, task, pre_tokenizer, False, limits)
    kind: sentencepiece.Kind = "unigram" if config.algorithm == "unigram" else "bpe"
    task.progress.update("learning pieces", 0, config.vocab_size, "entries")
    special, reserved = _special(config, words)
    model = sentencepiece.train_sentencepiece(words.words, config.vocab_size, kind, special, task.scratch, reserved)
    (task.payload / MODEL).write_bytes(model)
    return Tokenizer.parse(sentencepiece.describe_trained(model), CHAT_TEMPLATE, Roles()), words


def _shares(words: CorpusWords) -> dict[str, dict[str, float]]:
    """The share of the text that each language and source has, and the one that it counted for."""
    if not words.factors:
        return {}
    total = sum(words.bytes.values())
    found: dict[str, dict[str, float]] = {}
    for (source, language), size in words.bytes.items():
        for name in {language, source}:
            row = found.setdefault(name, {"share": 0.0, "counted_for": 0.0})
            row["share"] += size / total
            row["counted_for"] += size * words.factors.get((source, language), 0.0) / total
    return {name: {key: round(value, 6) for key, value in row.items()} for name, row in sorted(found.items())}


def _exhibits(words: CorpusWords, shares: Mapping[str, Mapping[str, float]]) -> list[Facts | Table]:
    """What it was learned from."""
    chosen = words.words.num_rows
    found: list[Facts | Table] = [
        Facts(
            title="What it was learned from",
            facts=(
                (
                    "text",
                    f"{sum(words.bytes.values()) / 1e6:,.1f} MB",
                    "of training documents, as often as they are read",
                ),
                ("different words", f"{words.found:,}", "as the text was cut, blanks and marks among them"),
                ("learned from", f"{chosen:,}", f"the most frequent; {words.covered:.2%} of the text is made of them"),
            ),
        )
    ]
    if shares:
        found.append(
            Table(
                title="What each language and source counted for",
                columns=("language or source", "share of the text", "counted for"),
                rows=tuple((name, f"{row['share']:.2%}", f"{row['counted_for']:.2%}") for name, row in shares.items()),
            )
        )
    return found
