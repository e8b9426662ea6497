"""Tokenizers in GGUF files: byte-level BPE, with the text split before merging named by ``tokenizer.ggml.pre``.

A name stands for a fixed split that llama.cpp knows by heart (``src/llama-vocab.cpp``); a tokenizer.json spells the
same split out. ``llama-bpe`` takes a piece of text that is a token as it is, whatever the merges say; ``smaug-bpe``
splits alike and always merges, as our own tokenizers do. ``qwen2`` composes characters first (NFC), which the file
doesn't say but the models were trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from groundup.base.errors import DataError
from groundup.text.chat.template import ChatTemplate
from groundup.text.tokenizer import LLAMA3_SPLIT, Roles, Tokenizer

_KEY: Final = "tokenizer.ggml."
_TEMPLATE: Final = "tokenizer.chat_template"
_NO_TEMPLATE: Final = "{{ raise_exception('this model has none; continue a text instead') }}"
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5


def _byte_level(*, split_words: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": split_words}


def _by_pattern(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(split_words=False)]}


_DIGITS: Final = {"type": "Digits", "individual_digits": True}
_SMOLLM: Final = {"type": "Sequence", "pretokenizers": [_DIGITS, _byte_level(split_words=True)]}
_QWEN2_SPLIT: Final = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

_SPLITS: Final[dict[str, dict[str, Any]]] = {
    "gpt-2": {"normalizer": None, "pre_tokenizer": _byte_level(split_words=True), "ignore_merges": False},
    "smollm": {"normalizer": None, "pre_tokenizer": _SMOLLM, "ignore_merges": False},
    "smaug-bpe": {"normalizer": None, "pre_tokenizer": _by_pattern(LLAMA3_SPLIT), "ignore_merges": False},
    "llama-bpe": {"normalizer": None, "pre_tokenizer": _by_pattern(LLAMA3_SPLIT), "ignore_merges": True},
    "qwen2": {"normalizer": {"type": "NFC"}, "pre_tokenizer": _by_pattern(_QWEN2_SPLIT), "ignore_merges": False},
}


def from_metadata(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a file's keys describe; DataError for kinds other than these, by name."""
    kind, pre = metadata.get(f"{_KEY}model"), metadata.get(f"{_KEY}pre", "default")
    if kind != "gpt2":
        raise DataError(f"a GGUF tokenizer of kind {kind!r} is not supported, only byte-level BPE ('gpt2')")
    if pre not in _SPLITS:
        raise DataError(f"the GGUF tokenizer splits text as {pre!r} does, only {', '.join(_SPLITS)} are supported")
    try:
        tokens, types = metadata[f"{_KEY}tokens"], metadata[f"{_KEY}token_type"]
        merges = [merge.split(" ") for merge in metadata[f"{_KEY}merges"]]
        named = [_token(metadata, tokens, key) for key in ("bos_token_id", "eos_token_id", "padding_token_id")]
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        raise DataError(f"the GGUF tokenizer is incomplete: {error!r}") from error
    if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise DataError("the GGUF tokenizer has tokens twice, or not a type for each")
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    starts = named[0] if metadata.get(f"{_KEY}add_bos_token", pre == "llama-bpe") else None
    roles = Roles.derive(special, starts, *named[1:])
    return Tokenizer.parse(_description(tokens, types, merges, pre), metadata.get(_TEMPLATE, _NO_TEMPLATE), roles)


def to_metadata(tokenizer: Tokenizer) -> dict[str, Any]:
    """The keys that describe a tokenizer; DataError if llama.cpp has no name for how it splits text."""
    described = tokenizer.describe()
    split = {
        "normalizer": described["normalizer"],
        "pre_tokenizer": _without_offsets(described["pre_tokenizer"]),
        "ignore_merges": described["model"].get("ignore_merges", False),
    }
    pre = next((name for name, known in _SPLITS.items() if _without_offsets(known) == split), None)
    if described["model"]["type"] != "BPE" or pre is None:
        raise DataError(f"GGUF has no name for how this tokenizer splits text; it knows {', '.join(_SPLITS)}")
    tokens, types = _numbered(described)
    roles, ids = tokenizer.roles, tokenizer.special_tokens
    keys = {
        "model": "gpt2",
        "pre": pre,
        "tokens": tokens,
        "token_type": types,
        "merges": [" ".join(merge) for merge in described["model"]["merges"]],
        "bos_token_id": ids[roles.start],
        "eos_token_id": ids[roles.turn_end],
        "eot_token_id": ids[roles.turn_end],
        "padding_token_id": ids[roles.pad],
        "add_bos_token": _starts_chats(tokenizer.template, roles.start),
    }
    return {**{f"{_KEY}{name}": value for name, value in keys.items()}, _TEMPLATE: tokenizer.template.source}


def _token(metadata: Mapping[str, Any], tokens: list[str], key: str) -> str | None:
    index = metadata.get(f"{_KEY}{key}")
    return None if index is None else tokens[index]


def _description(tokens: list[str], types: list[int], merges: list[list[str]], pre: str) -> dict[str, Any]:
    """What a ``tokenizer.json`` would hold."""
    added = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == _CONTROL,
        }
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in {_CONTROL, _USER_DEFINED}
    ]
    model = {
        "type": "BPE",
        "ignore_merges": _SPLITS[pre]["ignore_merges"],
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": merges,
    }
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": _SPLITS[pre]["normalizer"],
        "pre_tokenizer": _SPLITS[pre]["pre_tokenizer"],
        "post_processor": None,
        "decoder": _byte_level(split_words=True),
        "model": model,
    }


def _numbered(described: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """Tokens by id, and the type of each; ids that nobody has are unused tokens."""
    found = {index: (token, _NORMAL) for token, index in described["model"]["vocab"].items()}
    for added in described["added_tokens"]:
        found[added["id"]] = (added["content"], _CONTROL if added["special"] else _USER_DEFINED)
    pairs = [found.get(index, (f"[unused{index}]", _UNUSED)) for index in range(max(found) + 1)]
    return [token for token, _ in pairs], [kind for _, kind in pairs]


def _without_offsets(part: Any) -> Any:
    """A description without ``trim_offsets``, which changes where tokens are said to stand, not which they are."""
    if isinstance(part, dict):
        return {key: _without_offsets(value) for key, value in part.items() if key != "trim_offsets"}
    return [_without_offsets(item) for item in part] if isinstance(part, list) else part


def _starts_chats(template: ChatTemplate, start: str) -> bool:
    """Whether conversations begin with the start token; then llama.cpp shall put it before plain text as well."""
    try:
        return template.render([{"role": "user", "content": "x"}]).text.startswith(start)
    except DataError:
        return False
