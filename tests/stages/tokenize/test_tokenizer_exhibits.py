"""The report of a tokenizer: which exhibits, with which numbers, and what the record keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizers
from tiny import SENTENCES, tiny_tokenizer
from trained import train_bpe

from groundup.artifact.exhibit import Exhibits, Table
from groundup.base.errors import DataError
from groundup.stages.tokenize.exhibits import tokenizer_exhibits
from groundup.text.chat.template import END_OF_TEXT
from groundup.text.tokenizer import Roles, Tokenizer

TOKENIZER = tiny_tokenizer()
ENGLISH = [{"text": text * 3, "source": "books", "language": "eng_Latn"} for text in SENTENCES[:3]]
MANY = [
    *ENGLISH,
    {"text": "Le chat dort. " * 9, "source": "pages", "language": "fra_Latn"},
    {"text": "猫と犬がいる。" * 9, "source": "pages", "language": "jpn_Jpan"},
]


def by_title(rows: Any, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    exhibits, metrics = tokenizer_exhibits(TOKENIZER, iter(rows), **more)
    again = Exhibits.model_validate_json(Exhibits(exhibits=exhibits).model_dump_json())
    assert again.exhibits == exhibits
    json.dumps(metrics, allow_nan=False)
    assert len({one.title for one in exhibits}) == len(exhibits)
    return {one.title: one for one in exhibits}, metrics


def test_one_language_has_no_table_of_languages() -> None:
    shown, metrics = by_title(ENGLISH)
    assert "Compression by source" in shown
    assert not any("language" in title or "script" in title for title in shown)
    assert "worst_language" not in metrics
    size, tokens = (
        sum(len(row["text"].encode()) for row in ENGLISH),
        sum(len(TOKENIZER.encode(row["text"])) for row in ENGLISH),
    )
    assert metrics["bytes_per_token"] == round(size / tokens, 4)
    assert metrics["tokens_per_word"] == round(tokens / sum(len(row["text"].split()) for row in ENGLISH), 4)
    assert shown["Compression by source"].rows[0][:4] == ("books", 3, size, tokens)


def test_several_languages_are_compared_and_the_worst_is_named() -> None:
    shown, metrics = by_title(MANY)
    table = shown["Compression by language"]
    assert [row[0] for row in table.rows] == ["eng_Latn", "fra_Latn", "jpn_Jpan"]
    assert str(table.rows[2][-1]).endswith(" c")
    bars = shown["What each language pays"].bars
    assert bars[0][0] == metrics["worst_language"]
    assert bars[0][1] == metrics["worst_language_premium"] > 1
    assert bars[-1][1] == 1.0
    assert "equal number of bytes" in shown["What each language pays"].caption
    assert [row[0] for row in shown["Compression by script"].rows] == ["Jpan", "Latn"]
    parallel, metrics = by_title([{**row, "content": "one"} for row in MANY])
    assert "the same content" in parallel["What each language pays"].caption
    assert metrics["languages_compared_on"] == "content"


def test_other_tokenizers_stand_beside_in_order() -> None:
    worse = train_bpe(SENTENCES * 2, 270)
    shown, metrics = by_title(ENGLISH, others={"small": worse})
    assert [row[0] for row in shown["Beside other tokenizers"].rows] == ["this tokenizer", "small"]
    assert metrics["compared"]["small"] < metrics["bytes_per_token"]


def test_a_tokenizer_that_knows_nothing_of_some_texts_is_measured_all_the_same() -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({END_OF_TEXT: 0, "l": 1, "e": 2, "le": 3}, [("l", "e")]))
    backend.add_special_tokens([END_OF_TEXT])
    few = Tokenizer(backend, "", Roles(END_OF_TEXT, END_OF_TEXT, END_OF_TEXT, END_OF_TEXT))
    exhibits, metrics = tokenizer_exhibits(few, MANY)
    shown = {one.title: one for one in exhibits}
    assert metrics["worst_language"] in ("eng_Latn", "fra_Latn")
    assert dict(bar[:2] for bar in shown["What each language pays"].bars)["jpn_Jpan"] == 0
    assert min(row[2] for row in shown["White space"].rows) == 0
    assert metrics["code_bytes_per_token"] > 1
    assert metrics["lossless_whitespace"] is False


def test_habits_and_uses_are_in_the_report() -> None:
    shown, metrics = by_title(ENGLISH)
    used = shown["Use of the vocabulary"]
    assert sum(row[1] for row in used.rows) == TOKENIZER.vocab_size - len(TOKENIZER.special_tokens)
    assert sum(row[2] for row in used.rows) == metrics["measured_tokens"]
    assert [row[0] for row in shown["Numbers"].rows] == [1, 2, 3, 4, 5, 6]
    for title in ("White space", "Code"):
        assert isinstance(shown[title], Table)
        assert {row[-1] for row in shown[title].rows} == {"yes"}
    text = "".join(part for part, _ in shown["How it cuts text"].samples[0].parts)
    assert text == max((row["text"] for row in ENGLISH), key=len)[:400]


def test_no_text_is_refused() -> None:
    for rows in ([], [{"text": "", "source": "a"}]):
        with pytest.raises(DataError, match="no text"):
            tokenizer_exhibits(TOKENIZER, rows)


def test_very_many_languages_stay_a_table_to_read() -> None:
    rows = [{"text": "x" * (n + 1), "source": "s", "language": f"l{n:03}_Latn"} for n in range(200)]
    shown, metrics = by_title(rows)
    table = shown["Compression by language"]
    assert len(table.rows) == 61
    assert table.rows[-1][0] == "140 others"
    assert sum(row[1] for row in table.rows) == 200
    assert len(shown["What each language pays"].bars) == 60
    assert len(metrics["bytes_per_token_by_language"]) == 200
