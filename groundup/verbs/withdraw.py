"""The verb ``withdraw``: take documents back, from the pages that came in to every model that was trained on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from groundup.base.errors import GroundupError, RequestError
from groundup.verbs.options import JsonOption, WorkspaceOption, open_store

if TYPE_CHECKING:
    from groundup.rights.register import Withdrawal
    from groundup.withdrawal.withdraw import Withdrawn

EXAMPLES: Final = (
    "Examples:  groundup withdraw --url https://example.org/story --dry-run   ·   "
    "groundup withdraw --url 'https://example.org/blog/*' --reason 'mail of 3 May'   ·   "
    "groundup withdraw --domain example.org --delete   ·   groundup withdraw --document 3f2a9c1b   ·   "
    "groundup withdraw --text-file excerpt.txt   ·   groundup withdraw --pending   ·   "
    "groundup withdraw --verify receipt.json"
)
_SHOWN: Final = 20
_NOTHING: Final = 1


class NothingFoundError(GroundupError):
    """Nothing in the workspace is meant by a request: exit code 1."""


def withdraw(
    url: Annotated[list[str] | None, typer.Option(help="An address; with * at its end all that begin so.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="A host, with all hosts below it: example.org.")] = None,
    document: Annotated[
        list[str] | None, typer.Option(help="A document's id, 8 hex digits of it or more, or its content's SHA-256.")
    ] = None,
    author: Annotated[list[str] | None, typer.Option(help="An author as pages name them.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="An excerpt of 8 words or more, copied from the text.")] = None,
    text_file: Annotated[
        list[Path] | None, typer.Option(help="A file that holds an excerpt; - for standard input.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the register and the receipt.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be reached; change nothing.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild/--no-rebuild", help="Make what is exposed again, without what was withdrawn.")
    ] = True,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the exposed artifacts that were replaced, with their indexes.")
    ] = False,
    register: Annotated[
        bool, typer.Option("--register", help="Keep a request that finds nothing, for material that comes later.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask, however much is withdrawn.")] = False,
    pending: Annotated[
        bool, typer.Option("--pending", help="Carry out what is in the register and not yet done.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the register and the receipts.")] = False,
    verify: Annotated[Path | None, typer.Option(help="Check the signature of a receipt.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw documents: finds them and their near-duplicates, makes again what was made of them, gives a receipt.

    Models served from the workspace stop before they repeat 8 words in a row of what was withdrawn.
    """
    requests = _requests(
        {"url": url, "domain": domain, "document": document, "author": author, "text": _excerpts(text, text_file)},
        reason,
    )
    if sum(map(bool, (requests, pending, listed, verify))) != 1:
        raise RequestError("say what to withdraw (--url, --domain, …), or one of --pending, --list, --verify")
    if verify is not None:
        _verify(verify, workspace, as_json)
    elif listed:
        _list(workspace, as_json)
    else:
        from groundup.base.progress import Progress
        from groundup.withdrawal.withdraw import Wishes, go_on
        from groundup.withdrawal.withdraw import withdraw as carry_out

        store = open_store(workspace)
        wishes = Wishes((lambda _: True) if yes else _ask, rebuild, dry_run, delete, register)
        done = go_on(store, wishes, Progress()) if pending else carry_out(store, requests, wishes, Progress())
        _tell(done, dry_run, register, pending, as_json)


