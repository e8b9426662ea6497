"""The whole system in one page: resolve a recipe, skip what is made, make the rest in order, write the report."""

from __future__ import annotations

import datetime
import errno
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import groundup
from groundup.artifact.exhibit import Exhibits
from groundup.artifact.record import FORMAT, Cost, InputLink, Record, payload_digest
from groundup.artifact.stage import Artifact, Node, Outcome, Task
from groundup.artifact.store import Store, scan
from groundup.artifact.terms import Terms
from groundup.base.dist import World, host_store, process_group, reach_store
from groundup.base.errors import GroundupError, RequestError, ResourceError
from groundup.base.files import folder_lock, write_json, write_text
from groundup.base.machine import (
    WATTS_PER_CORE,
    available_memory,
    cpu_name,
    is_out_of_memory,
    peak_memory,
    reset_peak_memory,
)
from groundup.base.progress import Progress, Silent
from groundup.base.team import Follower, Leader
from groundup.base.units import human_bytes, human_time
from groundup.recipe import Recipe, load

_RECORDED_PACKAGES = ("torch", "numpy", "pyarrow", "tokenizers", "resiliparse", "lm_eval")


@dataclass(frozen=True)
class Step:
    """One artifact of a run: what it is and whether it had to be made."""

    node: Node
    artifact: Artifact
    made: bool


@dataclass(frozen=True)
class Run:
    """A finished run."""

    recipe: Recipe
    steps: tuple[Step, ...]
    report: Path


def run(reference: str, overrides: Sequence[str], store: Store, progress: Progress, team: Leader | None = None) -> Run:
    """Make every artifact of a recipe that is not yet in the store, then its report.

    ``team`` is this process (rank 0) with those that follow it: they take part in distributed stages.
    """
    team = team or Leader.alone()
    recipe = load(reference, overrides)
    team.tell({"hashes": dict(recipe.hashes), "digests": {node.name: node.digest for node in recipe.nodes}})
    if team.world.size > 1:
        progress.note(f"{team.world.size} processes on {team.hosts} machine{'s' * (team.hosts > 1)}")
    with folder_lock(store.workspace):
        missing = [node for node in recipe.nodes if not store.has(node.digest)]
        for node in missing:
            with _in_plain_words(node, store):
                node.config.check_processes(node, team.world.size if node.config.distributed else 1)
        _check_memory(missing, team.world)
        if missing:
            from groundup.artifact.report import check_ready

            check_ready()
        steps: list[Step] = []
        for number, node in enumerate(recipe.nodes, 1):
            made = not store.has(node.digest)
            if made:
                progress.title = f"[{number}/{len(recipe.nodes)}] {node.name}: {node.config.stage}"
                records = {step.node.digest: step.artifact.record for step in steps}
                artifact = _make(node, store, progress, records, team)
                progress.note(f"done in {human_time(artifact.record.cost.seconds)}")
            else:
                store.discard(node.digest)
                artifact = store.open(node.digest)
            store.set_names({f"{recipe.name}/{node.name}": node.digest})
            steps.append(Step(node, artifact, made))
        progress.title = ""
        report = _write_report(recipe, steps, store)
    return Run(recipe, tuple(steps), report)


def follow(reference: str, overrides: Sequence[str], store: Store, team: Follower) -> None:
    """Take part in the distributed stages of ``run``, which rank 0 carries out; return when it is done."""
    known = team.hear()
    assert known is not None
    recipe = load(reference, overrides, known["hashes"])
    nodes = {node.name: node for node in recipe.nodes}
    for name, digest in known["digests"].items():
        if name not in nodes or nodes[name].digest != digest:
            raise RequestError(
                f"{name!r} is another artifact here than for rank 0: see that all machines have the same recipe and "
                "the same version of groundup"
            )
    while (order := team.hear()) is not None:
        node = nodes[order["make"]]
        with _in_plain_words(node, store):
            team.done(_take_part(node, store, order, team))


def _take_part(node: Node, store: Store, order: Mapping[str, Any], team: Follower) -> dict[str, Any]:
    payload, scratch = store.under_way(node.digest)
    if not scratch.is_dir():
        raise ResourceError(
            f"{scratch} is not to be seen here: the workspace must be on storage that all machines share"
        )
    reset_peak_memory()
    cpu = _cpu_seconds()
    inputs = {field: tuple(store.open(n.digest, verify=False) for n in nodes) for field, nodes in node.inputs.items()}
    task = Task(node.name, node.digest, inputs, node.files, payload, scratch, Silent(), world=team.world)
    with process_group(team.world, reach_store(team.host, order["port"])):
        node.config.run(task)
    return {"cpu_seconds": _cpu_seconds() - cpu, "peak_memory": peak_memory()}


def _make(node: Node, store: Store, progress: Progress, records: Mapping[str, Record], team: Leader) -> Artifact:
    """Run one stage and commit what it made. A failure leaves no payload, but what the stage keeps to go on from."""
    try:
        with _in_plain_words(node, store):
            return _attempt(node, store, progress, records, team)
    except RequestError:
        store.discard_unstarted(node.digest)
        raise
    except Exception:
        store.discard_payload(node.digest)
        raise


