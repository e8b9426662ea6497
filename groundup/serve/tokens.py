"""The page of tokens: a text or a conversation in the pieces of several tokenizers. What is typed is never logged.

    GET  /            the page
    GET  /tokenizers  {"tokenizers": [{"name", "vocab_size", "special_tokens": [[text, id], …]}]}
    POST /tokens      {"text", "tokenizers"?} to {"results": [{"name", "tokens", "bytes", "pieces", …}]}
    POST /chat        {"messages", "tools"?, "tokenizers"?, …} to the same, with what is trained

A piece is ``[text, [ids], kind]``; kind is 0 for text, +1 for a special token, +2 for what is trained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from groundup.base.config import Config
from groundup.base.errors import GroundupError, missing_extra, nearest
from groundup.serve.wire import ApiError, page, parse, read_body, tell_errors
from groundup.text.show import Head, show_chat, show_text
from groundup.text.tokenizer import Tokenizer

try:
    from fastapi import FastAPI
    from fastapi import Request as HttpRequest
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ImportError as error:
    raise missing_extra(str(error.name), "serve") from error

MOST_PIECES: Final = 5000
"""Pieces in an answer for each tokenizer, at most: more than a person looks at. All tokens are counted."""
_MOST_TURNS: Final = 200
_SHOWN_SPECIAL: Final = 1000


class TextRequest(Config):
    """A text to be cut."""

    text: str = Field(description="the text")
    tokenizers: list[str] | None = Field(None, description="names of tokenizers; all if not given")


class ChatTurnsRequest(Config):
    """A conversation to be rendered with each tokenizer's own template, and cut."""

    messages: list[dict[str, Any]] = Field(max_length=_MOST_TURNS, description="turns, as chat templates take them")
    tools: list[dict[str, Any]] | None = Field(None, description="descriptions of tools")
    add_generation_prompt: bool = Field(False, description="ask for the next answer; then nothing is trained")
    tokenizers: list[str] | None = Field(None, description="names of tokenizers; all if not given")


def create_tokens_app(tokenizers: Mapping[str, Tokenizer], *, allowed_hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The application that shows ``tokenizers`` by name. ``allowed_hosts`` as in ``create_app``."""
    service = _Service(tokenizers)
    app = FastAPI(title="groundup tokens", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts), www_redirect=False)
    tell_errors(app)
    app.get("/")(page("tokens.html"))
    app.get("/tokenizers")(service.tokenizers)
    app.post("/tokens")(service.tokens)
    app.post("/chat")(service.chat)
    return app


class _Service:
    """The routes, and the tokenizers that they share."""

    def __init__(self, tokenizers: Mapping[str, Tokenizer]) -> None:
        self._tokenizers = dict(tokenizers)

    async def tokenizers(self) -> dict[str, Any]:
        """What there is."""
        return {
            "tokenizers": [
                {
                    "name": name,
                    "vocab_size": tokenizer.vocab_size,
                    "special_tokens": list(tokenizer.special_tokens.items())[:_SHOWN_SPECIAL],
                    "num_special_tokens": len(tokenizer.special_tokens),
                }
                for name, tokenizer in self._tokenizers.items()
            ]
        }

    async def tokens(self, http: HttpRequest) -> dict[str, Any]:
        """Cut a text."""
        request = parse(TextRequest, await read_body(http))
        _check_unicode(request.text)
        return await self._each(
            request.tokenizers,
            lambda tokenizer: _described(show_text(tokenizer, request.text, MOST_PIECES), request.text),
        )

    async def chat(self, http: HttpRequest) -> dict[str, Any]:
        """Render a conversation and cut it."""
        request = parse(ChatTurnsRequest, await read_body(http))
        return await self._each(request.tokenizers, lambda tokenizer: _described_chat(tokenizer, request))

    async def _each(self, names: list[str] | None, work: Callable[[Tokenizer], dict[str, Any]]) -> dict[str, Any]:
        wanted = list(self._tokenizers) if names is None else list(dict.fromkeys(names))
        for name in wanted:
            if name not in self._tokenizers:
                raise ApiError(404, f"no tokenizer {name!r} here{nearest(name, self._tokenizers)}", param="tokenizers")

        def all_of_them() -> list[dict[str, Any]]:
            return [{"name": name, **work(self._tokenizers[name])} for name in wanted]

        return {"results": await asyncio.to_thread(all_of_them)}


def _described(head: Head, text: str) -> dict[str, Any]:
    """Counts, and the pieces, as JSON takes them."""
    return {
        **head.counts(text),
        "pieces": [[one.text, list(one.ids), one.special + 2 * one.trained] for one in head.pieces],
        "tokens_not_shown": head.tokens - sum(len(one.ids) for one in head.pieces),
    }


def _described_chat(tokenizer: Tokenizer, request: ChatTurnsRequest) -> dict[str, Any]:
    """The same of a conversation, with ``note`` and ``refused`` of ``ChatLook``; or ``error`` alone."""
    try:
        look = show_chat(
            tokenizer,
            request.messages,
            tools=request.tools,
            add_generation_prompt=request.add_generation_prompt,
            limit=MOST_PIECES,
        )
    except GroundupError as error:
        return {"error": str(error)}
    return {**_described(look.head, look.text), "note": look.note, "refused": look.refused}


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ApiError(400, f"the text is not valid Unicode: a lone surrogate at character {error.start}") from None
