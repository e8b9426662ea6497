"""``groundup tokenize --measure``: what a tokenizer does to a body of text, beside other tokenizers, in a terminal."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from groundup.artifact.exhibit import Bars, Exhibit, Facts, Table
from groundup.base.errors import DataError, RequestError
from groundup.base.visible import visible
from groundup.text.well_formed import well_formed
from groundup.verbs.options import find_artifact

if TYPE_CHECKING:
    from rich.console import Console

    from groundup.text.tokenizer import Tokenizer

_CHUNK: Final = 1 << 16
"""Characters of plain text that are a document; what is longer is cut, so that memory stays bounded."""
_JSON_LINES: Final = (".jsonl", ".jsonl.gz")


def measure_text(
    name: str, tokenizers: Mapping[str, Tokenizer], workspace: Path | None, *, as_json: bool = False
) -> None:
    """Print the tables of the tokenizer report for a corpus of the workspace, a file of JSON lines, or plain text.

    The first tokenizer is measured, the others are compared with it. JSON lines have ``text``, and where known
    ``language`` (such as fra_Latn), ``source``, and ``content`` (equal for the same content in several languages).
    """
    from groundup.stages.tokenize.exhibits import tokenizer_exhibits

    (tokenizer, *_), others = tokenizers.values(), dict(list(tokenizers.items())[1:])
    exhibits, metrics = tokenizer_exhibits(tokenizer, _rows(name, workspace), others=others, measured_on=name)
    if as_json:
        shown = [one.model_dump(mode="json") for one in exhibits]
        print(json.dumps({"metrics": metrics, "exhibits": shown}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for exhibit in exhibits:
        _print(console, exhibit)


def _rows(name: str, workspace: Path | None) -> Iterator[Mapping[str, Any]]:
    path = Path(name)
    if not path.exists():
        from groundup.stages.tokenize.corpus import read_documents

        artifact = find_artifact(name, workspace)
        if artifact.record.kind != "corpus":
            raise RequestError(f"{name!r} is a {artifact.record.kind}, not a corpus: there is no text in it")
        return cast(Iterator[Mapping[str, Any]], read_documents(artifact, "held_out", ["text", "source", "language"]))
    if path.is_dir():
        raise RequestError(f"{name} is a folder: name a file of text or of JSON lines")
    return _json_lines(path) if path.name.endswith(_JSON_LINES) else _plain(path)


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """A text file, packed or not; DataError, also while it is read, if it is damaged or not UTF-8."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            yield file
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is damaged: {error}") from None


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise DataError(f"{path.name} line {number} is not valid JSON") from None
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise DataError(f"{path.name} line {number} has no field 'text'")
            if well_formed(row["text"]) != row["text"]:
                raise DataError(f"{path.name} line {number} is not valid Unicode: a lone surrogate")
            yield {"source": path.name, **row}


def _plain(path: Path) -> Iterator[Mapping[str, Any]]:
    with _open(path) as file:
        while text := file.read(_CHUNK):
            yield {"text": text, "source": path.name}


def _print(console: Console, exhibit: Exhibit) -> None:
    """Numbers as tables; samples of text are for the report and the page."""
    if isinstance(exhibit, Facts):
        _table(console, exhibit.title, exhibit.caption, ("", "", ""), exhibit.facts)
    elif isinstance(exhibit, Table):
        _table(console, exhibit.title, exhibit.caption, exhibit.columns, exhibit.rows)
    elif isinstance(exhibit, Bars):
        rows = [(label, round(value, 3)) for label, value, _, _ in exhibit.bars]
        _table(console, exhibit.title, exhibit.caption, ("", exhibit.x_label), rows)


def _table(console: Console, title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.table import Table as Shown
    from rich.text import Text

    shown = Shown(box=None, pad_edge=False, show_header=any(columns))
    for place, column in enumerate(columns):
        numbers = all(isinstance(row[place], int | float) for row in rows)
        shown.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        cells = (f"{cell:,}" if isinstance(cell, int | float) else visible(str(cell), lines=False) for cell in row)
        shown.add_row(*map(Text, cells))
    console.print(Text(f"\n{title}", "bold"))
    if caption:
        console.print(Text(visible(caption), "dim"))
    console.print(shown)
