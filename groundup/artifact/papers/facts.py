"""Facts: values that know where they stand, read from records, tables and lineage, and never made up.

A paper is written from facts alone. So whoever doubts a number in one can look it up, and a test does so for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel

from groundup.artifact.lineage import own_sources
from groundup.artifact.papers.subject import Subject
from groundup.artifact.record import LOG_FOLDER, Record
from groundup.artifact.stage import Artifact

Kind = Literal["record", "ledger", "signals", "file", "stated"]

_UNITS: Final = {
    "pages": ("pages",),
    "corpus": ("documents",),
    "conversations": ("conversations",),
    "preferences": ("preferences",),
}


@dataclass(frozen=True)
class Place:
    """Where a fact stands.

    ``path`` leads into the JSON of a record; of a file of the payload it begins with the file's name; of a ledger it is
    (column, value, what is counted) among the documents that were kept; of what a person stated it is the key.
    """

    kind: Kind
    name: str
    digest: str
    path: tuple[str | int, ...]

    def __str__(self) -> str:
        path = "/".join(str(part) for part in self.path)
        return (
            f"stated: {path}" if self.kind == "stated" else f"{self.kind} of {self.name} ({self.digest[:12]}): {path}"
        )


@dataclass(frozen=True)
class Fact:
    """A value: it stands at ``where``, or was made from the facts in ``of`` as ``how`` says."""

    value: Any
    where: Place | None = None
    of: tuple[Fact, ...] = ()
    how: str = ""

    @property
    def is_stated(self) -> bool:
        """Whether a person said so, and no record."""
        return self.where is not None and self.where.kind == "stated"

    def roots(self) -> Iterator[Fact]:
        """The facts with a place of their own that this one comes from."""
        if self.where is not None:
            yield self
        for fact in self.of:
            yield from fact.roots()

    def as_json(self) -> dict[str, Any]:
        """As plain data: the value, how it was made, and every place that it comes from."""
        made = {"how": self.how} if self.how else {}
        return {"value": self.value, **made, "where": [str(root.where) for root in self.roots()]}


def at(record: Record, *path: str | int) -> Fact | None:
    """What stands in a record at ``path``; None if nothing does, or null.

    The path goes into the record's JSON, such as ``at(record, "metrics", "documents")``.
    """
    found: Any = getattr(record, str(path[0]))
    found = found.model_dump(mode="json") if isinstance(found, BaseModel) else found
    for part in path[1:]:
        inside = part in found if isinstance(found, Mapping) else _is_index(part, found)
        if not inside:
            return None
        found = found[part]
    return None if found is None else Fact(found, Place("record", record.name, record.digest, path))


def _is_index(part: str | int, found: object) -> bool:
    return isinstance(part, int) and isinstance(found, (list, tuple)) and part < len(found)


def total(facts: Iterable[Fact | None], how: str = "sum") -> Fact | None:
    """The sum of numbers; None if there is none. A single one is itself."""
    known = tuple(fact for fact in facts if fact is not None)
    if len(known) < 2:
        return known[0] if known else None
    return Fact(sum(fact.value for fact in known), of=known, how=how)


def made(value: Any, how: str, *of: Fact | None) -> Fact:
    """A value made of facts; those that are None are left out."""
    return Fact(value, of=tuple(fact for fact in of if fact is not None), how=how)


def rows(record: Record, *path: str) -> list[tuple[str, Fact]]:
    """The entries of a mapping in a record, nested ones with dotted names, empty and null ones left out."""
    found = at(record, *path)
    if found is None or not isinstance(found.value, Mapping):
        return []
    return [
        (name, Fact(value, Place("record", record.name, record.digest, (*path, *keys))))
        for name, keys, value in _leaves(found.value)
        if value not in (None, "", [], {})
    ]


def _leaves(values: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*prefix, key))
        else:
            yield ".".join((*prefix, key)), (*prefix, key), value


# -- what is in the data -----------------------------------------------------------------------------------------------


def documents(record: Record) -> Fact | None:
    """How many documents (pages, conversations, pairs) an artifact of data holds."""
    if record.kind == "tokens":
        return total([at(record, "metrics", f"{split}_documents") for split in ("train", "held_out")])
    return at(record, "metrics", *_UNITS[record.kind]) if record.kind in _UNITS else None


def size(record: Record) -> Fact | None:
    """The bytes of text of a corpus, of raw content of pages, or of the files of anything else."""
    name = {"corpus": "text_bytes", "pages": "bytes"}.get(record.kind)
    if name is not None:
        return at(record, "metrics", name)
    return total(one.bytes for one in files(record))


def languages(record: Record) -> list[tuple[str, Fact]]:
    """Language to the number of documents that were identified as it."""
    return rows(record, "metrics", "languages")


def kept_languages(records: Iterable[Record]) -> list[Fact]:
    """The languages that curation was told to keep, each once."""
    seen: dict[str, Fact] = {}
    for record in records:
        for number, name in enumerate(record.config.get("languages") or ()):
            seen.setdefault(
                str(name), Fact(name, Place("record", record.name, record.digest, ("config", "languages", number)))
            )
    return list(seen.values())


@dataclass(frozen=True)
class File:
    """A file of the payload."""

    name: str
    bytes: Fact
    sha256: Fact


def files(record: Record) -> list[File]:
    """The files of the payload in order; logs, which differ from one making to the next, are left out."""

    def fact(name: str, field: str, value: Any) -> Fact:
        return Fact(value, Place("record", record.name, record.digest, ("files", name, field)))

    return [
        File(name, fact(name, "bytes", entry.bytes), fact(name, "sha256", entry.sha256))
        for name, entry in sorted(record.files.items())
        if not name.startswith(LOG_FOLDER)
    ]


# -- where it comes from -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One source: its terms as facts by name, the record of the artifact that read it, and how it came.

    ``how`` is ``crawl``, ``hub`` (a data set of the Hugging Face Hub), ``address`` or ``file``. ``kept`` is how many of
    its documents passed curation, None where no curation counts by source.
    """

    name: str
    terms: Mapping[str, Fact]
    reader: Record
    how: Literal["crawl", "hub", "address", "file"]
    kept: Fact | None


