"""Chat templates: one jinja2 text that training, evaluation, chat and serving all render with.

What to train on is derived, never guessed: rendering the conversation up to an assistant turn, with the
generation prompt, must give a prefix of rendering one turn more; what lies between is that assistant's answer.
A template may mark it too, in ``{% generation %}`` blocks as transformers knows them. Then what both say is trained.

No special token in the rendered text is people's: see :mod:`groundup.text.chat.traced`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from groundup.base.errors import DataError
from groundup.text.chat.environment import Program
from groundup.text.chat.ranges import Range, both, explain, take_marks
from groundup.text.chat.traced import Shadow, checked

END_OF_TEXT: Final = "<|endoftext|>"
PAD: Final = "<|pad|>"
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"

CHAT_TEMPLATE: Final = (
    "{{- '<|endoftext|>' -}}"
    "{%- if tools -%}"
    "{{ '<|im_start|>system\n' }}"
    "{%- if messages and messages[0]['role'] == 'system' -%}{{ messages[0]['content'] + '\n\n' }}{%- endif -%}"
    "{{ 'You can call these tools:' }}"
    "{%- for tool in tools -%}{{ '\n' + (tool | tojson) }}{%- endfor -%}"
    "{{ '<|im_end|>' + '\n' }}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'tool' -%}"
    "{{ '<|im_start|>tool\n<|tool_result|>' + message['content'] + '<|tool_result_end|><|im_end|>' + '\n' }}"
    "{%- elif message['tool_calls'] -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') }}"
    "{%- for call in message['tool_calls'] -%}"
    "{%- set called = call['function'] or call -%}"
    "{{ '<|tool_call|>{\"name\": ' + (called['name'] | tojson) + ', \"arguments\": ' }}"
    "{{ called['arguments'] if called['arguments'] is string else called['arguments'] | tojson }}"
    "{{ '}<|tool_call_end|>' }}"
    "{%- endfor -%}"
    "{{ '<|im_end|>' + '\n' }}"
    "{%- elif not (tools and loop.first and message['role'] == 'system') -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
"""ChatML behind the end-of-text token with which every row of training starts: each turn between start and end tokens,
the role on its first line. Tools are listed in the system's turn; calls and what came of them stand between tokens of
their own, which are plain text to a tokenizer that hasn't them."""

ChatMessage = Mapping[str, Any]
"""``{"role": "system" | "user" | "assistant" | "tool", "content": text}``, and what a template makes use of besides,
such as ``tool_calls`` (JSON-like: strings, numbers, lists, objects)."""

_ROLES: Final = frozenset({"system", "user", "assistant", "tool", "developer", "function", "ipython", "model"})
_PLAIN: Final = {
    "role": _ROLES,
    "type": frozenset({"text", "function", "image", "audio"}),
    **dict.fromkeys(("content", "name", "tool_calls"), frozenset[str]()),
}
"""Words of ours that templates may spell special tokens with, as in ``<|assistant|>``: a message's fields, and what
some of them hold. All else is people's text."""


_REASONING: Final = ("reasoning_content", "thinking", "reasoning")


def _with_reasoning(message: ChatMessage) -> ChatMessage:
    """What a model thought, under the names by which templates ask for it, as transformers passes it on."""
    found = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    return message if found is None else {"thinking": found, **message, "reasoning_content": found}


@dataclass(frozen=True)
class Piece:
    """A run of rendered text: a special token of the template, or text that is never one."""

    text: str
    special: bool


@dataclass(frozen=True)
class Rendered:
    """A rendered conversation. ``trained`` are character ranges [start, end) of the answers, end tokens included.

    ``note`` says, in a line, where the template's own generation blocks and the derived answers differ.
    """

    pieces: tuple[Piece, ...]
    trained: tuple[Range, ...]
    note: str = ""

    @property
    def text(self) -> str:
        """The whole as one string, for people to read."""
        return "".join(piece.text for piece in self.pieces)