def _excerpts(texts: Sequence[str] | None, files: Sequence[Path] | None) -> list[str]:
    found = list(texts or ())
    for path in files or ():
        try:
            raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
            found.append(raw.decode())
        except OSError as error:
            raise RequestError(f"{path} can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise RequestError(f"{path} is not UTF-8") from None
    return found


def _requests(said: Mapping[str, Sequence[str] | None], reason: str) -> list[Withdrawal]:
    """The requests, checked; of excerpts only hashes are kept from here on."""
    from groundup.rights.register import drafted
    from groundup.withdrawal.find import checked, hashes_of_excerpt

    found = []
    for kind, values in said.items():
        for value in values or ():
            what = checked(kind, value)  # type: ignore[arg-type]
            grams: tuple[str, ...] = ()
            spans: tuple[str, ...] = ()
            if kind == "text":
                what, grams, spans = hashes_of_excerpt(what)
            found.append(drafted(kind, what, reason, grams=grams, spans=spans))  # type: ignore[arg-type]
    return found


def _ask(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return typer.confirm(f"{question}. Go on?", err=True)


def _tell(done: Withdrawn | None, dry_run: bool, registered: bool, pending: bool, as_json: bool) -> None:
    body: dict[str, Any] = {} if done is None else done.body
    if done is not None and not body["documents"] and not pending:
        kept = "; it is in the register for what comes later" if registered and not dry_run else ""
        more = "" if registered else "; --register keeps the request for what comes later"
        raise NothingFoundError(f"nothing in this workspace is meant by this request{kept or more}")
    if as_json:
        print(json.dumps({**body, "path": str(done.receipt) if done and done.receipt else None}, indent=2))
        return
    if done is None or not body["documents"]:
        print("nothing is pending" if done is None else "nothing found; the search is noted in the register")
        return
    for line in _lines(body, dry_run):
        print(line)
    if done.receipt is not None:
        print(f"receipt: {done.receipt}")


def _lines(body: Mapping[str, Any], dry_run: bool) -> list[str]:
    """A receipt in a few lines."""
    documents, exposed = body["documents"], body["exposed"]
    lines = [f"documents: {len(documents)}"]
    lines += [f"  {one['id']}  {'; '.join(one['how'])}" for one in documents[:_SHOWN]]
    lines += [f"  and {len(documents) - _SHOWN} more"] * (len(documents) > _SHOWN)
    lines.append(f"exposed: {len(exposed)} artifacts")
    now = {one["digest"]: one["now"] for one in body["rebuilt"]}
    why = {one["digest"]: one["why"] for one in body["not_rebuilt"]}
    for one in exposed:
        digest = one["digest"]
        steps = f"  steps {_steps(one['steps'])}" if one.get("steps") else ""
        said = f"now {now[digest][:12]}" if digest in now else f"stays: {why[digest]}"
        name = ", ".join(one["names"]) or one["name"]
        lines.append(
            f"  {name:<24} {one['kind']:<14} {digest[:12]}  {'would be made again' if dry_run else said}{steps}"
        )
    if not dry_run:
        added = body["filter"]
        lines.append(f"filter: {added['runs']} runs of 8 words added, {added['common']} left out as common")
    if body["deleted"]:
        lines.append(f"deleted: {len(body['deleted'])} artifacts")
    return lines


def _steps(runs: Sequence[Sequence[int]]) -> str:
    from groundup.withdrawal.receipt import in_words

    return in_words(runs)


def _verify(path: Path, workspace: Path | None, as_json: bool) -> None:
    from groundup.rights.register import Register
    from groundup.withdrawal.receipt import verify

    body = verify(path, Register(open_store(workspace).workspace).folder)
    if as_json:
        print(json.dumps(body, indent=2))
        return
    counts = f"{len(body['documents'])} documents, {len(body['exposed'])} artifacts exposed"
    print(f"the receipt {body['id']} of {body['at']} is whole: {counts}")
    print(f"signed with the key {body['public_key']}")


def _list(workspace: Path | None, as_json: bool) -> None:
    from groundup.rights.register import Register
    from groundup.withdrawal.withdraw import pending as undone

    store = open_store(workspace)
    register = Register(store.workspace)
    entries, waiting = register.entries(), {one.id for one in undone(store)}
    receipts = sorted(str(path) for path in (register.folder / "receipts").glob("*.json"))
    if as_json:
        rows = [
            {"id": one.id, "at": one.at, "kind": one.kind, "what": one.what, "reason": one.reason,
             "pending": one.id in waiting}
            for one in entries
        ]  # fmt: skip
        print(json.dumps({"requests": rows, "receipts": receipts}, indent=2))
        return
    if not entries:
        print(f"no withdrawals in {store.workspace}")
    for one in entries:
        print(f"{one.line()}{'  pending: run groundup withdraw --pending' if one.id in waiting else ''}")
    for path in receipts:
        print(f"receipt: {path}")
