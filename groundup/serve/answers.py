"""One answer: the prompt as the model was trained to see it, and its text piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from groundup.base.errors import RequestError
from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.rights.verbatim import Verbatim
from groundup.serve.pieces import TextPieces
from groundup.serve.withheld import Withheld
from groundup.text.chat.template import ChatMessage
from groundup.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Finished:
    """The end of an answer: why it ended, and how many tokens were generated (the stop token not counted)."""

    reason: Literal["stop", "length", "content_filter"]
    tokens: int


def chat_prompt(tokenizer: Tokenizer, messages: Sequence[ChatMessage]) -> list[int]:
    """The ids that ask for the next answer in a conversation; RequestError for text that isn't Unicode."""
    for message in messages:
        _check_unicode(message["content"])
    return tokenizer.encode_chat(messages, add_generation_prompt=True).ids


def text_prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text to go on with; RequestError for text that isn't Unicode."""
    _check_unicode(text)
    return [tokenizer.start_id, *tokenizer.encode(text)]


def answer(
    engine: Engine,
    prompt: Sequence[int],
    params: SamplingParams,
    stop: Sequence[str] = (),
    verbatim: Verbatim | None = None,
) -> Generator[str | Finished, None, None]:
    """Pieces of text (never empty, never part of a character), then one ``Finished``.

    The answer ends at a stop token, before a ``stop`` string, after ``max_new_tokens``, where the context is full, or
    before it repeats what ``verbatim`` withholds. RequestError if the prompt leaves no room for a token.
    """
    room = min(params.max_new_tokens, engine.max_seq_len - len(prompt))
    pieces, withheld = TextPieces(engine.tokenizer, stop), Withheld(verbatim)
    count = 0
    for token in engine.stream(prompt, params):
        count += 1
        if piece := withheld.push(pieces.push(token)):
            yield piece
        if pieces.stopped or withheld.stopped:
            break
    if piece := withheld.push(pieces.finish()) + withheld.finish():
        yield piece
    if withheld.stopped:
        yield Finished("content_filter", count)
    else:
        yield Finished("length" if count == room and not pieces.stopped else "stop", count)


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"the text is not valid Unicode: a lone surrogate at character {error.start}") from None
