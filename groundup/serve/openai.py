"""The OpenAI wire format: what a request may say, what an answer looks like, what an error looks like.

What this server can't do is refused by name, never silently ignored; fields that only steer OpenAI's own service
(``user``, ``metadata``, ``store`` ...) are accepted and have no effect. Reference: the API's public specification,
chat completions and completions.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from groundup.base.config import Config
from groundup.infer.sampling import SamplingParams

_DEFAULTS: Final = SamplingParams()
_SEEDS: Final = 2**63
# Values that ask for nothing this server lacks.
_NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}
_WITHOUT_EFFECT: Final = frozenset(
    {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}
)


class StreamOptions(Config):
    """What a stream carries besides text."""

    include_usage: bool = Field(False, description="one last chunk with the token counts")
    include_obfuscation: bool = Field(False, description="accepted, without effect: nothing is padded here")


class Request(Config):
    """What both kinds of request share. Sampling follows the model's own defaults where nothing is said."""

    model: str = Field(description="name of a served model")
    temperature: float | None = Field(None, ge=0, le=2, description="0 is always the likeliest token")
    top_p: float | None = Field(None, gt=0, le=1, description="share of the probability to sample from")
    top_k: int | None = Field(None, ge=0, description="likeliest tokens to sample from; 0 is all (not in OpenAI's API)")
    max_tokens: int | None = Field(None, gt=0, description="tokens, at most; what the context has room for if not set")
    seed: int | None = Field(None, ge=-_SEEDS, lt=_SEEDS, description="same seed, same text; random if not set")
    stop: str | tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None, description="up to four strings that end the answer and are not part of it"
    )
    stream: bool | None = Field(None, description="send the text as it comes")
    stream_options: StreamOptions | None = Field(None, description="what a stream carries besides text")

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        kept = {name: value for name, value in data.items() if name not in _WITHOUT_EFFECT}
        for name, neutral in _NEUTRAL.items():
            value = kept.pop(name, None)
            if value is not None and value not in neutral:
                only = "; ask several times, with different seeds" if name in {"n", "best_of"} else ""
                raise ValueError(f"{name}={json.dumps(value)} is not supported by this server{only}")
        return kept

    @model_validator(mode="after")
    def _few_stops(self) -> Request:
        if len(self.stops) > 4 or "" in self.stops:
            raise ValueError("stop: at most four strings, none of them empty")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop or ()

    @property
    def limit(self) -> int | None:
        """Tokens to generate at most, if the request says so."""
        return self.max_tokens

    def params(self, room: int) -> SamplingParams:
        """How to sample, with ``room`` tokens left in the context."""
        return SamplingParams(
            max_new_tokens=min(self.limit or room, room),
            temperature=_DEFAULTS.temperature if self.temperature is None else self.temperature,
            top_p=_DEFAULTS.top_p if self.top_p is None else self.top_p,
            top_k=_DEFAULTS.top_k if self.top_k is None else self.top_k,
            seed=secrets.randbelow(_SEEDS) if self.seed is None else self.seed % _SEEDS,
        )


class TextPart(Config):
    """A part of a message. Text only."""

    type: Literal["text"] = Field(description="kind of part; only text is supported")
    text: str = Field(description="the text")


class ChatTurn(Config):
    """One message. Fields that a client copies back from an answer may be there, empty."""

    role: Literal["system", "developer", "user", "assistant"] = Field(description="who speaks")
    content: str | tuple[TextPart, ...] = Field(description="what was said")
    name: str | None = Field(None, description="accepted, without effect")
    refusal: None = Field(None, description="always empty")
    annotations: tuple[()] | None = Field(None, description="always empty")
    audio: None = Field(None, description="always empty")
    function_call: None = Field(None, description="always empty")
    tool_calls: tuple[()] | None = Field(None, description="always empty")

    def as_message(self) -> dict[str, str]:
        """The turn as chat templates take it."""
        role = "system" if self.role == "developer" else self.role
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": role, "content": text}


class ChatRequest(Request):
    """``POST /v1/chat/completions``."""

    messages: tuple[ChatTurn, ...] = Field(min_length=1, description="the conversation so far")
    max_completion_tokens: int | None = Field(None, gt=0, description="the newer name of max_tokens")

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(Request):
    """``POST /v1/completions``."""

    prompt: str | Annotated[tuple[str, ...], Field(min_length=1, max_length=1)] = Field(
        description="the text to go on with; in a list, exactly one"
    )

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


@dataclass(frozen=True)
class Reply:
    """The envelope of one answer: the same id, time and model on all of its chunks."""

    kind: Literal["chat", "text"]
    model: str
    fingerprint: str
    prompt_tokens: int
    with_usage: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, reason: str, tokens: int) -> dict[str, Any]:
        """An answer in one piece."""
        said = {"message": {"role": "assistant", "content": text}} if self.kind == "chat" else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": reason}
        return {**self._head(chunk=False), "choices": [choice], "usage": self._usage(tokens)}

    def opening(self) -> list[dict[str, Any]]:
        """What a stream says before any text."""
        return [self._chunk({"delta": {"role": "assistant", "content": ""}}, None)] if self.kind == "chat" else []

    def piece(self, text: str) -> dict[str, Any]:
        """A chunk of a stream."""
        return self._chunk({"delta": {"content": text}} if self.kind == "chat" else {"text": text}, None)

    def closing(self, reason: str, tokens: int) -> list[dict[str, Any]]:
        """What a stream says after the text."""
        last = self._chunk({"delta": {}} if self.kind == "chat" else {"text": ""}, reason)
        if not self.with_usage:
            return [last]
        usage = {**self._head(chunk=True), "choices": [], "usage": self._usage(tokens)}
        return [last, usage]

    def _chunk(self, said: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": reason}
        return {**self._head(chunk=True), "choices": [choice], **({"usage": None} if self.with_usage else {})}

    def _head(self, *, chunk: bool) -> dict[str, Any]:
        if self.kind == "chat":
            prefix, kind = "chatcmpl", "chat.completion.chunk" if chunk else "chat.completion"
        else:
            prefix, kind = "cmpl", "text_completion"
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def _usage(self, tokens: int) -> dict[str, int]:
        total = self.prompt_tokens + tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": tokens, "total_tokens": total}
