"""The ``groundup`` command: one verb for each thing a person does. No logic of any stage lives here.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 the request was wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import groundup
from groundup.base.errors import RequestError, in_one_line
from groundup.verbs import document, ledger, lineage, recheck, studies, tokenize, trace, withdraw
from groundup.verbs.licences import show_licences
from groundup.verbs.options import (
    JsonOption,
    OverridesArgument,
    PolicyOption,
    RecipeArgument,
    WorkspaceOption,
    open_store,
)

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="groundup",
    help="Train language models from the ground up: raw pages to a served, measured, traceable model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_INTERRUPTED = 130
"""What typer makes of Ctrl-C."""


def main() -> None:
    """Run the command line; errors meant for the user are one line without a traceback."""
    try:
        app()
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != _INTERRUPTED:
            raise
        print("\ngroundup: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        told = in_one_line(error)
        if told is None:
            raise
        line, code = told
        print(f"groundup: error: {line}", file=sys.stderr)
        sys.exit(code)


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


def _command() -> str:
    """How the user can call this program again."""
    if shutil.which("groundup"):
        return "groundup"
    here = Path(sys.argv[0])
    return f"{os.path.relpath(sys.executable)} -m groundup" if here.name == "__main__.py" else os.path.relpath(here)


@app.command(
    epilog="Examples:  groundup run quickstart   ·   groundup run quickstart base.depth=6 -w /data/ws   ·   "
    "groundup run quickstart --nproc 4   ·   groundup run my.yaml --policy open"
)
def run(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    workspace: WorkspaceOption = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes on this machine: one a GPU, or a few on a CPU.")] = 1,
    nnodes: Annotated[int, typer.Option(min=1, help="Machines; start the same command on each.")] = 1,
    rdzv: Annotated[str | None, typer.Option(help="HOST:PORT of one of the machines, at which all meet.")] = None,
    node_rank: Annotated[int | None, typer.Option(min=0, help="Number of this machine; given out if not set.")] = None,
    join_timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for all processes to join.")] = 300.0,
    policy: PolicyOption = None,
) -> None:
    """Make everything in a recipe: skips what is made, resumes what was cut off, writes a report.

    Training runs in all processes of --nproc, torchrun or srun; the other stages run in the first one.
    """
    from groundup.base.dist import world
    from groundup.base.launch import Launch, launch
    from groundup.base.meeting import join
    from groundup.base.progress import Progress
    from groundup.base.team import Follower
    from groundup.flow import follow
    from groundup.flow import run as run_recipe

    started, wanted = world(), Launch(nproc, nnodes, rdzv, node_rank, join_timeout)
    if wanted.size > 1:
        if started.size > 1:
            raise RequestError(f"{started.size} processes were started already: leave out --nproc and --nnodes")
        folder = ["--workspace", str(workspace)] if workspace else []
        rules = ["--policy", policy] if policy else []
        launch(wanted, ["run", recipe, *(overrides or []), *folder, *rules, "--join-timeout", str(join_timeout)])
        return
    store = open_store(workspace)
    with join(started, join_timeout) as team:
        if isinstance(team, Follower):
            follow(recipe, overrides or [], store, team, policy)
            return
        result = run_recipe(recipe, overrides or [], store, Progress(), team, policy)
    made = [step.node.name for step in result.steps if step.made]
    print(f"made: {', '.join(made)}" if made else "nothing to make: all artifacts are up to date")
    print(f"report: {result.report}")
    chat_model = next((s for s in reversed(result.steps) if s.artifact.record.kind in {"bundle", "model"}), None)
    if chat_model is not None:
        option = f" -w {workspace}" if workspace else ""
        command = _command()
        print(f"chat:   {command} chat {result.recipe.name}/{chat_model.node.name}{option}")
        print(f"serve:  {command} serve {result.recipe.name}/{chat_model.node.name}{option}")


@app.command(
    epilog="Examples:  groundup plan quickstart base.depth=6   ·   groundup plan my.yaml --machine 8xh100 --nodes 4   "
    "·   groundup plan my.yaml --machine my-machine.yaml --json"
)
def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    workspace: WorkspaceOption = None,
    machine: Annotated[
        str, typer.Option(help="this (measured now), a known one such as h100 or 8xh100, or a YAML file of its form.")
    ] = "this",
    nodes: Annotated[int, typer.Option(min=1, help="Machines of this kind.")] = 1,
    gpus: Annotated[int | None, typer.Option(min=1, help="Devices used in each machine; all if not set.")] = None,
    mfu: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="Share of the peak to assume; the machine's own if not set.")
    ] = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would make, and what its training needs: memory by part, time, cost, energy, a layout that fits.

    Checks every field and file. Nothing is started.
    """
    from groundup.recipe import load
    from groundup.rights.reach import Reach
    from groundup.train.plan.estimate import assess_recipe
    from groundup.train.plan.machine import find_machine

    store = open_store(workspace)
    resolved = load(recipe, overrides or [], reach=Reach.load(store.workspace), policy=policy)
    there = [node.digest for node in resolved.nodes if store.has(node.digest)]
    made = {digest: store.open(digest, verify=False).record for digest in there}
    training = assess_recipe(resolved.nodes, made, find_machine(machine), count=nodes, devices=gpus, mfu=mfu)
    rows: list[dict[str, Any]] = [
        {
            "name": node.name,
            "stage": node.config.stage,
            "kind": node.config.kind,
            "digest": node.digest,
            "made": node.digest in made,
            "training": training[node.name].as_json() if node.name in training else None,
        }
        for node in resolved.nodes
    ]
    if as_json:
        print(json.dumps({"recipe": resolved.name, "artifacts": rows}, indent=2))
        return
    for row in rows:
        state = "made" if row["made"] else "to make"
        print(f"{row['name']:<12} {row['stage']:<14} {row['digest'][:12]}  {state}")
    for name, found in training.items():
        print(f"\n{name}")
        for line in found.lines():
            print(f"  {line}")


