"""Small tokenizers of all kinds, as their own libraries write them, and the texts that they are tried on."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from hypothesis import settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers
from trained import train_bpe

from groundup.text.adopt.adopt import Adopted
from groundup.text.adopt.splits import SPLITS
from groundup.text.bpe.byte_level import unspell

FUZZ = settings(max_examples=60)
END = "<|endoftext|>"
SENTENCE = "the old house on the hill was empty and 1234 winds went through naïve cafés 日本語の文字 don't It's"
WORDS = SENTENCE.split()
LOOKS_SPECIAL = ("<s>", "</s>", "<unk>", "<0x41>", END, "▁", "Ġ")
ODD = ("\r\n", "\t", "é", "e\u0301", "日本", "한", "مرحبا", "👨\u200d👩", "\x00", "\u3000", "\ufb01", "\u212a")
PLAIN = ("the", "house", " ", "  ", "\n", "1234", "'s", "'LL", "aaaa", "xyz", "abc", "!")
PIECES = st.sampled_from([*PLAIN, *ODD, *LOOKS_SPECIAL])
ANY = st.one_of(
    st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=12).map("".join),
    st.text(st.characters(codec="utf-8"), max_size=30),
)


def sentences(seed: int = 1, number: int = 300) -> list[str]:
    draw = random.Random(seed)
    names = WORDS + ["".join(draw.choices("abcdefgh", k=draw.randint(2, 6))) for _ in range(200)]
    return [" ".join(draw.choices(names, k=12)) for _ in range(number)]


def ranks() -> dict[bytes, int]:
    """A vocabulary as tiktoken has it: all bytes, then pieces by when they were learned."""
    model = train_bpe(sentences(), 600).describe()["model"]
    order = [bytes([byte]) for byte in range(256)]
    order += [unspell(left) + unspell(right) for left, right in model["merges"]]  # type: ignore[operator]
    return {piece: rank for rank, piece in enumerate(dict.fromkeys(order))}


def tiktoken_lines(pieces: dict[bytes, int]) -> str:
    return "".join(f"{base64.b64encode(piece).decode()} {rank}\n" for piece, rank in pieces.items())


def ranks_of(folder: Path) -> dict[bytes, int]:
    lines = (folder / "small.tiktoken").read_bytes().splitlines()
    return {base64.b64decode(piece): int(rank) for piece, rank in (line.split() for line in lines)}


def sentencepiece_model(**options: Any) -> bytes:
    out = io.BytesIO()
    fields = {"vocab_size": 400, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences()), model_writer=out, **fields)
    return out.getvalue()


MODELS: dict[str, dict[str, Any]] = {
    "bpe": {"model_type": "bpe", "normalization_rule_name": "identity", "byte_fallback": True},
    "bpe_llama": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "byte_fallback": True,
        "remove_extra_whitespaces": False,
        "vocab_size": 700,
    },
    "bpe_unknown": {"model_type": "bpe", "normalization_rule_name": "identity", "character_coverage": 0.98},
    "bpe_nmt": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc", "byte_fallback": True, "vocab_size": 700},
    "unigram": {"model_type": "unigram", "normalization_rule_name": "identity", "byte_fallback": True},
    "unigram_nmt": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc"},
    "unigram_bare": {
        "model_type": "unigram",
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "pad_id": 3,
    },
    "unigram_symbols": {
        "model_type": "unigram",
        "normalization_rule_name": "identity",
        "user_defined_symbols": ["abc", "!"],
        "control_symbols": ["<ctl>"],
    },
    "bpe_symbols": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "user_defined_symbols": ["xyz"],
        "control_symbols": ["<ctl>"],
        "vocab_size": 700,
    },
}


def write_all(place: Path) -> None:
    """Files of all kinds."""
    pieces = ranks()
    (place / "small.tiktoken").write_text(tiktoken_lines(pieces))
    model = train_bpe(sentences(), 600)
    described = model.describe()
    gpt2 = tokenizers.Tokenizer(models.BPE())
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    gpt2.train_from_iterator(
        sentences(),
        trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=[END], show_progress=False),
    )
    learned = json.loads(gpt2.to_str())["model"]
    (place / "encoder.json").write_text(json.dumps(learned["vocab"]))
    (place / "vocab.bpe").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in learned["merges"]))
    gpt2.save(str(place / "gpt2.json"))
    (place / "tokenizer.json").write_text(json.dumps(described))
    tekken = {
        "config": {
            "pattern": SPLITS["tekken"].pattern,
            "num_vocab_tokens": len(pieces),
            "default_vocab_size": len(pieces) + 4,
            "default_num_special_tokens": 4,
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
            for piece, rank in pieces.items()
        ],
        "special_tokens": [
            {"rank": place, "token_str": name, "is_control": True}
            for place, name in enumerate(["<unk>", "<s>", "</s>"])
        ],
    }
    (place / "tekken.json").write_text(json.dumps(tekken))
    for name, options in MODELS.items():
        (place / f"{name}.model").write_bytes(sentencepiece_model(**options))


def same(adopted: Adopted, texts: Sequence[str], original: Callable[[str], list[int]]) -> None:
    for text in texts:
        ids = adopted.tokenizer.encode(text)
        assert ids == original(text), repr(text)
        special = set(adopted.tokenizer.special_tokens.values())
        unknown = adopted.tokenizer.special_tokens.get("<unk>")
        assert not (set(ids) & special) - {unknown}
