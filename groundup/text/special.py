"""Special tokens: what a vocabulary says besides text, by default, on request, and in reserve.

| what | token |
|---|---|
| document separator, begin and end of a text (one token, as in GPT-2) | ``<|endoftext|>`` |
| padding | ``<|pad|>`` |
| start and end of a turn in a conversation; the role is text behind the start | ``<|im_start|>`` ``<|im_end|>`` |
| start and end of a call of a tool | ``<|tool_call|>`` ``<|tool_call_end|>`` |
| start and end of what the tool answered | ``<|tool_result|>`` ``<|tool_result_end|>`` |
| the place of an image, and of a sound | ``<|image|>`` ``<|audio|>`` |
| the language of a document, on request | ``<|fra_Latn|>`` and so on |
| a reserved block, for what is needed one day | ``<|reserved_0|>`` and so on |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from groundup.base.errors import RequestError
from groundup.text.chat.template import END_OF_TEXT, PAD, TURN_END, TURN_START

TOOL_CALL: Final = "<|tool_call|>"
TOOL_CALL_END: Final = "<|tool_call_end|>"
TOOL_RESULT: Final = "<|tool_result|>"
TOOL_RESULT_END: Final = "<|tool_result_end|>"
IMAGE: Final = "<|image|>"
AUDIO: Final = "<|audio|>"

STANDARD: Final = (
    END_OF_TEXT,
    PAD,
    TURN_START,
    TURN_END,
    TOOL_CALL,
    TOOL_CALL_END,
    TOOL_RESULT,
    TOOL_RESULT_END,
    IMAGE,
    AUDIO,
)
"""In every tokenizer that is trained here, in this order, from id 0 on (SentencePiece: from 1, behind its unknown).

Extra ones and languages follow them; those in reserve stand at the end of the vocabulary."""

MOST_RESERVED: Final = 256
_SHARE_RESERVED: Final = 128


def reserved_by_default(vocab_size: int) -> int:
    """One entry in 128, and at most 256, which is the block to have in a model that is meant to last.

    >>> reserved_by_default(4096), reserved_by_default(128_000)
    (32, 256)
    """
    return min(MOST_RESERVED, vocab_size // _SHARE_RESERVED)


def language_token(label: str) -> str:
    """The token of a language, by its label in the corpus.

    >>> language_token("fra_Latn")
    '<|fra_Latn|>'
    """
    return f"<|{label}|>"


def special_tokens(extra: Sequence[str] = (), languages: Iterable[str] = (), reserved: int = 0) -> tuple[str, ...]:
    """All special tokens, in the order of their ids: standard, extra, languages by label, the last ``reserved`` of all.

    RequestError, in one line, for one that is blank or would be there twice.
    """
    found = list(STANDARD)
    for token in [*extra, *map(language_token, sorted(languages)), *(f"<|reserved_{n}|>" for n in range(reserved))]:
        if not token.strip():
            raise RequestError("a special token must have a name that is not blank")
        if token in STANDARD:
            raise RequestError(f"the special token {token} exists already: every tokenizer has it")
        if token in found:
            raise RequestError(f"the special token {token} is given twice")
        found.append(token)
    return tuple(found)
