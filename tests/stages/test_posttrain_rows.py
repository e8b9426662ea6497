"""Conversations as rows: what is trained on in them, and what is left out and counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from store_task import record
from tiny import tiny_tokenizer

from groundup.artifact.record import FileEntry
from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.stages.posttrain.pairs import read_pairs
from groundup.stages.posttrain.rows import Row, encode
from groundup.text.conversation import Message, Preference, write_preferences
from groundup.text.tokenizer import Tokenizer

TOKENIZER = tiny_tokenizer()
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}"
    "{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Shows what the model thought in its last answer only."""
TURNS = (
    Message("user", "The dog?"),
    Message("assistant", "<think>so</think>It ran."),
    Message("user", "Why?"),
    Message("assistant", "<think>hm</think>To play."),
)


def forgetful() -> Tokenizer:
    return Tokenizer.parse(TOKENIZER.describe(), FORGETFUL, TOKENIZER.roles)


def learned(row: Row) -> str:
    tokens = row.tokens
    return TOKENIZER.decode_visibly([one for one, trained in zip(tokens.ids, tokens.trained, strict=True) if trained])


def test_all_answers_or_the_last_are_trained() -> None:
    for last, wanted in (
        (False, "<think>so</think>It ran.<|im_end|><think>hm</think>To play.<|im_end|>"),
        (True, "<think>hm</think>To play.<|im_end|>"),
    ):
        dropped: Counter[str] = Counter()
        row = encode("a", TURNS, TOKENIZER, 500, dropped, last_answer_only=last)
        assert row is not None
        assert learned(row) == wanted
        assert row.tokens.trained[-1]
        assert not dropped


def test_rows_are_cut_at_the_context_or_dropped_and_counted() -> None:
    dropped: Counter[str] = Counter()
    whole = encode("a", TURNS, TOKENIZER, 500, dropped)
    assert whole is not None
    first = whole.tokens.trained.index(True)
    cut = encode("a", TURNS, TOKENIZER, first, dropped)
    assert cut is not None
    assert cut.tokens.ids == whole.tokens.ids[: first + 1]
    assert encode("a", TURNS, TOKENIZER, first - 1, dropped) is None
    assert dropped == {"longer than the context: cut": 1, "no answer within the context: dropped": 1}


def test_pairs_of_several_turns_need_only_their_last_answer_as_it_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rewrites turn 2"):
        encode("a", TURNS, forgetful(), 500, Counter())
    write_preferences(tmp_path / "preferences.jsonl", [Preference("a", "s", TURNS[:3], "To play.", "Rain.")])
    files = {"preferences.jsonl": FileEntry(bytes=1, sha256="0" * 64)}
    artifact = Artifact(tmp_path, record("preferences", files=files))
    (pair,) = read_pairs([artifact], "train", forgetful(), 500, Counter())
    assert learned(pair.chosen) == "To play.<|im_end|>"
    assert learned(pair.rejected) == "Rain.<|im_end|>"
