"""The verb ``document``: the papers of an artifact, written from records into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from groundup.base.errors import RequestError
from groundup.verbs.options import JsonOption, WorkspaceOption, open_store

EXAMPLES: Final = (
    "Examples:  groundup document corpus --to papers   ·   groundup document bundle --to papers --facts facts.yaml"
    "   ·   groundup document base --to papers --only croissant,spdx   ·   "
    "groundup document --facts-template > facts.yaml"
)


def document(
    reference: Annotated[
        str | None, typer.Argument(help="An artifact: a name, recipe/name, or the start of a digest.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The folder to write into; made if it isn't there.")] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Some papers: card, datasheet, croissant, spdx, eu-summary, eu-documentation; with commas."),
    ] = None,
    facts: Annotated[
        Path | None, typer.Option(help="A YAML file of facts that no record holds; the papers mark them as stated.")
    ] = None,
    facts_template: Annotated[
        bool, typer.Option("--facts-template", help="Print an empty file of facts, with every question, and end.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that were not written by this command, or changed since.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the papers of an artifact from its records: card, datasheet, Croissant, SPDX, and the forms of the EU.

    Every number comes from a record, and papers.json says from where. What is not recorded is visibly blank.
    """
    from groundup.artifact.papers import stated
    from groundup.artifact.papers.subject import Subject
    from groundup.artifact.papers.write import choose, render, write
    from groundup.base.progress import Progress

    if facts_template:
        print(stated.template(), end="")
        return
    if reference is None or to is None:
        raise RequestError("name an artifact, and a folder with --to; 'groundup list' tells what there is")
    known = stated.load(facts) if facts else {}
    store = open_store(workspace)
    subject = Subject.find(store, store.find(reference), known, Progress())
    names = choose(subject, [name.strip() for name in only.split(",")] if only else ())
    papers = render(subject, names)
    paths = write(subject, papers, to, force=force)
    if as_json:
        found = [{"file": paper.file, "facts": len(paper.facts)} for paper in papers]
        print(json.dumps({"artifact": subject.record.digest, "folder": str(to), "papers": found}, indent=2))
        return
    for path in paths:
        print(path)
