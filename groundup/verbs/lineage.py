"""The verb ``lineage``: from an artifact down to source files, up to what was made of it, or what was read when."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from groundup.base.errors import RequestError
from groundup.verbs.options import JsonOption, ReferenceArgument, WorkspaceOption, open_store

if TYPE_CHECKING:
    from rich.tree import Tree

    from groundup.artifact.store import Store

EXAMPLES: Final = (
    "Examples:  groundup lineage aligned   ·   groundup lineage --uses pages   ·   "
    "groundup lineage --step 100 base   ·   groundup lineage --document 3f2a9c… base --json"
)


def lineage(
    reference: ReferenceArgument,
    uses: Annotated[bool, typer.Option("--uses", help="Print what was made of the artifact, in place of.")] = False,
    step: Annotated[int | None, typer.Option(help="A step of the model's pretraining: what it read.")] = None,
    document: Annotated[str | None, typer.Option(help="A document's id: the steps that read it.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the tree from an artifact down to its source files and their licences, or up, or what was read when."""
    if uses + (step is not None) + (document is not None) > 1:
        raise RequestError("give one of --uses, --step and --document")
    store = open_store(workspace)
    if step is not None or document is not None:
        _print_readings(store, reference, step, document, as_json)
        return
    from groundup.artifact import lineage as trees
    from groundup.withdrawal import marks

    record = store.find(reference, verify=False).record
    tree = trees.uses(store, record).as_json() if uses else trees.trace(store, record).as_json()
    marks.show_in(tree, marks.load(store.workspace))
    if as_json:
        print(json.dumps(tree, indent=2))
        return
    from rich.console import Console

    Console(soft_wrap=True).print(_drawn(tree, None))


def _drawn(data: Mapping[str, Any], parent: Tree | None) -> Tree:
    from rich.markup import escape
    from rich.tree import Tree

    label = f"[bold]{escape(data['name'])}[/bold]  {data['kind']}  [dim]{data['digest'][:12]}[/dim]"
    label += "  [red]holds withdrawn material[/red]" if "withdrawals" in data else ""
    label += "  [dim](as above)[/dim]" if data.get("again") else ""
    tree = Tree(label) if parent is None else parent.add(label)
    for child in data.get("inputs", data.get("uses", ())):
        _drawn(child, tree)
    _draw_sources(data.get("sources", ()), tree)
    return tree


def _draw_sources(sources: Iterable[Mapping[str, Any]], tree: Tree) -> None:
    from rich.markup import escape

    for source in sources:
        leaf = f"{escape(source['source'])}  [green]{escape(source['licence'])}[/green]  {escape(source['origin'])}"
        leaf += f"  [yellow]use: {source['use']}[/yellow]" if source["use"] != "train" else ""
        leaf += f"  terms: {escape(source['terms'])}" if source["terms"] else ""
        branch = tree.add(leaf)
        for name, count in source["found"]:
            if name != source["licence"]:
                branch.add(f"[yellow]{count} pages state {escape(name)}[/yellow]")


def _print_readings(store: Store, model: str, step: int | None, document: str | None, as_json: bool) -> None:
    """What a step of a model's training read, or the steps that read a document."""
    from groundup.readings import Trained

    if Path(model).exists() and model not in store.names():
        raise RequestError(f"{model} is a model of another program: what it read is not known here")
    trained = Trained.find(store, store.find(model, verify=False))
    found = trained.step(step) if step is not None else trained.document(str(document))
    if as_json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(found.lines()))
