"""The ``groundup`` command: one verb for each thing a person does. No logic of any stage lives here.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 the request was wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import groundup
from groundup.base.errors import GroundupError

app = typer.Typer(
    name="groundup",
    help="Train language models from the ground up: raw pages to a served, measured, traceable model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

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


def main() -> None:
    """Run the command line; errors meant for the user are one line without a traceback."""
    try:
        app()
    except GroundupError as error:
        print(f"groundup: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("\ngroundup: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("groundup"):
            raise
        print(f"groundup: error: {error.name} is not installed; run: pip install 'groundup[all]'", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"groundup: error: {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"groundup {groundup.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train language models from the ground up."""


def _store(workspace: Path | None) -> Any:
    from groundup.artifact.store import Store

    return Store(workspace or Path(os.environ.get("GROUNDUP_WORKSPACE", "workspace")))


@app.command(epilog="Examples:  groundup run quickstart   ·   groundup run quickstart base.depth=6 -w /data/ws")
def run(recipe: RecipeArgument, overrides: OverridesArgument = None, workspace: WorkspaceOption = None) -> None:
    """Make everything in a recipe: skips what is made, resumes what was cut off, writes a report."""
    from groundup.base.progress import Progress
    from groundup.flow import run as run_recipe

    store = _store(workspace)
    result = run_recipe(recipe, overrides or [], store, Progress())
    made = [step.node.name for step in result.steps if step.made]
    print(f"made: {', '.join(made)}" if made else "nothing to make: all artifacts are up to date")
    print(f"report: {result.report}")
    chat_model = next((s for s in reversed(result.steps) if s.artifact.record.kind in {"bundle", "model"}), None)
    if chat_model is not None:
        option = f" -w {workspace}" if workspace else ""
        command = "groundup" if shutil.which("groundup") else os.path.relpath(sys.argv[0])
        print(f"chat:   {command} chat {result.recipe.name}/{chat_model.node.name}{option}")
        print(f"serve:  {command} serve {result.recipe.name}/{chat_model.node.name}{option}")


