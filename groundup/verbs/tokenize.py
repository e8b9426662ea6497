"""The verb ``tokenize``: a text or a conversation in the pieces of some tokenizers, in a terminal or on a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from groundup.base.errors import RequestError, nearest
from groundup.base.visible import visible
from groundup.verbs.options import JsonOption, WorkspaceOption, find_artifact

if TYPE_CHECKING:
    from groundup.text.show import Head, Shown
    from groundup.text.tokenizer import Tokenizer

EXAMPLES: Final = (
    'Examples:  groundup tokenize quickstart/tokenizer "Hello, world"   ·   groundup tokenize base --page   ·   '
    "groundup tokenize tokenizer.json --compare cl100k.tiktoken --split cl100k < text.txt   ·   "
    "groundup tokenize chat --chat talk.json   ·   groundup tokenize base --measure corpus"
)
_KINDS: Final = {"tokenizer", "model", "bundle"}


def tokenize(
    tokenizer: Annotated[
        str, typer.Argument(help="A tokenizer, model or bundle in the workspace, or a folder or file of any kind.")
    ],
    text: Annotated[str | None, typer.Argument(help="The text; from standard input if not given.")] = None,
    compare: Annotated[list[str] | None, typer.Option(help="Another tokenizer beside it; may be repeated.")] = None,
    chat: Annotated[
        str | None, typer.Option(help="A conversation instead of a text: a JSON file, or - for standard input.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="How files of ranks split text, which they don't say: cl100k, or FILE:cl100k for one of several."
        ),
    ] = None,
    measure: Annotated[
        str | None, typer.Option(help="Measure on a body of text: a corpus, JSON lines with 'text', or a text file.")
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="Print the number of tokens only.")] = False,
    page: Annotated[bool, typer.Option("--page", help="Serve a page to type into, on this machine only.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8001,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a text is cut into tokens, with their ids, or what is trained on in a conversation.

    A conversation is a list of messages, or {"messages": [...], "tools": [...]}, as chat templates take it.
    """
    _check_choice(text, chat, measure, count, page, as_json)
    tokenizers = {name: open_tokenizer(name, workspace, split) for name in dict.fromkeys([tokenizer, *(compare or [])])}
    if page:
        from groundup.serve.server import serve_tokens

        serve_tokens(tokenizers, port=port)
        return
    if measure is not None:
        from groundup.verbs.measure import measure_text

        measure_text(measure, tokenizers, workspace, as_json=as_json)
        return
    found = _of_chat(_read_chat(chat), tokenizers) if chat else _of_text(_given(text), tokenizers)
    if as_json:
        print(json.dumps({"tokenizers": [one.as_json() for one in found]}, indent=2, ensure_ascii=False))
    elif count:
        print("\n".join(f"{one.head.tokens}\t{one.name}" if len(found) > 1 else str(one.head.tokens) for one in found))
    else:
        _print(found, is_chat=chat is not None)


def open_tokenizer(name: str, workspace: Path | None, split: str | None = None) -> Tokenizer:
    """The tokenizer of an artifact, a folder or a file; RequestError if there is none by this name.

    ``cl100k_base.tiktoken:cl100k`` says how that file of ranks splits text; else ``split`` does.
    """
    from groundup.text.tokenizer import FILES, Tokenizer

    path = Path(name)
    beside, colon, own = name.rpartition(":")
    if colon and not path.exists() and Path(beside).exists():
        path, split = Path(beside), own
    if not path.exists():
        artifact = find_artifact(name, workspace)
        if artifact.record.kind not in _KINDS:
            raise RequestError(f"{name!r} is a {artifact.record.kind}: it has no tokenizer")
        return Tokenizer.load(artifact.path)
    if all((path / file).is_file() for file in FILES):
        return Tokenizer.load(path)
    from groundup.text.adopt.adopt import Choices, adopt
    from groundup.text.adopt.files import find
    from groundup.text.chat.template import END_OF_TEXT

    # Files of ranks must be told how they split text, the others say it themselves and take no other word for it.
    # The former hold no special tokens; one is added, since a tokenizer has a token that ends a text.
    kind = find([path]).kind
    added = (END_OF_TEXT,) if kind == "tiktoken" else ()
    return adopt(path, Choices(split=split if kind in {"tiktoken", "gpt2"} else None, add_tokens=added))


