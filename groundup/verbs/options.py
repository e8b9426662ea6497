"""What several verbs of the command line take, and the store that they work in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundup.base.errors import RequestError

if TYPE_CHECKING:
    from groundup.artifact.stage import Artifact
    from groundup.artifact.store import Store

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="Folder of the artifacts; GROUNDUP_WORKSPACE or ./workspace if not given."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
ReferenceArgument = Annotated[str, typer.Argument(help="An artifact: a name, recipe/name, or the start of a digest.")]
RecipeArgument = Annotated[
    str, typer.Argument(help="A packaged recipe, such as quickstart, or the path of a YAML file.")
]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="Changes, as artifact.field=value, such as base.depth=6.")
]
PolicyOption = Annotated[
    str | None,
    typer.Option(help="What may be used for what: open, permissive, research, or a YAML file (docs/terms.md)."),
]


def open_store(workspace: Path | None) -> Store:
    """The store in the folder that was named, or else in that of the environment or of the current folder."""
    from groundup.artifact.store import Store

    return Store(workspace or Path(os.environ.get("GROUNDUP_WORKSPACE", "workspace")))


def find_artifact(name: str, workspace: Path | None) -> Artifact:
    """The artifact by a name that could have been a file's; RequestError if there is neither."""
    try:
        return open_store(workspace).find(name)
    except RequestError as error:
        raise RequestError(f"no file {name!r}, and {error}") from None