def _attempt(node: Node, store: Store, progress: Progress, records: Mapping[str, Record], team: Leader) -> Artifact:
    payload, scratch, attempts = store.begin(node.digest)
    inputs = {field: tuple(store.open(n.digest) for n in nodes) for field, nodes in node.inputs.items()}
    world = team.world if node.config.distributed else World()
    task = Task(node.name, node.digest, inputs, node.files, payload, scratch, progress, records=records, world=world)
    reset_peak_memory()
    start, cpu = time.monotonic(), _cpu_seconds()
    outcome, reports = _run_together(task, node, team) if world.size > 1 else (node.config.run(task), [])
    _write_logs(task)
    seconds = time.monotonic() - start
    busy = _cpu_seconds() - cpu + sum(report["cpu_seconds"] for report in reports)
    cost = Cost(
        seconds=round(seconds, 3),
        cpu_seconds=round(busy, 3),
        peak_memory_bytes=peak_memory() + sum(report["peak_memory"] for report in reports),
        energy_joules=round(busy * WATTS_PER_CORE + outcome.device_joules, 1),
        watts_per_core=WATTS_PER_CORE,
        attempts=attempts,
    )
    return store.commit(_record(node, task, outcome, cost), payload)


def _run_together(task: Task, node: Node, team: Leader) -> tuple[Outcome, list[dict[str, Any]]]:
    """Run a distributed stage in all processes; what it gave here, and what it cost the others."""
    store = host_store()
    team.tell({"make": node.name, "port": store.port})
    with process_group(team.world, store):
        outcome = node.config.run(task)
    return outcome, team.gather()


@contextmanager
def _in_plain_words(node: Node, store: Store) -> Iterator[None]:
    """Turn what the machine refuses into errors that say what to do, and name the artifact in all of them."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = human_bytes(shutil.disk_usage(store.workspace).free)
        raise ResourceError(
            f"the disk is full ({free} free) while making {node.name!r}; free some space and run the same command: "
            "finished artifacts and checkpoints are kept"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of memory while making {node.name!r}; lower its size (see 'groundup plan') and run again"
        ) from error
    except GroundupError as error:
        # A stage's own kind of error may take other arguments: what counts is which of ours it is.
        kind = next(cls for cls in type(error).__mro__ if cls.__module__ == GroundupError.__module__)
        raise kind(f"{node.name} ({node.config.stage}): {error}") from error


def _record(node: Node, task: Task, outcome: Outcome, cost: Cost) -> Record:
    files = scan(task.payload)
    inherited = [artifact.record.terms for artifacts in task.inputs.values() for artifact in artifacts]
    return Record(
        format=FORMAT,
        name=node.name,
        kind=node.config.kind,
        digest=node.digest,
        stage=node.config.stage,
        stage_version=node.config.version,
        config=node.config.model_dump(mode="json"),
        inputs={
            field: [InputLink(name=n.name, kind=n.config.kind, digest=n.digest) for n in nodes]
            for field, nodes in node.inputs.items()
            if nodes
        },
        code_version=groundup.__version__,
        environment=_environment(task.world),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        cost=cost,
        metrics=outcome.metrics,
        terms=Terms.union([*inherited, outcome.terms]),
        files=files,
        payload=payload_digest(files),
    )


def _write_logs(task: Task) -> None:
    if task.exhibits:
        exhibits = Exhibits(exhibits=tuple(task.exhibits))
        write_text(task.payload / "log" / "exhibits.json", exhibits.model_dump_json())


def _write_report(recipe: Recipe, steps: Sequence[Step], store: Store) -> Path:
    """Render report.html, unless the one that is there shows these very artifacts."""
    folder = store.runs / recipe.name
    report, state = folder / "report.html", folder / "run.json"
    shown = {
        "recipe": recipe.name,
        "description": recipe.description,
        "code_version": groundup.__version__,
        "artifacts": {step.node.name: step.node.digest for step in steps},
    }
    made = [step.node.name for step in steps if step.made]
    from groundup.artifact.report import is_current, render

    if not is_current(report, state, shown):
        ordered = [(step.artifact, step.node.config) for step in steps]
        write_text(report, render(recipe.name, recipe.description, ordered))
        write_json(state, {**shown, "made_last": made})
    return report


def _check_memory(nodes: Sequence[Node], world: World) -> None:
    free = available_memory()
    for node in nodes:
        here = world.local_size if node.config.distributed else 1
        wanted = here * node.config.memory(node, world.size if node.config.distributed else 1)
        if wanted > free:
            those = f" for {here} processes" if here > 1 else ""
            raise RequestError(
                f"artifact {node.name!r} needs about {human_bytes(wanted)} of memory{those} and {human_bytes(free)} is "
                "free; make the model or the batch smaller, or free some memory"
            )


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _environment(world: World) -> dict[str, str]:
    found = {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": str(len(os.sched_getaffinity(0))),
    }
    if world.size > 1:
        found["processes"] = str(world.size)
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
