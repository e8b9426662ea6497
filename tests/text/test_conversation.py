from __future__ import annotations

import json
from pathlib import Path

import pytest

from groundup.base.errors import DataError
from groundup.text.conversation import (
    BadRow,
    Conversation,
    Message,
    Preference,
    parse_conversations,
    parse_preference,
    read_conversations,
    read_preferences,
    write_conversations,
    write_preferences,
)

PREAMBLE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nName a colour.\n\n### Response:\n"
)
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\nAdd one.\n\n### Input:\n2\n\n"
    "### Response:\n"
)
ASKED = {"role": "user", "content": "Hi"}
TOLD = {"role": "assistant", "content": "Hello"}

GOOD = [
    ({"messages": [ASKED, TOLD]}, [("user", "Hi"), ("assistant", "Hello")]),
    (
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "value": "Hi "}, {"type": "text", "text": "you"}]},
                {"role": "assistant", "content": [{"type": "text", "text": " Hello\r\nthere "}]},
            ]
        },
        [("system", "Be kind."), ("user", "Hi you"), ("assistant", "Hello\nthere")],
    ),
    (
        {"system": "Be kind.", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")],
    ),
    ({"instruction": "Sing.", "input": "", "output": "La."}, [("user", "Sing."), ("assistant", "La.")]),
    ({"instruction": "Add.", "input": "1 2", "output": "3"}, [("user", "Add.\n\n1 2"), ("assistant", "3")]),
    ({"prompt": "Hi", "response": "Hello"}, [("user", "Hi"), ("assistant", "Hello")]),
    ({"prompt": "Hi", "completion": "Hello"}, [("user", "Hi"), ("assistant", "Hello")]),
    ({"prompt": [ASKED], "completion": [TOLD]}, [("user", "Hi"), ("assistant", "Hello")]),
    ({"prompt": PREAMBLE, "response": "Red."}, [("user", "Name a colour."), ("assistant", "Red.")]),
    ({"prompt": WITH_INPUT, "response": "3"}, [("user", "Add one.\n\n2"), ("assistant", "3")]),
    ({"messages": [ASKED, {"role": "assistant", "content": "cafe\u0301"}]}, [("user", "Hi"), ("assistant", "café")]),
]


@pytest.mark.parametrize(("row", "expected"), GOOD)
def test_each_format_becomes_turns(row: dict[str, object], expected: list[tuple[str, str]]) -> None:
    (messages,) = parse_conversations(row)
    assert [(message.role, message.content) for message in messages] == expected


def test_self_instruct_gives_one_conversation_an_instance() -> None:
    row = {"instruction": "Double.", "instances": [{"input": "1", "output": "2"}, {"input": "", "output": "0"}]}
    found = parse_conversations(row)
    assert [messages[0].content for messages in found] == ["Double.\n\n1", "Double."]
    assert [messages[1].content for messages in found] == ["2", "0"]


