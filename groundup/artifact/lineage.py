"""The tree from an artifact down to the source files and their licences, answered from records alone."""

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


def own_sources(branch: Branch) -> list[dict[str, Any]]:
    """The source files that a stage read itself, beside its input artifacts."""
    inherited = {source for child in branch.inputs for source in child.record.terms.sources}
    return [source.model_dump(mode="json") for source in branch.record.terms.sources if source not in inherited]