class ChatTemplate:
    """Renders conversations. ``special_tokens`` are the strings that only the template itself may produce;
    ``names`` are variables that it may use for some of them, such as ``bos_token``.

    DataError if the source isn't valid jinja.
    """

    def __init__(self, source: str, special_tokens: Sequence[str], names: Mapping[str, str] | None = None) -> None:
        self.source = source
        self._shadow = Shadow(special_tokens)
        self._program = Program(checked(source), self._shadow, names or {})
        longest_first = sorted(filter(None, special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def render(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        last_answer_only: bool = False,
        **variables: Any,
    ) -> Rendered:
        """Render a conversation, with the answers to train on, or the last; to ask for the next one, use ``prompt``.

        DataError if the template fails or what was rendered up to an answer is not a prefix of the whole: such a
        template shows an answer in another surrounding when it is trained on than when it is asked for.
        """
        fill = self._filler(messages, tools, documents, variables)
        whole, blocks = take_marks(fill(len(messages), False))
        answers = [index for index, message in enumerate(messages) if message.get("role") == "assistant"]
        derived = []
        for index in answers[-1:] if last_answer_only else answers:
            before, _ = take_marks(fill(index, True))
            after = take_marks(fill(index + 1, False))[0] if index + 1 < len(messages) else whole
            if not (after.startswith(before) and whole.startswith(after.rstrip())):
                if after == take_marks(fill(index, False))[0]:
                    raise DataError(f"the chat template writes nothing for the assistant's turn {index + 1}")
                if after.startswith(before):
                    raise DataError(
                        f"the chat template rewrites turn {index + 1} once more turns follow: train on conversations"
                        " of one answer, or take another chat template"
                    )
                raise DataError(
                    f"the chat template rewrites earlier turns, or the prompt for an answer, at turn {index + 1}: it"
                    " can't be trained on; take another"
                )
            derived.append((len(before), max(len(before), len(after.rstrip("\n")))))
        pieces = tuple(self._split(whole))
        if not self._program.has_generation:
            return Rendered(pieces, tuple(derived))
        if last_answer_only:
            blocks = [block for block in blocks if derived and block[1] > derived[0][0]]
        text = self._shadow.show(whole)
        return Rendered(pieces, both(derived, blocks), explain(text, derived, blocks))

    def prompt(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> Rendered:
        """Render a conversation to be gone on with: nothing is trained, so templates may rewrite earlier turns."""
        fill = self._filler(messages, tools, documents, variables)
        whole, _ = take_marks(fill(len(messages), add_generation_prompt))
        return Rendered(tuple(self._split(whole)), ())

    def _filler(self, messages: Sequence[ChatMessage], tools: Any, documents: Any, variables: Mapping[str, Any]) -> Any:
        """A function of (number of turns, generation prompt or not) to raw text; people's text is hidden once."""
        try:
            safe = [self._shadow.cover(_with_reasoning(message), _PLAIN) for message in messages]
            given = {
                **self._shadow.cover(variables, {}),
                "tools": self._shadow.cover(tools, {}),
                "documents": self._shadow.cover(documents, {}),
            }
        except RecursionError:
            raise DataError("a conversation is nested too deeply") from None

        def fill(turns: int, add_generation_prompt: bool) -> str:
            return self._program.fill(
                {**given, "messages": safe[:turns], "add_generation_prompt": add_generation_prompt}
            )

        return fill

    def _split(self, raw: str) -> list[Piece]:
        """The pieces of raw text; hidden characters match no special token."""
        pieces, end = [], 0
        for match in self._special.finditer(raw):
            if match.start() > end:
                pieces.append(Piece(self._shadow.show(raw[end : match.start()]), special=False))
            pieces.append(Piece(match.group(), special=True))
            end = match.end()
        if end < len(raw):
            pieces.append(Piece(self._shadow.show(raw[end:]), special=False))
        return pieces