app.command(epilog=studies.SWEEP_EXAMPLES)(studies.sweep)
app.command(epilog=studies.ABLATE_EXAMPLES)(studies.ablate)
app.command(epilog=tokenize.EXAMPLES)(tokenize.tokenize)


@app.command("list", epilog="Example:  groundup list --json")
def list_artifacts(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the artifacts in the workspace, oldest first."""
    from groundup.withdrawal import marks

    store = open_store(workspace)
    marked = marks.load(store.workspace)
    by_digest: dict[str, list[str]] = {}
    for name, digest in store.names().items():
        by_digest.setdefault(digest, []).append(name)
    rows: list[dict[str, Any]] = [
        {
            "names": by_digest.get(artifact.record.digest, []),
            "kind": artifact.record.kind,
            "stage": artifact.record.stage,
            "digest": artifact.record.digest,
            "created": artifact.record.created,
            "bytes": sum(file.bytes for file in artifact.record.files.values()),
            "withdrawals": marked.get(artifact.record.digest, []),
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
        mark = "  holds withdrawn material" if row["withdrawals"] else ""
        size = human_bytes(row["bytes"])
        print(f"{names:<24} {row['kind']:<14} {row['digest'][:12]}  {size:>10}  {row['created']}{mark}")


@app.command(
    epilog="Examples:  groundup show base   ·   groundup show --why index.html   ·   groundup show corpus --why 3f2a9c"
    "   ·   groundup show base --licences --policy open"
)
def show(
    reference: Annotated[
        str | None, typer.Argument(help="An artifact: a name, recipe/name, or the start of a digest.")
    ] = None,
    why: Annotated[
        str | None, typer.Option(help="A page by id, record or address: why it is in the corpus, or not.")
    ] = None,
    licences: Annotated[
        bool, typer.Option("--licences", help="How much of it stands under which licence; with --policy, for what use.")
    ] = False,
    policy: PolicyOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an artifact's record: what it is, what it was made from, what came out. Or what happened to one page."""
    if why is not None:
        from groundup.artifact.why import stories

        found = stories(open_store(workspace), why, reference)
        if as_json:
            print(json.dumps([story.as_json() for story in found], indent=2, ensure_ascii=False))
        else:
            print("\n\n".join("\n".join(story.lines()) for story in found))
        return
    if reference is None:
        raise RequestError("name an artifact, or a page with --why; 'groundup list' tells what there is")
    if licences or policy:
        show_licences(reference, policy, workspace, as_json)
        return
    artifact = open_store(workspace).find(reference)
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
    terms = artifact.record.terms
    shown["licences"] = list(terms.licences)
    shown |= {"licences stated by pages": list(terms.found)} if terms.found else {}
    shown |= {"declared use": terms.use} if terms.use != "train" else {}
    shown |= {"terms of service": said} if (said := sorted({one.terms for one in terms.sources} - {""})) else {}
    shown["files"] = {name: file["bytes"] for name, file in record["files"].items()}
    shown["folder"] = str(artifact.path)
    from groundup.withdrawal import marks

    if receipts := marks.of(open_store(workspace).workspace, artifact.record.digest):
        shown["withdrawals"] = receipts
    print(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110).rstrip())


