"""The tree from an artifact down to the source files and their licences, or up to what was made of it.

Both are answered from records alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from groundup.artifact.record import Record
from groundup.artifact.store import Store


@dataclass(frozen=True)
class Branch:
    """An artifact and what it was made from. ``via`` is the input field through which its parent used it."""

    record: Record
    via: str
    inputs: tuple[Branch, ...]

    def walk(self) -> Iterator[Branch]:
        """This artifact and all it is made from, each once, what is used before what uses it."""
        seen: set[str] = set()

        def visit(branch: Branch) -> Iterator[Branch]:
            if branch.record.digest not in seen:
                seen.add(branch.record.digest)
                for child in branch.inputs:
                    yield from visit(child)
                yield branch

        yield from visit(self)

    def as_json(self) -> dict[str, Any]:
        """The tree as plain data; a source lists its files with licence and origin."""
        record = self.record
        leaf = not record.inputs
        return {
            "name": record.name,
            "kind": record.kind,
            "digest": record.digest,
            "stage": record.stage,
            "via": self.via,
            "licences": list(record.terms.licences),
            "sources": [source.model_dump(mode="json") for source in record.terms.sources]
            if leaf
            else own_sources(self),
            "inputs": [branch.as_json() for branch in self.inputs],
        }


def grow(record: Record, find: Callable[[str], Record], via: str = "") -> Branch:
    """The lineage of an artifact, where ``find`` gives the record with a digest."""
    inputs = tuple(
        grow(find(link.digest), find, field) for field, links in sorted(record.inputs.items()) for link in links
    )
    return Branch(record, via, inputs)


def trace(store: Store, record: Record) -> Branch:
    """The lineage of an artifact; ArtifactError if an ancestor is gone from the workspace."""
    return grow(record, lambda digest: store.open(digest, verify=False).record)


@dataclass(frozen=True)
class Use:
    """An artifact and what was made of it. ``via`` is the input field through which it uses what is above it.

    What is used in several ways is told of where it is met first; ``again`` marks the other places.
    """

    record: Record
    via: str
    again: bool
    uses: tuple[Use, ...]

    def as_json(self) -> dict[str, Any]:
        """The tree as plain data."""
        record = self.record
        return {
            "name": record.name,
            "kind": record.kind,
            "digest": record.digest,
            "stage": record.stage,
            "via": self.via,
            "again": self.again,
            "uses": [use.as_json() for use in self.uses],
        }


def uses(store: Store, record: Record) -> Use:
    """Everything in the workspace that was made of an artifact, oldest first."""
    made: dict[str, list[tuple[Record, str]]] = {}
    for artifact in store.all():
        for field, links in sorted(artifact.record.inputs.items()):
            for digest in {link.digest for link in links}:
                made.setdefault(digest, []).append((artifact.record, field))

    told: set[str] = set()

    def of(one: Record, via: str) -> Use:
        if one.digest in told:
            return Use(one, via, True, ())
        told.add(one.digest)
        return Use(one, via, False, tuple(of(*use) for use in made.get(one.digest, ())))

    return of(record, "")


def own_sources(branch: Branch) -> list[dict[str, Any]]:
    """The source files that a stage read itself, beside its input artifacts."""
    inherited = {source for child in branch.inputs for source in child.record.terms.sources}
    return [source.model_dump(mode="json") for source in branch.record.terms.sources if source not in inherited]
