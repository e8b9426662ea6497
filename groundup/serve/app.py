"""The HTTP interface: OpenAI-shaped routes, a health check, and the page. What is asked and said is never logged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from groundup.base.errors import GroundupError, missing_extra, nearest
from groundup.infer.engine import Engine
from groundup.rights.verbatim import Verbatim
from groundup.serve.answers import Finished, answer, chat_prompt, text_prompt
from groundup.serve.openai import ChatRequest, CompletionRequest, Reply, Request
from groundup.serve.wire import FAILED, ApiError, page, parse, read_body, tell_errors
from groundup.serve.worker import Busy, Job, Worker

try:
    from fastapi import FastAPI
    from fastapi import Request as HttpRequest
    from fastapi.responses import JSONResponse, Response, StreamingResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.types import Receive, Scope, Send
except ImportError as error:
    raise missing_extra(str(error.name), "serve") from error

_CLIENT_LEFT: Final = 499
Answer = Job[str | Finished]


def create_app(
    engines: Mapping[str, Engine],
    digests: Mapping[str, str],
    *,
    max_waiting: int = 16,
    allowed_hosts: Sequence[str] = ("*",),
    verbatim: Verbatim | None = None,
) -> FastAPI:
    """The application that serves ``engines`` by name; ``digests`` say which weights each one holds.

    Besides the answer in the making, up to ``max_waiting`` wait; further requests get 429. ``allowed_hosts`` are
    the ``Host`` headers that are answered: on loopback that keeps other web sites from reaching the models through
    a name of theirs that points here. ``verbatim`` holds what no answer may repeat.
    """
    service = _Service(engines, digests, Worker(max_waiting), verbatim)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.worker.close()

    app = FastAPI(title="groundup", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts), www_redirect=False)
    tell_errors(app)
    app.get("/")(page("index.html"))
    app.get("/healthz")(service.health)
    app.get("/v1/models")(service.models)
    app.get("/v1/models/{name:path}")(service.model)
    app.post("/v1/chat/completions")(service.chat)
    app.post("/v1/completions")(service.complete)
    return app


class _Service:
    """The routes, and what they share."""

    def __init__(
        self, engines: Mapping[str, Engine], digests: Mapping[str, str], worker: Worker, verbatim: Verbatim | None
    ) -> None:
        self.engines, self.digests, self.worker = dict(engines), dict(digests), worker
        self.verbatim = verbatim
        self.started = int(time.time())

    async def health(self) -> dict[str, Any]:
        """Alive, and how many answers are being made or waited for."""
        return {"status": "ok", "models": list(self.engines), "pending": self.worker.pending}

    async def models(self) -> dict[str, Any]:
        """The served models, in OpenAI's shape; ``max_model_len`` (tokens) and ``digest`` besides."""
        return {"object": "list", "data": [self._describe(name) for name in self.engines]}

    async def model(self, name: str) -> dict[str, Any]:
        """One of them."""
        self._engine(name)
        return self._describe(name)

    async def chat(self, http: HttpRequest) -> Response:
        """Answer a conversation."""
        request = parse(ChatRequest, await read_body(http))
        engine = self._engine(request.model)
        if len(request.messages) > engine.max_seq_len:  # each is at least a token: spares rendering thousands
            raise _too_long(f"at least {len(request.messages)}", engine)
        messages = [turn.as_message() for turn in request.messages]
        prompt = await asyncio.to_thread(_encoded, partial(chat_prompt, engine.tokenizer, messages))
        return await self._answer(http, request, engine, prompt, "chat")

    async def complete(self, http: HttpRequest) -> Response:
        """Go on with a text."""
        request = parse(CompletionRequest, await read_body(http))
        engine = self._engine(request.model)
        prompt = await asyncio.to_thread(_encoded, partial(text_prompt, engine.tokenizer, request.text))
        return await self._answer(http, request, engine, prompt, "text")

    async def _answer(
        self, http: HttpRequest, request: Request, engine: Engine, prompt: list[int], kind: Any
    ) -> Response:
        room = engine.max_seq_len - len(prompt)
        if room < 1:
            raise _too_long(str(len(prompt)), engine)
        params = request.params(room)
        try:
            job: Answer = self.worker.start(partial(answer, engine, prompt, params, request.stops, self.verbatim))
        except Busy as busy:
            raise ApiError(429, str(busy), code="rate_limit_exceeded", retry=busy.seconds) from None
        with_usage = bool(request.stream_options and request.stream_options.include_usage)
        reply = Reply(kind, request.model, self.digests[request.model], len(prompt), with_usage)
        return _EventStream(reply, job) if request.stream else await _whole(http, reply, job)

    def _engine(self, name: str) -> Engine:
        if name not in self.engines:
            text = f"no model {name!r} here{nearest(name, self.engines)}"
            raise ApiError(404, text, code="model_not_found", param="model")
        return self.engines[name]

    def _describe(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self.started,
            "owned_by": "groundup",
            "max_model_len": self.engines[name].max_seq_len,
            "digest": self.digests[name],
        }


# -- answers -------------------------------------------------------------------------------------------------------


async def _whole(http: HttpRequest, reply: Reply, job: Answer) -> Response:
    """The answer in one piece; given up as soon as the client hangs up."""

    async def gather() -> dict[str, Any]:
        parts, end = [], Finished("stop", 0)
        async for item in job:
            if isinstance(item, str):
                parts.append(item)
            else:
                end = item
        return reply.whole("".join(parts), end.reason, end.tokens)

    tasks = asyncio.create_task(gather()), asyncio.create_task(_hung_up(http))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return JSONResponse(tasks[0].result()) if tasks[0].done() else Response(status_code=_CLIENT_LEFT)
    finally:
        job.cancel()
        for task in tasks:
            task.cancel()


async def _hung_up(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


class _EventStream(StreamingResponse):
    """An answer as server-sent events; however the response ends, the job does too."""

    def __init__(self, reply: Reply, job: Answer) -> None:
        super().__init__(self._events(reply, job), media_type="text/event-stream")
        self.headers["cache-control"] = "no-store"
        self.headers["x-accel-buffering"] = "no"  # a proxy in between shall pass each piece on at once
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.cancel()

    @staticmethod
    async def _events(reply: Reply, job: Answer) -> AsyncIterator[str]:
        for chunk in reply.opening():
            yield _event(chunk)
        try:
            async for item in job:
                if isinstance(item, str):
                    yield _event(reply.piece(item))
                else:
                    for chunk in reply.closing(item.reason, item.tokens):
                        yield _event(chunk)
        except Exception:
            # The status line has been sent: all that is left is to say so in the stream, then fail for the log.
            yield _event(FAILED.body())
            raise
        yield "data: [DONE]\n\n"


_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}  # JSON itself escapes all below U+0020


def _event(data: dict[str, Any]) -> str:
    """One server-sent event.

    Its data is one line by every reading: the standard ends lines at CR and LF alone, which JSON escapes, but many
    clients cut text where ``str.splitlines`` does, and a model may well produce one of those characters.
    """
    return f"data: {json.dumps(data, ensure_ascii=False).translate(_LINE_ENDS)}\n\n"


# -- requests and errors -------------------------------------------------------------------------------------------


def _encoded(encode: partial[list[int]]) -> list[int]:
    try:
        return encode()
    except GroundupError as error:
        raise ApiError(400, str(error)) from None


def _too_long(tokens: str, engine: Engine) -> ApiError:
    text = f"the prompt takes {tokens} tokens; this model's context holds {engine.max_seq_len}, answer included"
    return ApiError(400, text, code="context_length_exceeded")