@dataclass(frozen=True)
class _Found:
    """What one tokenizer makes of the text. ``text`` is what was encoded: the conversation as it was rendered."""

    name: str
    text: str
    head: Head
    refused: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it; for a text nothing is special or trained."""
        pieces = self.head.pieces
        return {
            "name": self.name,
            **self.head.counts(self.text),
            "ids": [token for piece in pieces for token in piece.ids],
            "pieces": [
                {"text": one.text, "ids": list(one.ids), "special": one.special, "trained": one.trained}
                for one in pieces
            ],
            "refused": self.refused,
            "note": self.note,
        }


def _of_text(text: str, tokenizers: Mapping[str, Tokenizer]) -> list[_Found]:
    from groundup.text.show import show_text

    return [_Found(name, text, show_text(one, text)) for name, one in tokenizers.items()]


def _of_chat(asked: Mapping[str, Any], tokenizers: Mapping[str, Tokenizer]) -> list[_Found]:
    from groundup.text.show import show_chat

    looks = {name: show_chat(tokenizer, **asked) for name, tokenizer in tokenizers.items()}
    return [_Found(name, look.text, look.head, look.refused, look.note) for name, look in looks.items()]


# -- what was given ----------------------------------------------------------------------------------------------


def _check_choice(
    text: str | None, chat: str | None, measure: str | None, count: bool, page: bool, as_json: bool
) -> None:
    if sum(given is not None for given in (text, chat, measure)) > 1:
        raise RequestError("give a text, --chat or --measure: one of them")
    if page and (text is not None or chat is not None or measure is not None or count or as_json):
        raise RequestError("--page is typed into: leave the text, --chat, --measure, --count and --json out")
    if count and (as_json or measure is not None):
        raise RequestError("--count goes with a text or --chat, and without --json")


def _given(text: str | None) -> str:
    if text is None:
        if sys.stdin.isatty():
            raise RequestError("no text: give it as an argument or by a pipe, or use --page to type")
        return _decoded(sys.stdin.buffer.read(), "standard input")
    return _decoded(text.encode(errors="surrogateescape"), "the text")


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"{what} is not UTF-8 at byte {error.start}") from None


def _read_chat(name: str) -> dict[str, Any]:
    """The arguments of a chat template that a JSON file holds; RequestError if it holds no conversation."""
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        found = json.loads(_decoded(data, name))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{name} is not valid JSON: {error}") from None
    asked = {"messages": found} if isinstance(found, list) else found
    if not isinstance(asked, dict) or not isinstance(asked.get("messages"), list):
        raise RequestError(f"{name} holds no list of messages")
    for number, message in enumerate(asked["messages"], 1):
        if not isinstance(message, dict):
            raise RequestError(f"{name}: message {number} is not an object with 'role' and 'content'")
    known = ("messages", "tools", "documents")
    for key, value in asked.items():
        if key not in known:
            raise RequestError(f"{name}: unknown field {key!r}{nearest(key, known)}")
        if value is not None and not isinstance(value, list):
            raise RequestError(f"{name}: {key!r} is not a list")
    return asked


# -- the terminal ------------------------------------------------------------------------------------------------

# Named colours: every terminal has them.
_TOKENS: Final = ("black on cyan", "black on yellow", "black on bright_blue", "black on bright_magenta")
_READ: Final = ("black on white", "black on bright_white")
_TRAINED: Final = ("black on green", "black on bright_green")


def _print(found: Iterable[_Found], *, is_chat: bool) -> None:
    """In colour; where there is none, a line for each piece: its ids, itself in quotes, and what it is."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for one in found:
        head, counts = one.head, one.head.counts(one.text)
        facts = [f"{counts['tokens']:,} tokens", f"{counts['bytes']:,} bytes"]
        facts += [f"{counts['bytes_per_token']:.2f} bytes a token"] if head.tokens else []
        facts += [f"{counts['trained']:,} trained"] if is_chat else []
        console.print(Text(f"{visible(one.name)}: ", "bold").append(", ".join(facts), "not bold"))
        if console.color_system is None:
            print("".join(map(_line, head.pieces)), end="")
        else:
            style = _chat_style if is_chat else _text_style
            shown, ids = Text(), Text()
            for place, piece in enumerate(head.pieces):
                shown.append(visible(piece.text), style(place, piece))
                ids.append(" ".join(map(str, piece.ids)), style(place, piece)).append(" ")
            console.print(shown)
            console.print(ids)
        for label, said in (("not for training", one.refused), ("note", one.note)):
            if said and is_chat:
                console.print(Text(f"{label}: {visible(said)}", "yellow"))


def _line(piece: Shown) -> str:
    kinds = [name for name, is_so in (("special", piece.special), ("trained", piece.trained)) if is_so]
    text = f'"{visible(piece.text, lines=False)}"'
    return "\t".join([" ".join(map(str, piece.ids)) or "-", text, *kinds]) + "\n"


def _text_style(place: int, piece: Shown) -> str:
    return _TOKENS[place % len(_TOKENS)] if piece.ids else "strike"


def _chat_style(place: int, piece: Shown) -> str:
    colours = _TRAINED if piece.trained else _READ
    return colours[place % 2] + (" bold underline" if piece.special else "")
