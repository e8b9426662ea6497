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
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from groundup.base.files import folder_lock, read_json, write_json, write_text
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
from groundup.rights.compliance import LEARNED, require_fresh
from groundup.rights.reach import Reach
from groundup.rights.register import Register

PLACES = "places.json"
"""Beside the report: where each file lies that the recipe names, by path as written."""
UNDER_WAY = "under_way.json"
"""Beside the scratch folder of an artifact that is being made: its name, and from what it is made."""
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


def run(
    reference: str,
    overrides: Sequence[str],
    store: Store,
    progress: Progress,
    team: Leader | None = None,
    policy: str | None = None,
) -> Run:
    """Make every artifact of a recipe that is not yet in the store, then its report.

    ``team`` is this process (rank 0) with those that follow it: they take part in distributed stages. ``policy``, by
    packaged name or path, takes the place of the recipe's own.
    """
    team = team or Leader.alone()
    recipe = load(reference, overrides, reach=Reach.load(store.workspace), policy=policy)
    for note in recipe.notes:
        progress.note(note)
    team.tell({"hashes": dict(recipe.hashes), "digests": {node.name: node.digest for node in recipe.nodes}})
    if team.world.size > 1:
        progress.note(f"{team.world.size} processes on {team.hosts} machine{'s' * (team.hosts > 1)}")
    with folder_lock(store.workspace):
        missing = [node for node in recipe.nodes if not store.has(node.digest)]
        _check_freshness(recipe, missing, store)
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
                _check_searched(node, store)
                progress.title = f"[{number}/{len(recipe.nodes)}] {node.name}: {node.config.stage}"
                records = _records(steps, store)
                artifact = make(node, store, progress, records, team)
                progress.note(f"done in {human_time(artifact.record.cost.seconds)}")
            else:
                store.discard(node.digest)
                artifact = store.open(node.digest)
            know_essence(node, store)
            store.set_names({f"{recipe.name}/{node.name}": node.digest})
            steps.append(Step(node, artifact, made))
        progress.title = ""
        _write_places(recipe, store)
        _tell_unsearched(recipe, store, progress)
        report = write_report(recipe, steps, store)
    return Run(recipe, tuple(steps), report)


def follow(reference: str, overrides: Sequence[str], store: Store, team: Follower, policy: str | None = None) -> None:
    """Take part in the distributed stages of ``run``, which rank 0 carries out; return when it is done."""
    known = team.hear()
    assert known is not None
    recipe = load(reference, overrides, known["hashes"], Reach.load(store.workspace), policy)
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


def make(node: Node, store: Store, progress: Progress, records: Mapping[str, Record], team: Leader) -> Artifact:
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
    task = Task(
        node.name, node.digest, inputs, node.files, payload, scratch, progress, records=records, world=world,
        withdrawn=node.withdrawn, former=_former(node, store),
    )  # fmt: skip
    # What a kill leaves is known by its inputs: checkpoints hold what those hold.
    write_json(scratch.parent / UNDER_WAY, {"name": node.name, "kind": node.config.kind, "digest": node.digest,
        "inputs": [one.record.digest for found in inputs.values() for one in found]})  # fmt: skip
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


def _former(node: Node, store: Store) -> Artifact | None:
    """Material of which rows were left out, as it was made with the fewest left out; None if it isn't there."""
    if not node.withdrawn:
        return None
    known = [digest for digest in Reach.load(store.workspace).former(node.base) if store.has(digest)]
    former = [store.open(digest, verify=False) for digest in known if digest != node.digest]
    if not former:
        return None
    most = max(former, key=lambda one: (sum(entry.bytes for entry in one.record.files.values()), one.record.digest))
    return store.open(most.record.digest)


def know_essence(node: Node, store: Store) -> None:
    """Write down the essence of an artifact, where it is not its digest."""
    reach = Reach.load(store.workspace)
    if (node.essence or node.digest) != reach.essence(node.digest):
        reach.knowing({node.digest: node.essence or node.digest}).save(store.workspace)


