"""How published tokenizers split text before merging, by name.

A file of ranks doesn't say it, and a wrong split gives other ids without any error, so it is never assumed. The
patterns are written so that Oniguruma (the ``tokenizers`` library) and the Rust engine of tiktoken match alike: the
possessive quantifiers of newer tiktoken releases change its speed and no match, and Oniguruma would read ``{1,3}+`` and
``$`` otherwise.

Where a split composes first (NFC, ``qwen2``), the library does so by the tables of an older Unicode than Python: a mark
newer than Unicode 9 (U+0D3B, say) is not put in order among its neighbours, and such rare text has other ids than
under the original code. transformers uses the same library, so models are served with these ids as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from groundup.base.errors import RequestError, nearest
from groundup.text.tokenizer import LLAMA3_SPLIT

try:
    import tokenizers
except ImportError as error:
    from groundup.base.errors import missing_extra

    raise missing_extra("tokenizers", "train") from error

_CASED: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_UNCASED: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDINGS: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_TAIL: Final = r"|\s*[\r\n]+|\s+(?!\S)|\s+"


def _two_cases(endings: str, digits: str) -> str:
    """Words by case: capitals then small letters, or capitals alone; marks count as letters of both."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    words = f"{lead}{_CASED}*{_UNCASED}+{endings}|{lead}{_CASED}+{_UNCASED}*{endings}"
    return words + rf"|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*" + _TAIL


@dataclass(frozen=True)
class Split:
    """A pattern whose matches are the pieces of text within which merges happen, after NFC if ``nfc``."""

    name: str
    pattern: str
    nfc: bool = False

    def normalizer(self) -> dict[str, Any] | None:
        """As ``tokenizer.json`` says it."""
        return {"type": "NFC"} if self.nfc else None

    def pre_tokenizer(self) -> dict[str, Any]:
        """As ``tokenizer.json`` says it: the split, then bytes as characters. GPT-2's pattern is built in there."""
        if self.name == "gpt2":
            return byte_level(split_words=True)
        split = {"type": "Split", "pattern": {"Regex": self.pattern}, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [split, byte_level(split_words=False)]}


SPLITS: Final = {
    split.name: split
    for split in (
        Split("gpt2", r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
        Split("cl100k", LLAMA3_SPLIT),
        Split("llama3", LLAMA3_SPLIT),
        Split("qwen2", LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}"), nfc=True),
        Split("o200k", _two_cases(_ENDINGS, "{1,3}")),
        Split("tekken", _two_cases("", "")),
    )
}
"""GPT-2; GPT-4 and Llama 3 (the same); Qwen 2 and 3, which composes characters first; GPT-4o; Mistral's tekken."""

_META: Final = set("\\[](){}|*+?^$.")


def byte_level(*, split_words: bool) -> dict[str, Any]:
    """Bytes as visible characters (GPT-2), as ``tokenizer.json`` says it."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": split_words}


def split_named(name: str | None) -> Split:
    """A split by its name, or a regex of Oniguruma's syntax; RequestError if there is none or it can't be read."""
    if not name:
        raise RequestError(
            f"set 'split': a file of ranks doesn't say how text is split; {', '.join(SPLITS)}, or a regex"
        )
    if name in SPLITS:
        return SPLITS[name]
    if not set(name) & _META:
        raise RequestError(f"no split is called {name!r}{nearest(name, SPLITS)}; or give a regex")
    try:
        tokenizers.Regex(name)
    except Exception as error:  # the library raises bare Exception for whatever it can't parse
        raise RequestError(f"the split {name!r} is no regex: {error}") from None
    return Split("regex", name)
