from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from groundup.base.config import Config
from groundup.base.errors import DataError, RequestError
from groundup.text.benchmark import Benchmark, Evaluates, evaluated, item_id, item_texts, read_rows

ARC = {"id": "q1", "question": "Which?", "choices": {"text": ["one", "two"], "label": ["A", "B"]}, "answerKey": "B"}

ITEMS = [
    ("story_endings", {"id": "s", "context": "It began.", "endings": ["a", "b", "c", "d"], "label": 2},
     ("It began. c", "It began.")),
    ("arc_easy", ARC, ("Which? two", "Which?")),
    ("arc_challenge", ARC, ("Which? two", "Which?")),
    ("piqa", {"goal": "Open.", "sol1": "Twist.", "sol2": "Sing.", "label": 1}, ("Open. Sing.", "Open.")),
    ("hellaswag", {"ctx": "A man", "endings": ["sits.", "runs."], "label": "1"}, ("A man runs.", "A man")),
    ("winogrande", {"sentence": "_ won.", "option1": "Ann", "option2": "Bo", "answer": "2"}, ("Bo won.", "Ann won.")),
]  # fmt: skip


class _Tasks(Config):
    tasks: tuple[Benchmark, ...] = ()

    def benchmarks(self) -> tuple[Benchmark, ...]:
        return self.tasks


@pytest.mark.parametrize(("name", "row", "texts"), ITEMS)
def test_item_texts(name: str, row: dict[str, object], texts: tuple[str, ...]) -> None:
    assert item_texts(name, row) == texts


@pytest.mark.parametrize(("name", "row", "texts"), ITEMS)
def test_rows_lacking_a_field_are_named(name: str, row: dict[str, object], texts: tuple[str, ...]) -> None:
    field = list(row)[-1]
    with pytest.raises(DataError, match=f"lacks the field '{field}'"):
        item_texts(name, {key: value for key, value in row.items() if key != field})


@pytest.mark.parametrize("change", [{"label": 9}, {"label": "x"}, {"endings": 3}, {"context": 5}])
def test_malformed_rows_are_data_errors(change: dict[str, object]) -> None:
    with pytest.raises(DataError, match="story_endings"):
        item_texts("story_endings", {**ITEMS[0][1], **change})


def test_a_packaged_name_is_enough() -> None:
    parsed = _Tasks.parse({"tasks": ["story_endings", {"name": "piqa", "rows": "x.jsonl"}]}, "t")
    assert [one.rows for one in parsed.tasks] == ["examples/benchmarks/story_endings.jsonl.gz", "x.jsonl"]
    assert list(parsed.file_paths()) == ["examples/benchmarks/story_endings.jsonl.gz", "x.jsonl"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("story_ending", r"unknown benchmark 'story_ending'; did you mean 'story_endings'\?"),
        ("arc_easy", "does not come with groundup"),
        ({"name": "arc_easy", "row": "x"}, "unknown field"),
        (3, "tasks.0"),
    ],
)
def test_bad_benchmarks_are_refused(task: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        _Tasks.parse({"tasks": [task]}, "t")


def test_unknown_benchmark_has_no_texts() -> None:
    with pytest.raises(RequestError, match="did you mean 'piqa'"):
        item_texts("piqaa", {})


def test_evaluated_collects_each_once() -> None:
    one, two = Benchmark.parse({"name": "piqa", "rows": "a"}, "t"), Benchmark.parse({"name": "piqa", "rows": "b"}, "t")
    recipe = {"x": _Tasks(tasks=(two, one)), "y": _Tasks(tasks=(one,)), "z": Config()}
    assert evaluated(recipe) == (one, two)
    assert not isinstance(Config(), Evaluates)


def test_read_rows(tmp_path: Path) -> None:
    rows = [{"id": "a"}, {"b": 1}]
    text = "\n".join(map(json.dumps, rows)) + "\n\n"
    (tmp_path / "r.jsonl").write_text(text)
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert read_rows(tmp_path / "r.jsonl") == read_rows(tmp_path / "r.jsonl.gz") == rows
    assert [item_id(row, number) for number, row in enumerate(rows, 1)] == ["a", "row 2"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no rows"),
        (b'{"a": 1}\n{', "line 2"),
        (b"[1]", "line 1 is a list"),
        (b'{"a": "\xff"}', "line 1"),
        (gzip.compress(b'{"a": 1}\n' * 99)[:-9], "truncated"),
    ],
)
def test_damaged_rows(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "r.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / "r.jsonl")
