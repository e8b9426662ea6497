"""What a stage is: a frozen configuration that knows its inputs and how to run; and the task it is handed.

A stage reads artifacts, writes one, and never imports another stage. It finds its inputs in ``Task.inputs``,
fills ``Task.payload``, keeps what must survive a kill in ``Task.scratch``, and returns an ``Outcome``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from groundup.artifact.exhibit import Exhibit
from groundup.artifact.record import Record
from groundup.artifact.terms import Declared, Terms, Use
from groundup.base.config import Config, markers
from groundup.base.dist import World
from groundup.base.errors import ArtifactError, RequestError
from groundup.base.progress import Progress


@dataclass(frozen=True)
class InputRef:
    """Marks a string field as the name of an input artifact of one of these kinds."""

    kinds: tuple[str, ...]

    def __init__(self, *kinds: str) -> None:
        object.__setattr__(self, "kinds", kinds)


@dataclass(frozen=True)
class Artifact:
    """A committed artifact: a folder and its record."""

    path: Path
    record: Record

    def file(self, name: str) -> Path:
        """The path of a payload file; ArtifactError if the record doesn't list it."""
        if name not in self.record.files:
            raise ArtifactError(f"artifact {self.record.name!r} ({self.record.digest[:12]}) has no file {name!r}")
        return self.path / name


@dataclass(frozen=True)
class Outcome:
    """What a stage hands back: metrics that belong to the result, and the terms that it added itself.

    ``device_joules`` is energy measured beside that of the CPU: what the GPUs drew. It goes into the record's cost.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    terms: Terms = field(default_factory=Terms)
    device_joules: float = 0.0


@dataclass(frozen=True)
class Task:
    """One stage at work.

    ``payload`` is empty at the start of every attempt; ``scratch`` keeps its content over a kill and is
    deleted when the artifact is committed. ``files`` maps each path in the configuration to where it lies.
    ``records`` holds the records of all ancestors by digest, for a stage that tells where its input came from.
    ``world`` says which of several processes this is: all share ``scratch``, only the main one fills ``payload``.
    ``withdrawn`` holds the ids of rows that a stage that brings material in leaves out (``StageConfig.brings_in``);
    ``former`` is the same material with more rows, made before, which is then filtered in place of being read again.
    """

    name: str
    digest: str
    inputs: Mapping[str, tuple[Artifact, ...]]
    files: Mapping[str, Path]
    payload: Path
    scratch: Path
    progress: Progress
    exhibits: list[Exhibit] = field(default_factory=list)
    records: Mapping[str, Record] = field(default_factory=dict)
    world: World = field(default_factory=World)
    withdrawn: frozenset[str] = frozenset()
    former: Artifact | None = None

    def input(self, name: str) -> Artifact:
        """The one artifact that the input field ``name`` refers to."""
        (artifact,) = self.inputs[name]
        return artifact

    def show(self, *exhibits: Exhibit) -> None:
        """Add something for the report."""
        self.exhibits.extend(exhibits)


@dataclass(frozen=True)
class Node:
    """A stage in a resolved recipe: its configuration, its inputs by field, its files and its digest.

    ``withdrawn`` are rows left out of material that comes in, and ``base`` is its digest with all of them.
    ``essence`` is the digest without those rows only that had been kept; empty where it is the digest
    (:mod:`groundup.rights.reach`).
    """

    name: str
    config: StageConfig
    inputs: Mapping[str, tuple[Node, ...]]
    files: Mapping[str, Path]
    digest: str
    essence: str = ""
    base: str = ""
    withdrawn: frozenset[str] = frozenset()

    def input(self, name: str) -> Node:
        """The one node that the input field ``name`` refers to."""
        (node,) = self.inputs[name]
        return node

    def ancestors(self) -> Iterable[Node]:
        """Every node this one is made from, nearest first."""
        for nodes in self.inputs.values():
            for node in nodes:
                yield node
                yield from node.ancestors()


class StageConfig(Config):
    """The configuration of one stage; subclasses declare what they read, what they make, and what runs them.

    ``runner`` names a function (config, task) to Outcome as ``module:function``; it is imported when it is needed,
    so that a recipe resolves without the heavy libraries that its stages use. ``version`` is part of the digest:
    raise it when the same configuration should give another result. A ``distributed`` stage runs in all processes of
    a run at once, in a process group of torch.distributed; the others run in the main one while the rest wait.
    A stage that ``brings_in`` material reads no artifacts and leaves out the rows in ``Task.withdrawn``. Of inputs in
    fields that are ``only_measured`` nothing is learned.
    """

    stage: ClassVar[str]
    kind: ClassVar[str]
    runner: ClassVar[str]
    version: ClassVar[int] = 1
    distributed: ClassVar[bool] = False
    brings_in: ClassVar[bool] = False
    only_measured: ClassVar[tuple[str, ...]] = ("validation",)

    @classmethod
    def input_fields(cls) -> dict[str, InputRef]:
        """The fields that name input artifacts."""
        found = {name: markers(field, InputRef) for name, field in cls.model_fields.items()}
        return {name: marks[0] for name, marks in found.items() if marks}

    def input_names(self, field_name: str) -> tuple[str, ...]:
        """The artifact names that an input field holds (a name, a list, a mapping to either, or nothing)."""
        value = getattr(self, field_name)
        if value is None:
            return ()
        if isinstance(value, Mapping):
            return tuple(name for part in value.values() for name in ([part] if isinstance(part, str) else part))
        return (value,) if isinstance(value, str) else tuple(value)

    def rename_inputs(self, names: Mapping[str, str]) -> Self:
        """The same stage on other input artifacts: ``names`` says what each is called now, where that has changed."""

        def renamed(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {key: renamed(part) for key, part in value.items()}
            return names.get(value, value) if isinstance(value, str) else tuple(names.get(one, one) for one in value)

        fields = {name: getattr(self, name) for name in self.input_fields()}
        return self.model_copy(update={name: renamed(value) for name, value in fields.items() if value is not None})

    def fill(self, recipe: Mapping[str, StageConfig]) -> StageConfig:
        """Complete this configuration from the rest of the recipe (before digests are taken)."""
        return self

    def declared(self) -> tuple[Declared, ...]:
        """The terms of the material that this stage itself brings in."""
        return ()

    def govern(self, policy: Config, use: Use) -> StageConfig:
        """The same under a policy, for a stage that decides on single documents; ``use`` is what they are for."""
        return self

    def check(self, node: Node) -> None:
        """Refuse what can be known to fail before anything starts, with a RequestError."""

    def check_processes(self, node: Node, size: int) -> None:
        """Refuse a number of processes on which a distributed stage can't run, with a RequestError."""

    def memory(self, node: Node, processes: int = 1) -> int:
        """The estimated peak memory of each of so many processes in bytes, 0 if it is small."""
        return 0

    def run(self, task: Task) -> Outcome:
        """Make the artifact in ``task.payload``."""
        module, _, name = self.runner.partition(":")
        outcome: Outcome = getattr(importlib.import_module(module), name)(self, task)
        return outcome


def need(condition: bool, message: str) -> None:
    """RequestError with ``message`` unless ``condition``: the short form for ``StageConfig.check``."""
    if not condition:
        raise RequestError(message)
