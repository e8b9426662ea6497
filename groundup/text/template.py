"""Chat templates: one jinja2 text that training, evaluation, chat and serving all render with.

What to train on is derived, never guessed: rendering the conversation up to an assistant turn, with the
generation prompt, must give a prefix of rendering one turn more; what lies between is that assistant's answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from groundup.base.errors import DataError

END_OF_TEXT: Final = "<|endoftext|>"
PAD: Final = "<|pad|>"
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"

CHAT_TEMPLATE: Final = (
    "{{- '<|endoftext|>' -}}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
"""ChatML behind the end-of-text token with which every row of training starts: each turn between start and end tokens,
the role on its first line."""

ChatMessage = Mapping[str, str]
"""``{"role": "system" | "user" | "assistant", "content": text}``."""


@dataclass(frozen=True)
class Piece:
    """A run of rendered text: a special token of the template, or text that is never one."""

    text: str
    special: bool


@dataclass(frozen=True)
class Rendered:
    """A rendered conversation. ``trained`` are character ranges [start, end) of the answers, end tokens included."""

    pieces: tuple[Piece, ...]
    trained: tuple[tuple[int, int], ...]

    @property
    def text(self) -> str:
        """The whole as one string, for people to read."""
        return "".join(piece.text for piece in self.pieces)


class ChatTemplate:
    """Renders conversations. ``special_tokens`` are the strings that only the template itself may produce;
    ``names`` are variables that it may use for some of them, such as ``bos_token``."""

    def __init__(self, source: str, special_tokens: Sequence[str], names: Mapping[str, str] | None = None) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals.update(names or {}, raise_exception=_refuse)
        self.source = source
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise DataError(f"the chat template is not valid jinja: {error}") from None
        longest_first = sorted(special_tokens, key=len, reverse=True)
        self._special = re.compile("|".join(re.escape(token) for token in longest_first))
        self._guarded = re.compile(f"{self._special.pattern}|{_OPEN}")

    def render(self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool = False) -> Rendered:
        """Render a conversation; DataError if the template fails or a rendered prefix is not a prefix of the whole."""
        guard = _Guard(self._guarded)
        safe = [{**message, "content": guard.hide(message["content"])} for message in messages]
        whole = self._fill(safe, add_generation_prompt)
        trained = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._fill(safe[:index], True)
            after = self._fill(safe[: index + 1], False)
            if not (after.startswith(before) and whole.startswith(after.rstrip())):
                raise DataError(f"the chat template rewrites earlier turns at turn {index + 1}: it can't be trained on")
            trained.append((len(guard.show(before)), len(guard.show(after.rstrip("\n")))))
        return Rendered(tuple(self._split(whole, guard)), tuple(trained))

    def _fill(self, messages: Sequence[ChatMessage], add_generation_prompt: bool) -> str:
        try:
            return self._template.render(messages=messages, add_generation_prompt=add_generation_prompt)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise DataError(f"the chat template refused a conversation: {error}") from None

    def _split(self, text: str, guard: _Guard) -> list[Piece]:
        pieces, end = [], 0
        for match in self._special.finditer(text):
            if match.start() > end:
                pieces.append(Piece(guard.show(text[end : match.start()]), special=False))
            pieces.append(Piece(match.group(), special=True))
            end = match.end()
        if end < len(text):
            pieces.append(Piece(guard.show(text[end:]), special=False))
        return pieces


_OPEN, _CLOSE = "\ue000", "\ue001"


class _Guard:
    """Hides what looks like a special token in people's text behind private-use marks while the template runs."""

    def __init__(self, dangerous: re.Pattern[str]) -> None:
        self._dangerous = dangerous
        self._hidden: list[str] = []

    def hide(self, text: str) -> str:
        return self._dangerous.sub(self._keep, text)

    def show(self, text: str) -> str:
        return re.sub(f"{_OPEN}(\\d+){_CLOSE}", lambda match: self._hidden[int(match[1])], text)

    def _keep(self, match: re.Match[str]) -> str:
        self._hidden.append(match.group())
        return f"{_OPEN}{len(self._hidden) - 1}{_CLOSE}"


def _refuse(message: str) -> None:
    raise TemplateError(message)
