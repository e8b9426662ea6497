"""Tokens to look at: a text or a conversation in the pieces that people can tell apart, each with its ids.

A token may hold a part of a character's bytes only. Such tokens are shown together, as the characters that they make
up, so that no piece of text is ever half a letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from groundup.base.errors import DataError
from groundup.text.chat.template import ChatMessage
from groundup.text.chat.tokens import ChatTokens
from groundup.text.tokenizer import Tokenizer


class Shown(NamedTuple):
    """A piece of text and the ids of it: several where tokens share a character, none where text was left out."""

    text: str
    ids: tuple[int, ...]
    special: bool = False
    trained: bool = False


class Head(NamedTuple):
    """The first pieces of something, and how many tokens all of it has, trained ones among them."""

    pieces: list[Shown]
    tokens: int
    trained: int

    def counts(self, text: str) -> dict[str, Any]:
        """What there is to count of the ``text`` that this is the head of, as JSON takes it."""
        size = len(text.encode())
        return {
            "tokens": self.tokens,
            "trained": self.trained,
            "bytes": size,
            "characters": len(text),
            "bytes_per_token": round(size / self.tokens, 3) if self.tokens else None,
        }


def show_text(tokenizer: Tokenizer, text: str, limit: int | None = None) -> Head:
    """The first ``limit`` pieces of a text, or all of them; all joined, they are the text.

    A text can't hold special tokens: what looks like one is text.
    """
    spans = tokenizer.encode_spans(text)
    return _head(text, ((token, False, start, end, False) for token, start, end in spans), limit)


class ChatLook(NamedTuple):
    """A conversation to look at: ``refused`` says why it can't be trained on, ``note`` what is unusual in its mask."""

    text: str
    head: Head
    refused: str
    note: str


def show_chat(
    tokenizer: Tokenizer,
    messages: Sequence[ChatMessage],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    limit: int | None = None,
) -> ChatLook:
    """The pieces of a conversation, special tokens and what is trained marked; with a generation prompt, nothing is.

    What can't be trained on is shown all the same. DataError if the chat template can't render it at all.
    """
    template, refused = tokenizer.template, ""
    given: dict[str, Any] = {"tools": tools, "documents": documents}
    if add_generation_prompt:
        rendered = template.prompt(messages, **given)
    else:
        try:
            rendered = template.render(messages, **given)
        except DataError as error:
            refused = str(error)
            rendered = template.prompt(messages, **given, add_generation_prompt=False)
    head = _head(rendered.text, tokenizer.chat_places(rendered), limit)
    if not head.trained and not add_generation_prompt:
        refused = refused or "there is nothing to train on"
    return ChatLook(rendered.text, head, refused, rendered.note)


_Placed = tuple[int, bool, int, int, bool]
"""(id, special or not, start, end, trained or not) of a token; characters [start, end) of the text."""


def _head(text: str, tokens: Iterable[_Placed], limit: int | None) -> Head:
    tokens = iter(tokens)
    seen: list[_Placed] = []

    def noted() -> Iterator[_Placed]:
        for token in tokens:
            seen.append(token)
            yield token

    pieces = list(islice(_grouped(text, noted()), limit))
    rest = [token[4] for token in tokens]
    return Head(pieces, len(seen) + len(rest), sum(token[4] for token in seen) + sum(rest))


def _grouped(text: str, tokens: Iterable[_Placed]) -> Iterator[Shown]:
    """Tokens whose characters overlap as one piece; characters that no token has as a piece without ids."""
    ids: list[int] = []
    begin = done = 0  # of the piece in the making
    kind = (False, False)
    for token, special, start, end, trained in tokens:
        if ids and start < done:
            ids.append(token)
            done = max(done, end)
            continue
        if ids:
            yield Shown(text[begin:done], tuple(ids), *kind)
        if start > done:
            yield Shown(text[done:start], ())
        ids, begin, done, kind = [token], start, max(start, end), (special, trained)
    if ids:
        yield Shown(text[begin:done], tuple(ids), *kind)
    if done < len(text):
        yield Shown(text[done:], ())


_COLOURS: Final = 4


def as_parts(pieces: Iterable[Shown]) -> tuple[tuple[str, str], ...]:
    """Pieces as a report's sample shows them, each in another colour than its neighbour."""
    return tuple((piece.text, f"token{place % _COLOURS}") for place, piece in enumerate(pieces))


def mask_parts(tokenizer: Tokenizer, chat: ChatTokens) -> tuple[tuple[str, str], ...]:
    """An encoded conversation in runs of trained (``generated``) and other (``prompt``) tokens, for a report's sample.

    Special tokens are written out, so that people can check what is learned.
    """
    parts: list[tuple[str, str]] = []
    run: list[int] = []
    for place, (token, trained) in enumerate(zip(chat.ids, chat.trained, strict=True)):
        run.append(token)
        if place + 1 == len(chat.ids) or chat.trained[place + 1] != trained:
            parts.append((tokenizer.decode_visibly(run), "generated" if trained else "prompt"))
            run = []
    return tuple(parts)
