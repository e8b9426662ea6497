"""Benchmarks by name, with the rows that they are measured on, and which of their texts must not be trained on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, runtime_checkable

from pydantic import Field, model_validator

from groundup.base.config import Config, FileRef
from groundup.base.errors import DataError, RequestError, nearest

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """What a benchmark's rows look like.

    ``texts`` gives the parts of an item that a training document must not hold: the question together with its
    right answer, and the question alone. ``packaged`` is the row file that groundup ships, if it does.
    """

    fields: tuple[str, ...]
    texts: Callable[[Row], tuple[str, ...]]
    packaged: str | None = None


def _story_endings(row: Row) -> tuple[str, ...]:
    context, ending = row["context"], row["endings"][int(row["label"])]
    return (f"{context} {ending}", context)


def _arc(row: Row) -> tuple[str, ...]:
    question, choices = row["question"], row["choices"]
    answer = choices["text"][choices["label"].index(row["answerKey"])]
    return (f"{question} {answer}", question)


def _piqa(row: Row) -> tuple[str, ...]:
    return (f"{row['goal']} {row['sol2' if int(row['label']) else 'sol1']}", row["goal"])


def _hellaswag(row: Row) -> tuple[str, ...]:
    return (f"{row['ctx']} {row['endings'][int(row['label'])]}", row["ctx"])


def _winogrande(row: Row) -> tuple[str, ...]:
    # The blank lies inside the sentence: there is no question apart from its answer, so both fillings are the item.
    sentence, right = row["sentence"], str(row["answer"])
    options = sorted(("1", "2"), key=lambda number: number != right)
    return tuple(sentence.replace("_", row[f"option{number}"]) for number in options)


BENCHMARKS: Final[dict[str, Known]] = {
    "story_endings": Known(
        ("id", "context", "endings", "label"), _story_endings, "examples/benchmarks/story_endings.jsonl.gz"
    ),
    "arc_easy": Known(("id", "question", "choices", "answerKey"), _arc),
    "arc_challenge": Known(("id", "question", "choices", "answerKey"), _arc),
    "piqa": Known(("goal", "sol1", "sol2", "label"), _piqa),
    "hellaswag": Known(("ctx", "endings", "label"), _hellaswag),
    "winogrande": Known(("sentence", "option1", "option2", "answer"), _winogrande),
}
"""Every benchmark that groundup knows, with the formats in which their owners publish them."""


class Benchmark(Config):
    """A benchmark: its name and the file of its rows. A packaged one may be written as just its name."""

    name: str = Field(description="name of the benchmark, such as story_endings or arc_easy")
    rows: Annotated[str, FileRef()] = Field(
        description="path of the rows, .jsonl or .jsonl.gz; may be left out for a packaged benchmark"
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"name": data}
        if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
            return data
        name = data["name"]
        if name not in BENCHMARKS:
            raise ValueError(_unknown(name))
        packaged = BENCHMARKS[name].packaged
        if data.get("rows") is None:
            if packaged is None and set(data) <= {"name", "rows"}:
                raise ValueError(f"benchmark {name!r} does not come with groundup: write {{name: {name}, rows: PATH}}")
            return {**data, "rows": packaged} if packaged else data
        return data


@runtime_checkable
class Evaluates(Protocol):
    """A configuration that measures models on benchmarks; curation keeps those out of the training text."""

    def benchmarks(self) -> tuple[Benchmark, ...]:
        """The benchmarks that will be measured."""
        ...


def evaluated(recipe: Mapping[str, object]) -> tuple[Benchmark, ...]:
    """Every benchmark that some configuration of the recipe evaluates, each once, by name and path."""
    found = {one for config in recipe.values() if isinstance(config, Evaluates) for one in config.benchmarks()}
    return tuple(sorted(found, key=lambda one: (one.name, one.rows)))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``.jsonl`` or ``.jsonl.gz`` file; DataError that names the line otherwise."""
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} is truncated or not gzip ({error}); fetch it again") from None
    rows = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path.name} line {number} is not valid JSON in UTF-8 ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path.name} line {number} is a {type(row).__name__}, expected a JSON object")
        rows.append(row)
    if not rows:
        raise DataError(f"{path.name} has no rows")
    return rows


def item_texts(name: str, row: Row) -> tuple[str, ...]:
    """The texts of one item to keep out of training: question with right answer joined by a space, question alone.

    Raises RequestError for an unknown benchmark and DataError for a row that is not of its format.

    >>> item_texts("piqa", {"goal": "Open a jar.", "sol1": "Twist.", "sol2": "Sing.", "label": 0})
    ('Open a jar. Twist.', 'Open a jar.')
    """
    if name not in BENCHMARKS:
        raise RequestError(_unknown(name))
    known = BENCHMARKS[name]
    for field in known.fields:
        if field not in row:
            raise DataError(
                f"a row of benchmark {name!r} lacks the field {field!r} (needed: {', '.join(known.fields)})"
            )
    try:
        texts = known.texts(row)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"a row of benchmark {name!r} is not of its format ({type(error).__name__}: {error})") from None
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"a row of benchmark {name!r} holds something other than text")
    return texts


def item_id(row: Row, number: int) -> str:
    """The name of an item: its own id if the rows have one, else ``row N`` counted from 1."""
    return str(row["id"]) if "id" in row else f"row {number}"


def _unknown(name: str) -> str:
    return f"unknown benchmark {name!r}{nearest(name, BENCHMARKS)}"
