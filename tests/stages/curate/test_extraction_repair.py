"""Repair gives what ftfy and the plain rules give, text by text; it only looks less often."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import ftfy
import pyarrow as pa
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.extraction.repair import Repair, repair

SHARED = Path(__file__).parents[3] / "../shared/data/text"
SETTINGS = ftfy.TextFixerConfig(
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization="NFC",
    explain=False,
)


def plainly(text: str) -> str:
    """The definition, rule after rule, ftfy on every line."""
    text = re.sub("\r\n?|[\v\f\x85\u2028\u2029]", "\n", text)
    text = ftfy.fix_text(text, SETTINGS)
    text = re.sub("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ufdd0-\ufdef]", "", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("plain text", "plain text"),
        ("cafe\u0301", "café"),
        ("naÃ¯ve", "naïve"),
        ("Itâ€™s", "It’s"),
        ("x² ﬁne ｆｕｌｌ “q”", "x² ﬁne ｆｕｌｌ “q”"),
        ("Tom &amp; Anna", "Tom & Anna"),
        ("<b>Tom &amp; Anna", "<b>Tom &amp; Anna"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a \t\nb\n\n\n\nc  ", "a\nb\n\nc"),
        ("\ufeffa\x00b\x1b[31mc", "abc"),
        ("", ""),
        ("\x00 \x01", ""),
    ],
)
def test_what_repair_does(broken: str, whole: str) -> None:
    assert repair(broken) == whole == plainly(broken)


_LETTERS = sorted(
    {letter for kinds in MOJIBAKE_CATEGORIES.values() for letter in kinds if letter != "-"}
    | set("aZ .,&<>;\n\r\t\x00\x1b\x85éÃÂœŒвЂГўВ°\xa0\xad\u0301\u2028\ufeff漢😀")
)
_PIECES = ["&eacute;", "&lt;", "Ã©", "â€™", "вЂ™", "ГўВЂВ", "Â ", "Ã ", "e\u0301", "word", "\ud800"]


@given(st.lists(st.sampled_from(_LETTERS + _PIECES), max_size=12).map("".join))
@example("\nÂ x")
@example("Œ\n")
@example("a<\n&amp;\nÃ©")
@settings(max_examples=1500, deadline=None)
def test_it_equals_the_definition(text: str) -> None:
    assert repair(text) == plainly(text)


@given(st.text(max_size=40), st.sampled_from(["latin-1", "cp1252", "cp1251", "macroman", "cp437"]))
@settings(max_examples=300, deadline=None)
def test_it_equals_the_definition_on_text_read_in_a_wrong_encoding(text: str, wrong: str) -> None:
    broken = text.encode("utf-8", "replace").decode(wrong, "replace")
    assert repair(broken) == plainly(broken)


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_repaired_text_has_one_kind_of_line_break_and_no_hidden_signs(text: str) -> None:
    found = repair(text)
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]|[ \t]\n|\n\n\n", found) is None


def test_a_line_longer_than_ftfy_takes_at_once() -> None:
    text = "word Ã© " * 150_000
    assert repair(text) == plainly(text)


def test_it_equals_the_definition_on_shared_texts() -> None:
    if not SHARED.is_dir():
        pytest.skip("no shared test data beside this repository")
    for path, limit in (("udhr/udhr2", 388), ("c4_demo/c4_demo", 60), ("dclm_quality/majority", 60)):
        with gzip.open(SHARED / f"{path}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for _, line in zip(range(limit), lines, strict=False):
                row = json.loads(line)
                text = row.get("text") or line
                assert repair(text[:4000]) == plainly(text[:4000])


def test_the_operator_refuses_what_has_nothing_left() -> None:
    operator = Repair()
    assert isinstance(operator, Operator)
    texts = pa.array(["naÃ¯ve", "\x00", None, "clean"], pa.large_string())
    found = operator(pa.RecordBatch.from_pydict({"text": texts}))
    assert found.column("text").to_pylist() == ["naïve", "", None, "clean"]
    assert found.column("rule").to_pylist() == [None, "no_text", None, None]
    assert found.schema.field("text").type == pa.large_string()