@app.command(epilog="Example:  groundup plan quickstart base.depth=6")
def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would make and what is there already; checks every field and file."""
    from groundup.base.units import human_bytes
    from groundup.recipe import load

    store, resolved = _store(workspace), load(recipe, overrides or [])
    rows = [
        {
            "name": node.name,
            "stage": node.config.stage,
            "kind": node.config.kind,
            "digest": node.digest,
            "made": store.has(node.digest),
            "memory_bytes": node.config.memory(node),
        }
        for node in resolved.nodes
    ]
    if as_json:
        print(json.dumps({"recipe": resolved.name, "artifacts": rows}, indent=2))
        return
    for row in rows:
        state = "made" if row["made"] else "to make"
        memory = f"about {human_bytes(row['memory_bytes'])}" if row["memory_bytes"] else ""
        print(f"{row['name']:<12} {row['stage']:<14} {row['digest'][:12]}  {state:<8} {memory}".rstrip())


@app.command("list", epilog="Example:  groundup list --json")
def list_artifacts(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the artifacts in the workspace, oldest first."""
    store = _store(workspace)
    by_digest: dict[str, list[str]] = {}
    for name, digest in store.names().items():
        by_digest.setdefault(digest, []).append(name)
    rows = [
        {
            "names": by_digest.get(artifact.record.digest, []),
            "kind": artifact.record.kind,
            "stage": artifact.record.stage,
            "digest": artifact.record.digest,
            "created": artifact.record.created,
            "bytes": sum(file.bytes for file in artifact.record.files.values()),
        }
        for artifact in store.all()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(f"no artifacts in {store.workspace}; make some with: groundup run quickstart")
    from groundup.base.units import human_bytes

    for row in rows:
        names = ", ".join(row["names"]) or "(no longer named)"
        print(f"{names:<24} {row['kind']:<14} {row['digest'][:12]}  {human_bytes(row['bytes']):>10}  {row['created']}")


@app.command(epilog="Example:  groundup show base")
def show(reference: ReferenceArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show an artifact's record: what it is, what it was made from, what came out."""
    artifact = _store(workspace).find(reference)
    record = artifact.record.model_dump(mode="json")
    if as_json:
        print(json.dumps(record, indent=2))
        return
    import yaml

    shown = {key: record[key] for key in ("name", "kind", "stage", "digest", "created", "config", "metrics", "cost")}
    shown["inputs"] = {
        field: [f"{link['name']} ({link['digest'][:12]})" for link in links]
        for field, links in record["inputs"].items()
    }
    shown["licences"] = list(artifact.record.terms.licences)
    shown["files"] = {name: file["bytes"] for name, file in record["files"].items()}
    shown["folder"] = str(artifact.path)
    print(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110).rstrip())


@app.command(epilog="Example:  groundup lineage aligned")
def lineage(reference: ReferenceArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Print the tree from an artifact down to its source files and their licences."""
    from groundup.artifact.lineage import trace

    store = _store(workspace)
    branch = trace(store, store.find(reference, verify=False).record)
    if as_json:
        print(json.dumps(branch.as_json(), indent=2))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.tree import Tree

    def grow(data: dict[str, Any], parent: Tree | None) -> Tree:
        label = f"[bold]{escape(data['name'])}[/bold]  {data['kind']}  [dim]{data['digest'][:12]}[/dim]"
        tree = Tree(label) if parent is None else parent.add(label)
        for child in data["inputs"]:
            grow(child, tree)
        for source in data["sources"]:
            tree.add(
                f"{escape(source['source'])}  [green]{escape(source['licence'])}[/green]  {escape(source['origin'])}"
            )
        return tree

    Console(soft_wrap=True).print(grow(branch.as_json(), None))


@app.command(epilog="Example:  groundup schema > recipe.schema.json")
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from groundup.recipe import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command(epilog='Examples:  groundup chat quickstart/bundle   ·   groundup chat aligned --say "Tell me a story."')
def chat(
    model: Annotated[str, typer.Argument(help="A model or bundle in the workspace, or a Hugging Face folder.")],
    workspace: WorkspaceOption = None,
    say: Annotated[str | None, typer.Option(help="Say one thing, print the answer, and end.")] = None,
    complete: Annotated[bool, typer.Option("--complete", help="Continue the text as it is: for base models.")] = False,
    system: Annotated[str | None, typer.Option(help="A system message to begin with.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is always the likeliest word.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of the probability to sample from.")] = 0.9,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer, in tokens, at most.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same answers.")] = 1,
) -> None:
    """Talk to a model in the terminal."""
    from groundup.infer.sampling import SamplingParams
    from groundup.serve.terminal import run_chat

    engine, _ = _engine(model, workspace)
    params = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    run_chat(engine, system, params, say, complete)


@app.command(epilog="Example:  groundup serve quickstart/bundle --port 8000")
def serve(
    models: Annotated[list[str], typer.Argument(help="Models or bundles in the workspace, or Hugging Face folders.")],
    workspace: WorkspaceOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve models over an OpenAI-shaped HTTP interface, with a page to chat on at /."""
    from groundup.serve.server import serve as run_server

    engines, digests = {}, {}
    for model in models:
        engines[model], digests[model] = _engine(model, workspace)
    run_server(engines, digests, host, port)


def _engine(model: str, workspace: Path | None) -> tuple[Any, str]:
    """The engine for an artifact or a folder, and the digest that names its weights."""
    from groundup.base.errors import RequestError
    from groundup.base.files import sha256_file

    folder = Path(model)
    if (folder / "config.json").is_file():
        digest = sha256_file(folder / "model.safetensors") if (folder / "model.safetensors").is_file() else ""
    else:
        artifact = _store(workspace).find(model)
        if artifact.record.kind not in {"model", "bundle"}:
            raise RequestError(f"{model!r} is a {artifact.record.kind}, not a model or bundle")
        folder, digest = artifact.path, artifact.record.digest
    from groundup.infer.engine import Engine

    return Engine.load(folder), digest


if __name__ == "__main__":
    main()