BAD = [
    ({"messages": [ASKED, {"role": "assistant", "content": "  \n"}]}, "empty_answer"),
    ({"prompt": "Hi", "response": None}, "empty_answer"),
    ({"prompt": " ", "response": "Hello"}, "empty_prompt"),
    ({"messages": [ASKED]}, "no_assistant_turn"),
    ({"messages": []}, "no_assistant_turn"),
    ({"instruction": "x", "instances": []}, "no_assistant_turn"),
    ({"messages": [ASKED, ASKED, TOLD]}, "roles_do_not_alternate"),
    ({"messages": [TOLD, ASKED]}, "roles_do_not_alternate"),
    ({"messages": [ASKED, TOLD, ASKED]}, "ends_with_user"),
    ({"messages": [ASKED, {"role": "system", "content": "x"}, TOLD]}, "system_message_not_first"),
    ({"messages": [ASKED, {"role": "tool", "content": "x"}]}, "unsupported_role"),
    ({"conversations": [{"from": "observation", "value": "x"}]}, "unsupported_role"),
    ({"messages": [ASKED, {"role": "assistant", "content": [{"type": "reasoning", "value": "x"}]}]},
     "unsupported_content"),
    ({"messages": [ASKED, {**TOLD, "tool_calls": [{"name": "f", "arguments": {}}]}]}, "unsupported_content"),
    ({"messages": [ASKED, {"role": "assistant", "content": 3}]}, "unsupported_content"),
    ({"messages": "Hi"}, "unknown_format"),
    ({"messages": ["Hi"]}, "unknown_format"),
    ({"text": "Hi"}, "unknown_format"),
    ({"prompt": "Hi", "response": "I am {{name}}."}, "unfilled_placeholder"),
    ({"prompt": "Hi", "response": "a\ud800b"}, "not_unicode"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_bad_rows_are_refused_by_name(row: dict[str, object], reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        parse_conversations(row)
    assert caught.value.reason == reason


HH = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Sing\n\nAssistant:"

PAIRS = [
    ({"chosen": f"{HH} La", "rejected": f"{HH} No"}, 3),
    ({"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "La"},
      "rejected": {"from": "gpt", "value": "No"}}, 1),
    ({"prompt": "Hi", "chosen": "La", "rejected": "No"}, 1),
    ({"prompt": [ASKED], "chosen": [{"role": "assistant", "content": "La"}],
      "rejected": [{"role": "assistant", "content": "No"}]}, 1),
    ({"chosen": [ASKED, {"role": "assistant", "content": "La"}],
      "rejected": [ASKED, {"role": "assistant", "content": "No"}]}, 1),
]  # fmt: skip


@pytest.mark.parametrize(("row", "turns"), PAIRS)
def test_each_preference_format(row: dict[str, object], turns: int) -> None:
    prompt, chosen, rejected = parse_preference(row)
    assert (len(prompt), prompt[-1].role, chosen, rejected) == (turns, "user", "La", "No")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi", "chosen": "La", "rejected": " La "}, "chosen_equals_rejected"),
        ({"prompt": "Hi", "chosen": "La", "rejected": ""}, "empty_answer"),
        ({"prompt": "", "chosen": "La", "rejected": "No"}, "empty_prompt"),
        ({"chosen": f"{HH} La", "rejected": "\n\nHuman: Bye\n\nAssistant: No"}, "prompts_differ"),
        ({"chosen": "\n\nHuman: Hi", "rejected": "\n\nHuman: Hi"}, "no_assistant_turn"),
        ({"chosen": f"{HH} La", "rejected": 3}, "unknown_format"),
        ({"chosen": "La", "rejected": "No"}, "unknown_format"),
        ({"prompt": "Hi", "response": "La"}, "unknown_format"),
    ],
)
def test_bad_pairs_are_refused_by_name(row: dict[str, object], reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        parse_preference(row)
    assert caught.value.reason == reason


def test_files_keep_everything(tmp_path: Path) -> None:
    turns = (Message("user", "Hi\u2028"), Message("assistant", "héllo\n\u0085"))
    conversations = [Conversation("1", "s", turns), Conversation("2", "s", turns, "held_out")]
    preferences = [Preference("1", "s", turns[:1], "La", "No"), Preference("2", "s", turns[:1], "a", "b", "held_out")]
    write_conversations(tmp_path / "c.jsonl", conversations)
    write_preferences(tmp_path / "p.jsonl", preferences)
    assert read_conversations(tmp_path / "c.jsonl") == conversations
    assert read_preferences(tmp_path / "p.jsonl") == preferences
    assert read_conversations(tmp_path / "c.jsonl", "held_out") == conversations[1:]
    assert read_preferences(tmp_path / "p.jsonl", "train") == preferences[:1]
    assert set(json.loads((tmp_path / "c.jsonl").read_text().split("\n")[0])) == {"id", "source", "split", "messages"}


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "1"}'])
def test_damaged_files_name_the_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "c.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=r"c\.jsonl line 1"):
        read_conversations(tmp_path / "c.jsonl")
