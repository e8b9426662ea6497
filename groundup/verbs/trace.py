"""The verb ``trace``: the training documents that hold the longest stretches of an answer, word for word."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from groundup.base.errors import RequestError
from groundup.base.visible import visible
from groundup.verbs.options import JsonOption, WorkspaceOption, open_store

if TYPE_CHECKING:
    from rich.console import Console

    from groundup.tracing import Source, Span, Trace

EXAMPLES: Final = (
    'Examples:  groundup trace bundle "Once upon a time, there was a little girl …"   ·   '
    'groundup chat bundle --say "Tell me a story." | groundup trace bundle -   ·   '
    "groundup trace base --file answer.txt --top 3 --json"
)


_SHOWN: Final = 3
"""Documents of a span that are shown; --json names more."""


def trace(
    model: Annotated[str, typer.Argument(help="A model or bundle in the workspace.")],
    text: Annotated[str | None, typer.Argument(help="The text; - or nothing: from standard input.")] = None,
    file: Annotated[str | None, typer.Option(help="A file that holds the text, or - for standard input.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Spans to tell, the longest first.")] = 10,
    min_tokens: Annotated[
        int, typer.Option(min=8, help="Tokens of a span at least. All spans of 20 are found, of the shorter ones some.")
    ] = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the training documents that hold the longest spans of a text word for word, with their licences.

    Searched is all that the model was trained on here: pages, conversations and preferences. The first use makes an
    index of each.
    """
    given = _given(text, file)
    from groundup.base.progress import Progress
    from groundup.tracing import Sources

    store = open_store(workspace)
    if Path(model).exists() and model not in store.names():
        raise RequestError(f"{model} is a model of another program: what it read is not known here")
    sources = Sources.find(store, store.find(model, verify=False), Progress())
    found = sources.trace(given, min_tokens=min_tokens, top=top)
    if as_json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return
    _print(found)


def _given(text: str | None, file: str | None) -> str:
    if text is not None and file is not None:
        raise RequestError("give a text or --file, not both")
    if text is not None and text != "-":
        data, what = text.encode(errors="surrogateescape"), "the text"
    elif file is not None and file != "-":
        try:
            data, what = Path(file).read_bytes(), file
        except OSError as error:
            raise RequestError(f"{file} can't be read: {error.strerror}") from None
    else:
        if sys.stdin.isatty():
            raise RequestError("no text: give it as an argument, with --file, or by a pipe")
        data, what = sys.stdin.buffer.read(), "standard input"
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{what} is not UTF-8 at byte {error.start}") from None


# -- the terminal ------------------------------------------------------------------------------------------------

# Named colours: every terminal has them.
_MARKS: Final = ("black on cyan", "black on yellow", "black on bright_green", "black on bright_magenta")


def _print(found: Trace) -> None:
    """The text with its spans marked and numbered, and a line for each span: where it stands."""
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    _print_text(console, found)
    searched = ", ".join(f"{one['artifact']} ({one['documents']:,} documents)" for one in found.searched)
    if not found.spans:
        shorter = "; --min-tokens 8 looks for shorter ones, without finding all of them" if found.min_tokens > 8 else ""
        console.print(f"\nno span of {found.min_tokens} tokens of this text stands in {visible(searched)}{shorter}")
        return
    console.print()
    _print_table(console, found.spans)
    if found.hidden:
        console.print(f"and {found.hidden:,} shorter spans: --top tells more of them")
    if not found.complete:
        console.print("the text repeats phrases that stand everywhere: not all of their documents are counted")
    console.print(f"searched: {visible(searched)}; all spans of {found.promise} tokens and more are found")


def _print_text(console: Console, found: Trace) -> None:
    from rich.text import Text

    shown = Text()
    for words, number in _marked(found.text, found.spans):
        if number is None:
            shown.append(visible(words))
        elif console.color_system is None:
            shown.append(f"⟦{number + 1}: {visible(words)}⟧")
        else:
            shown.append(visible(words), _MARKS[number % len(_MARKS)])
            shown.append(f"[{number + 1}]", "bold")
    console.print(shown)


def _marked(text: str, spans: Sequence[Span]) -> Iterator[tuple[str, int | None]]:
    """The text in pieces, each with the number of the longest span that covers it, if any does."""
    owner: list[int | None] = [None] * len(text)
    for number, span in reversed(list(enumerate(spans))):
        owner[span.start : span.end] = [number] * (span.end - span.start)
    first = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or owner[at] != owner[first]:
            yield text[first:at], owner[first]
            first = at


def _print_table(console: Console, spans: Sequence[Span]) -> None:
    """A table on a terminal; elsewhere a line for each document, with tabs between its columns."""
    columns = ("span", "tokens", "characters", "document", "source", "licence", "url")
    rows = [(number, place, row) for number, span in enumerate(spans) for place, row in enumerate(_rows(number, span))]
    if console.color_system is None:
        print("\t".join(columns))
        print("\n".join("\t".join(row) for _, _, row in rows))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False)
    table.columns[3].no_wrap = True  # an id is there to be copied
    for number, place, row in rows:
        head = [Text(cell, _MARKS[number % len(_MARKS)] if not at else "") for at, cell in enumerate(row[:3])]
        table.add_row(*(head if not place else [""] * 3), *(Text(cell, overflow="fold") for cell in row[3:]))
    console.print(table)


def _rows(number: int, span: Span) -> Iterator[tuple[str, ...]]:
    """A line for each of the first documents, and one for all others together."""
    head = (str(number + 1), str(span.tokens), f"{span.start}–{span.end}")
    for document in span.documents[:_SHOWN]:
        yield (*head, *_cells(document))
    if others := len(span.documents[_SHOWN:]) + span.more:
        yield (*head, f"and {others:,} more", "", "", "")


def _cells(document: Source) -> tuple[str, ...]:
    part = f" ({document.part})" if document.part else ""
    where = f"{document.artifact}/{document.source}{part}"
    cells = (document.id, where, document.licence or "licence unknown", document.url or "")
    return tuple(visible(cell, lines=False) for cell in cells)