def sources(subject: Subject) -> list[Source]:
    """Every source of the lineage, in the order in which they entered."""
    kept = _kept(subject)
    found = []
    for branch in subject.lineage.walk():
        own = {(one["source"], one["sha256"]) for one in own_sources(branch)}
        for number, terms in enumerate(branch.record.terms.sources):
            if (terms.source, terms.sha256) not in own:
                continue
            record = branch.record
            facts = {
                name: Fact(value, Place("record", record.name, record.digest, ("terms", "sources", number, name)))
                for name, value in terms.model_dump(mode="json").items()
                if value not in (None, "", [], {})
            }
            found.append(Source(terms.source, facts, record, _how(record, terms.source), kept.get(terms.source)))
    return found


def found(source: Source) -> list[tuple[Fact, Fact]]:
    """(licence, documents) for each licence that pages of a source state themselves."""
    terms = source.terms.get("found")
    if terms is None or terms.where is None:
        return []
    place = terms.where

    def part(value: Any, *path: int) -> Fact:
        return Fact(value, Place(place.kind, place.name, place.digest, (*place.path, *path)))

    return [(part(pair[0], at, 0), part(pair[1], at, 1)) for at, pair in enumerate(terms.value)]


def _how(record: Record, source: str) -> Literal["crawl", "hub", "address", "file"]:
    files = {str(one.get("name")): one for one in record.config.get("files") or () if isinstance(one, Mapping)}
    crawl = record.config.get("crawl")
    if isinstance(crawl, Mapping) and crawl.get("name", source) == source and source not in files:
        return "crawl"
    if source not in files:
        return "file"
    if files[source].get("dataset"):
        return "hub"
    return "address" if files[source].get("url") else "file"


def _kept(subject: Subject) -> dict[str, Fact]:
    corpora = subject.records("corpus")
    # A mixture says what came of the corpora that it was made of: they don't count again.
    mixed = {link.digest for record in corpora for links in record.inputs.values() for link in links}
    counts: dict[str, list[Fact | None]] = {}
    for record in (one for one in corpora if one.digest not in mixed):
        for source in record.metrics.get("sources") or {}:
            counts.setdefault(source, []).append(at(record, "metrics", "sources", source, "documents"))
    summed = {source: total(facts) for source, facts in counts.items()}
    return {source: fact for source, fact in summed.items() if fact is not None}


def licences(subject: Subject) -> list[Fact]:
    """The distinct licences of the sources, sorted, each where it first stands."""
    first: dict[str, Fact] = {}
    for source in sources(subject):
        first.setdefault(source.terms["licence"].value, source.terms["licence"])
    return [first[name] for name in sorted(first)]


# -- how a model was trained -------------------------------------------------------------------------------------------


def energy(records: Iterable[Record]) -> Fact | None:
    """Joules that making these artifacts took."""
    return total(at(record, "cost", "energy_joules") for record in records)


def from_file(artifact: Artifact, file: str, values: Mapping[str, Any], key: str) -> Fact | None:
    """A value of a JSON file of the payload; None if it isn't there."""
    if values.get(key) is None:
        return None
    return Fact(values[key], Place("file", artifact.record.name, artifact.record.digest, (file, key)))


def settings(record: Record) -> list[tuple[str, Fact]]:
    """The settings of a stage but for its inputs, which the lineage tells."""
    return [(name, fact) for name, fact in rows(record, "config") if name.split(".")[0] not in record.inputs]


def measured(record: Record) -> list[tuple[str, Fact]]:
    """Everything that a stage measured."""
    return rows(record, "metrics")


def stated(subject: Subject, key: str) -> Fact | None:
    """What a person stated under this key."""
    value = subject.stated.get(key)
    return None if value in (None, "") else Fact(value, Place("stated", "", "", (key,)))
