"""Conversations and preferences: one shape inside, and readers for the shapes that data sets come in.

A row that can't be used is refused with a reason (:class:`BadRow`), so that the stages can count what they drop.

| format | fields |
|---|---|
| messages | ``messages: [{role, content}]``; content a string or a list of ``{"type": "text", "value" or "text"}`` |
| sharegpt | ``conversations: [{from, value}]``, ``system`` |
| alpaca | ``instruction``, ``input``, ``output`` |
| self-instruct | ``instruction``, ``instances: [{input, output}]``: one conversation an instance |
| prompt and answer | ``prompt``, ``response`` or ``completion`` |
| hh | ``chosen``, ``rejected``: whole dialogues with ``\\n\\nHuman:`` and ``\\n\\nAssistant:`` |
| sharegpt preference | ``conversations``, ``chosen: {from, value}``, ``rejected`` |
| preference | ``prompt`` (text or messages), ``chosen``, ``rejected`` (text or messages) |
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from groundup.base.errors import DataError
from groundup.base.files import write_atomic

Role = Literal["system", "user", "assistant"]
Row = Mapping[str, Any]

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
_ALPACA: Final = re.compile(
    r"\s*Below is an instruction that describes a task.*?"
    r"### Instruction:\s*(?P<instruction>.*?)\s*(?:### Input:\s*(?P<input>.*?)\s*)?### Response:\s*",
    re.DOTALL,
)
_HH_TURN: Final = re.compile(r"\n\n(Human|Assistant):")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_PLACEHOLDER: Final = re.compile(r"\{\{\s*(?:name|author)\s*\}\}")


class BadRow(ValueError):  # noqa: N818 - it is a verdict on data that the caller counts, not an error that ends a run
    """A row that can't be used. ``reason`` is a fixed name to count by; ``detail`` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """Turns that alternate user and assistant, after at most one system message, and end with the assistant's."""

    id: str
    source: str
    messages: tuple[Message, ...]
    split: str = "train"


@dataclass(frozen=True)
class Preference:
    """A prompt (ending with the user's turn) and two answers, of which people prefer ``chosen``."""

    id: str
    source: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    split: str = "train"


# -- normalising rows --------------------------------------------------------------------------------------------


def parse_conversations(row: Row) -> list[tuple[Message, ...]]:
    """The conversations in a row of any known format (self-instruct rows hold several); BadRow otherwise.

    >>> parse_conversations({"instruction": "Add 1.", "input": "2", "output": "3"})[0][0].content
    'Add 1.\\n\\n2'
    """
    if "messages" in row:
        return [_checked(_messages(row["messages"], "role", "content"))]
    if "conversations" in row:
        return [_checked(_sharegpt(row))]
    if "instances" in row:
        instances = [_mapping(one) for one in _list(row["instances"], "instances")]
        if not instances:
            raise BadRow("no_assistant_turn", "no instances")
        return [_alpaca(row.get("instruction"), one.get("input"), one.get("output")) for one in instances]
    if "instruction" in row and "output" in row:
        return [_alpaca(row["instruction"], row.get("input"), row["output"])]
    for answer in ("response", "completion"):
        if "prompt" in row and answer in row:
            return [_checked([*_prompt(row["prompt"]), Message("assistant", _text(_last(row[answer])))])]
    raise BadRow("unknown_format", f"fields {', '.join(sorted(map(str, row)))}")


def parse_preference(row: Row) -> tuple[tuple[Message, ...], str, str]:
    """(prompt, chosen, rejected) of a row of any known preference format; BadRow otherwise."""
    if "chosen" not in row or "rejected" not in row:
        raise BadRow("unknown_format", f"fields {', '.join(sorted(map(str, row)))}")
    if "conversations" in row:
        prompt, chosen, rejected = _sharegpt(row), _said(row["chosen"]), _said(row["rejected"])
    elif "prompt" in row:
        prompt, chosen, rejected = _prompt(row["prompt"]), _text(_last(row["chosen"])), _text(_last(row["rejected"]))
    elif isinstance(row["chosen"], str) and _HH_TURN.match(row["chosen"]):
        prompt, chosen, rejected = _hh(row["chosen"], row["rejected"])
    elif isinstance(row["chosen"], list):
        prompt, chosen, rejected = _shared_start(row["chosen"], row["rejected"])
    else:
        raise BadRow("unknown_format", "no prompt beside 'chosen' and 'rejected'")
    if not chosen.strip() or not rejected.strip():
        raise BadRow("empty_answer")
    if chosen.strip() == rejected.strip():
        raise BadRow("chosen_equals_rejected")
    turns = _checked([*prompt, Message("assistant", chosen)])
    _checked([*prompt, Message("assistant", rejected)])
    return turns[:-1], turns[-1].content, _clean(rejected)


def _checked(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with clean text; BadRow unless they form a conversation that can be trained on."""
    turns = [message for message in messages if message.role != "system"]
    if any(message.role == "system" for message in messages[1:]):
        raise BadRow("system_message_not_first")
    if not any(message.role == "assistant" for message in turns):
        raise BadRow("no_assistant_turn")
    for number, message in enumerate(turns):
        wanted = "assistant" if number % 2 else "user"
        if message.role != wanted:
            raise BadRow("roles_do_not_alternate", f"turn {number + 1} is {message.role}'s, expected {wanted}'s")
    if turns[-1].role != "assistant":
        raise BadRow("ends_with_user")
    for message in turns:
        if not message.content.strip():
            raise BadRow("empty_answer" if message.role == "assistant" else "empty_prompt")
    for message in messages:
        if _SURROGATE.search(message.content):
            raise BadRow("not_unicode", "a lone surrogate")
        if found := _PLACEHOLDER.search(message.content):
            raise BadRow("unfilled_placeholder", found[0])
    clean = [Message(message.role, _clean(message.content)) for message in messages]
    return tuple(message for message in clean if message.role != "system" or message.content)


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")).strip()


def _messages(value: Any, role_key: str, text_key: str) -> list[Message]:
    found = []
    for part in _list(value, "messages"):
        turn = _mapping(part)
        role = _ROLES.get(str(turn.get(role_key)))
        if role is None:
            raise BadRow("unsupported_role", str(turn.get(role_key)))
        if turn.get("tool_calls"):
            raise BadRow("unsupported_content", "tool_calls")
        found.append(Message(role, _text(turn.get(text_key))))
    return found


def _sharegpt(row: Row) -> list[Message]:
    turns = _messages(row["conversations"], "from", "value")
    system = row.get("system")
    return [Message("system", system), *turns] if isinstance(system, str) and system.strip() else turns


def _alpaca(instruction: Any, given: Any, output: Any) -> tuple[Message, ...]:
    prompt = _text(instruction)
    if isinstance(given, str) and given.strip():
        prompt = f"{prompt.strip()}\n\n{given.strip()}"
    return _checked([Message("user", prompt), Message("assistant", _text(output))])


def _prompt(value: Any) -> list[Message]:
    """A prompt of plain text, of messages, or wrapped in Alpaca's preamble, which is taken off."""
    if not isinstance(value, str):
        return _messages(value, "role", "content")
    if wrapped := _ALPACA.fullmatch(value):
        given = wrapped["input"]
        return [Message("user", f"{wrapped['instruction']}\n\n{given}" if given else wrapped["instruction"])]
    return [Message("user", value)]


def _hh(chosen: Any, rejected: Any) -> tuple[list[Message], str, str]:
    both = [_hh_turns(text) for text in (chosen, rejected)]
    if any(not turns or turns[-1].role != "assistant" for turns in both):
        raise BadRow("no_assistant_turn")
    if both[0][:-1] != both[1][:-1]:
        raise BadRow("prompts_differ")
    return both[0][:-1], both[0][-1].content, both[1][-1].content


def _hh_turns(text: Any) -> list[Message]:
    if not isinstance(text, str):
        raise BadRow("unknown_format", f"chosen and rejected differ in type ({type(text).__name__})")
    pieces = _HH_TURN.split(text)
    return [
        Message("user" if speaker == "Human" else "assistant", said.strip())
        for speaker, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


def _shared_start(chosen: Any, rejected: Any) -> tuple[list[Message], str, str]:
    """TRL's implicit prompt: two lists of messages that differ in the last one only."""
    both = [_messages(turns, "role", "content") for turns in (chosen, rejected)]
    if any(not turns or turns[-1].role != "assistant" for turns in both):
        raise BadRow("no_assistant_turn")
    if both[0][:-1] != both[1][:-1]:
        raise BadRow("prompts_differ")
    return both[0][:-1], both[0][-1].content, both[1][-1].content


def _said(value: Any) -> str:
    """The text of ``{from, value}``, ``{role, content}`` or a plain string."""
    if isinstance(value, Mapping):
        value = value.get("value", value.get("content"))
    return _text(value)


def _last(value: Any) -> Any:
    """An answer given as a list of one assistant message, or as it is."""
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "role" in one for one in value):
        if len(value) != 1 or value[0]["role"] != "assistant":
            raise BadRow("roles_do_not_alternate", "the answer is not one assistant message")
        return value[0].get("content")
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise BadRow("unsupported_content", type(value).__name__)
    parts = []
    for part in value:
        piece = _mapping(part)
        if piece.get("type") != "text":
            raise BadRow("unsupported_content", str(piece.get("type")))
        text = piece.get("value", piece.get("text"))
        if not isinstance(text, str):
            raise BadRow("unsupported_content", "a text part without text")
        parts.append(text)
    return "".join(parts)


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadRow("unknown_format", f"{name!r} is a {type(value).__name__}, expected a list")
    return value


def _mapping(value: Any) -> Row:
    if not isinstance(value, Mapping):
        raise BadRow("unknown_format", f"a turn is a {type(value).__name__}, expected an object")
    return value


# -- JSONL files -------------------------------------------------------------------------------------------------


def write_conversations(path: Path, conversations: Iterable[Conversation]) -> None:
    """Write one conversation a line: ``id``, ``source``, ``split``, ``messages``."""
    rows = (
        {"id": one.id, "source": one.source, "split": one.split, "messages": as_dicts(one.messages)}
        for one in conversations
    )
    write_jsonl(path, rows)


def read_conversations(path: Path, split: str | None = None) -> list[Conversation]:
    """The conversations of a file that ``write_conversations`` wrote, of one split or all; DataError if damaged."""
    return [
        Conversation(row["id"], row["source"], _turns(row["messages"]), row["split"])
        for row in _read(path, ("id", "source", "split", "messages"))
        if split in (None, row["split"])
    ]


def write_preferences(path: Path, preferences: Iterable[Preference]) -> None:
    """Write one pair a line: ``id``, ``source``, ``split``, ``prompt``, ``chosen``, ``rejected``."""
    rows = (
        {
            "id": one.id,
            "source": one.source,
            "split": one.split,
            "prompt": as_dicts(one.prompt),
            "chosen": one.chosen,
            "rejected": one.rejected,
        }
        for one in preferences
    )
    write_jsonl(path, rows)


def read_preferences(path: Path, split: str | None = None) -> list[Preference]:
    """The pairs of a file that ``write_preferences`` wrote, of one split or all; DataError if damaged."""
    return [
        Preference(row["id"], row["source"], _turns(row["prompt"]), row["chosen"], row["rejected"], row["split"])
        for row in _read(path, ("id", "source", "split", "prompt", "chosen", "rejected"))
        if split in (None, row["split"])
    ]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write any rows as JSON lines in UTF-8, atomically."""

    def fill(beside: Path) -> None:
        with beside.open("w", encoding="utf-8", newline="\n") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    write_atomic(path, fill)


def _read(path: Path, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as handle:
        for number, line in enumerate(handle, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path.name} line {number} is not valid JSON ({error})") from None
            missing = [field for field in fields if not isinstance(row, dict) or field not in row]
            if missing:
                raise DataError(f"{path.name} line {number} lacks the field {missing[0]!r}")
            yield row


def as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages as chat templates and files take them: ``{"role", "content"}``."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _turns(rows: Sequence[Mapping[str, str]]) -> tuple[Message, ...]:
    return tuple(Message(cast(Role, row["role"]), row["content"]) for row in rows)