app.command(epilog=lineage.EXAMPLES)(lineage.lineage)
app.command(epilog=trace.EXAMPLES)(trace.trace)
app.command(epilog=ledger.EXAMPLES)(ledger.ledger)
app.command(epilog=withdraw.EXAMPLES)(withdraw.withdraw)
app.command(epilog=recheck.EXAMPLES)(recheck.recheck)
app.command(epilog=document.EXAMPLES)(document.document)


@app.command(epilog="Example:  groundup schema > recipe.schema.json")
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from groundup.recipe import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command(
    epilog="Examples:  groundup export quickstart/bundle model.gguf   ·   groundup export base out --to megatron   ·   "
    "groundup export model.gguf folder --to huggingface --encoding BF16   ·   groundup export tokens out --to mds"
)
def export(
    model: Annotated[
        str, typer.Argument(help="A model, bundle or token store in the workspace, a folder, or a GGUF file.")
    ],
    out: Annotated[Path, typer.Argument(help="The new file (gguf) or folder to write.")],
    to: Annotated[
        str, typer.Option(help="gguf, huggingface, megatron, mds or litdata; from the name's ending if not set.")
    ] = "",
    encoding: Annotated[str, typer.Option(help="F32, F16, BF16; for gguf also Q8_0, Q5_1, Q5_0, Q4_1, Q4_0.")] = "F32",
    workspace: WorkspaceOption = None,
) -> None:
    """Hand a model to another program: llama.cpp (gguf), transformers and vLLM (huggingface), Megatron-LM.

    Or a token store to MosaicML streaming (mds) or litdata.
    """
    from typing import get_args

    from groundup.base.errors import nearest
    from groundup.text.store.handover import TARGETS, hand_over_tokens

    if to in TARGETS:
        for path in hand_over_tokens(open_store(workspace).find(model), out, to):
            print(path)
        return
    from groundup.handover import Encoding, Target, hand_over

    target, targets = to or ("gguf" if out.suffix == ".gguf" else "huggingface"), (*get_args(Target), *TARGETS)
    for name, value, known in (("--to", target, targets), ("--encoding", encoding, get_args(Encoding))):
        if value not in known:
            raise RequestError(f"{name} {value!r} is not one of {', '.join(known)}{nearest(value, known)}")
    store = open_store(workspace)
    engine, _ = _engine(model, workspace)
    artifact = None if Path(model).exists() else store.find(model, verify=False)
    for path in hand_over(engine, out, target, encoding, artifact, store):  # type: ignore[arg-type]
        print(path)


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
    run_chat(engine, system, params, say, complete, _verbatim(workspace))


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
    run_server(engines, digests, host, port, _verbatim(workspace))


def _engine(model: str, workspace: Path | None) -> tuple[Any, str]:
    """The engine for an artifact, a folder or a GGUF file, and the digest that names its weights."""
    from groundup.base.files import sha256_file

    folder = Path(model)
    if folder.suffix == ".gguf" and folder.is_file():
        digest = sha256_file(folder)
    elif (folder / "config.json").is_file():
        digest = sha256_file(folder / "model.safetensors") if (folder / "model.safetensors").is_file() else ""
    else:
        artifact = open_store(workspace).find(model)
        if artifact.record.kind not in {"model", "bundle"}:
            raise RequestError(f"{model!r} is a {artifact.record.kind}, not a model or bundle")
        folder, digest = artifact.path, artifact.record.digest
        from groundup.withdrawal.marks import warning

        if told := warning(open_store(workspace).workspace, digest, model):
            print(f"groundup: warning: {told}", file=sys.stderr)
    from groundup.infer.engine import Engine

    return Engine.load(folder), digest


def _verbatim(workspace: Path | None) -> Any:
    """The workspace's filter for verbatim output."""
    from groundup.rights.verbatim import Verbatim

    return Verbatim.load(open_store(workspace).workspace)


if __name__ == "__main__":
    main()
