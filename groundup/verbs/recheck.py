"""The verb ``recheck``: ask the owners of pages again, and put those that now refuse into the register."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

import groundup
from groundup.base.errors import RequestError
from groundup.verbs.options import JsonOption, ReferenceArgument, WorkspaceOption, open_store

if TYPE_CHECKING:
    from groundup.artifact.stage import Artifact
    from groundup.artifact.store import Store
    from groundup.rights.signals.recheck import Check

EXAMPLES: Final = (
    "Examples:  groundup recheck my-crawl/pages --agent 'ExampleBot/1.0 (+https://example.org/bot)'   ·   "
    "groundup recheck corpus --all --delay 2   ·   groundup recheck pages --pages 0 --fail-open   ·   "
    "groundup recheck pages --dry-run --json"
)
_KINDS: Final = {"pages": "pages", "corpus": "corpus"}
_SHOWN: Final = 20
_PENDING: Final = "groundup withdraw --pending"


def recheck(
    reference: ReferenceArgument,
    pages: Annotated[int, typer.Option(min=0, help="Pages that are asked for themselves, beside their sites.")] = 100,
    all_: Annotated[bool, typer.Option("--all", help="Ask for every page.")] = False,
    fail_closed: Annotated[
        bool, typer.Option("--fail-closed/--fail-open", help="Take what can't be read as a refusal, or not.")
    ] = True,
    delay: Annotated[float, typer.Option(min=0, max=600, help="Seconds between requests to a site, at least.")] = 1.0,
    agent: Annotated[
        str | None, typer.Option(help="Who asks: a name as robots.txt may call it, and how to reach you.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask and tell, but write nothing.")] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Ask sites of private networks and of this machine, too.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the sites that pages came from what they say today about robots, training and text mining.

    Asked for are robots.txt, /.well-known/tdmrep.json and ai.txt of each site, and some of the pages. Pages that are
    refused now go into the register of withdrawals; the check itself is noted there as well.
    """
    from groundup.base.progress import Progress
    from groundup.rights.signals.fetch import Fetcher
    from groundup.rights.signals.recheck import Plan
    from groundup.rights.signals.recheck import recheck as ask

    store = open_store(workspace)
    artifact = store.find(reference, verify=False)
    if artifact.record.kind not in _KINDS:
        known = " or ".join(_KINDS)
        raise RequestError(f"{reference!r} is of kind {artifact.record.kind}, and addresses are in {known}")
    fetcher = Fetcher(agent or f"groundup/{groundup.__version__}", allow_private=allow_private)
    progress = Progress("recheck")
    plan = Plan(None if all_ else pages, delay, fail_closed)
    check = ask(_urls(artifact), fetcher, plan, lambda done, total: progress.update("asking", done, total, "addresses"))
    unkept = [] if dry_run else _keep(store, artifact, check)
    if as_json:
        name = {"artifact": artifact.record.name, "pages": artifact.record.digest}
        print(json.dumps({**name, **check.as_json(), "registered": 0 if dry_run else len(check.refused) - len(unkept)}))
        return
    for line in _lines(check, dry_run, unkept):
        print(line)


def _urls(artifact: Artifact) -> Iterator[str]:
    from groundup.text.document import read_rows, tables

    for shard in tables(artifact.path, _KINDS[artifact.record.kind]):
        for row in read_rows(shard, columns=["url"], batch_size=4096):
            if row["url"]:
                yield row["url"]


def _keep(store: Store, artifact: Artifact, check: Check) -> list[str]:
    """Note the check and what is refused now; the addresses that the register can't name.

    An address that ends with a star would stand for all that begin like it.
    """
    from groundup.rights.register import Register, drafted
    from groundup.rights.signals.recheck import keep

    register = Register(store.workspace)
    named = [one for one in check.refused if not one.url.endswith("*")]
    register.add_all([drafted("signal", one.url, one.why, at=check.at) for one in named])
    keep(register.folder, artifact.record.digest, check)
    return [one.url for one in check.refused if one.url.endswith("*")]


def _lines(check: Check, dry_run: bool, unkept: list[str]) -> Iterator[str]:
    told = ", ".join(f"{count} {verdict}" for verdict, count in check.verdicts.items())
    yield f"{check.urls} addresses on {check.sites} sites asked about, {check.asked} pages themselves: {told}"
    for origin in check.silent[:_SHOWN]:
        yield f"  no answer  {origin}"
    for one in check.refused[:_SHOWN]:
        yield f"  refused    {one.url}  {one.why}"
    if len(check.refused) > _SHOWN:
        yield f"  and {len(check.refused) - _SHOWN} more; --json has all"
    for url in unkept:
        yield f"  not in the register, as its address ends with a star: {url}; withdraw it by the id of its document"
    if not check.refused:
        yield "nothing has changed: all of them may be used"
    elif dry_run:
        yield f"{len(check.refused)} pages are refused now; nothing was written"
    else:
        yield f"{len(check.refused) - len(unkept)} pages are in the register; run: {_PENDING}"
