"""The splits of well-known tokenizers, as their makers published them, small tokenizers with them, and hostile text."""

from __future__ import annotations

import random
from functools import cache
from typing import Any, Final

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from groundup.text.tokenizer import LLAMA3_SPLIT

_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORT: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"

PATTERNS: Final = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": LLAMA3_SPLIT,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": "|".join(
        [
            rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SHORT}?",
            rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SHORT}?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ]
    ),
    "qwen2": rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def _split(pattern: str, behavior: str = "isolated", *, invert: bool = False) -> Any:
    return pre_tokenizers.Split(tokenizers.Regex(pattern), behavior, invert)


_BYTES: Final = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
SPLITS: Final[dict[str, Any]] = {
    **{name: pre_tokenizers.Sequence([_split(pattern), _BYTES]) for name, pattern in PATTERNS.items()},
    "built in": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "a space first": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "deepseek": pre_tokenizers.Sequence(
        [
            _split(r"\p{N}{1,3}"),
            _split("[一-龥぀-ゟ゠-ヿ]+"),
            _split(
                r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            _BYTES,
        ]
    ),
    "only matches": pre_tokenizers.Sequence([_split(r"\p{L}+|\p{N}", "removed", invert=True), _BYTES]),
    "no matches": pre_tokenizers.Sequence([_split(r"\s+", "removed"), pre_tokenizers.ByteLevel(False)]),
    "marks and runs": pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(individual_digits=False), _BYTES]
    ),
    "marks": pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), _BYTES]),
    "a string": pre_tokenizers.Sequence([pre_tokenizers.Split(".a", "isolated"), _BYTES]),
    "nothing": _BYTES,
}

POOL: Final = (
    *"aabcdefst lvemrdT'’.-_,!?/\\$#(\x00\u00ad",
    *" \t\n\r\x0b\x0c\x1c\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u3000\ufeff",
    *"019²½٣४๕五Ⅷ①𝟙",
    *"sſSkKKßẞﬀﬆiİıIΣσς",
    *"é\u0301\u0308\u093f\u200d\u200c\ufe0f中文字漢かナ한글אבגعرबनि👨👩🏽🇫🇷",
    *"\ud7ff\ue000\ufffd\uffff\U00010000\U0001f600\U000e0041\U0010ffff",
    *(
        "'s",
        "'ll",
        "'LL",
        "'RE",
        "'ſ",
        "  ",
        "\r\n",
        "\n\n",
        "    ",
        "1234567",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    ),
    *("hello", " world", "Straße", "don't", "I'VE", "κόσμε", "привет", "x" * 20, "\u0085\n", "na\u0308ive"),
)


def hostile(seed: int, count: int, longest: int = 30) -> list[str]:
    """Texts of things that tokenizers trip over, the same for the same seed."""
    chance = random.Random(seed)
    return ["".join(chance.choices(POOL, k=chance.randint(0, longest))) for _ in range(count)]


@cache
def trained(name: str, *, ignore_merges: bool = False, nfc: bool = False) -> tokenizers.Tokenizer:
    """A small tokenizer with this split, learned by the library on hostile text. Text makes no special tokens."""
    backend = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer = SPLITS[name]
    backend.decoder = decoders.ByteLevel()
    if nfc:
        backend.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(hostile(7, 600), trainer)
    backend.encode_special_tokens = True
    return backend