def _write_places(recipe: Recipe, store: Store) -> None:
    path = store.runs / recipe.name / PLACES
    places = {name: str(place) for node in recipe.nodes for name, place in node.files.items()}
    if not path.is_file() or read_json(path) != places:
        write_json(path, places)


def _check_searched(node: Node, store: Store) -> None:
    """RequestError if an artifact would be made of material in which withdrawals were never looked for."""
    new = _unsearched([one for one in node.ancestors() if store.has(one.digest)], store)
    if new:
        raise RequestError(
            f"withdrawals were not looked for in {', '.join(new)}: run 'groundup withdraw --pending', then this again"
        )


def _tell_unsearched(recipe: Recipe, store: Store, progress: Progress) -> None:
    """A lasting line if material of a recipe was never searched for what was withdrawn."""
    if new := _unsearched(recipe.nodes, store):
        progress.note(f"withdrawals were not looked for in {', '.join(new)}: run 'groundup withdraw --pending'")


def _unsearched(nodes: Iterable[Node], store: Store) -> list[str]:
    """The names of those that are material in which a withdrawal was not looked for."""
    wanted = {entry.id for entry in Register(store.workspace).entries()}
    searched = Reach.load(store.workspace).searched if wanted else {}
    found = {n.name: wanted - searched.get(n.digest, frozenset()) for n in nodes if n.config.brings_in}
    return [name for name, missing in found.items() if missing]


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


def write_report(recipe: Recipe, steps: Sequence[Step], store: Store) -> Path:
    """Render report.html, unless the one that is there shows these very artifacts."""
    folder = store.runs / recipe.name
    report, state = folder / "report.html", folder / "run.json"
    shown = {
        "recipe": recipe.name,
        "description": recipe.description,
        "code_version": groundup.__version__,
        **({"policy": recipe.policy.name} if recipe.policy else {}),
        "artifacts": {step.node.name: step.node.digest for step in steps},
    }
    made = [step.node.name for step in steps if step.made]
    from groundup.artifact.report import is_current, render

    if not is_current(report, state, shown):
        known = {step.node.digest for step in steps}
        ordered = [(_standing(step.artifact, known, store), step.node.config) for step in steps]
        write_text(report, render(recipe.name, recipe.description, ordered))
        write_json(state, {**shown, "made_last": made})
    return report


def _check_freshness(recipe: Recipe, missing: Sequence[Node], store: Store) -> None:
    """Under a policy that says so, signals of crawled pages must have been looked at lately if they are to be learned.

    Pages that are still to be crawled are as fresh as can be.
    """
    if recipe.policy is None:
        return
    to_learn = {node.digest for one in missing if one.config.kind in LEARNED for node in one.ancestors()}
    there = (node for node in recipe.nodes if node.digest in to_learn and store.has(node.digest))
    pages = [store.open(node.digest, verify=False).record for node in there if node.config.kind == "pages"]
    require_fresh(recipe.policy, pages, store.workspace, datetime.datetime.now(datetime.UTC))


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


def _records(steps: Sequence[Step], store: Store) -> dict[str, Record]:
    """The records so far by digest, also by the digests whose place they took after material was withdrawn."""
    records = {step.node.digest: step.artifact.record for step in steps}
    after = {old: store.standing(old) for old in store.replaced()}
    return {**{old: records[new] for old, new in after.items() if new in records}, **records}


def _standing(artifact: Artifact, shown: Set[str], store: Store) -> Artifact:
    """The artifact as it is shown: a link to what was replaced leads to what took its place."""
    record = artifact.record
    inputs = {
        field: [
            link if link.digest in shown else link.model_copy(update={"digest": store.standing(link.digest)})
            for link in links
        ]
        for field, links in record.inputs.items()
    }
    return (
        artifact if inputs == record.inputs else replace(artifact, record=record.model_copy(update={"inputs": inputs}))
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
