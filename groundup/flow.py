"""The whole system in one page: resolve a recipe, skip what is made, make the rest in order, write the report."""

from __future__ import annotations

import datetime
import errno
import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import groundup
from groundup.artifact.exhibit import Exhibits
from groundup.artifact.record import FORMAT, Cost, InputLink, Record, payload_digest
from groundup.artifact.stage import Artifact, Node, Outcome, Task
from groundup.artifact.store import Store, scan
from groundup.artifact.terms import Terms
from groundup.base.errors import GroundupError, RequestError, ResourceError
from groundup.base.files import folder_lock, write_json, write_text
from groundup.base.machine import available_memory, cpu_name, peak_memory, reset_peak_memory
from groundup.base.progress import Progress
from groundup.base.units import human_bytes, human_time
from groundup.recipe import Recipe, load

WATTS_PER_CORE = 6.0
"""Assumed draw of one busy core with its share of the package: servers and laptops lie between 4 and 10 W."""

_OUT_OF_MEMORY = re.compile("not enough memory|can't allocate memory|out of memory", re.IGNORECASE)
"""How torch words it, on CPU and CUDA, in a RuntimeError."""

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


def run(reference: str, overrides: Sequence[str], store: Store, progress: Progress) -> Run:
    """Make every artifact of a recipe that is not yet in the store, then its report."""
    recipe = load(reference, overrides)
    with folder_lock(store.workspace):
        missing = [node for node in recipe.nodes if not store.has(node.digest)]
        _check_memory(missing)
        if missing:
            from groundup.artifact.report import check_ready

            check_ready()
        steps: list[Step] = []
        for number, node in enumerate(recipe.nodes, 1):
            made = not store.has(node.digest)
            if made:
                progress.title = f"[{number}/{len(recipe.nodes)}] {node.name}: {node.config.stage}"
                records = {step.node.digest: step.artifact.record for step in steps}
                artifact = _make(node, store, progress, records)
                progress.note(f"done in {human_time(artifact.record.cost.seconds)}")
            else:
                store.discard(node.digest)
                artifact = store.open(node.digest)
            store.set_names({f"{recipe.name}/{node.name}": node.digest})
            steps.append(Step(node, artifact, made))
        progress.title = ""
        report = _write_report(recipe, steps, store)
    return Run(recipe, tuple(steps), report)


def _make(node: Node, store: Store, progress: Progress, records: Mapping[str, Record]) -> Artifact:
    """Run one stage and commit what it made. A failure leaves no payload, but what the stage keeps to go on from."""
    try:
        with _in_plain_words(node, store):
            return _attempt(node, store, progress, records)
    except RequestError:
        store.discard(node.digest)
        raise
    except Exception:
        store.discard_payload(node.digest)
        raise


def _attempt(node: Node, store: Store, progress: Progress, records: Mapping[str, Record]) -> Artifact:
    payload, scratch, attempts = store.begin(node.digest)
    inputs = {field: tuple(store.open(n.digest) for n in nodes) for field, nodes in node.inputs.items()}
    task = Task(node.name, node.digest, inputs, node.files, payload, scratch, progress, records=records)
    reset_peak_memory()
    start, cpu = time.monotonic(), _cpu_seconds()
    outcome = node.config.run(task)
    _write_logs(task)
    seconds, busy = time.monotonic() - start, _cpu_seconds() - cpu
    cost = Cost(
        seconds=round(seconds, 3),
        cpu_seconds=round(busy, 3),
        peak_memory_bytes=peak_memory(),
        energy_joules=round(busy * WATTS_PER_CORE, 1),
        watts_per_core=WATTS_PER_CORE,
        attempts=attempts,
    )
    return store.commit(_record(node, task, outcome, cost), payload)


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
        if isinstance(error, RuntimeError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise ResourceError(
            f"out of memory while making {node.name!r}; lower its size (see 'groundup plan') and run again"
        ) from error
    except GroundupError as error:
        raise type(error)(f"{node.name} ({node.config.stage}): {error}") from error


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
        environment=_environment(),
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


def _check_memory(nodes: Sequence[Node]) -> None:
    free = available_memory()
    for node in nodes:
        wanted = node.config.memory(node)
        if wanted > free:
            raise RequestError(
                f"artifact {node.name!r} needs about {human_bytes(wanted)} of memory and {human_bytes(free)} is free; "
                "make the model or the batch smaller, or free some memory"
            )


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _environment() -> dict[str, str]:
    found = {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": str(len(os.sched_getaffinity(0))),
    }
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
